"""Steps of a live room for `bench.micro`: who comes in, what newcomers are shown, what their coming makes known.

Owns the cases, not how they are timed.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any, Final, cast

from engine.access import VIEWER, Grant, admit, mint
from engine.brokers.base import Position, Totals
from engine.brokers.memory import MemoryBroker
from engine.edge.attendance import Attendance
from engine.edge.session import Session
from engine.hub.counts import Counts
from engine.link.messages import Arrivals
from engine.room.feeds import Feeds
from engine.room.state import RoomState
from engine.schema import MSGPACK, Author, CommentEvent, Join
from engine.settings import AccessSettings, BrokerSettings, RoomSettings
from engine.tokens import Keyring

__all__ = ["TOKENS", "VISITS", "known_tokens", "new_tokens", "snapshot", "visits"]

TOKENS: Final = 100
VISITS: Final = 100
_NOW: Final = 1_700_000_000_000
_ACCESS: Final = AccessSettings(secret="a secret of the benchmark, 32 by")
_SECONDS: Final = 1e12


def _joins(rng: random.Random) -> list[Join]:
    users = (f"user-{rng.getrandbits(48):012x}" for _ in range(TOKENS))
    return [Join(1, "room", token=mint(_ACCESS.secret, user, name="小明", rooms=["room"], seconds=_SECONDS)) for user in users]


def known_tokens(rng: random.Random) -> Callable[[], list[Grant]]:
    """Viewers that come back with tokens that were verified before."""
    joins = _joins(rng)
    keyring = Keyring(_ACCESS)
    return lambda: [admit(join, keyring, _NOW * 2) for join in joins]


def new_tokens(rng: random.Random) -> Callable[[], list[Grant]]:
    """Viewers that nobody has seen."""
    joins = _joins(rng)

    def call() -> list[Grant]:
        keyring = Keyring(_ACCESS)
        return [admit(join, keyring, _NOW * 2) for join in joins]

    return call


def snapshot(rng: random.Random) -> Callable[[], dict[int, bytes]]:
    """A room with 50 attributes of 64 bytes and 100 comments, something in it changed, as both codecs need it."""
    author = Author("guest-123456789abc", "小明")
    entries: list[tuple[str, str, Any, int]] = [
        ("attribute", f"key-{number}", {"value": f"{rng.getrandbits(256):064x}"}, number) for number in range(50)
    ]
    events = [(number, _NOW, MSGPACK.encode(CommentEvent(author, number, "主播好厉害 hello"))) for number in range(1, 101)]
    settings = replace(RoomSettings(), recent_events=100)
    state = RoomState("room", settings, Feeds({}), lambda: entries, lambda: events)
    state.update(Totals("room", 12_345, 678, (9, 0), 700, 900, {"👍": 5}), _NOW)
    revision = 0

    def call() -> dict[int, bytes]:
        nonlocal revision
        revision += 1
        return state.snapshot(Position(1, 100), _NOW, revision, (0, 1))

    return call


def visits(rng: random.Random) -> Callable[[], object]:
    """Guests come and go, and the edge, the hub and the broker in memory know of them by the next report."""
    attendance = Attendance("room", RoomSettings())
    counts = Counts("hub")
    broker = MemoryBroker(BrokerSettings(), lambda _: None, lambda: _NOW)
    _run(broker.subscribe("room"))

    class Guest:
        """As much of a session as matters here: making one, with its socket, is part of the handshake."""

        standing = VIEWER
        secret = ""

        def __init__(self, author: Author) -> None:
            self.author = author

    def call() -> object:
        guests = [cast(Session, Guest(Author(f"guest-{rng.getrandbits(48):012x}"))) for _ in range(VISITS)]
        for guest in guests:
            attendance.enter(guest)
        for guest in guests:
            attendance.leave(guest)
        for message in attendance.report(True):
            assert isinstance(message, Arrivals)
            counts.came(message.users)
        ended, report = counts.ended_totals(), counts.report(0)
        _run(broker.report("room", report))
        counts.told(ended, report)
        return report

    return call


def _run(coroutine: Coroutine[Any, Any, object]) -> None:
    """Run to the end what never waits: the memory broker's methods."""
    try:
        coroutine.send(None)
    except StopIteration:
        return
    raise RuntimeError("it waited")
