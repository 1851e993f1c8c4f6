"""The outbox of happenings, of which the product is told by webhooks.

Owns how it is kept: numbers without holes in each room, what is due, what was delivered, what is put aside, and the lease by
which one node at a time delivers. What is booked comes in with the transaction that books it. Must not know how it is sent
(`engine.hooks.dispatcher`).

A room's happenings from ``sent`` + 1 on wait; they go out in their order. Only whoever has the lease writes down what became of
them, in a transaction that sees that it still has it. Times that nodes must agree upon are the server's in PostgreSQL.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Final

import msgspec
from sqlalchemy import ColumnElement, Connection, LargeBinary, Select, bindparam, delete, func, literal, select, text, update
from sqlalchemy.dialects import postgresql, sqlite

from engine.hooks.letters import MONEY_TYPES, DeadLetter, Letter, Mark, News, Page, RoomPage, Settled
from engine.ledger import wire
from engine.ledger.bulk import Change, Find, Put
from engine.ledger.database import Database
from engine.ledger.journal import Journal
from engine.ledger.tables import webhook_lease, webhook_rooms, webhooks
from engine.schema import EventKind

__all__ = ["Outbox", "forget", "tell_entries"]

_KEY_MS: Final = 86_400_000
"""How long a key is remembered."""
_ROOMS: Final = 500
"""Rooms of one page."""
_AGAIN: Final = 20
"""Dead letters in one page."""
_DEAD: Final = 1
_TO_TRY: Final = 2

_known: Final = Find(webhook_rooms, [webhook_rooms.c.name], [webhook_rooms.c.name])
_lock: Final = Find(webhook_rooms, [webhook_rooms.c.name], lock="update")
_used: Final = Find(webhooks, [webhooks.c.room, webhooks.c.key], [webhooks.c.room, webhooks.c.key])
_add: Final = Put(webhooks, tuple(webhooks.c))
_advance: Final = Change(
    webhook_rooms, [webhook_rooms.c.number], [webhook_rooms.c.told, webhook_rooms.c.life, webhook_rooms.c.peak]
)
_MAKE: Final = {
    "sqlite": sqlite.insert(webhook_rooms).on_conflict_do_nothing(),
    "postgresql": postgresql.insert(webhook_rooms).on_conflict_do_nothing(),
}


# -- in ---------------------------------------------------------------------------------------------------------------


class _Room:
    """A room whose happenings nobody else adds to until the transaction ends."""

    __slots__ = ("marks", "row", "told")

    def __init__(self, row: int, told: int, life: str, peak: str) -> None:
        self.row = row
        self.told = told
        self.marks = {"life": life, "peak": peak}

    def passes(self, mark: Mark) -> bool:
        """Whether this was not told yet; it is from now on."""
        if last := self.marks[mark.name]:
            epoch, rank, value = last.split(" ", 2)
            if value == mark.value or (int(epoch) == mark.epoch and mark.rank <= int(rank)):
                return False
        self.marks[mark.name] = f"{mark.epoch} {mark.rank} {mark.value}"
        return True


def _rooms(connection: Connection, names: Collection[str]) -> dict[str, _Room]:
    """Lock these rooms, and make them if they are not there."""
    keys = [(name,) for name in sorted(names)]
    if new := set(names) - {name for (name,) in _known(connection, keys)}:
        # Before the locks, as with the ledger's rooms.
        empty = {"told": 0, "sent": 0, "attempts": 0, "due_ms": 0, "life": "", "peak": ""}
        connection.execute(_MAKE[connection.dialect.name], [{"name": name, **empty} for name in sorted(new)])
    return {each.name: _Room(each.number, each.told, each.life, each.peak) for each in _lock(connection, keys)}


def _save(connection: Connection, rooms: Collection[_Room], rows: list[tuple[Any, ...]]) -> None:
    _add(connection, rows)
    _advance(connection, [(each.row, each.told, each.marks["life"], each.marks["peak"]) for each in rooms])


def tell_entries(connection: Connection, journal: Journal, kinds: Collection[EventKind]) -> None:
    """Add what a transaction books and is of these kinds."""
    added = journal.told(kinds)
    if not added:
        return
    rooms = _rooms(connection, {entry.room for _, entry in added})
    rows = []
    for kind, entry in added:
        room = rooms[entry.room]
        room.told += 1
        rows.append((room.row, room.told, MONEY_TYPES[kind], entry.booked_ms, "", entry.event, 0, 0, ""))
    _save(connection, rooms.values(), rows)


def _tell(connection: Connection, news: Sequence[News]) -> int:
    rooms = _rooms(connection, {each.room for each in news})
    keys = {(rooms[each.room].row, each.key) for each in news if each.key}
    used = {(row, key) for row, key in _used(connection, sorted(keys))}
    rows = []
    for each in news:
        room = rooms[each.room]
        if each.key:
            if (room.row, each.key) in used:
                continue
            used.add((room.row, each.key))
        if each.mark is not None and not room.passes(each.mark):
            continue
        room.told += 1
        rows.append((room.row, room.told, each.type, each.time, each.key, each.body, 0, 0, ""))
    if rows:
        _save(connection, rooms.values(), rows)
    return len(rows)


# -- out --------------------------------------------------------------------------------------------------------------

_WAITS: Final = webhook_rooms.c.sent < webhook_rooms.c.told
_THEN: Final = webhook_rooms.c.due_ms > bindparam("now_ms")
_DUE: Final = (
    select(*(webhook_rooms.c[name] for name in ("number", "name", "told", "sent", "attempts")))
    .where(_WAITS, webhook_rooms.c.due_ms <= bindparam("now_ms"))
    .order_by(webhook_rooms.c.due_ms, webhook_rooms.c.number)
    .limit(_ROOMS + 1)
)
_NEXT: Final = select(func.min(webhook_rooms.c.due_ms)).where(_WAITS, _THEN)
_WAITING: Final = select(func.sum(webhook_rooms.c.told - webhook_rooms.c.sent)).where(_WAITS)
_OLDEST: Final = (
    select(func.min(webhooks.c.time_ms))
    .join_from(
        webhook_rooms, webhooks, (webhooks.c.room == webhook_rooms.c.number) & (webhooks.c.number == webhook_rooms.c.sent + 1)
    )
    .where(_WAITS)
)
_LETTER: Final = tuple(webhooks.c[name] for name in ("room", "number", "type", "time_ms", "body"))
_find: Final = Find(webhooks, [webhooks.c.room, webhooks.c.number], _LETTER)
_settle_rooms: Final = Change(
    webhook_rooms, [webhook_rooms.c.number], [webhook_rooms.c.sent, webhook_rooms.c.attempts, webhook_rooms.c.due_ms]
)
_put_aside: Final = Change(
    webhooks, [webhooks.c.room, webhooks.c.number], [webhooks.c.dead, webhooks.c.attempts, webhooks.c.reason]
)
_THESE: Final = (webhooks.c.room == bindparam("row"), webhooks.c.number.between(bindparam("first"), bindparam("last")))
_DELIVERED: Final = delete(webhooks).where(*_THESE, webhooks.c.key == "")
_REMEMBERED: Final = update(webhooks).where(*_THESE, webhooks.c.key != "").values(body=b"", dead=0)
_ASIDE: Final = (
    select(*_LETTER, webhooks.c.dead, webhooks.c.attempts, webhooks.c.reason, webhook_rooms.c.name, webhook_lease.c.origin)
    .join_from(webhooks, webhook_rooms, webhooks.c.room == webhook_rooms.c.number)
    .join(webhook_lease, literal(True))
    .order_by(webhooks.c.room, webhooks.c.number)
)


def _now(connection: Connection, now_ms: int) -> int:
    if connection.dialect.name == "sqlite":
        return now_ms
    return int(connection.execute(text("SELECT (extract(epoch from clock_timestamp()) * 1000)::bigint")).scalar_one())


def _lease(connection: Connection, holder: str, lasts_ms: int, now_ms: int) -> int:
    now_ms = _now(connection, now_ms)
    free = (webhook_lease.c.holder == holder) | (webhook_lease.c.until_ms <= now_ms)
    if connection.execute(update(webhook_lease).where(free).values(holder=holder, until_ms=now_ms + lasts_ms)).rowcount:
        return 0
    return max(int(connection.execute(select(webhook_lease.c.until_ms)).scalar_one()) - now_ms, 1)


def _page(connection: Connection, limit: int, now_ms: int) -> Page:
    now_ms = _now(connection, now_ms)
    at = {"now_ms": now_ms}
    origin = connection.execute(select(webhook_lease.c.origin)).scalar_one()
    due = connection.execute(_DUE, at).all()
    rooms = due[:_ROOMS]
    share = max(limit // len(rooms), 1) if rooms else 0
    wanted = [(each.number, number) for each in rooms for number in range(each.sent + 1, min(each.told, each.sent + share) + 1)]
    letters: dict[int, list[Letter]] = {}
    for row, *rest in sorted(_find(connection, wanted), key=lambda row: (row.room, row.number)):
        letters.setdefault(row, []).append(Letter(*rest))
    pages = [
        RoomPage(origin, each.number, each.name, each.sent, each.attempts, letters[each.number])
        for each in rooms
        if each.number in letters
    ]
    again = [
        RoomPage(origin, each.room, each.name, each.number - 1, each.attempts, [Letter(*each[1:5])])
        for each in connection.execute(_ASIDE.where(webhooks.c.dead == _TO_TRY).limit(_AGAIN))
    ]
    later = connection.execute(_NEXT, at).scalar_one()
    oldest = connection.execute(_OLDEST).scalar_one()
    dead = connection.execute(select(func.count()).select_from(webhooks).where(webhooks.c.dead > 0)).scalar_one()
    return Page(
        rooms=pages,
        again=again,
        more=len(due) > len(rooms) or any(each.told > each.sent + share for each in rooms) or len(again) == _AGAIN,
        next_ms=None if later is None else later - now_ms,
        waiting=int(connection.execute(_WAITING).scalar_one() or 0),
        dead=dead,
        oldest_ms=0 if oldest is None else max(now_ms - oldest, 0),
    )


def _settle(connection: Connection, holder: str, settled: Sequence[Settled], now_ms: int) -> bool:
    if connection.execute(select(webhook_lease.c.holder).with_for_update()).scalar_one() != holder:
        return False
    now_ms = _now(connection, now_ms)
    ranges = [{"row": each.row, "first": each.first, "last": each.last} for each in settled if each.first <= each.last]
    if ranges:
        connection.execute(_REMEMBERED, ranges)
        connection.execute(_DELIVERED, ranges)
    dead = [(each.row, each.dead, _DEAD, each.tries, _plain(each.reason)) for each in settled if each.dead]
    _put_aside(connection, dead)
    rows = [(each.row, max(each.last, each.dead), each.attempts, now_ms + each.pause_ms) for each in settled if not each.again]
    _settle_rooms(connection, rows)
    return True


def _plain(reason: str) -> str:
    # PostgreSQL's texts have no zero character.
    return reason.replace("\0", "")


# -- what is put aside ------------------------------------------------------------------------------------------------

Place = tuple[int, int]
"""Row of a room and number of a happening."""


def _dead_letters(connection: Connection, found: Select[Any]) -> list[DeadLetter]:
    return [
        DeadLetter(
            Letter(*each[1:5]).happening(RoomPage(each.origin, each.room, each.name, 0, 0, [])),
            each.attempts,
            each.reason,
            each.dead == _TO_TRY,
        )
        for each in connection.execute(found)
    ]


def _of(place: Place | None) -> tuple[ColumnElement[bool], ...]:
    """Those that are put aside: this one, or all."""
    if place is None:
        return (webhooks.c.dead > 0,)
    return webhooks.c.dead > 0, webhooks.c.room == place[0], webhooks.c.number == place[1]


class Outbox:
    """See the module's docstring. As with `engine.ledger.store.Store`, whose part it is, each method is one transaction, and
    may raise `engine.ledger.errors.LedgerError`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def tell(self, news: Sequence[News]) -> int:
        """Add these, but for those that are known by their key or their mark; returns how many were added."""
        return self._database.write(lambda connection: _tell(connection, news)) if news else 0

    def lease(self, holder: str, lasts_ms: int, now_ms: int) -> int:
        """Be the one who delivers for so long from now on, unless another one is. Returns for how many milliseconds another one
        is; 0: it is this one."""
        return self._database.write(lambda connection: _lease(connection, holder, lasts_ms, now_ms))

    def release(self, holder: str) -> None:
        """Not be that any more."""
        mine = update(webhook_lease).where(webhook_lease.c.holder == holder).values(until_ms=0)
        self._database.write(lambda connection: connection.execute(mine) and None)

    def page(self, limit: int, now_ms: int) -> Page:
        """What is due, about ``limit`` happenings, of each room the next ones."""
        return self._database.read(lambda connection: _page(connection, limit, now_ms))

    def settle(self, holder: str, settled: Sequence[Settled], now_ms: int) -> bool:
        """Write down what became of happenings, one line for each room and each dead letter. Returns False, and nothing is
        written, if another one delivers."""
        return self._database.write(lambda connection: _settle(connection, holder, settled, now_ms))

    def prune(self, now_ms: int) -> None:
        """Forget old keys."""
        old = (webhooks.c.key != "", webhooks.c.dead == 0, webhooks.c.body == b"", webhooks.c.time_ms < now_ms - _KEY_MS)
        self._database.write(lambda connection: connection.execute(delete(webhooks).where(*old)) and None)

    def dead(self, after: Place, limit: int) -> list[DeadLetter]:
        """Those that are put aside, each room's in their order.

        :param after: begin behind this one.
        """
        row, number = after
        later = (webhooks.c.room > row) | ((webhooks.c.room == row) & (webhooks.c.number > number))
        found = _ASIDE.where(webhooks.c.dead > 0, later).limit(limit)
        return self._database.read(lambda connection: _dead_letters(connection, found))

    def letter(self, place: Place) -> DeadLetter | None:
        """One that is put aside."""
        found = self._database.read(lambda connection: _dead_letters(connection, _ASIDE.where(*_of(place))))
        return found[0] if found else None

    def replay(self, place: Place | None) -> int:
        """Have one that is put aside tried once more, or all; returns how many."""
        change = update(webhooks).where(*_of(place)).values(dead=_TO_TRY)
        return self._database.write(lambda connection: connection.execute(change).rowcount)

    def drop(self, place: Place | None) -> int:
        """Forget one that is put aside, or all; returns how many."""
        return self._database.write(lambda connection: connection.execute(delete(webhooks).where(*_of(place))).rowcount)


# -- who is forgotten -------------------------------------------------------------------------------------------------

_decode: Final = msgspec.msgpack.Decoder().decode
_rewrite: Final = Change(webhooks, [webhooks.c.room, webhooks.c.number], [webhooks.c.body])


def forget(connection: Connection, user: str, pseudonym: str) -> None:
    """Let a pseudonym stand for somebody in all that was not delivered."""
    sought = literal(user.encode(), LargeBinary)
    if connection.dialect.name == "sqlite":
        within = func.instr(webhooks.c.body, sought) > 0
    else:
        within = func.position(sought.op("IN")(webhooks.c.body)) > 0
    rows = connection.execute(select(webhooks.c.room, webhooks.c.number, webhooks.c.body).where(within)).all()
    _rewrite(connection, [(room, number, _renamed(bytes(body), user, pseudonym)) for room, number, body in rows])


def _renamed(body: bytes, user: str, pseudonym: str) -> bytes:
    content = _decode(body)
    if isinstance(content, list):
        return wire.renamed(body, user, pseudonym)
    author = content.get("author")
    if author is not None and author["id"] == user:
        content["author"] = {"id": pseudonym, "name": "", "attributes": {}, "role": "", "level": 0}
    if content.get("user") == user:
        content["user"] = pseudonym
    return wire.encode(content)
