"""Names of rooms that are more than rooms, and the number that a room has on the wire.

Owns how they are formed. Pure.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Final

__all__ = ["BACKSTAGE", "CONSOLE", "EVERYWHERE", "backstage_of", "handle_of"]

EVERYWHERE: Final = "#everywhere"
"""Room whose record holds the sanctions that hold in all rooms. Nobody can join it."""
BACKSTAGE: Final = "#backstage"
CONSOLE: Final = "#console"
"""Room in which nodes tell operators their figures, as long as somebody is there; only for who has a pass that names it."""


def backstage_of(room: str) -> str:
    """Name of the room behind a room: held comments, what moderators did and why, and who has read a notice. It is a room like
    any other, with order and history; only moderators and hosts may join it."""
    return room + BACKSTAGE


def handle_of(room: str) -> int:
    """The room's number on the wire: 48 bits of BLAKE2b (RFC 7693) of its name.

    Derived rather than assigned, so that it survives restarts and is the same on every node. Two rooms share one with a
    probability of 2^-48; nothing but a client in both at once would notice.
    """
    return int.from_bytes(blake2b(room.encode(), digest_size=6).digest(), "big")
