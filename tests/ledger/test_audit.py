"""The audit: a ledger as the store writes it holds, whatever was booked; anything changed in it by hand is found."""

from __future__ import annotations

import json
import random
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest

from engine.ledger import audit
from engine.ledger.books import read_books
from engine.ledger.errors import LedgerError
from engine.ledger.export import lines
from engine.ledger.faults import Report
from engine.ledger.matching import ERASED, Happening, Recorded
from engine.ledger.store import Store
from engine.ledger.totals import totals
from engine.ledger.values import Book, Claim, Correct, End, Entry, Give, Mark, Outcome, Pack
from engine.schema import Author, RankedAuthor

ROOM, OTHER = "大厅", "b"
EPOCH = 7
NOW = 1_700_000_000_000


def author(user: str) -> Author:
    return RankedAuthor(user, f"名{user}", {"team": "红"}, "host", 3) if user == "u0" else Author(user, f"名{user}")


def give(key: str, user: str = "u1", **more: Any) -> Give:
    members = {"room": ROOM, "stream": "s1", "ref": 1, "gift": "rose", "price": 52, "count": 1, "receiver": "", "combo_ms": 0}
    return Give(key=key, author=author(user), **(members | more))


def pack(key: str, **more: Any) -> Pack:
    members = {"room": ROOM, "ref": 1, "total": 100, "shares": 3, "split": "random", "opens": NOW, "expires": NOW + 60_000}
    texts = {"followers": False, "phrase": "", "text": "恭喜发财", "seed": bytes(range(32)), "most": 20}
    return Pack(key=key, author=author("u0"), **(members | texts | more))


def correct(key: str, entry: int, **more: Any) -> Correct:
    return Correct(room=ROOM, key=key, author=author("mod"), entry=entry, **more)


class Booking:
    """A real store, and where its entries are in the stream."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.store = Store(url)
        self.store.open()
        self.now = NOW
        self.entries: dict[str, list[Entry]] = {}

    def book(self, *books: Book, later_ms: int = 1, publish: bool = True) -> list[Outcome]:
        self.now += later_ms
        group = self.store.commit(books, [], self.now)
        marks = []
        for entry in group.entries:
            stream = self.entries.setdefault(entry.room, [])
            stream.append(entry)
            if publish:
                # Comments stand between.
                marks.append(Mark(entry.room, entry.number, EPOCH, 2 * entry.number))
        if marks:
            self.store.commit([], marks, self.now)
        return group.outcomes

    def stream(self, room: str = ROOM) -> list[Happening]:
        comment = [1, ["u1"], 1, "你好"]
        happenings = []
        for entry in self.entries[room]:
            offset = 2 * entry.number
            happenings.append(Happening(offset - 1, offset - 1, comment))
            happenings.append(Happening(offset, offset, msgspec.msgpack.decode(entry.event)))
        return happenings

    def audit(self, *streams: Recorded) -> Report:
        return read_books(self.url, lambda books: audit.verify(books, streams))

    def exported(self, **more: Any) -> list[dict[str, Any]]:
        return [json.loads(line) for line in read_books(self.url, lambda books: list(lines(books, **more)))]


def fill(ledger: Booking) -> None:
    """Something of everything, in two rooms."""
    seven = {"combo_ms": 1_000, "count": 7}
    ledger.book(give("1"), give("2", "u2", stream=""), give("3", "u1", stream="s2", receiver="u3"))
    ledger.book(give("4", **seven), give("5", **seven), give("6", "u2", combo_ms=1_000))
    ledger.book(give("7", **seven), later_ms=900)
    # The first ends here, as a gift; another one later, by itself.
    ledger.book(give("8", **seven), later_ms=1_001)
    ledger.book(give("9", **seven))
    ledger.book(*ledger.store.due(ledger.now + 1_001, 10), later_ms=1_001)
    ledger.book(give("10", **seven), give("11", **seven))
    ledger.book(correct("12", 1, amount=-2, reason="退"))
    ledger.book(correct("13", 1), correct("14", 2, amount=8))
    ledger.book(pack("p1"), pack("p2", split="equal", total=101), pack("p3", expires=NOW + 10_000), pack("p4"))
    numbers = [each["entry"] for each in ledger.exported() if each["kind"] == "packet"]
    claims = [Claim(room=ROOM, packet=numbers[0], author=author(f"u{user}")) for user in range(5)]
    ledger.book(*claims, *claims, Claim(room=ROOM, packet=numbers[2], author=author("u9")))
    ledger.book(Claim(room=ROOM, packet=numbers[1], author=author("u1")))
    ledger.book(End(room=ROOM, packet=numbers[2], reason="expired"), later_ms=20_000)
    ledger.book(End(room=ROOM, packet=numbers[3], reason="cancelled"))
    ledger.book(give("1x", room=OTHER), pack("2x", room=OTHER, total=1, shares=1, expires=NOW + 900_000))
    ledger.book(give("last"), publish=False)


class Model(NamedTuple):
    """A ledger's file, to be copied: making one takes longer than anything that is done with it here."""

    path: Path
    entries: dict[str, list[Entry]]

    def copy(self, to: Path) -> Booking:
        shutil.copyfile(self.path, to)
        booking = Booking(f"sqlite:///{to}")
        booking.entries = {room: [*entries] for room, entries in self.entries.items()}
        return booking


def model(path: Path, what: Callable[[Booking], None]) -> Model:
    booking = Booking(f"sqlite:///{path}")
    what(booking)
    # The last connection that is closed puts everything into the one file.
    booking.store.close()
    return Model(path, booking.entries)


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return model(tmp_path_factory.mktemp("empty") / "ledger.db", lambda _: None)


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return model(tmp_path_factory.mktemp("full") / "ledger.db", fill)


@pytest.fixture
def ledger(empty: Model, tmp_path: Path) -> Iterator[Booking]:
    booking = empty.copy(tmp_path / "ledger.db")
    yield booking
    booking.store.close()


@pytest.fixture
def filled(full: Model, tmp_path: Path) -> Iterator[Booking]:
    booking = full.copy(tmp_path / "ledger.db")
    yield booking
    booking.store.close()


# -- what holds -------------------------------------------------------------------------------------------------------


def test_an_empty_ledger_holds(ledger: Booking) -> None:
    assert ledger.audit() == Report()


def test_what_the_store_has_booked_holds_and_is_in_the_stream(filled: Booking) -> None:
    report = filled.audit(*(Recorded(room, EPOCH, 1, filled.stream(room)) for room in (ROOM, OTHER)))
    assert report.faults == []
    assert report.sound
    count = sum(map(len, filled.entries.values()))
    assert (report.rooms, report.entries, report.unpublished) == (2, count, 1)
    assert (report.streams, report.matched, report.unmarked) == (2, count, 1)
    assert (report.gifts, report.packets, report.shares) == (13, 5, 5)


@pytest.mark.parametrize("seed", range(5))
def test_whatever_is_booked_holds(ledger: Booking, seed: int) -> None:
    chance = random.Random(seed)
    users, rooms = [f"u{number}" for number in range(6)], [ROOM, OTHER]

    def book(number: int) -> Book:
        room, user, known = chance.choice(rooms), chance.choice(users), chance.randint(1, 60)
        match chance.randrange(9):
            case 0:
                return Correct(
                    room=room, key=f"k{number}", author=author(user), entry=known, amount=chance.choice((None, -5, 9))
                )
            case 1:
                shares = chance.randint(1, 5)
                times = {"opens": ledger.now - 1, "expires": ledger.now + chance.choice((50, 5_000))}
                split = chance.choice(("equal", "random"))
                more = {"total": chance.randint(shares, 400), "shares": shares, "split": split, "seed": chance.randbytes(32)}
                return pack(f"k{number}", room=room, **times, **more)
            case 2 | 3 | 4:
                packets = [each.number for each in ledger.store.packets(room)] or [1]
                return Claim(room=room, packet=chance.choice(packets), author=author(user))
            case 5:
                return End(room=room, packet=known, reason="cancelled")
            case _:
                what = {"count": chance.randint(1, 9), "gift": chance.choice("ab"), "receiver": chance.choice(("", "u1"))}
                stream = chance.choice(("", "s1", "s2"))
                return give(f"k{number}", user, room=room, stream=stream, combo_ms=chance.choice((0, 20)), **what)

    for number in range(0, 600, 10):
        ledger.book(*(book(number + index) for index in range(10)), later_ms=chance.choice((0, 5, 30)))
        ledger.book(*ledger.store.due(ledger.now, 100))
    report = ledger.audit(*(Recorded(room, EPOCH, 1, ledger.stream(room)) for room in rooms))
    assert report.faults == []
    assert report.matched == report.entries > 300
    assert report.shares > 20


def test_it_holds_after_somebody_was_forgotten(filled: Booking) -> None:
    before = totals_of(filled)
    pseudonyms = [filled.store.erase(user) for user in ("u0", "u1", "u3", "mod")]
    assert all(each is not None and each.startswith(ERASED) for each in pseudonyms)
    report = filled.audit(Recorded(ROOM, EPOCH, 1, filled.stream()))
    assert report.faults == []
    assert totals_of(filled) == before
    # The amounts of what is not shown any more are still compared.
    changed = filled.stream()
    changed[1].event[6] += 1  # type: ignore[index]
    assert filled.audit(Recorded(ROOM, EPOCH, 1, changed)).fault_count == 1


def test_the_order_of_the_books_is_told_as_progress(filled: Booking) -> None:
    seen: list[int] = []
    of = read_books(filled.url, lambda books: (audit.verify(books, (), seen.append), audit.work(books))[1])
    assert seen == sorted(seen)
    assert seen[-1] == of


def test_postgresql_is_read_as_sqlite_is(new_postgresql: Callable[[], str], filled: Booking) -> None:
    server = Booking(new_postgresql())
    fill(server)
    report = server.audit(*(Recorded(room, EPOCH, 1, server.stream(room)) for room in (ROOM, OTHER)))
    assert report == filled.audit(*(Recorded(room, EPOCH, 1, filled.stream(room)) for room in (ROOM, OTHER)))
    assert report.sound
    assert server.exported() == filled.exported()
    assert server.exported(rooms=[OTHER], first=2) == filled.exported(rooms=[OTHER], first=2)
    assert totals_of(server, by_gift=True) == totals_of(filled, by_gift=True)
    server.store.close()


def test_a_server_without_a_ledger_is_left_alone(new_database: Callable[[], str]) -> None:
    with pytest.raises(LedgerError, match="no ledger in this database yet"):
        read_books(new_database(), lambda books: None)


# -- what does not ----------------------------------------------------------------------------------------------------

TRIGGERS = "SELECT 'DROP TRIGGER \"' || name || '\"' FROM sqlite_master WHERE type = 'trigger'"
CHANGES = [
    ("DELETE FROM entries WHERE room = 1 AND number = 5", "there is a hole"),
    ("DELETE FROM entries WHERE room = 1 AND number = 5", "has an event, and is not in the ledger"),
    ("UPDATE rooms SET entries = entries + 1 WHERE number = 1", "ends with entry"),
    ("UPDATE entries SET booked_ms = booked_ms - 99 WHERE room = 1 AND number = 5", "booked before the one before it"),
    ("UPDATE entries SET amount = amount + 1 WHERE room = 1 AND number = 1", "shows another amount"),
    ("UPDATE entries SET amount = -1 WHERE room = 1 AND number = 1", "which cannot be"),
    ("UPDATE entries SET gift = 'x' WHERE room = 1 AND number = 1", "shows another gift"),
    ("UPDATE entries SET stream = 's9' WHERE room = 1 AND number = 1", "shows another stream"),
    ("UPDATE entries SET person = 2 WHERE room = 1 AND number = 1", "shows another user"),
    ("UPDATE entries SET person = 99 WHERE room = 1 AND number = 1", "a person who is not there"),
    ("UPDATE entries SET kind = 77 WHERE room = 1 AND number = 1", "of the kind 77"),
    ("UPDATE entries SET room = 9 WHERE room = 2", "is not there, and has"),
    ("DELETE FROM events WHERE room = 1 AND number = 1", "has no event"),
    ("UPDATE events SET event = x'c1' WHERE room = 1 AND number = 1", "cannot be read"),
    (
        "UPDATE events SET event = (SELECT event FROM events WHERE number = 2) WHERE room = 1 AND number = 1",
        "another entry",
    ),
    ("UPDATE events SET booked_ms = 1 WHERE room = 1 AND number = 1", "an event of another time"),
    ("UPDATE events SET published_offset = 4 WHERE room = 1 AND number = 1", "where 1 others are"),
    ("UPDATE events SET published_offset = 0 WHERE room = 1 AND number = 1", "which is no place"),
    ("DELETE FROM keys WHERE key = '1'", "has 0 keys"),
    ("INSERT INTO keys SELECT 'again', content, room, number FROM keys WHERE key = '1'", "has 2 keys"),
    ("UPDATE keys SET number = 7777 WHERE key = '1'", "has a key, and is none that can have one"),
    ("UPDATE boards SET given = given + 1 WHERE room = 1 AND person = 1 AND stream = ''", "the leaderboard of all time"),
    (
        "UPDATE boards SET given = given + 1 WHERE room = 1 AND person = 1 AND stream = 's2'",
        "in the stream 's2' has",
    ),
    ("DELETE FROM boards WHERE room = 1", "the leaderboard of all time has 0"),
    ("INSERT INTO boards VALUES (1, 's9', 77, 5)", "has 5 for person 77, who gave 0"),
    ("UPDATE entries SET amount = amount * 2 WHERE room = 1 AND kind = 9", "ends combo"),
    ("UPDATE entries SET about = 2 WHERE room = 1 AND number = 8", "which has another giver, receiver or gift"),
    ("DELETE FROM combos WHERE presses > 1", "has no end, and is not kept"),
    ("UPDATE combos SET count = count + 1 WHERE presses > 1", "kept with other sums"),
    ("UPDATE entries SET booked_ms = booked_ms + 900000 WHERE room = 1 AND number = 7", "too late"),
    ("UPDATE entries SET amount = -60 WHERE room = 1 AND kind = 10", "less than nothing"),
    ("UPDATE entries SET about = 4000 WHERE room = 1 AND kind = 10", "which is no gift"),
    ("UPDATE entries SET stream = 's9' WHERE room = 1 AND kind = 10", "of another person, gift or stream"),
    ("DELETE FROM packets WHERE room = 2", "of which nothing is kept"),
    ("UPDATE packets SET seed = zeroblob(32) WHERE room = 1", "does not belong to its seed"),
    ("UPDATE packets SET seed = zeroblob(32) WHERE room = 1", "by its seed"),
    ("UPDATE packets SET total = total + 1 WHERE room = 1", "another red packet than was booked"),
    ("UPDATE packets SET expires = expires + 1 WHERE room = 1", "another red packet than was announced"),
    ("UPDATE packets SET paid = paid + 1 WHERE room = 1", "is kept with"),
    ("UPDATE packets SET ended = 0 WHERE room = 1", "is empty, and has no end"),
    ("UPDATE packets SET reason = 'expired' WHERE room = 1", "another reason or seed"),
    ("UPDATE packets SET reason = 'emptied' WHERE room = 1", "as 'emptied' after"),
    ("UPDATE entries SET amount = amount + 1 WHERE room = 1 AND kind = 13", "and a rest of"),
    ("UPDATE entries SET kind = 9 WHERE room = 1 AND kind = 13", "has its ends at the entries []"),
    ("UPDATE entries SET count = count + 1 WHERE room = 1 AND kind = 12", "out of turn"),
    ("UPDATE entries SET person = 1 WHERE room = 1 AND kind = 12", "for one user"),
]


@pytest.mark.parametrize(("statement", "fault"), CHANGES)
def test_what_is_changed_by_hand_is_found(filled: Booking, tmp_path: Path, statement: str, fault: str) -> None:
    with sqlite3.connect(tmp_path / "ledger.db") as database:
        for (drop,) in database.execute(TRIGGERS).fetchall():
            database.execute(drop)
        # What must be unique is so by an index: without it, somebody may still have tried.
        database.execute("DROP INDEX entries_share")
        assert database.execute(statement).rowcount > 0
    database.close()
    report = filled.audit()
    assert not report.sound
    assert any(fault in each.text for each in report.faults), [str(each) for each in report.faults]


def test_an_entry_that_the_stream_lacks_or_has_otherwise_is_found(filled: Booking) -> None:
    stream = filled.stream()
    lost = [each if each.first != 2 else Happening(2, 2, [1, ["u"], 1, "x"]) for each in stream]
    assert [str(each) for each in filled.audit(Recorded(ROOM, EPOCH, 1, lost)).faults] == [
        "大厅, entry 1: is not in the stream, where the ledger has it at offset 2"
    ]
    foreign = Recorded("nowhere", EPOCH, 1, stream[:2])
    assert "is at offset 2 of the stream, and not in the ledger" in filled.audit(foreign).faults[0].text


# -- totals and export ------------------------------------------------------------------------------------------------


def totals_of(ledger: Booking, **more: Any) -> list[dict[str, Any]]:
    return [msgspec.to_builtins(line) for line in read_books(ledger.url, lambda books: totals(books, **more))]


def test_totals_are_those_of_the_entries(filled: Booking) -> None:
    found = {(line["room"], line["stream"]): line for line in totals_of(filled)}
    assert found.keys() == {(OTHER, ""), (OTHER, "s1"), (ROOM, ""), (ROOM, "s1"), (ROOM, "s2")}
    rows = filled.exported()
    for (room, stream), line in found.items():
        mine = [each for each in rows if each["room"] == room and (each["stream"] or "") == stream]
        for kind, count, amount in (
            ("gift", "gifts", "amount"),
            ("correction", "corrections", "corrected"),
            ("packet", "packets", "packet_amount"),
            ("share", "shares", "share_amount"),
            ("packet_end", None, "rest"),
        ):
            of_kind = [each["amount"] for each in mine if each["kind"] == kind]
            assert line[amount] == sum(of_kind)
            assert count is None or line[count] == len(of_kind)
    assert found[ROOM, "s1"]["corrected"] == -52
    assert (found[ROOM, ""]["packets"], found[ROOM, ""]["shares"]) == (4, 5)


def test_totals_of_one_room_by_gift(filled: Booking) -> None:
    found = totals_of(filled, rooms=[ROOM], by_gift=True)
    assert {line["room"] for line in found} == {ROOM}
    whole = [line for line in found if not line["gift"]]
    assert sum(line["amount"] for line in whole) == sum(line["amount"] for line in found if line["gift"])
    assert [(line["stream"], line["gift"]) for line in found] == [
        *(("", ""), ("", "rose")),
        *(("s1", ""), ("s1", "rose")),
        *(("s2", ""), ("s2", "rose")),
    ]


def test_an_exported_line_has_all_members_and_says_what_the_entry_is(filled: Booking) -> None:
    found = filled.exported()
    assert {tuple(each) for each in found} == {tuple(found[0])}
    assert [each["entry"] for each in found if each["room"] == ROOM] == list(range(1, len(filled.entries[ROOM]) + 1))
    assert found[0] | {"booked_ms": 0} == {
        "room": ROOM,
        "entry": 1,
        "kind": "gift",
        "booked": "2023-11-14T22:13:20.001Z",
        "booked_ms": 0,
        "user": "u1",
        "name": "名u1",
        "receiver": None,
        "corrector": None,
        "amount": 52,
        "gift": "rose",
        "count": 1,
        "combo": 1,
        "corrects": None,
        "packet": None,
        "shares": None,
        "share": None,
        "key": "1",
        "stream": "s1",
        "epoch": EPOCH,
        "offset": 2,
    }
    kinds = {each["kind"]: each for each in found}
    assert kinds.keys() == {"gift", "combo", "correction", "packet", "share", "packet_end"}
    assert (kinds["correction"]["user"], kinds["correction"]["corrector"], kinds["correction"]["corrects"]) == ("u2", "mod", 2)
    assert (found[2]["receiver"], found[1]["stream"]) == ("u3", None)
    unpublished = [each for each in found if each["offset"] is None]
    assert [each["key"] for each in unpublished] == ["last"]


def test_a_part_of_the_ledger_is_exported(filled: Booking) -> None:
    assert [each["entry"] for each in filled.exported(rooms=[OTHER], first=2)] == [2]
    assert filled.exported(rooms=[]) == []


# -- where there is none ----------------------------------------------------------------------------------------------


def test_without_a_ledger_the_error_says_so(tmp_path: Path) -> None:
    path = tmp_path / "none.db"
    with pytest.raises(LedgerError, match="there is no ledger at"):
        read_books(f"sqlite:///{path}", lambda books: None)
    assert not path.exists()
    sqlite3.connect(path).close()
    path.touch()
    with pytest.raises(LedgerError, match="no ledger in this database yet"):
        read_books(f"sqlite:///{path}", lambda books: None)


def test_tables_of_another_release_are_left_alone(ledger: Booking, tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "ledger.db") as database:
        database.execute("UPDATE alembic_version SET version_num = '9999'")
    database.close()
    with pytest.raises(LedgerError, match="version 9999"):
        ledger.audit()
