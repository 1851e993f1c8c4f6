"""Asking Sentinels where the primary is.

Owns one question. Must not know what is done with the answer, nor whether that server agrees to be the primary.
"""

from __future__ import annotations

import ssl
from typing import Final

import trio

from engine.brokers.redis.address import Address, Place
from engine.brokers.redis.wire import ask_once

__all__ = ["find_primary"]

_PATIENCE_SECONDS: Final = 0.5
"""For one Sentinel, before the next is asked."""


async def find_primary(place: Place) -> Address:
    """Ask one Sentinel after the other. Raises `OSError` if none knows."""
    tls = ssl.create_default_context() if place.tls else None
    for sentinel in place.addresses:
        found = None
        with trio.move_on_after(_PATIENCE_SECONDS):
            found = await ask_once(sentinel, tls, (b"SENTINEL", b"GET-MASTER-ADDR-BY-NAME", place.primary))
        if found:
            return Address(found[0].decode(), int(found[1]))
    raise OSError(f"no Sentinel knows a primary named {place.primary!r}")
