"""What an edge says to the hub: gathered in a turn, and handed over to the link at its end, if there is one.

Owns what waits for the end of the turn, and what was measured and may not have reached anybody. Must not know rooms, nor what
else is said.

A link takes what it is given and sends it when it can: what it had not handed on when it ended, the hub was not told.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable

from engine.link.base import End
from engine.link.messages import Down, Qualities, Up
from engine.quality import RoomQuality

__all__ = ["Upward"]


class Upward:
    """See the module's docstring.

    :ivar link: to the hub, while there is one.
    """

    def __init__(self) -> None:
        self.link: End[Up, Down] | None = None
        self._waiting: list[Up] = []
        self._given = 0
        self._unread: deque[tuple[float, list[RoomQuality]]] = deque()

    def __len__(self) -> int:
        """Messages that the hub has not taken."""
        return len(self._waiting) + (self.link.backlog if self.link is not None else 0)

    def add(self, *messages: Up) -> None:
        """At the end of the turn."""
        self._waiting += messages

    def clear(self) -> None:
        """What waits is not said."""
        self._waiting.clear()

    def turn_over(self) -> None:
        """Hand over what waits; without a link it is not said."""
        if self._waiting:
            waiting, self._waiting = self._waiting, []
            if self.link is not None:
                self._give(self.link, waiting)

    def tell(self, told: list[RoomQuality]) -> None:
        """Say what was measured, at once, and keep it until the link has handed it on. There must be one."""
        link = self.link
        assert link is not None
        given = self._given
        self._give(link, [Qualities(told)])
        self._unread.append((self._given if self._given > given else math.inf, told))
        self._settle(link)

    def end(self) -> Iterable[RoomQuality]:
        """The link has ended. Returns what was measured and was not handed on."""
        link, self.link = self.link, None
        assert link is not None
        self._settle(link)
        unread = [each for _, told in self._unread for each in told]
        self._unread.clear()
        self._given = 0
        return unread

    def _give(self, link: End[Up, Down], messages: list[Up]) -> None:
        before = link.backlog + link.lost
        link.send(messages)
        # Nothing, if it has ended and nobody has noticed.
        self._given += link.backlog + link.lost - before

    def _settle(self, link: End[Up, Down]) -> None:
        """Forget what was handed on."""
        taken = self._given - link.backlog - link.lost
        while self._unread and self._unread[0][0] <= taken:
            self._unread.popleft()
