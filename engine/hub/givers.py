"""Who gave most in a room's present broadcast: the top of the leaderboard, kept from the room's stream and reads of the ledger.

Owns the list, and when it has to be read again. Pure. Must not know how the ledger is read, nor who is told.

Nothing is added up here: a gift's event carries all that its giver has given in its broadcast, and of two events the one with
the higher entry is the later one, in whatever order they come. A read holds at least every entry that the stream had shown when
the read began, its **mark**; what came meanwhile is put on top of it. The best are kept; of everybody else it is known that
they do not stand before the **bar**, the best line that was not read or kept.

The list is **stale**, and to be read again, when the stream cannot tell what is in it: another broadcast has begun; a gift of
this one was corrected, so that sums fall while an older, larger one may still be on its way; or so many lines have fallen that
one behind the bar could be among those that are shown. While it is stale it shows what it knew. Read until it is not, it is
exact.
"""

from __future__ import annotations

from collections.abc import Sequence
from heapq import nsmallest
from typing import Final, NamedTuple

from engine.ledger.values import Giver

__all__ = ["KEPT", "SHOWN", "Board", "Reading"]

SHOWN: Final = 100
"""Lines that can be shown."""
KEPT: Final = 200
"""Lines of a read, and at least so many that are kept: the more, the rarer it is read again."""

_Place = tuple[int, str]
"""Where a line stands: most first, what is equal in the order of the ids."""


class _Line(NamedTuple):
    """What somebody has given as of an entry."""

    entry: int
    name: str
    given: int


class Reading(NamedTuple):
    """A read of the ledger that has begun.

    :ivar stream: whose givers are to be read, `KEPT` of them.
    :ivar mark: the last entry that was heard before.
    :ivar doubts: there were before.
    """

    stream: str
    mark: int
    doubts: int


class Board:
    """See the module's docstring.

    :param shown: lines that are to be exact.
    :param kept: as `KEPT`; at least ``shown``.
    :ivar stream: name of the present broadcast.
    :ivar changed: whether `shown` may return something else than the last time.
    """

    __slots__ = (
        "_bar",
        "_cached",
        "_doubts",
        "_fallen",
        "_heard",
        "_kept",
        "_last",
        "_lines",
        "_mark",
        "_members",
        "_reading",
        "_settled",
        "_shown",
        "changed",
        "stream",
    )

    def __init__(self, shown: int = SHOWN, kept: int = KEPT) -> None:
        self._shown = shown
        self._kept = kept
        self._lines: dict[str, _Line] = {}
        self._bar: _Place | None = None
        # The best line that was dropped since the read began: it may not be in it.
        self._fallen: _Place | None = None
        self._heard = 0
        self._mark = 0
        # How often something could not be told from the stream, and how much of that reads have told.
        self._doubts = 1
        self._settled = 0
        self._reading: Reading | None = None
        self._cached: list[tuple[_Place, str]] | None = None
        self._members: frozenset[str] = frozenset()
        self._last: _Place | None = None
        self.changed = True
        self.stream = ""

    def __len__(self) -> int:
        """Lines that are kept."""
        return len(self._lines)

    # -- from the room ------------------------------------------------------------------------------------------------

    def turn(self, stream: str) -> None:
        """The room is in this broadcast (`engine.hub.entries.Entries.stream`). For another one the list begins anew; otherwise
        nothing happens."""
        if stream == self.stream:
            return
        self.stream = stream
        self._lines = {}
        self._bar = self._fallen = None
        self._reading = None
        self._touch()
        self.doubt()

    def gave(self, entry: int, user: str, name: str, given: int, stream: str) -> None:
        """A gift in the room, of whatever broadcast.

        :param entry: of the gift; ``given`` and ``stream`` as in `engine.schema.GiftEvent`.
        """
        self._heard = max(self._heard, entry)
        if stream != self.stream or entry <= self._mark:
            return
        place = (-given, user)
        known = self._lines.get(user)
        if known is not None:
            if entry <= known.entry:
                return
        elif self._bar is not None and place > self._bar and len(self._lines) >= self._kept:
            # Most of those who give in a large room: they would only be dropped again.
            self._drop(place)
            return
        self._lines[user] = _Line(entry, name, given)
        if self._last is None or place < self._last or user in self._members:
            self._touch()
        if len(self._lines) > 2 * self._kept:
            self._prune()

    def corrected(self, entry: int, stream: str) -> None:
        """A correction in the room, of a gift in whatever broadcast.

        :param entry: of the correction; ``stream`` as in `engine.schema.CorrectionEvent`.
        """
        self._heard = max(self._heard, entry)
        if stream == self.stream and entry > self._mark:
            self.doubt()

    def doubt(self) -> None:
        """Something was not heard, or is not as it was heard: the list is stale."""
        self._doubts += 1

    # -- from the ledger ----------------------------------------------------------------------------------------------

    def reading(self) -> Reading:
        """The ledger is about to be read; `begin` is given what comes of it. One that fails is begun anew; of several the last
        one counts."""
        self._fallen = None
        self._reading = Reading(self.stream, self._heard, self._doubts)
        return self._reading

    def begin(self, reading: Reading, givers: Sequence[Giver]) -> None:
        """The list as it was read. Nothing happens if another read has begun, or another broadcast.

        :param givers: the first `KEPT`, most first; fewer are all there are.
        """
        if reading is not self._reading:
            return
        self._reading = None
        self._mark = reading.mark
        self._settled = reading.doubts
        newer = {user: line for user, line in self._lines.items() if line.entry > self._mark}
        self._lines = {each.user: _Line(self._mark, each.name, each.given) for each in givers if each.given > 0} | newer
        self._bar = self._fallen
        if len(givers) >= self._kept and givers[-1].given > 0:
            self._raise_bar((-givers[-1].given, givers[-1].user))
        self._touch()

    # -- what is known ------------------------------------------------------------------------------------------------

    @property
    def stale(self) -> bool:
        """Whether the ledger is to be read."""
        if self._settled != self._doubts:
            return True
        if self._bar is None:
            return False
        top = self._top()
        return len(top) < self._shown or top[-1][0] > self._bar

    def shown(self, limit: int = SHOWN) -> list[tuple[str, str, int]]:
        """Id, name and what was given, of the first ``limit`` of those that are to be exact; most first, what is equal in the
        order of the ids."""
        self.changed = False
        return [(user, name, -given) for (given, user), name in self._top()[:limit]]

    def _top(self) -> list[tuple[_Place, str]]:
        if self._cached is None:
            lines = (((-line.given, user), line.name) for user, line in self._lines.items())
            self._cached = nsmallest(self._shown, lines)
            self._members = frozenset(user for (_, user), _ in self._cached)
            self._last = self._cached[-1][0] if len(self._cached) == self._shown else None
        return self._cached

    def _touch(self) -> None:
        self._cached = None
        self.changed = True

    # -- bounds -------------------------------------------------------------------------------------------------------

    def _prune(self) -> None:
        """Drop all but the best. Seldom, so that a new line costs no search for the worst."""
        ranked = sorted((-line.given, user) for user, line in self._lines.items())
        self._lines = {user: self._lines[user] for _, user in ranked[: self._kept]}
        self._drop(ranked[self._kept])

    def _drop(self, place: _Place) -> None:
        """The best of those that are not kept."""
        self._fallen = place if self._fallen is None else min(self._fallen, place)
        self._raise_bar(place)

    def _raise_bar(self, place: _Place) -> None:
        self._bar = place if self._bar is None else min(self._bar, place)
