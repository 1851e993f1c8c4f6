"""Sockets that listen, for viewers and for callers of the HTTP API.

Owns how an address is taken, and the words for when it cannot be. Must not know what comes in.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable
from typing import Any, Final

from engine.errors import RoomcastError

__all__ = ["listen"]

_BACKLOG: Final = 1024
"""Connections that wait to be accepted, where no setting says how many."""


def listen(
    section: str,
    host: str,
    port: int,
    backlog: int = _BACKLOG,
    *,
    shared: bool = False,
    prepare: Callable[[socket.socket], None] = lambda _: None,
) -> list[socket.socket]:
    """Bind and listen. Several non-blocking sockets if the host name has several addresses, all on one port.

    :param section: of the settings that hold ``host`` and ``port``.
    :param port: 0: the system chooses.
    :param shared: let others bind the same port, and the kernel spread connections over all of them (socket(7), SO_REUSEPORT).
    :param prepare: called with each before it is bound. Linux lets accepted connections inherit what is set on it.
    :raises RoomcastError: the address cannot be taken; says what to do.
    """
    try:
        return _listen(host, port, backlog, shared, prepare)
    except socket.gaierror as error:
        raise RoomcastError(f"{section}.host: {host} is not an address of this machine ({error.strerror})") from error
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            hint = f"another process listens there; stop it or choose another {section}.port"
        elif error.errno == errno.EACCES:
            hint = f"ports below 1024 need a privilege; choose another {section}.port"
        else:
            hint = f"{section}.host must be an address of this machine"
        raise RoomcastError(f"cannot listen on {host}:{port}: {error.strerror}; {hint}") from error


def _listen(host: str, port: int, backlog: int, shared: bool, prepare: Callable[[socket.socket], None]) -> list[socket.socket]:
    listeners: list[socket.socket] = []
    try:
        infos = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, kind, protocol, _, address in dict.fromkeys(infos):
            listener = socket.socket(family, kind | socket.SOCK_NONBLOCK, protocol)
            listeners.append(listener)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if shared:
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            if family == socket.AF_INET6:
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            prepare(listener)
            # One port for all families when the system chooses it.
            target: Any = (address[0], port, *address[2:])
            listener.bind(target)
            port = listener.getsockname()[1]
            listener.listen(backlog)
    except BaseException:
        for listener in listeners:
            listener.close()
        raise
    return listeners
