"""The ledger, whole, for those who call it from threads.

Owns the one door to it: each method is one transaction. Must not know a room's hub, a broker, or trio.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection, Sequence
from typing import Final

from engine.ledger import catalogue, erasure, reading, transaction
from engine.ledger.database import Database
from engine.ledger.errors import LedgerError
from engine.ledger.migrations import migrate
from engine.ledger.values import Book, End, Entry, Finish, Gift, Giver, Group, Mark
from engine.ledger.webhooks import Outbox
from engine.schema import EventKind

__all__ = ["LedgerError", "Store"]

_PSEUDONYM_BYTES: Final = 12


class Store:
    """See the module's docstring. Every method may raise `LedgerError`; if it wrote, nothing of it was committed, or it is not
    known whether it was, and the same call may be repeated.

    Methods may be called from any thread and at once; of two calls of `commit` on one SQLite file one waits for the other.

    :param url: ``sqlite:///path`` (``sqlite:////path`` is absolute) or ``postgresql://user:password@host/database``.
    :param answer_seconds: that a transaction may take.
    :ivar webhooks: happenings of which the product is to be told.
    """

    def __init__(self, url: str, *, answer_seconds: float = 5.0) -> None:
        self._database = Database(url, answer_seconds)
        self.webhooks = Outbox(self._database)

    def open(self) -> None:
        """Make the tables, or bring those of an older release up to this one's. Raises `LedgerError`, too, if they are a newer
        one's."""
        self._database.create(migrate)

    def exists(self) -> bool:
        """Whether there is something to open: SQLite's file, or a server, which is taken for granted."""
        return self._database.path is None or self._database.path.exists()

    def close(self) -> None:
        """Close all connections. The store may be used again."""
        self._database.close()

    # -- booking -------------------------------------------------------------------------------------------------------

    def commit(self, books: Sequence[Book], marks: Sequence[Mark], now_ms: int, telling: Collection[EventKind] = ()) -> Group:
        """Book these requests, in their order, and write down these positions, all in one transaction.

        :param now_ms: Unix milliseconds; an entry is never older than the one before it in its room.
        :param telling: entries of these kinds are happenings, of which the product is to be told, too.
        """
        return self._database.write(lambda connection: transaction.commit(connection, books, marks, now_ms, telling))

    def erase(self, user: str) -> str | None:
        """Forget a user. Returns the pseudonym that stands in its place from now on; None: it is not known."""
        pseudonym = f"erased-{secrets.token_hex(_PSEUDONYM_BYTES)}"
        return pseudonym if self._database.write(lambda connection: erasure.erase(connection, user, pseudonym)) else None

    # -- reading -------------------------------------------------------------------------------------------------------

    def outbox(self, limit: int, room: str | None = None) -> list[Entry]:
        """Entries that are not known to be published, oldest first, at most ``limit``.

        :param room: only those of this room.
        """
        return self._database.read(lambda connection: reading.outbox(connection, limit, room))

    def recent(self, room: str, recent_ms: int, epoch: int, limit: int) -> list[Entry]:
        """What a history that began with this epoch may lack: entries that are not known to be published, and those booked
        within ``recent_ms`` of the room's last entry whose position is of another epoch. By number; of more than ``limit`` the
        newest."""
        return self._database.read(lambda connection: reading.recent(connection, room, recent_ms, epoch, limit))

    def known(self, key: str) -> bool:
        """Whether something was booked under a key."""
        return self._database.read(lambda connection: reading.known(connection, key))

    def packets(self, room: str) -> list[Entry]:
        """Those of red packets that are not over, by number."""
        return self._database.read(lambda connection: reading.packet_entries(connection, room))

    def due(self, now_ms: int, limit: int) -> list[End | Finish]:
        """What is to be booked by now: red packets that have expired, combos whose time is over. At most ``limit``."""
        return self._database.read(lambda connection: reading.due(connection, now_ms, limit))

    def next_due(self) -> int | None:
        """From when on `due` returns something, Unix milliseconds; None: nothing is waiting for its time."""
        return self._database.read(reading.next_due)

    def givers(self, room: str, stream: str, after: int, limit: int) -> list[Giver]:
        """Lines of a leaderboard: most first, what is equal in the order of the ids.

        :param stream: empty: of all time.
        :param after: so many are skipped.
        """
        return self._database.read(lambda connection: reading.givers(connection, room, stream, after, limit))

    # -- the catalogue -------------------------------------------------------------------------------------------------

    def gifts(self) -> list[Gift]:
        """Gifts that were offered, by id."""
        return self._database.read(catalogue.gifts)

    def offer(self, gift: Gift) -> None:
        """Add a gift, or replace the one with its id."""
        self._database.write(lambda connection: catalogue.offer(connection, gift))

    def withdraw(self, gift_id: str) -> bool:
        """Take a gift away. Returns whether it was there."""
        return self._database.write(lambda connection: catalogue.withdraw(connection, gift_id))
