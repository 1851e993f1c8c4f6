"""The token with which a client joins: where it comes from, and when the next one is needed.

Owns the reading of its expiry, unverified: whether a token is good is for the server to say. Pure but for the asking.
"""

from __future__ import annotations

import json
import math
from base64 import urlsafe_b64decode
from collections.abc import Awaitable, Callable
from typing import Final

__all__ = ["Bearer", "TokenSource", "expiry_of", "renewal_pause"]

TokenSource = Callable[[], Awaitable[str]]
"""Returns a fresh token, as a rule one of the product's servers. May raise `engine.client.Unreachable`, to be asked again."""

_AHEAD_SECONDS: Final = 60.0
"""A token is renewed so long before it expires, or at half of what is left if that is later."""
_LEAST_SECONDS: Final = 1.0
"""Between two renewals, whatever tokens come."""


class Bearer:
    """A token, or where tokens come from.

    :ivar renewable: whether there can be another one.
    """

    def __init__(self, source: str | TokenSource | None) -> None:
        self._source = source
        self.renewable = callable(source)

    async def fetch(self) -> str | None:
        """A token to show now; None for a guest. Raises what the source raises."""
        source = self._source
        return source if source is None or isinstance(source, str) else await source()


def expiry_of(token: str) -> float:
    """When a token says that it expires (RFC 7519 section 4.1.4), in Unix seconds; infinity if it does not say so readably."""
    parts = token.split(".")
    try:
        claims = json.loads(urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
        exp = claims["exp"]
    except (ValueError, IndexError, KeyError, TypeError, RecursionError):
        return math.inf
    return float(exp) if isinstance(exp, (int, float)) and not isinstance(exp, bool) and math.isfinite(exp) else math.inf


def renewal_pause(token: str, now: float) -> float:
    """Seconds after which a token is to be renewed; infinity if it is too late for that, or never necessary.

    :param now: Unix seconds.
    """
    left = expiry_of(token) - now
    return max(left / 2, left - _AHEAD_SECONDS, _LEAST_SECONDS) if 0 < left < math.inf else math.inf
