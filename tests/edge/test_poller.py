"""When the poller serves what comes: at once after a pause, at grid steps while a little keeps coming, and others get turns."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import trio
import trio.lowlevel
import trio.testing
from trio.testing import MockClock

from engine.edge.poller import Poller

GRID = 1 / 128
"""Seconds; its multiples are exact."""


class Sockets:
    """Pairs of sockets of which the poller watches one; what is told of them, with the time it was told at."""

    def __init__(self, poller: Callable[[Sockets], Poller], much: bool) -> None:
        self.told: list[tuple[str, float, bytes]] = []
        self.rounds = 0
        self.poller = poller(self)
        self._much = much
        self._near: dict[int, socket.socket] = {}
        self._all: list[socket.socket] = []

    def open(self) -> tuple[socket.socket, int]:
        """The far end, and the descriptor that is watched."""
        far, near = socket.socketpair()
        near.setblocking(False)
        self._near[near.fileno()] = near
        self._all += far, near
        self.poller.add(near.fileno())
        return far, near.fileno()

    def read(self, fd: int) -> bool:
        near = self._near.get(fd)
        if near is None:
            return False
        data = near.recv(1 if self._much else 100)
        self.told.append(("read", trio.current_time(), data))
        if not data:
            self.leave(fd)
        return self._much

    def write(self, fd: int) -> None:
        if fd in self._near:
            self.told.append(("write", trio.current_time(), b""))
            self.poller.arm(fd, write=False)

    def leave(self, fd: int) -> None:
        self.poller.remove(fd)
        self._near.pop(fd).close()

    def turn_over(self) -> None:
        self.rounds += 1

    @property
    def times(self) -> list[float]:
        return [round(time, 6) for _, time, _ in self.told]

    def close(self) -> None:
        for each in self._all:
            each.close()
        self.poller.close()


@asynccontextmanager
async def watched(*, much: bool = False) -> AsyncIterator[Sockets]:
    sockets = Sockets(lambda one: Poller(one.read, one.write, one.turn_over, GRID), much)
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(sockets.poller.run)
            yield sockets
            nursery.cancel_scope.cancel()
    finally:
        sockets.close()


async def test_what_comes_after_a_pause_is_served_at_once(autojump_clock: MockClock) -> None:
    async with watched() as sockets:
        far, _ = sockets.open()
        start = trio.current_time()
        for pause in (0.0005, 0.1004, 1.0003):
            await trio.sleep_until(start + pause)
            far.send(b"a")
        await trio.sleep(GRID)
        assert sockets.times == [round(start + pause, 6) for pause in (0.0005, 0.1004, 1.0003)]


async def test_a_little_that_keeps_coming_is_gathered_to_steps_of_the_grid(autojump_clock: MockClock) -> None:
    async with watched() as sockets:
        far, _ = sockets.open()
        other, _ = sockets.open()
        start = (trio.current_time() // GRID + 1) * GRID
        for number in range(80):
            await trio.sleep_until(start + number * GRID / 8 + 0.0001)
            (far if number % 2 else other).send(b"a")
        await trio.sleep(1.0)
        assert sum(len(data) for _, _, data in sockets.told) == 80
        # The first comes after a pause, and with the second the gathering begins.
        assert sockets.rounds == 2 + 10
        assert all(time % GRID == 0 for _, time, _ in sockets.told[2:])
        rounds = sockets.rounds
        far.send(b"a")
        await trio.lowlevel.checkpoint()
        await trio.testing.wait_all_tasks_blocked()
        # After a pause again: nobody polls for nothing, and nobody waits.
        assert (sockets.rounds, sockets.times[-1]) == (rounds + 1, round(trio.current_time(), 6))


async def test_much_is_served_without_a_pause_and_others_get_their_turns() -> None:
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await trio.lowlevel.checkpoint()

    async with watched(much=True) as sockets, trio.open_nursery() as nursery:
        far, _ = sockets.open()
        far.send(b"a" * 200)
        nursery.start_soon(other)
        while len(sockets.told) < 200:  # there is no event
            await trio.lowlevel.checkpoint()
        nursery.cancel_scope.cancel()
        assert sockets.rounds >= 200
        assert turns >= 200


async def test_who_is_ready_to_write_is_called_while_that_is_armed() -> None:
    async with watched() as sockets:
        _, fd = sockets.open()
        await trio.testing.wait_all_tasks_blocked(0.001)
        assert sockets.told == []
        sockets.poller.arm(fd, write=True)
        await trio.testing.wait_all_tasks_blocked(0.001)
        assert [what for what, _, _ in sockets.told] == ["write"]
        # Not to be read meanwhile: it is asked for again later.
        far, fd = sockets.open()
        sockets.poller.arm(fd, read=False, write=False)
        far.send(b"a")
        await trio.testing.wait_all_tasks_blocked(0.001)
        assert len(sockets.told) == 1
        sockets.poller.arm(fd, write=False)
        await trio.testing.wait_all_tasks_blocked(0.001)
        assert sockets.told[-1][2] == b"a"


async def test_a_peer_that_is_gone_is_read_before_it_is_written_to_and_then_forgotten() -> None:
    async with watched() as sockets:
        far, fd = sockets.open()
        sockets.poller.arm(fd, write=True)
        far.close()
        await trio.testing.wait_all_tasks_blocked(0.001)
        assert [(what, data) for what, _, data in sockets.told] == [("read", b"")]
