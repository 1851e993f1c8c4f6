"""What viewers of a storm asked for, were told and saw.

Owns the history, as plain values. Pure: knows no socket and no database. Whether all is well `bench.kills.judge` says.

Events are arrays as any MessagePack reader returns them (`engine.schema.money`): kind, author and entry come first.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

__all__ = [
    "CLAIM",
    "COMBO",
    "CORRECTION",
    "END",
    "GIFT",
    "MONEY",
    "PACKET",
    "SHARE",
    "Answer",
    "Book",
    "Id",
    "Request",
    "Watcher",
]

GIFT, COMBO, CORRECTION, PACKET, SHARE, END = range(8, 14)
"""Kinds of events (`engine.schema.EventKind`)."""
MONEY: Final = frozenset((GIFT, COMBO, CORRECTION, PACKET, SHARE, END))
CLAIM: Final = SHARE
"""What comes of a claim names it."""


class Id(NamedTuple):
    """What makes a request the same one, however often it is sent.

    :ivar kind: of the event that comes of it.
    :ivar ref: of a claim the entry of its packet: a user has one share.
    """

    room: str
    kind: int
    user: str
    ref: int


class Request(NamedTuple):
    """What somebody wants.

    :ivar amount: that it will be worth; 0: not known before.
    :ivar content: elements that the event must have from the fifth on (gift, count; total, shares, split).
    """

    id: Id
    amount: int = 0
    content: tuple[Any, ...] = ()


class Answer(NamedTuple):
    """That it is in the ledger (`engine.schema.Paid`).

    :ivar at_ms: when it came, Unix milliseconds.
    """

    entry: int
    offset: int
    amount: int
    at_ms: int = 0


@dataclass(slots=True)
class Watcher:
    """Somebody who has been in a room all the time.

    :ivar name: in what is told of faults.
    :ivar once: whether it is to be shown each entry once; else once in an epoch.
    :ivar seen: positions of each entry, in the order in which they were shown.
    :ivar hinted: entries that a snapshot showed among what was last.
    :ivar trouble: what it was told that should not be, such as a hole.
    """

    name: str
    room: str
    once: bool = False
    seen: dict[int, list[tuple[int, int]]] = field(default_factory=dict)
    hinted: set[int] = field(default_factory=set)
    epochs: set[int] = field(default_factory=set)
    trouble: list[str] = field(default_factory=list)


class Book:
    """See the module's docstring.

    :ivar answers: of each request, all that came, in order.
    :ivar refused: requests that were refused for good, with the reason.
    :ivar shown: each event as it was first shown, by room and entry; ``changed`` those that came differently later.
    :ivar delayed: refusals for the time being, by their code.
    :ivar retried: requests sent again; ``repeated`` answers beyond the first.
    """

    def __init__(self) -> None:
        self.requests: dict[Id, Request] = {}
        self.answers: dict[Id, list[Answer]] = {}
        self.refused: dict[Id, str] = {}
        self.watchers: list[Watcher] = []
        self.shown: dict[tuple[str, int], Sequence[Any]] = {}
        self.changed: list[tuple[str, int, Sequence[Any], str]] = []
        self.delayed: Counter[int] = Counter()
        self.retried = 0
        self.repeated = 0

    def ask(self, request: Request) -> None:
        """Somebody is about to ask for it."""
        self.requests[request.id] = request

    def answer(self, request: Id, answer: Answer) -> bool:
        """It was acknowledged; returns whether for the first time."""
        known = self.answers.setdefault(request, [])
        known.append(answer)
        self.repeated += len(known) > 1
        return len(known) == 1

    def refuse(self, request: Id, text: str) -> None:
        """It was refused for good."""
        self.refused.setdefault(request, text)

    def watch(self, name: str, room: str, *, once: bool = False) -> Watcher:
        """Somebody comes in."""
        watcher = Watcher(name, room, once)
        self.watchers.append(watcher)
        return watcher

    def show(self, watcher: Watcher, epoch: int, offset: int, event: Sequence[Any]) -> None:
        """Somebody was shown an event about money."""
        entry = event[2]
        watcher.seen.setdefault(entry, []).append((epoch, offset))
        first = self.shown.setdefault((watcher.room, entry), event)
        if list(first) != list(event):
            self.changed.append((watcher.room, entry, event, watcher.name))

    @property
    def gifts(self) -> int:
        """Gifts that were acknowledged."""
        return self._answered(GIFT)

    @property
    def packets(self) -> int:
        """Red packets that were acknowledged."""
        return self._answered(PACKET)

    @property
    def shares(self) -> int:
        """Shares that were acknowledged."""
        return self._answered(SHARE)

    @property
    def acknowledged(self) -> int:
        """All that was acknowledged."""
        return len(self.answers)

    def _answered(self, kind: int) -> int:
        return sum(each.kind == kind for each in self.answers)
