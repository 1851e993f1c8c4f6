"""The entries of one room's ledger that its stream has shown, so that each is shown once.

Owns what has been shown, and how an entry is found in an event. Pure. Must not know the ledger, nor what is shown in place of
an entry that comes again.

Entries are numbered without holes and come nearly in order, so what was shown is kept as runs of consecutive numbers: one of
them, most of the time, however long the room goes on. Nothing but what was shown is ever taken for shown: a hub that opens a
room in its midst begins with no run, and an entry below or between the runs is new. A floor below which everything counts as
shown would be smaller, but would swallow what comes late.

There are at most so many runs; beyond it the lowest is forgotten. An entry of it that came once more would be shown once more,
and dropped by the clients that have it. For that, hundreds of thousands of entries would have to be missing in every second
place; and what is published again after a loss are the last ones.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import Final

import msgspec
from msgspec import Raw, Struct

from engine.schema import MONEY

__all__ = ["Known", "entry_of"]

_RUNS: Final = 16_384
"""Less than 2 MB."""
_FIRST: Final = MONEY[0]
_LAST: Final = MONEY[-1]


class _Head(Struct, array_like=True, frozen=True, gc=False):
    kind: int
    author: Raw
    entry: int


_head: Final = msgspec.msgpack.Decoder(_Head).decode


def entry_of(event: bytes) -> int | None:
    """Number of the ledger's entry that an event tells of; None if it is not about money.

    :param event: MessagePack; of one that is not about money only the kind is looked at.
    """
    # The kind is the second byte, as `engine.hub.rules.kind_of` has it.
    if len(event) < 2 or not _FIRST <= event[1] <= _LAST:
        return None
    try:
        return _head(event).entry
    except msgspec.MsgspecError:
        # None of ours: one bad event in the stream must not stop its room.
        return None


class Known:
    """See the module's docstring.

    :param runs: that are remembered.
    """

    __slots__ = ("_ends", "_runs", "_starts")

    def __init__(self, runs: int = _RUNS) -> None:
        self._runs = runs
        # First of each run, and one past its last; ascending, never touching.
        self._starts: list[int] = []
        self._ends: list[int] = []

    def __len__(self) -> int:
        """Runs that are remembered."""
        return len(self._starts)

    def __contains__(self, entry: int) -> bool:
        at = bisect_right(self._starts, entry) - 1
        return at >= 0 and entry < self._ends[at]

    def new(self, entry: int) -> bool:
        """Whether an entry has not been shown yet; from now on it has."""
        starts, ends = self._starts, self._ends
        if ends and entry == ends[-1]:
            ends[-1] = entry + 1
            return True
        at = bisect_right(starts, entry)
        if at and entry < ends[at - 1]:
            return False
        joins_before = at > 0 and ends[at - 1] == entry
        joins_after = at < len(starts) and starts[at] == entry + 1
        if joins_before and joins_after:
            del starts[at]
            del ends[at - 1]
        elif joins_before:
            ends[at - 1] = entry + 1
        elif joins_after:
            starts[at] = entry
        else:
            starts.insert(at, entry)
            ends.insert(at, entry + 1)
            if len(starts) > self._runs:
                del starts[0], ends[0]
        return True
