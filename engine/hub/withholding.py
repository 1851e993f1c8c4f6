"""Which comments are withheld when a room is beyond its budget.

Owns the rule. Pure: chance is an argument. Whether an event fits is decided where offsets are assigned, by a token bucket that
holds up to one second's worth (`engine.brokers.budget`): there is one, all nodes share it, and it knows nothing but how full it
is. A rule therefore says how much must be *left* in it after a comment, the comment's reserve, and the bucket's level becomes
the price at which a room takes comments: the more is offered, the lower the level settles, and the less reserve a comment may
have that still passes. This is early drop as in random early detection (Floyd and Jacobson, 1993), told by what is left of a
bucket instead of by what waits in a queue. What flows into the bucket is used up by what passes, whatever the rule, so each of
them delivers exactly the budget while more than it is offered.

``newest``
    No reserve. What comes when the bucket is empty is withheld.

``sampled``
    A reserve drawn evenly from 0 to `MOST`. At a level of half `MOST` every second comment passes; the level settles where the
    share that passes is what the budget takes, and that share is the same for a comment that comes in a burst as for one that
    comes alone.

``authors``
    The more somebody has said of late (`engine.hub.recent.Recent.share`), the more reserve; none for who has said nothing. At a
    level of the bucket everybody passes who said less than what belongs to the level, and nobody who said more. Only what was
    let pass counts, so everybody who wants more than that gets just as much, and who wants less gets all: the max-min fair
    share (Bertsekas and Gallager, Data Networks, 6.5.2), without anybody computing it. What belongs to the levels grows
    geometrically, since a fair share may be one comment a minute or ten a second.

``levels``
    The higher a viewer's level, the less reserve: the lower part of the bucket is for high levels only. By the logarithm,
    since products rank from 1 to 5, or to 100, or by points: a level twice as high counts the same everywhere.

The upper half of the bucket asks for nothing: a burst after silence that the budget would take passes untouched. Reserves that
are no whole numbers are rounded at random, so that those between two of them share what is between.
"""

from __future__ import annotations

import math
from typing import Final, Literal

__all__ = ["MOST", "Rule", "reserve"]

Rule = Literal["newest", "sampled", "authors", "levels"]

MOST: Final = 32
"""Largest reserve, in 64ths of one second's worth."""
_LEAST_SHARE: Final = 1 / 64
"""Of the last ten seconds' comments: who has said less has said nothing, about 40 seconds after a single one."""
_OCTAVE: Final = MOST / 13
"""Reserve for twice as much said: 13 octaves from the least share lie 128 comments in ten seconds."""
_LEVEL_OCTAVE: Final = 4
"""Reserve for half the level; none from level 255 on."""


def reserve(rule: Rule, recent_share: float, level: int, draw: float) -> int:
    """Reserve of a comment, in 64ths of one second's worth: 0..`MOST`.

    :param recent_share: comments that its author made of late, the older the less.
    :param level: of its author.
    :param draw: evenly distributed in [0, 1).
    """
    if rule == "newest":
        return 0
    if rule == "sampled":
        return int(draw * (MOST + 1))
    if rule == "authors":
        wanted = _OCTAVE * math.log2(recent_share / _LEAST_SHARE) if recent_share > _LEAST_SHARE else 0.0
    else:
        wanted = MOST - _LEVEL_OCTAVE * math.log2(1 + level)
    return min(int(max(wanted, 0.0) + draw), MOST)
