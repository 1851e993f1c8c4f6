"""Who does not get as far as being accepted is counted, and only those of this socket."""

from __future__ import annotations

import socket
from contextlib import ExitStack
from dataclasses import replace

from engine.edge.listener import dropped, open_listeners
from engine.settings import EdgeSettings


def crowd(stack: ExitStack, address: tuple[str, int], count: int) -> None:
    """So many connect at once, and stay."""
    for _ in range(count):
        sock = stack.enter_context(socket.socket())
        sock.setblocking(False)
        sock.connect_ex(address)


def test_connections_that_the_kernel_drops_are_counted_by_the_socket_they_came_to() -> None:
    settings = replace(EdgeSettings(), host="127.0.0.1", port=0, backlog=16)
    with ExitStack() as stack:
        # Nobody accepts.
        (full,) = map(stack.enter_context, open_listeners(settings))
        (other,) = map(stack.enter_context, open_listeners(settings))
        assert dropped(full) == 0
        crowd(stack, full.getsockname(), 60)
        crowd(stack, other.getsockname(), 10)
        assert dropped(full) >= 60 - 16 - 1
        assert dropped(other) == 0


def test_what_is_no_socket_of_tcp_or_tells_nothing_has_dropped_nothing() -> None:
    left, right = socket.socketpair()
    with left, right:
        assert dropped(left) == 0
