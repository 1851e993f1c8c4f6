"""What the ledger keeps: its tables, in both databases alike.

Owns names, columns and what must be unique. `engine.ledger.migrations` makes the same of a database of any release; a test
compares them. Knows no statement.

``entries`` is the ledger: its rows are never changed and never deleted, which triggers enforce. Each holds numbers and what was
chosen from the catalogue, nobody's id or name: these are in ``people``, so that a person can be forgotten and every sum stays.
All other tables follow from it (``boards``, ``combos``, ``packets``), or say where it has been shown (``events``).

In which columns an entry (`engine.schema.EventKind`) has what:

==================  ===============  ================  ==============  =================  ====================  ===============
kind                ``person``       ``other``         ``amount``      ``about``          ``gift``, ``count``   ``stream``
==================  ===============  ================  ==============  =================  ====================  ===============
8 gift              who gives        who gets it       price × count   first of combo     gift, how many        when given
9 end of a combo    who gave         who got it        of all gifts    first of combo     gift, how many
10 correction       who gave         who corrected it  added           the gift           gift                  of the gift
11 red packet       who made it                        total           itself             number of shares
12 share            who got it                         of the share    the red packet     number of the share
13 end of a packet  who made it                        what goes back  the red packet     shares claimed
==================  ===============  ================  ==============  =================  ====================  ===============

Money moves in 8 and 10 (leaderboards are their sums), and in 11, 12 and 13 (a red packet's total is the sum of its shares and
of what goes back). The amount of 9 only repeats.
"""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    Text,
    text,
)

__all__ = [
    "APPEND_ONLY",
    "Whole",
    "boards",
    "catalogue",
    "combos",
    "entries",
    "events",
    "keys",
    "metadata",
    "packets",
    "people",
    "rooms",
    "webhook_lease",
    "webhook_rooms",
    "webhooks",
]

metadata: Final = MetaData()

Whole: Final = BigInteger().with_variant(Integer(), "sqlite")
"""Any whole number: 64 bits in both (SQLite numbers rows by itself only if the type is called so)."""


def _whole(name: str) -> Column[int]:
    return Column(name, Whole, nullable=False)


def _text(name: str) -> Column[str]:
    return Column(name, Text, nullable=False)


rooms: Final = Table(
    "rooms",
    metadata,
    Column("number", Whole, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    # How many there are, which is the number of the last one.
    _whole("entries"),
    # Of the last entry, Unix milliseconds. Never decreases.
    _whole("booked_ms"),
)
"""One row for each room. Whoever has its lock may write what else there is of the room."""

people: Final = Table(
    "people",
    metadata,
    Column("number", Whole, primary_key=True),
    # Of the user; of one that was erased its pseudonym.
    Column("id", Text, nullable=False, unique=True),
    # As last seen.
    _text("name"),
)

entries: Final = Table(
    "entries",
    metadata,
    Column("room", Whole, ForeignKey("rooms.number"), primary_key=True, autoincrement=False),
    # From 1 without holes.
    Column("number", Whole, primary_key=True, autoincrement=False),
    Column("kind", SmallInteger, nullable=False),
    # Unix milliseconds, never decreasing within a room.
    _whole("booked_ms"),
    Column("person", Whole, ForeignKey("people.number"), nullable=False),
    # 0: nobody.
    _whole("other"),
    _whole("amount"),
    _whole("about"),
    _text("gift"),
    _whole("count"),
    _text("stream"),
    sqlite_with_rowid=False,
)


def _index(name: str, *columns: Column[Any], only: str, unique: bool = False) -> None:
    """An index of those rows for which ``only`` holds."""
    Index(name, *columns, unique=unique, sqlite_where=text(only), postgresql_where=text(only))


# To forget a person.
Index("entries_person", entries.c.person)
_index("entries_other", entries.c.other, only="other <> 0")
_index("entries_correction", entries.c.room, entries.c.about, only="kind = 10")
# What must not happen twice cannot.
_index("entries_share", entries.c.room, entries.c.about, entries.c.person, only="kind = 12", unique=True)
_index("entries_combo_end", entries.c.room, entries.c.about, only="kind = 9", unique=True)
_index("entries_packet_end", entries.c.room, entries.c.about, only="kind = 13", unique=True)

events: Final = Table(
    "events",
    metadata,
    Column("room", Whole, primary_key=True, autoincrement=False),
    Column("number", Whole, primary_key=True, autoincrement=False),
    # MessagePack of an engine.schema.MoneyEvent; empty: not kept any more.
    Column("event", LargeBinary, nullable=False),
    _whole("booked_ms"),
    # Where the broker has it; both 0: not known to be published.
    _whole("published_epoch"),
    _whole("published_offset"),
    sqlite_with_rowid=False,
)
"""How each entry is shown, and where it was. ``room`` and ``number`` as in ``entries``."""

_index(
    "events_outbox",
    events.c.booked_ms,
    events.c.room,
    events.c.number,
    only="published_epoch = 0 AND published_offset = 0",
)

keys: Final = Table(
    "keys",
    metadata,
    Column("key", Text, primary_key=True),
    # BLAKE2b of what was asked for, 16 bytes.
    Column("content", LargeBinary, nullable=False),
    _whole("room"),
    _whole("number"),
    sqlite_with_rowid=False,
)
"""Every key there ever was, and the entry that it led to. Never changed."""

boards: Final = Table(
    "boards",
    metadata,
    Column("room", Whole, primary_key=True, autoincrement=False),
    # Empty: of all time.
    Column("stream", Text, primary_key=True),
    Column("person", Whole, primary_key=True, autoincrement=False),
    _whole("given"),
    sqlite_with_rowid=False,
)
"""Sums of gifts and corrections."""

# Not of all rows: PostgreSQL would take it for finding single ones, too.
_index("boards_most", boards.c.room, boards.c.stream, boards.c.given, only="given > 0")

combos: Final = Table(
    "combos",
    metadata,
    Column("room", Whole, primary_key=True, autoincrement=False),
    Column("person", Whole, primary_key=True, autoincrement=False),
    Column("gift", Text, primary_key=True),
    Column("other", Whole, primary_key=True, autoincrement=False),
    # Entry of its first gift, by which it is known.
    _whole("first"),
    # Gifts in it, and how many things that were.
    _whole("presses"),
    _whole("count"),
    _whole("amount"),
    # A gift until then, inclusive, continues it. Unix milliseconds.
    _whole("until_ms"),
    # MessagePack of the engine.schema.Author of its last gift.
    Column("author", LargeBinary, nullable=False),
    sqlite_with_rowid=False,
)
"""Those that may go on or whose end is not booked. One that has ended goes."""

_index("combos_due", combos.c.until_ms, only="presses >= 2")
_index("combos_single", combos.c.room, combos.c.until_ms, only="presses < 2")

packets: Final = Table(
    "packets",
    metadata,
    Column("room", Whole, primary_key=True, autoincrement=False),
    # Its entry.
    Column("number", Whole, primary_key=True, autoincrement=False),
    _whole("person"),
    # MessagePack of the engine.schema.Author who made it.
    Column("author", LargeBinary, nullable=False),
    _whole("total"),
    _whole("shares"),
    _text("split"),
    _whole("opens"),
    _whole("expires"),
    Column("seed", LargeBinary, nullable=False),
    # Shares that were, and their sum.
    _whole("claimed"),
    _whole("paid"),
    # Entry of its end; 0: it is not over.
    _whole("ended"),
    # "emptied", "expired", "cancelled"; empty: it is not over.
    _text("reason"),
    sqlite_with_rowid=False,
)

_index("packets_open", packets.c.room, packets.c.number, only="ended = 0")
_index("packets_due", packets.c.expires, only="ended = 0")

catalogue: Final = Table(
    "catalogue",
    metadata,
    Column("id", Text, primary_key=True),
    _text("name"),
    _whole("price"),
    _text("effect"),
    _whole("combo_ms"),
)
"""Gifts that were added by API, beside those of the config file."""

webhook_rooms: Final = Table(
    "webhook_rooms",
    metadata,
    Column("number", Whole, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    # Number of the last happening there was, and of the last one that was delivered or put aside.
    _whole("told"),
    _whole("sent"),
    # How often the next one was sent in vain, and until when none is sent: Unix milliseconds; once it was, when that was.
    _whole("attempts"),
    _whole("due_ms"),
    # The last of each that was told (engine.hooks.letters.Mark): epoch, rank and value.
    _text("life"),
    _text("peak"),
)
"""One row for each room of which the product is told. Whoever has its lock may add to its happenings."""

_index("webhook_rooms_due", webhook_rooms.c.due_ms, only="sent < told")

webhooks: Final = Table(
    "webhooks",
    metadata,
    Column("room", Whole, primary_key=True, autoincrement=False),
    # From 1 without holes.
    Column("number", Whole, primary_key=True, autoincrement=False),
    _text("type"),
    # When it happened, Unix milliseconds.
    _whole("time_ms"),
    # Of two with the same key in a room the second is left out; empty: none.
    _text("key"),
    # MessagePack (engine.hooks.letters.News); empty: it was delivered, and its key is still remembered.
    Column("body", LargeBinary, nullable=False),
    # 1: put aside; 2: and to be tried once more.
    Column("dead", SmallInteger, nullable=False),
    # Of one that is put aside.
    _whole("attempts"),
    _text("reason"),
    sqlite_with_rowid=False,
)
"""The outbox of happenings. One that was delivered goes."""

_index("webhooks_key", webhooks.c.room, webhooks.c.key, only="key <> ''", unique=True)
_index("webhooks_dead", webhooks.c.room, webhooks.c.number, only="dead > 0")

webhook_lease: Final = Table(
    "webhook_lease",
    metadata,
    # 1.
    Column("number", SmallInteger, primary_key=True, autoincrement=False),
    # Random: names this outbox in the ids of its happenings.
    _text("origin"),
    # Who delivers, and until when nobody else does, Unix milliseconds.
    _text("holder"),
    _whole("until_ms"),
)
"""One row: one node delivers at a time."""

APPEND_ONLY: Final = ("entries", "keys")
"""Tables whose rows are never changed nor deleted."""
