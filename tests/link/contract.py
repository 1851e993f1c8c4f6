"""The link contract as a suite: whatever implements `engine.link.base.End` runs the same tests.

Owns the promises. An implementation's test module derives from `LinkContract` and says how the two ends are opened.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any

import trio
import trio.testing

from engine.link import End
from engine.link.messages import Down, Likes, ReplyTo, Say, Stop, Up
from engine.schema import Author

__all__ = ["LinkContract"]

PATIENCE = 20.0
"""Seconds until a message that never comes fails the test."""


async def read(end: End[Any, Any], count: int) -> list[Any]:
    """That many messages, in however many batches they come."""
    messages: list[Any] = []
    with trio.fail_after(PATIENCE):
        while len(messages) < count:
            batch = await end.receive()
            assert batch, "the link ended early"
            messages += batch
    return messages


async def read_all(end: End[Any, Any]) -> list[Any]:
    """Everything until the end of the link."""
    messages: list[Any] = []
    with trio.fail_after(PATIENCE):
        while batch := await end.receive():
            messages += batch
    return messages


def say(number: int) -> Say:
    return Say("大厅", number, "s" * 16, number, Author("guest-1", "小明", {"勋章": "⭐"}), f"第{number}条😀")


class LinkContract(ABC):
    """Derive, say how, and pytest runs what every link promises."""

    @abstractmethod
    def open(self) -> AbstractAsyncContextManager[tuple[End[Up, Down], End[Down, Up]]]:
        """The edge's end and the hub's."""

    async def test_messages_arrive_once_and_in_order_in_both_directions(self) -> None:
        async with self.open() as (edge, hub):
            up: list[Up] = [say(number) for number in range(100)]
            down: list[Down] = [ReplyTo(number, number, 0) for number in range(100)]
            for start in range(0, 100, 7):
                edge.send(up[start : start + 7])
                hub.send(down[start : start + 7])
            assert await read(hub, 100) == up
            assert await read(edge, 100) == down

    async def test_what_was_sent_in_one_turn_comes_together(self) -> None:
        async with self.open() as (edge, hub):
            edge.send([say(1), say(2), say(3)])
            with trio.fail_after(PATIENCE):
                assert list(await hub.receive()) == [say(1), say(2), say(3)]

    async def test_a_receiver_waits_for_what_comes_later(self) -> None:
        async with self.open() as (edge, hub):
            got: list[Sequence[Up]] = []

            async def receive() -> None:
                got.append(await hub.receive())

            with trio.fail_after(PATIENCE):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(receive)
                    await trio.testing.wait_all_tasks_blocked()
                    assert not got
                    edge.send([say(1)])
            assert [list(batch) for batch in got] == [[say(1)]]

    async def test_sending_nothing_wakes_nobody_up_for_nothing(self) -> None:
        async with self.open() as (edge, hub):
            edge.send([])
            edge.send([say(1)])
            edge.send([])
            with trio.fail_after(PATIENCE):
                assert list(await hub.receive()) == [say(1)]
            with trio.move_on_after(0.05) as waited:
                await hub.receive()
            assert waited.cancelled_caught

    async def test_a_cancelled_receive_loses_nothing(self) -> None:
        async with self.open() as (edge, hub):
            with trio.CancelScope() as scope:
                scope.cancel()
                await hub.receive()
            edge.send([say(1)])
            with trio.CancelScope() as scope:
                scope.cancel()
                await hub.receive()
            edge.send([say(2)])
            assert await read(hub, 2) == [say(1), say(2)]

    async def test_the_backlog_is_what_the_other_side_has_not_received(self) -> None:
        async with self.open() as (edge, hub):
            assert edge.backlog == hub.backlog == 0
            edge.send([say(1), say(2)])
            edge.send([say(3)])
            assert edge.backlog == 3
            assert hub.backlog == 0
            await read(hub, 3)
            assert edge.backlog == 0

    async def test_the_other_side_reads_to_the_end_after_a_close(self) -> None:
        async with self.open() as (edge, hub):
            edge.send([say(1)])
            edge.send([say(2)])
            edge.close()
            assert await read_all(hub) == [say(1), say(2)]
            with trio.fail_after(PATIENCE):
                assert not await hub.receive()

    async def test_a_close_wakes_both_sides(self) -> None:
        for closer in (0, 1):
            async with self.open() as ends:
                with trio.fail_after(PATIENCE):
                    async with trio.open_nursery() as nursery:
                        for end in ends:
                            nursery.start_soon(read_all, end)
                        await trio.testing.wait_all_tasks_blocked()
                        ends[closer].close()

    async def test_what_is_sent_after_a_close_is_dropped(self) -> None:
        async with self.open() as (edge, hub):
            hub.send([Stop()])
            hub.close()
            hub.send([ReplyTo(1, 1, 0)])
            assert await read_all(edge) == [Stop()]
            edge.send([Likes("room", 1)])
            assert await read_all(hub) == []

    async def test_closing_twice_is_closing_once(self) -> None:
        async with self.open() as (edge, hub):
            edge.close()
            edge.close()
            hub.close()
            assert await read_all(hub) == []
            assert await read_all(edge) == []
