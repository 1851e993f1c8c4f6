"""Listening sockets: accepts in bursts and keeps serving when descriptors run out.

Owns the sockets that listen. Must not know what becomes of a connection.
"""

from __future__ import annotations

import errno
import logging
import os
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

import trio

from engine.errors import RoomcastError
from engine.settings import EdgeSettings

__all__ = ["accept_forever", "open_listeners"]

_BURST: Final = 64
"""Connections accepted before other tasks get a turn."""
_BACKOFF_SECONDS: Final = 0.1
"""Pause after the system ran out of descriptors or memory; those who are connected are served meanwhile."""
_OUT_OF = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
_PEER_GONE = {errno.ECONNABORTED, errno.EPROTO, errno.EPERM, errno.ENETDOWN, errno.EHOSTUNREACH, errno.ENETUNREACH}

log = logging.getLogger("roomcast.edge")


def open_listeners(settings: EdgeSettings, *, port: int | None = None, shared: bool = False) -> list[socket.socket]:
    """Bind and listen. Several sockets if the host name has several addresses.

    What every accepted connection needs is set on the listening socket: Linux lets them inherit it, which saves three
    system calls for each.

    :param port: instead of the configured one.
    :param shared: let others bind the same port, and the kernel spread connections over all of them (socket(7), SO_REUSEPORT).
    :raises RoomcastError: the address cannot be bound; says what to do.
    """
    port = settings.port if port is None else port
    try:
        return _open(settings, port, shared)
    except socket.gaierror as error:
        raise RoomcastError(f"edge.host: {settings.host} is not an address of this machine ({error.strerror})") from error
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            hint = "another process listens there; stop it or choose another edge.port"
        elif error.errno == errno.EACCES:
            hint = "ports below 1024 need a privilege; choose another edge.port"
        else:
            hint = "edge.host must be an address of this machine"
        raise RoomcastError(f"cannot listen on {settings.host}:{port}: {error.strerror}; {hint}") from error


def _open(settings: EdgeSettings, port: int, shared: bool) -> list[socket.socket]:
    listeners: list[socket.socket] = []
    try:
        infos = socket.getaddrinfo(settings.host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, kind, protocol, _, address in dict.fromkeys(infos):
            listener = socket.socket(family, kind | socket.SOCK_NONBLOCK, protocol)
            listeners.append(listener)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if shared:
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            if family == socket.AF_INET6:
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, settings.send_buffer_bytes)
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            # Kills a live peer with a closed window too, which is why it must exceed the lag limit.
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(settings.dead_peer_seconds * 1000))
            # One port for all families when the system chooses it.
            target: Any = (address[0], port, *address[2:])
            listener.bind(target)
            port = listener.getsockname()[1]
            listener.listen(settings.backlog)
    except BaseException:
        for listener in listeners:
            listener.close()
        raise
    return listeners


async def accept_forever(listener: socket.socket, accepted: Callable[[socket.socket, str], None]) -> None:
    """Accept until cancelled. ``accepted`` gets a non-blocking socket and the peer's address."""
    # Given up for a moment when descriptors run out, so that whoever waits is told by a closed connection.
    reserve = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    try:
        while True:
            await trio.lowlevel.wait_readable(listener)
            try:
                for _ in range(_BURST):
                    sock, address = listener.accept()
                    sock.setblocking(False)
                    accepted(sock, address[0])
            except BlockingIOError:
                pass
            except OSError as error:
                if error.errno in _OUT_OF:
                    log.warning(
                        "accept_failed",
                        extra={
                            "error": os.strerror(error.errno),
                            "hint": "raise the descriptor limit or lower edge.viewers_max",
                        },
                    )
                    os.close(reserve)
                    with suppress(OSError):
                        listener.accept()[0].close()
                    reserve = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
                    await trio.sleep(_BACKOFF_SECONDS)
                elif error.errno not in _PEER_GONE:
                    raise
            await trio.lowlevel.checkpoint()
    finally:
        os.close(reserve)
