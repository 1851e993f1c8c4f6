"""Listening sockets: accepts in bursts and keeps serving when descriptors run out.

Owns the sockets that listen. Must not know what becomes of a connection.
"""

from __future__ import annotations

import errno
import logging
import os
import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Final

import trio

from engine.listening import listen
from engine.settings import EdgeSettings

__all__ = ["accept_forever", "dropped", "open_listeners", "tune"]

_BURST: Final = 64
"""Connections accepted before other tasks get a turn."""
_BACKOFF_SECONDS: Final = 0.1
"""Pause after the system ran out of descriptors or memory; those who are connected are served meanwhile."""
_OUT_OF = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
_PEER_GONE = {errno.ECONNABORTED, errno.EPROTO, errno.EPERM, errno.ENETDOWN, errno.EHOSTUNREACH, errno.ENETUNREACH}

_SO_MEMINFO: Final = 55
"""Linux 4.12; asm-generic/socket.h."""
_MEMINFO: Final = struct.Struct("=9I")
"""As in linux/sock_diag.h; the last is SK_MEMINFO_DROPS."""

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
    return listen("edge", settings.host, port, settings.backlog, shared=shared, prepare=partial(tune, settings=settings))


def tune(sock: socket.socket, settings: EdgeSettings) -> None:
    """Set what the settings say of a socket: one that listens, for who comes from now on, or a viewer's."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, settings.send_buffer_bytes)
    # Kills a live peer with a closed window too, which is why it must exceed the lag limit.
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(settings.dead_peer_seconds * 1000))


def dropped(listener: socket.socket) -> int:
    """How many connections the kernel has dropped that came to this socket, above all because its queue was full; 0 if it does
    not tell. What netstat counts is of all servers on the machine."""
    try:
        drops: int = _MEMINFO.unpack(listener.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, _MEMINFO.size))[-1]
    except (OSError, struct.error):
        return 0
    return drops


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
