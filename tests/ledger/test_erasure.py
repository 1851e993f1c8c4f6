"""A person is forgotten: nothing names it any more, every amount stays."""

from __future__ import annotations

from sqlalchemy import LargeBinary, Text, create_engine, select

from engine.ledger.store import Store
from engine.ledger.tables import metadata
from engine.ledger.values import Book, Booked, End, Entry, Finish, Giver, Mark
from engine.schema import Author

from .requests import claim, correct, event, give, pack, told

PERSON = "person-7f"
NAME = "王小明"


def texts(url: str) -> list[str]:
    """All that the database holds, but for keys."""
    found: list[str] = []
    engine = create_engine(url.replace("postgresql:", "postgresql+psycopg:"))
    with engine.connect() as connection:
        for table in metadata.sorted_tables:
            for column in table.c:
                if table.name != "keys" and isinstance(column.type, Text | LargeBinary):
                    values = connection.scalars(select(column)).all()
                    found += [each if isinstance(each, str) else bytes(each).decode(errors="replace") for each in values]
    engine.dispose()
    return found


def everything(store: Store) -> None:
    """One of each kind, of the person or about it, all but the last two published."""
    me = Author(PERSON, NAME, {"city": "桂林"})
    group: list[Book] = [
        give("1", author=me, combo_ms=10),
        give("2", author=me, combo_ms=10),
        give("3", "bob", receiver=PERSON, combo_ms=10),
        give("4", "bob", receiver=PERSON, combo_ms=10),
        correct("5", 1, -3),
        pack("6", 10, 2, author=me),
        claim(6, "bob"),
        claim(6, PERSON),
        pack("7", 10, 2, author=me),
        pack("8", 10, 2),
    ]
    store.commit([*group, End(room="hall", packet=10, reason="cancelled")], [], 100)
    store.commit([Finish(room="hall", combo=1), Finish(room="hall", combo=3)], [], 200)
    store.commit([pack("9", 10, 2, author=me)], [], 200)
    last = store.outbox(100)[-1].number
    marks = [Mark("hall", number, 7, number) for number in range(1, last + 1)]
    store.commit([give("10", author=me, combo_ms=1_000), claim(last, PERSON)], marks, 200)


def test_nothing_names_it_any_more(url: str, store: Store) -> None:
    everything(store)
    assert any(PERSON in each for each in texts(url))
    pseudonym = store.erase(PERSON)
    assert pseudonym is not None
    assert pseudonym.startswith("erased-")
    for each in texts(url):
        assert PERSON not in each
        assert NAME not in each
        assert "桂林" not in each


def test_amounts_stay_and_stand_under_its_pseudonym(store: Store) -> None:
    everything(store)
    before = store.givers("hall", "", 0, 10)
    pseudonym = store.erase(PERSON)
    assert pseudonym is not None
    expected = [Giver(pseudonym, pseudonym, each.given) if each.user == PERSON else each for each in before]
    assert sorted(store.givers("hall", "", 0, 10), key=lambda each: each.user) == sorted(expected, key=lambda each: each.user)


def test_what_is_still_to_be_shown_is_rewritten_and_what_was_shown_is_dropped(store: Store) -> None:
    everything(store)
    open_before = store.packets("hall")
    pseudonym = store.erase(PERSON)
    gift, share = store.outbox(10)
    assert event(gift)[1] == event(share)[1] == [pseudonym, "", {}]
    # A red packet that is open is part of the room's state.
    mine = [each for each in store.packets("hall") if event(each)[1][0] == pseudonym]
    assert [each.number for each in mine] == [open_before[-1].number]
    assert event(mine[0])[2:] == event(open_before[-1])[2:]
    # 7 is another's share, 11 another's red packet.
    assert [each.number for each in store.recent("hall", 9_999, 8, 100) if each.event] == [7, 11, 15, 16, 17]


def test_what_comes_later_of_its_combo_and_packet_has_the_pseudonym(store: Store) -> None:
    packet = pack("3", author=Author(PERSON, NAME))
    store.commit([give("1", PERSON, combo_ms=10), give("2", PERSON, combo_ms=10), packet], [], 1)
    pseudonym = store.erase(PERSON)
    done = store.commit([Finish(room="hall", combo=1), End(room="hall", packet=3, reason="cancelled")], [], 100)
    assert [event(each)[1] for each in done.entries] == [[pseudonym, "", {}]] * 2


def test_who_comes_again_is_somebody_else(store: Store) -> None:
    store.commit([pack("p", 10, 2), claim(1, PERSON), give("g", PERSON)], [], 1)
    pseudonym = store.erase(PERSON)
    done = store.commit([claim(1, PERSON), give("h", PERSON, count=2)], [], 2)
    assert [told(each)[-1] for each in done.outcomes] == [False, False]
    assert {(each.user, each.given) for each in store.givers("hall", "", 0, 9)} == {(pseudonym, 10), (PERSON, 20)}


def test_a_retry_of_what_was_dropped_still_gets_its_answer(store: Store) -> None:
    store.commit([give("g", PERSON)], [], 1)
    store.commit([], [Mark("hall", 1, 7, 3)], 1)
    store.erase(PERSON)
    (outcome,) = store.commit([give("g", PERSON)], [], 2).outcomes
    assert outcome == Booked(Entry("hall", 1, b"", 1, 7, 3), 10, True)


def test_who_is_not_known_cannot_be_forgotten(store: Store) -> None:
    store.commit([give("g", PERSON)], [], 1)
    assert store.erase("somebody") is None
    assert store.erase(PERSON) is not None
    assert store.erase(PERSON) is None
