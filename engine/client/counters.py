"""The totals of a room, as a viewer knows them.

Owns their shape and how news is taken in. Pure. Totals are cumulative, so that one that was lost or is repeated does no harm;
a message names only those that have changed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from engine.client.money import Giver

__all__ = ["Counters", "merged"]


@dataclass(frozen=True, slots=True)
class Counters:
    """Totals of the room. An item whenever one of them has changed.

    :ivar viewers: now; ``peak`` the most there ever were at once, ``unique`` how many different users came.
    :ivar rate: likes a second.
    :ivar withheld: events that were given no offset, by reason (`engine.schema.WithheldReason`).
    :ivar reactions: those given most, by name.
    :ivar givers: who gave most in the present broadcast, most first; `engine.client.Client.givers` tells the others.
    :ivar votes: of each poll's options, or of a question, by ``kind:key``.
    :ivar receipts: of each notice by its offset: to how many it came, and how many read it.
    """

    likes: int
    viewers: int
    peak: int = 0
    unique: int = 0
    rate: float = 0
    withheld: Mapping[str, int] = field(default_factory=dict)
    reactions: Mapping[str, int] = field(default_factory=dict)
    votes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    receipts: Mapping[int, tuple[int, int]] = field(default_factory=dict)
    givers: tuple[Giver, ...] = ()


def merged(
    before: Counters | None, news: Mapping[str, Any], *, whole: bool = False, gone: Sequence[str] = ()
) -> Counters | None:
    """The totals after ``news``, values of `Counters` by name; None as long as there are none.

    Of votes and receipts they name the entries that have changed, of everything else all that it consists of.

    :param whole: the news name everything that there is; what they do not name is 0.
    :param gone: ``kind:key`` of polls and questions that are there no more.
    """
    if before is not None and any(name in before.votes for name in gone):
        before = replace(before, votes={name: counts for name, counts in before.votes.items() if name not in gone})
    if not news and not (whole and before):
        return before
    base = Counters(before.likes, before.viewers) if before and whole else before or Counters(0, 0)
    grown: dict[str, Any] = {name: {**getattr(base, name), **news[name]} for name in ("votes", "receipts") if name in news}
    return replace(base, **{**news, **grown})
