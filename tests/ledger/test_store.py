"""The ledger's store on both databases: what is asked of it, in plain cases, and what can be read."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.exc import DBAPIError

from engine.errors import Code
from engine.ledger.split import shares
from engine.ledger.store import LedgerError, Store
from engine.ledger.values import Book, Booked, End, Finish, Gift, Giver, Mark, Rejected
from engine.schema import Author, RankedAuthor

from .crashes import Crash, crash_at, statements
from .requests import SEED, claim, correct, event, give, pack, told


def numbers(store: Store) -> list[int]:
    return [each.number for each in store.outbox(1_000)]


# -- keys ----------------------------------------------------------------------------------------------------------------


def test_a_retry_gets_the_first_answer_with_its_position(store: Store) -> None:
    first = store.commit([give("k")], [], 1).outcomes[0]
    store.commit([], [Mark("hall", 1, 7, 99)], 2)
    again = store.commit([give("k", price=999, stream="later", combo_ms=50, ref=3)], [], 3)
    assert isinstance(first, Booked)
    assert again.entries == []
    assert again.outcomes == [Booked(first.entry.__class__("hall", 1, first.entry.event, 1, 7, 99), 10, True)]


def test_a_key_is_known_once_something_is_booked_under_it(store: Store) -> None:
    store.commit([give("k"), correct("c", 9)], [], 1)
    assert [store.known(key) for key in ("k", "c", "x")] == [True, False, False]


@pytest.mark.parametrize(
    "other", [{"room": "other"}, {"author": Author("bob")}, {"gift": "car"}, {"count": 2}, {"receiver": "bob"}], ids=str
)
def test_a_key_that_was_used_for_something_else_is_a_conflict(store: Store, other: dict[str, Any]) -> None:
    store.commit([give("k")], [], 1)
    (outcome,) = store.commit([give("k", **other)], [], 2).outcomes
    assert told(outcome) == ("rejected", Code.CONFLICT)
    assert numbers(store) == [1]


def test_a_key_is_free_after_a_refusal(store: Store) -> None:
    group: list[Book] = [correct("k", 1), give("k"), give("k"), pack("k")]
    outcomes = store.commit(group, [], 1).outcomes
    assert [told(each) for each in outcomes] == [
        ("rejected", Code.NOT_FOUND),
        ("booked", "hall", 1, 10, False),
        ("booked", "hall", 1, 10, True),
        ("rejected", Code.CONFLICT),
    ]


def test_what_was_committed_before_the_process_ended_is_not_done_again(url: str) -> None:
    group: list[Book] = [give("a"), pack("b"), claim(2, "bob"), give("c", combo_ms=5)]
    first = Store(url)
    booked = first.commit(group, [], 1)
    first.close()
    second = Store(url)
    again = second.commit(group, [], 2)
    assert again.entries == []
    assert [told(each)[:-1] for each in again.outcomes] == [told(each)[:-1] for each in booked.outcomes]
    assert all(isinstance(each, Booked) and each.repeated for each in again.outcomes)
    second.close()


def test_nothing_is_there_of_a_group_that_breaks_off_anywhere(store: Store) -> None:
    store.commit([give("a", combo_ms=5), give("b", combo_ms=5), pack("c", 10, 2)], [], 1)
    before = store.outbox(100), store.givers("hall", "", 0, 10), store.packets("hall"), store.due(100, 10)
    group: list[Book] = [
        give("d", "new", combo_ms=5),
        correct("e", 1),
        claim(3, "x"),
        claim(3, "y"),
        Finish(room="hall", combo=1),
        pack("f"),
    ]
    marks = [Mark("hall", 1, 7, 1)]
    for number in range(100):
        try:
            with crash_at(number), statements() as seen:
                done = store.commit(group, marks, 50)
        except Crash:
            assert (store.outbox(100), store.givers("hall", "", 0, 10), store.packets("hall"), store.due(100, 10)) == before
        else:
            break
    assert number == len(seen) > 15
    assert [each.number for each in done.entries] == [4, 5, 6, 7, 8, 9, 10]
    assert numbers(store) == list(range(2, 11))


# -- gifts ---------------------------------------------------------------------------------------------------------------


def test_a_gift_is_shown_as_it_was_given(store: Store) -> None:
    author = RankedAuthor("ann", "安", {"badge": "7"}, "member", 12)
    gift = give("k", author=author, count=3, receiver="bob", ref=77, combo_ms=3_000)
    (entry,) = store.commit([gift], [], 5).entries
    shown = ["ann", "安", {"badge": "7"}, "member", 12]
    assert event(entry) == [8, shown, 1, 77, "rose", 3, 30, "bob", 1, 3, 3_000, 30, "life"]
    assert (entry.room, entry.number, entry.booked_ms, entry.epoch, entry.offset) == ("hall", 1, 5, 0, 0)


def test_a_combo_ends_in_an_entry_of_its_own_before_the_next_begins(store: Store) -> None:
    store.commit([give("a", combo_ms=100), give("b", count=2, combo_ms=100)], [], 1_000)
    done = store.commit([give("c", combo_ms=100)], [], 1_101)
    assert [event(each)[0] for each in done.entries] == [9, 8]
    assert event(done.entries[0]) == [9, ["ann", "ANN", {}], 3, 1, "rose", "", 3, 30]
    assert event(done.entries[1])[8:10] == [4, 1]
    assert told(done.outcomes[0]) == ("booked", "hall", 4, 10, False)


def test_a_combo_ends_once(store: Store) -> None:
    store.commit([give("a", combo_ms=100), give("b", combo_ms=100), give("single", "bob", combo_ms=100)], [], 1_000)
    assert store.due(1_100, 10) == []
    assert store.next_due() == 1_101
    finish = Finish(room="hall", combo=1)
    assert store.due(1_101, 10) == [finish]
    early = store.commit([finish], [], 1_100).outcomes
    done = store.commit([finish, finish, Finish(room="hall", combo=3)], [], 1_101).outcomes
    assert [told(each) for each in (*early, *done)] == [
        ("rejected", Code.NOT_FOUND),
        ("booked", "hall", 4, 20, False),
        ("rejected", Code.NOT_FOUND),
        ("rejected", Code.NOT_FOUND),
    ]
    assert store.next_due() is None


def test_time_does_not_go_back_within_a_room(store: Store) -> None:
    times = [store.commit([give(f"k{now}")], [], now).entries[0].booked_ms for now in (5, 3, 9, 1)]
    assert times == [5, 5, 9, 9]
    assert store.commit([give("k", room="other")], [], 1).entries[0].booked_ms == 1


@pytest.mark.parametrize("price", [0, -5, 2**53])
def test_an_amount_that_is_none_is_refused(store: Store, price: int) -> None:
    (outcome,) = store.commit([give("k", price=price)], [], 1).outcomes
    assert told(outcome) == ("rejected", Code.INVALID)


def test_sums_stay_exact(store: Store) -> None:
    outcomes = store.commit([give("a", price=2**53 - 2), give("b", price=2), give("c", price=1)], [], 1).outcomes
    assert [type(each) for each in outcomes] == [Booked, Rejected, Booked]
    assert store.givers("hall", "", 0, 10) == [Giver("ann", "ANN", 2**53 - 1)]


BAD_NAMES = [
    {"gift": "a\0b"},
    {"author": Author("a\ud800")},
    {"author": Author("a", "\udfff")},
    {"receiver": "\0"},
    {"gift": "x" * 700},
]


@pytest.mark.parametrize("what", BAD_NAMES, ids=lambda what: next(iter(what)))
def test_a_text_that_no_database_can_hold_costs_only_its_sender(store: Store, what: dict[str, Any]) -> None:
    outcomes = store.commit([give("a"), give("b", **what), give("c")], [], 1).outcomes
    assert [told(each) for each in outcomes] == [
        ("booked", "hall", 1, 10, False),
        ("rejected", Code.INVALID),
        ("booked", "hall", 2, 10, False),
    ]


# -- corrections -----------------------------------------------------------------------------------------------------------


def test_what_remains_of_a_gift_is_never_below_zero(store: Store) -> None:
    store.commit([give("a", count=5)], [], 1)
    group: list[Book] = [
        correct("b", 1, -20),
        correct("c", 1, -31),
        correct("d", 1, 5),
        correct("e", 1),
        correct("f", 1),
        correct("g", 2),
    ]
    done = store.commit(group, [], 2)
    assert [told(each)[3] if isinstance(each, Booked) else each.code for each in done.outcomes] == [
        -20,
        Code.INVALID,
        5,
        -35,
        Code.INVALID,
        Code.NOT_FOUND,
    ]
    assert [event(each)[3:] for each in done.entries] == [
        [1, "ann", -20, 30, "", "life"],
        [1, "ann", 5, 35, "", "life"],
        [1, "ann", -35, 0, "", "life"],
    ]
    assert store.givers("hall", "life", 0, 10) == store.givers("hall", "", 0, 10) == []


# -- red packets -----------------------------------------------------------------------------------------------------------


def test_shares_follow_from_the_seed_in_the_order_of_the_claims(store: Store) -> None:
    store.commit([pack("p", 100, 5)], [], 1)
    done = store.commit([claim(1, f"u{number}") for number in range(7)], [], 2)
    assert [told(each)[3] for each in done.outcomes[:5]] == shares(SEED, 100, 5, "random")
    assert [told(each) for each in done.outcomes[5:]] == [("rejected", Code.PACKET_OVER)] * 2
    assert event(done.entries[-1]) == [13, ["ann", "ANN", {}], 7, 1, "emptied", 5, 0, SEED.hex()]
    assert store.packets("hall") == []


def test_a_second_claim_gets_the_first_answer_even_when_the_packet_is_over(store: Store) -> None:
    store.commit([pack("p", 10, 1), claim(1, "bob")], [], 1)
    again, other = store.commit([claim(1, "bob"), claim(1, "cid")], [], 99_999).outcomes
    assert told(again) == ("booked", "hall", 2, 10, True)
    assert told(other) == ("rejected", Code.PACKET_OVER)


def test_a_thousand_claims_cost_as_many_statements_as_one(store: Store) -> None:
    store.commit([pack("p", 100_000, 400)], [], 1)
    store.commit([claim(1, "first")], [], 2)
    counts = []
    for crowd in (["a"], [f"u{number}" for number in range(1_000)], [f"u{number}" for number in range(1_000)]):
        with statements() as seen:
            outcomes = store.commit([claim(1, user) for user in crowd], [], 3).outcomes
        counts.append(len(seen))
    assert sum(isinstance(each, Booked) and each.repeated for each in outcomes) == 398
    assert max(counts) <= counts[0] + 4
    assert event(store.outbox(1_000)[-1])[0] == 13


def test_before_its_time_a_packet_cannot_be_claimed_and_does_not_expire(store: Store) -> None:
    store.commit([pack("p", opens=100, expires=200)], [], 1)
    expire = End(room="hall", packet=1, reason="expired")
    early, not_yet = store.commit([claim(1, "bob"), expire], [], 40).outcomes
    assert early == Rejected(Code.TOO_EARLY, "the red packet is not open yet", 60)
    assert not_yet == Rejected(Code.TOO_EARLY, "the red packet has not expired", 160)
    assert store.next_due() == 200
    assert store.due(200, 10) == [expire]
    late, end, again = store.commit([claim(1, "bob"), expire, expire], [], 200).outcomes
    assert told(late) == ("rejected", Code.PACKET_OVER)
    assert told(end) == ("booked", "hall", 2, 100, False)
    assert told(again) == ("booked", "hall", 2, 100, True)


def test_a_cancelled_packet_gives_back_what_is_left(store: Store) -> None:
    store.commit([pack("p", 10, 2, split="equal"), claim(1, "bob")], [], 1)
    (end,) = store.commit([End(room="hall", packet=1, reason="cancelled")], [], 2).outcomes
    assert told(end) == ("booked", "hall", 3, 5, False)


def test_no_more_packets_are_open_than_may_be(store: Store) -> None:
    outcomes = store.commit([pack("a", most=2), pack("b", most=2), pack("c", most=2)], [], 1).outcomes
    assert told(outcomes[2]) == ("rejected", Code.STATE_FULL)
    end = End(room="hall", packet=1, reason="cancelled")
    assert [type(each) for each in store.commit([end, pack("c", most=2)], [], 2).outcomes] == [Booked, Booked]
    assert [each.number for each in store.packets("hall")] == [2, 4]


# -- what can be read ------------------------------------------------------------------------------------------------------


def test_the_outbox_has_what_is_not_published_oldest_first(store: Store) -> None:
    store.commit([give("a", room="z")], [], 1)
    store.commit([give("b", room="a"), give("c", room="z")], [], 2)
    assert [(each.room, each.number, each.booked_ms) for each in store.outbox(1)] == [("z", 1, 1)]
    assert {(each.room, each.number, each.booked_ms) for each in store.outbox(9)[1:]} == {("z", 2, 2), ("a", 1, 2)}
    assert [each.number for each in store.outbox(9, "z")] == [1, 2]
    marks = [Mark("z", 1, 7, 5), Mark("nowhere", 1, 7, 6), Mark("z", 99, 7, 6), Mark("a", 1, 7, 1)]
    store.commit([], marks, 3)
    assert [(each.room, each.number) for each in store.outbox(9)] == [("z", 2)]


def test_recent_are_those_that_a_new_epoch_may_lack(store: Store) -> None:
    for now in (100, 200, 300, 400, 500):
        store.commit([give(f"k{now}")], [], now)
    # 1 is not published, 2 and 3 are in an older epoch, 4 is in this one.
    store.commit([], [Mark("hall", 2, 6, 1), Mark("hall", 3, 6, 2), Mark("hall", 4, 7, 1), Mark("hall", 5, 6, 3)], 1)
    assert [each.number for each in store.recent("hall", 200, 7, 10)] == [1, 3, 5]
    assert [each.number for each in store.recent("hall", 9_999, 7, 10)] == [1, 2, 3, 5]
    assert [each.number for each in store.recent("hall", 9_999, 7, 2)] == [3, 5]
    assert [(each.epoch, each.offset) for each in store.recent("hall", 0, 7, 10)] == [(0, 0), (6, 3)]
    assert store.recent("nowhere", 9_999, 7, 10) == []


def test_leaderboards_have_most_first_and_equals_by_id(store: Store) -> None:
    group: list[Book] = [
        give("1", "bob"),
        give("2", "cid", count=3),
        give("3", "ann"),
        give("4", "bob", stream="later", count=9),
    ]
    store.commit([*group, give("5", "dan", room="other")], [], 1)
    assert store.givers("hall", "life", 0, 10) == [Giver("cid", "CID", 30), Giver("ann", "ANN", 10), Giver("bob", "BOB", 10)]
    assert store.givers("hall", "", 0, 2) == [Giver("bob", "BOB", 100), Giver("cid", "CID", 30)]
    assert store.givers("hall", "", 2, 2) == [Giver("ann", "ANN", 10)]
    assert store.givers("nowhere", "", 0, 2) == []


def test_a_leaderboard_has_the_last_name(store: Store) -> None:
    for number, name in enumerate(("老王", "", "小\0王")):
        store.commit([give(str(number), author=Author("ann", name))], [], 1)
    assert store.givers("hall", "", 0, 1) == [Giver("ann", "小王", 30)]


def test_the_catalogue_keeps_what_is_offered(store: Store) -> None:
    rose, car = Gift("rose", "玫瑰", 10), Gift("car", "跑车", 9_999, "fullscreen", 0)
    store.offer(rose)
    store.offer(Gift("car", "x", 1))
    store.offer(car)
    assert store.gifts() == [car, rose]
    assert store.withdraw("rose")
    assert not store.withdraw("rose")
    assert store.gifts() == [car]


# -- the tables -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("table", ["entries", "keys"])
@pytest.mark.parametrize("change", ["UPDATE {} SET number = number + 1", "DELETE FROM {}"])
def test_what_is_booked_cannot_be_changed_or_deleted(url: str, store: Store, table: str, change: str) -> None:
    store.commit([give("k")], [], 1)
    engine = create_engine(url.replace("postgresql:", "postgresql+psycopg:"))
    with engine.connect() as connection, pytest.raises(DBAPIError, match="never changed and never deleted"):
        connection.execute(text(change.format(table)))
    engine.dispose()


def test_nothing_to_do_is_no_trouble(store: Store) -> None:
    done = store.commit([], [], 1)
    assert (done.outcomes, done.entries) == ([], [])
    assert (store.outbox(5), store.due(9, 9), store.next_due(), store.erase("nobody")) == ([], [], None, None)


def test_the_values_load_no_database_library() -> None:
    program = "import engine.ledger.values, engine.ledger.errors, engine.ledger.split, sys; print('sqlalchemy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "False\n"


@pytest.mark.parametrize("url", ["", "nonsense", "mysql://a/b", "sqlite://", "sqlite:///:memory:"])
def test_an_url_that_names_no_database_is_refused(url: str) -> None:
    with pytest.raises(LedgerError, match=r"ledger\.url"):
        Store(url)
