"""Who joins with a token: hosts, moderators among the visitors, and speakers that have a level.

Owns the choice. Must not know sockets.
"""

from __future__ import annotations

from bench.audience import Audience
from bench.load import Load

__all__ = ["Passes"]

SECONDS = 864_000
"""How long a token is valid: longer than any run."""
LEVELS = 9
"""Different levels of speakers: 0, 1, 3, 7 … 255, so that each is twice the one before, about."""


class Passes:
    """See the module's docstring."""

    def __init__(self, load: Load, audience: Audience) -> None:
        self._secret = load.secret
        self._all = load.tokens
        self._everybody = audience.everybody
        self._hosts = frozenset(audience.hosts)
        self._levels = (
            {sender: (1 << number % LEVELS) - 1 for number, sender in enumerate(audience.senders)}
            if load.withhold == "levels"
            else {}
        )
        self._every = round(1 / load.notable_share) if load.notable_share else 0

    def token_of(self, index: int) -> str | None:
        """The token of a viewer, or beyond the last one of a visitor; None: it is a guest."""
        if not self._secret:
            return None
        # Here: a process that mints nothing does not load what it takes.
        from engine.access import mint

        if index in self._hosts:
            return mint(self._secret, f"host {index}", role="host", seconds=SECONDS)
        if self._levels.get(index):
            return mint(self._secret, f"speaker {index}", level=self._levels[index], seconds=SECONDS)
        if index >= self._everybody and self._every and index % self._every == 0:
            return mint(self._secret, f"moderator {index}", role="moderator", seconds=SECONDS)
        return mint(self._secret, f"viewer {index}", seconds=SECONDS) if self._all else None
