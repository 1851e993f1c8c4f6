"""Which happenings go into one request, and what an answer means for each room.

Owns the order within a room. Pure: sends nothing, and randomness is an argument.

A room's happenings go out in their order, and what comes after one that was not taken waits with it: other rooms do not. When
a request fails as a whole nobody knows which happening is to blame. So rooms that failed are sent apart from others, and with
each further failure half as many happenings of theirs together, until one is alone: it is put aside in the end, and its room
goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from hashlib import blake2b
from typing import Final, NamedTuple

import msgspec

from engine.hooks.courier import Answer
from engine.hooks.letters import Letter, RoomPage, Settled
from engine.hooks.values import Happening
from engine.settings import HookSettings

__all__ = ["Parcel", "Round", "pause_seconds", "parcels"]

_encode: Final = msgspec.json.Encoder().encode


class Parcel(NamedTuple):
    """What goes into one request: consecutive happenings of some rooms."""

    parts: list[tuple[RoomPage, Sequence[Letter]]]

    def without(self, rows: set[int]) -> Parcel:
        """But for these rooms."""
        return Parcel([part for part in self.parts if part[0].row not in rows])

    def sealed(self) -> tuple[str, bytes]:
        """The request's id, the same whenever the same happenings are sent, and its body."""
        happenings = [letter.happening(room) for room, letters in self.parts for letter in letters]
        digest = blake2b("\n".join(each.id for each in happenings).encode(), digest_size=16)
        return f"evt_{digest.hexdigest()}", _encode({"happenings": happenings})


def parcels(rooms: Sequence[RoomPage], most: int) -> Iterator[Parcel]:
    """What is to be sent, one after the other; those that did not fail first.

    :param most: happenings in one request.
    """
    by_attempts: dict[int, list[RoomPage]] = {}
    for room in rooms:
        by_attempts.setdefault(room.attempts, []).append(room)
    for attempts, group in sorted(by_attempts.items()):
        window = max(most >> attempts, 1)
        parts: list[tuple[RoomPage, Sequence[Letter]]] = []
        left = window
        for room in group:
            letters = room.letters[:window] if attempts else room.letters
            while letters:
                now, letters = letters[:left], letters[left:]
                parts.append((room, now))
                left -= len(now)
                if not left:
                    yield Parcel(parts)
                    parts, left = [], window
        if parts:
            yield Parcel(parts)


def pause_seconds(attempts: int, settings: HookSettings, random: Callable[[], float]) -> float:
    """How long to wait after so many failures in a row: doubled with each, and up to half of it less, so that not all come at
    once."""
    # More doublings than any of the bounds has.
    whole = min(settings.retry_seconds * 2.0 ** min(attempts - 1, 40), settings.retry_most_seconds)
    return whole * (1 - random() / 2)


class Round:
    """What became of happenings since it was last written down.

    :ivar held: rooms that wait: nothing later of theirs may be sent.
    :ivar sent: happenings delivered; ``dead`` put aside.
    """

    def __init__(self, settings: HookSettings, random: Callable[[], float]) -> None:
        self._settings = settings
        self._random = random
        self._settled: dict[int, Settled] = {}
        self._again: list[Settled] = []
        self.held: set[int] = set()
        self.sent = self.dead = 0

    def take(self, parcel: Parcel, answer: Answer) -> None:
        """A request was answered."""
        refused = [_first(room, letters, answer.failed) for room, letters in parcel.parts]
        reason = answer.reason
        if answer.failed and all(bad == len(letters) for bad, (_, letters) in zip(refused, parcel.parts, strict=True)):
            reason = "it refused what was not sent"
        for bad, (room, letters) in zip(refused, parcel.parts, strict=True):
            if reason:
                self._hold(room, letters, 0, reason, gone=False)
            elif bad < len(letters):
                self._hold(room, letters, bad, "refused", gone=answer.gone)
            else:
                self._deliver(room.row, letters)

    def _deliver(self, row: int, letters: Sequence[Letter]) -> None:
        before = self._settled.get(row)
        first = letters[0].number if before is None else before.first
        self._settled[row] = Settled(row, first, letters[-1].number)
        self.sent += len(letters)

    def _hold(self, room: RoomPage, letters: Sequence[Letter], taken: int, reason: str, *, gone: bool) -> None:
        """All from this one on are not taken."""
        if taken:
            self._deliver(room.row, letters[:taken])
        before = self._settled.get(room.row)
        number = letters[taken].number
        first = number if before is None else before.first
        # What failed before was the room's next one.
        tries = (room.attempts if number == room.sent + 1 else 0) + 1
        self.held.add(room.row)
        if gone or tries >= self._settings.attempts:
            self._settled[room.row] = Settled(room.row, first, number - 1, dead=number, tries=tries, reason=reason)
            self.dead += 1
        else:
            pause_ms = int(pause_seconds(tries, self._settings, self._random) * 1000)
            self._settled[room.row] = Settled(room.row, first, number - 1, tries, pause_ms)

    def take_again(self, room: RoomPage, answer: Answer) -> None:
        """A dead letter was tried once more."""
        number = room.letters[0].number
        if answer.reason or answer.failed:
            reason = answer.reason or "refused"
            tries = room.attempts + 1
            self._again.append(Settled(room.row, number, number - 1, dead=number, tries=tries, reason=reason, again=True))
        else:
            self._again.append(Settled(room.row, number, number, again=True))
            self.sent += 1

    def settled(self) -> list[Settled]:
        """What is to be written down; from now on only what comes later."""
        done = [*self._settled.values(), *self._again]
        self._settled, self._again = {}, []
        return done


def _first(room: RoomPage, letters: Sequence[Letter], failed: frozenset[str]) -> int:
    """Index of the first that was not taken."""
    if not failed:
        return len(letters)
    happenings: Iterator[Happening] = (letter.happening(room) for letter in letters)
    return next((index for index, each in enumerate(happenings) if each.id in failed), len(letters))
