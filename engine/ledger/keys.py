"""The keys by which a request is known for good.

Owns what counts as the same request: what its sender chose, and who that is; not what the node added (prices, times, seeds, the
stream), nor how often it asked.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b
from typing import Any, Final, NamedTuple

import msgspec
from sqlalchemy import Connection

from engine.ledger.bulk import Find, Put
from engine.ledger.rooms import Room
from engine.ledger.tables import keys
from engine.ledger.values import Correct, Give, Pack

__all__ = ["Keyed", "Keys", "Used", "content"]

Keyed = Give | Correct | Pack
"""Requests that have a key."""

_DIGEST_BYTES: Final = 16
_encode: Final = msgspec.msgpack.Encoder().encode
_find: Final = Find(keys, [keys.c.key])
_put: Final = Put(keys, tuple(keys.c))


def content(book: Keyed) -> bytes:
    """The digest of what was asked for. Raises UnicodeEncodeError if it is no proper text."""
    chosen: tuple[Any, ...]
    match book:
        case Give():
            chosen = ("give", book.room, book.author.id, book.gift, book.count, book.receiver)
        case Correct():
            chosen = ("correct", book.room, book.author.id, book.entry, book.amount, book.reason)
        case Pack():
            who = ("pack", book.room, book.author.id)
            chosen = (*who, book.total, book.shares, book.split, book.followers, book.phrase, book.text)
    return blake2b(_encode(chosen), digest_size=_DIGEST_BYTES).digest()


class Used(NamedTuple):
    """A key that is known.

    :ivar room: number of its row.
    :ivar number: of the entry.
    """

    key: str
    content: bytes
    room: int
    number: int


class Keys:
    """The keys of one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._used: dict[str, Used] = {}
        self._new: list[Used] = []

    def load(self, wanted: Iterable[str]) -> list[Used]:
        """Read those that are known."""
        found = [Used(*row) for row in _find(self._connection, [(key,) for key in sorted(set(wanted))])]
        self._used = {each.key: each for each in found}
        return found

    def get(self, key: str) -> Used | None:
        """None: it is free."""
        return self._used.get(key)

    def use(self, key: str, digest: bytes, room: Room, number: int) -> None:
        """From now on it stands for this."""
        used = self._used[key] = Used(key, digest, room.number, number)
        self._new.append(used)

    def save(self) -> None:
        """Write the new ones. Raises IntegrityError if another node has just used one of them in another room."""
        # In order: others may be adding the same ones.
        _put(self._connection, sorted(self._new))
