"""What viewers of a storm do: give, make red packets, claim shares, talk, and look.

Owns what is wanted when, drawn from the seed, and that whoever got no answer asks again. Must not know what is killed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from random import Random
from typing import Any, Final

import trio

from bench.kills.book import CLAIM, GIFT, MONEY, PACKET, Answer, Book, Id, Request
from bench.kills.plan import Storm
from bench.kills.viewer import GIVERS, PAID, Asked, Place, Viewer
from engine.client import Event, Options, open_client
from engine.errors import RoomcastError

__all__ = ["GIFTS", "Crowd", "room_names"]

GIFTS: Final = {"rose": 1, "balloon": 10, "cake": 99, "rocket": 6_666}
"""Prices by id; ``bench.kills.sites`` puts them into the config file."""
COUNTS: Final = (1, 1, 1, 1, 2, 5, 10, 66)
FAVOURITE: Final = 0.7
"""Of the gifts of a giver so many are the same, so that there are combos."""
REPEATED: Final = 0.1
"""So many acknowledged requests are sent once more."""
LOOPS: Final = 2
"""Gifts of one viewer that may wait for their answers at once."""
CLAIMING: Final = 0.8
"""So many viewers claim a red packet, so that some packets are emptied and some expire."""
CLAIM_SECONDS: Final = 0.6
"""Within this time after it opens."""
PACKET_SECONDS: Final = 1.0
"""Mean time between two red packets of a room."""
LASTS_MS: Final = (1_000, 3_500)
TALK_SECONDS: Final = 0.2
PRESENT_SECONDS: Final = 4.0
"""Mean time for which the last viewer of each room is there before it loses its connection by itself."""
ABSENT_SECONDS: Final = (0.1, 4.0)
GRACE_SECONDS: Final = 1.0
"""Whoever is told that a red packet is over may still have its answer on the way."""
RETRY_SECONDS: Final = 0.05
PAGE: Final = 200
NEVER: Final = 100
"""Codes of replies below this say that the same request may succeed later."""
_REPLY_ENDS: Final = (0, "", 0)
"""Offset, text and retry-after of a reply that leaves them out."""
_COMMENT, _GIVE, _CLAIM, _PACK, _READ_GIVERS = 3, 18, 19, 20, 21


Acknowledged = Callable[[int, int, float], None]
"""Takes the node and its life that acknowledged something about money, and when that was asked for."""


def room_names(storm: Storm) -> list[str]:
    """Rooms of a storm."""
    return [f"storm-{number}" for number in range(storm.rooms)]


class Crowd:
    """See the module's docstring.

    :ivar idle: set when, after `stop`, no gift, red packet or claim is under way any more.
    """

    def __init__(
        self, storm: Storm, places: Sequence[Place], book: Book, acknowledged: Callable[[int, int, float], None]
    ) -> None:
        self._storm = storm
        self._places = places
        self._book = book
        self._acknowledged = acknowledged
        self._over = False
        self._nursery: trio.Nursery
        self.idle = trio.Event()
        self._claimed: set[tuple[str, int]] = set()
        self._waiting = 0
        self.rooms = {room: self._viewers(room) for room in room_names(storm)}

    def _viewers(self, room: str) -> list[Viewer]:
        storm, viewers = self._storm, []
        for number in range(storm.viewers * storm.nodes):
            name = f"{room}/{number}"
            random = Random(f"viewer {storm.seed} {name}")
            viewer = Viewer(name, room, self._places, number % storm.nodes, self._book, random)
            viewer.on_packet = self._on_packet(viewer, random)
            viewer.on_again = self._again
            viewers.append(viewer)
        return viewers

    def _again(self) -> None:
        self._book.retried += 1

    # -- from beginning to end ----------------------------------------------------------------------------------------

    async def run(self, *, task_status: trio.TaskStatus[None]) -> None:
        """Come in, and storm until cancelled. Has started when everybody is there."""
        async with trio.open_nursery() as self._nursery:
            async with trio.open_nursery() as coming:
                for number, (room, viewers) in enumerate(self.rooms.items()):
                    for viewer in viewers:
                        coming.start_soon(self._nursery.start, viewer.run)
                    coming.start_soon(self._nursery.start, self._watch, room, number % self._storm.nodes)
            task_status.started()
            for viewers in self.rooms.values():
                self._nursery.start_soon(self._make_packets, viewers[0])
                self._nursery.start_soon(self._talk, viewers[0])
                self._nursery.start_soon(self._come_and_go, viewers[-1])
                for viewer in viewers:
                    for loop in range(LOOPS):
                        self._nursery.start_soon(self._give_on, viewer, loop)

    def stop(self) -> None:
        """Want nothing more; what is under way goes on."""
        self._over = True
        if not self._waiting:
            self.idle.set()

    def _done(self) -> None:
        self._waiting -= 1
        if self._over and not self._waiting:
            self.idle.set()

    async def _watch(self, room: str, node: int, *, task_status: trio.TaskStatus[None]) -> None:
        """A program that uses the engine's own client."""
        watcher = self._book.watch(f"{room}/client", room, once=True)
        options = Options(
            backoff_base_seconds=0.05, backoff_cap_seconds=0.25, random=Random(f"client {self._storm.seed} {room}")
        )
        url = f"ws://127.0.0.1:{self._places[node].port}/ws"
        try:
            async with open_client(url, room=room, name="client", options=options) as client:
                if client.position is not None:
                    watcher.epochs.add(client.position.epoch)
                task_status.started()
                async for item in client:
                    if isinstance(item, Event):
                        watcher.epochs.add(item.epoch)
                        if item.raw[0] in MONEY:
                            self._book.show(watcher, item.epoch, item.offset, item.raw)
        except RoomcastError as error:
            watcher.trouble.append(f"the client gave up: {error}")

    # -- giving -------------------------------------------------------------------------------------------------------

    async def _give_on(self, viewer: Viewer, loop: int) -> None:
        random = Random(f"gifts {self._storm.seed} {viewer.name} {loop}")
        givers = sum(map(len, self.rooms.values())) * LOOPS
        favourite = random.choice(list(GIFTS))
        while True:
            await trio.sleep(random.expovariate(self._storm.gifts_per_second / givers))
            if self._over:
                return
            gift = favourite if random.random() < FAVOURITE else random.choice(list(GIFTS))
            count, ref = random.choice(COUNTS), viewer.ref()
            request = Request(Id(viewer.room, GIFT, viewer.user, ref), GIFTS[gift] * count, (gift, count))
            await self._pay(viewer, request, [_GIVE, ref, gift, count], random)

    async def _make_packets(self, viewer: Viewer) -> None:
        random = Random(f"packets {self._storm.seed} {viewer.name}")
        crowd = len(self.rooms[viewer.room])
        while True:
            await trio.sleep(random.expovariate(1 / PACKET_SECONDS))
            if self._over:
                return
            shares = random.randint(2, crowd + 2)
            total, split = random.randint(shares, 50 * shares), random.choice(("random", "equal"))
            opens_ms, lasts_ms = random.choice((0, 0, random.randint(100, 800))), random.randint(*LASTS_MS)
            ref = viewer.ref()
            request = Request(Id(viewer.room, PACKET, viewer.user, ref), total, (total, shares, split))
            await self._pay(viewer, request, [_PACK, ref, total, shares, split, opens_ms, lasts_ms], random)

    async def _pay(self, viewer: Viewer, request: Request, message: list[Any], random: Random) -> None:
        """Ask until it is acknowledged; at times once more."""
        self._book.ask(request)
        self._waiting += 1
        try:
            asked = Asked(message)
            if await self._acknowledge(viewer, request.id, asked) and random.random() < REPEATED:
                await self._acknowledge(viewer, request.id, asked)
        finally:
            self._done()

    async def _acknowledge(self, viewer: Viewer, request: Id, asked: Asked) -> bool:
        """Ask until there is an answer for good; whether it was good."""
        while True:
            answer = await viewer.ask(asked)
            if answer[0] == PAID:
                entry, offset, amount = answer[3:6]
                self._book.answer(request, Answer(entry, offset, amount, time.time_ns() // 1_000_000))
                self._acknowledged(*asked.at, asked.sent_at)
                return True
            code, text, retry_ms = _refusal(answer)
            if not 0 < code < NEVER:
                self._book.refuse(request, f"{code} {text}")
                return False
            self._book.delayed[code] += 1
            await trio.sleep(max(retry_ms / 1000, RETRY_SECONDS))

    # -- red packets --------------------------------------------------------------------------------------------------

    def _on_packet(self, viewer: Viewer, random: Random) -> Callable[[int, int], None]:
        def told(packet: int, opens_ms: int) -> None:
            if (viewer.name, packet) not in self._claimed:
                self._claimed.add((viewer.name, packet))
                if random.random() < CLAIMING:
                    opens = max(opens_ms / 1000 - time.time(), 0.0)
                    self._nursery.start_soon(self._claim, viewer, packet, opens + random.uniform(0, CLAIM_SECONDS))

        return told

    async def _claim(self, viewer: Viewer, packet: int, seconds: float) -> None:
        self._waiting += 1
        try:
            await trio.sleep(seconds)
            request = Request(Id(viewer.room, CLAIM, viewer.user, packet))
            self._book.ask(request)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._until_over, viewer, packet, nursery.cancel_scope)
                await self._acknowledge(viewer, request.id, Asked([_CLAIM, viewer.ref(), packet]))
                nursery.cancel_scope.cancel()
        finally:
            self._done()

    async def _until_over(self, viewer: Viewer, packet: int, scope: trio.CancelScope) -> None:
        """Nobody who comes too late is answered."""
        while packet not in viewer.over:
            await viewer.ended.wait()
        await trio.sleep(GRACE_SECONDS)
        scope.cancel()

    # -- beside money -------------------------------------------------------------------------------------------------

    async def _come_and_go(self, viewer: Viewer) -> None:
        """Whoever was not there when a stream was lost is shown what it has missed, too."""
        random = Random(f"absences {self._storm.seed} {viewer.name}")
        while not self._over:
            await trio.sleep(random.expovariate(1 / PRESENT_SECONDS))
            viewer.go(random.uniform(*ABSENT_SECONDS))

    async def _talk(self, viewer: Viewer) -> None:
        random = Random(f"talk {self._storm.seed} {viewer.name}")
        while not self._over:
            await trio.sleep(random.expovariate(1 / TALK_SECONDS))
            await viewer.ask(Asked([_COMMENT, viewer.ref(), f"{random.getrandbits(64):x}"]))

    async def board(self, room: str) -> dict[str, int]:
        """What each has given in all, as the room tells it."""
        viewer = self.rooms[room][0]
        board: dict[str, int] = {}
        while True:
            answer = await viewer.ask(Asked([_READ_GIVERS, viewer.ref(), "", len(board), PAGE]))
            if answer[0] != GIVERS:
                await trio.sleep(max(_refusal(answer)[2] / 1000, RETRY_SECONDS))
                continue
            board |= {user: given for user, _, given in answer[5]}
            if len(answer[5]) < PAGE:
                return board


def _refusal(answer: list[Any]) -> tuple[int, str, int]:
    """Code, text and milliseconds until a retry, of a `engine.schema.Reply`."""
    whole = [*answer, *_REPLY_ENDS[len(answer) - 3 :]]
    return whole[2], whole[4], whole[5]
