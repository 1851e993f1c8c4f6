"""Faults in a row at moments drawn from a seed, under load: the server killed, paused and emptied, ways cut.

Owns the certificate: what was acknowledged was shown by both nodes at its offset, or the epoch has changed since; nothing was
shown twice or out of order.
"""

from __future__ import annotations

import random
import tempfile
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest
import trio

from bench.redisproc import RedisProcess, redis_server
from engine.brokers.base import Pending, Unavailable
from engine.brokers.redis import RedisBroker
from engine.settings import RedisSettings

from .contract import PATIENCE
from .redis_brokers import Watcher, opened
from .ways import Cut, cut

ROOMS = ("a", "b", "c")
KEEPS_EVERYTHING = ("--save", "", "--appendonly", "yes", "--appendfsync", "always")
KEEPS_MOST = ("--save", "", "--appendonly", "yes", "--appendfsync", "everysec")


class Storm:
    """Two nodes, speakers at both, and what was acknowledged to them: ``(room, epoch, offset) -> body``."""

    def __init__(self, seed: int, server: RedisProcess, ways: list[Cut]) -> None:
        self.random = random.Random(seed)
        self.server = server
        self.ways = ways
        self.acknowledged: dict[tuple[str, int, int], bytes] = {}
        self.over = False

    async def speak(self, broker: RedisBroker, room: str, name: str) -> None:
        """One comment after the other, each repeated until it is acknowledged."""
        ref = 0
        while not self.over:
            ref += 1
            body = f"{name}.{ref}".encode()
            while True:
                try:
                    epoch, offsets = await broker.publish(room, [Pending(body, name, ref)])
                except Unavailable:
                    await trio.sleep(0.01)
                else:
                    self.acknowledged[room, epoch, offsets[0]] = body
                    break
            await trio.sleep(0.002)

    async def amend(self, broker: RedisBroker, room: str, name: str) -> None:
        """One amendment after the other."""
        number = 0
        while not self.over:
            number += 1
            with suppress(Unavailable):
                await broker.amend(room, f"{name}{number % 3}", f"{number}".encode() if number % 5 else None)
            await trio.sleep(0.004)

    async def fault(self, emptied: bool) -> None:
        await trio.sleep(self.random.random() * 0.1)
        kind = self.random.choice(("kill", "pause", "cut", "cut", *(["empty"] if emptied else [])))
        if kind == "kill":
            self.server.kill()
            await trio.sleep(self.random.random() * 0.1)
            self.server.start()
        elif kind == "pause":
            self.server.pause()
            await trio.sleep(self.random.random() * 0.5)
            self.server.resume()
        elif kind == "empty":
            self.server.ask("FLUSHALL")
        else:
            self.random.choice(self.ways).cut()


@pytest.mark.parametrize(("seed", "options"), [(1, KEEPS_EVERYTHING), (2, KEEPS_MOST)])
async def test_what_was_acknowledged_was_shown_or_the_epoch_changed(seed: int, options: tuple[str, ...]) -> None:
    with tempfile.TemporaryDirectory() as name, redis_server(Path(name), *options) as server:
        async with cut(Path(name) / "way0", server) as near, cut(Path(name) / "way1", server) as far:
            storm, watchers = Storm(seed, server, [near, far]), [Watcher(), Watcher()]
            redis = [RedisSettings(url=way.url, answer_seconds=0.3, connect_seconds=0.3) for way in (near, far)]
            async with opened(redis[0], watchers[0]) as first, opened(redis[1], watchers[1]) as second:
                before = {room: await first.subscribe(room) for room in ROOMS}
                for room in ROOMS:
                    await second.subscribe(room)
                async with trio.open_nursery() as nursery:
                    for index, broker in enumerate((first, second)):
                        for room in ROOMS:
                            nursery.start_soon(storm.speak, broker, room, f"{room}{index}")
                            nursery.start_soon(storm.amend, broker, room, f"{index}")
                    for _ in range(8):
                        await storm.fault(options is KEEPS_MOST)
                    storm.over = True
                assert len(storm.acknowledged) > 20
                for room in ROOMS:
                    head = await settled(first, room)
                    await first.amend(room, "over", b"")
                    for watcher in watchers:
                        shown_record = partial(watcher.record, room)
                        await watcher.until(lambda shown_record=shown_record: "over" in shown_record())
                    assert watchers[0].record(room) == watchers[1].record(room)
                    assert options is KEEPS_MOST or len(watchers[0].record(room)) > 1
                    last = {key: body for key, body in storm.acknowledged.items() if key[0] == room and key[1] == head[0]}
                    for watcher in watchers:
                        await watcher.until(lambda watcher=watcher, room=room, head=head: at(watcher, head[0], room) == head[1])
                    shown = [
                        {
                            (room, events.epoch, events.first + index): body
                            for events in watcher.events(room)
                            for index, body in enumerate(events.events)
                        }
                        for watcher in watchers
                    ]
                    for each in shown:
                        assert last.items() <= each.items()
                        bodies = [body for (_, epoch, _), body in each.items() if epoch == head[0]]
                        assert len(bodies) == len(set(bodies))
                    both = shown[0].keys() & shown[1].keys()
                    assert all(shown[0][key] == shown[1][key] for key in both)
                    if options is KEEPS_EVERYTHING:
                        assert head[0] == before[room].epoch
                        assert shown[0] == shown[1]
                        assert last.keys() == {key for key in storm.acknowledged if key[0] == room}


def at(watcher: Watcher, epoch: int, room: str) -> int:
    """Last offset shown, if it is of that epoch."""
    events = watcher.events(room)
    return events[-1].last if events and events[-1].epoch == epoch else -1


async def settled(broker: RedisBroker, room: str) -> tuple[int, int]:
    with trio.fail_after(PATIENCE):
        while True:
            try:
                return (await broker.history(room, 0, 1)).head
            except Unavailable:
                await trio.sleep(0.02)
