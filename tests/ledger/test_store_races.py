"""Many who give and claim at once, in threads and processes with stores of their own: sums are exact, numbers without holes."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

from engine.errors import Code
from engine.ledger.split import shares
from engine.ledger.store import Store
from engine.ledger.values import Book, Booked, Mark, Outcome

from .conftest import NewUrl
from .requests import SEED, claim, correct, event, give, pack

ROOMS = ("a", "b", "c")
SHARES = 40


def everybody(count: int, url: str, do: Callable[[int, Store], Any]) -> list[Any]:
    """What each of them got, all having begun at once."""
    barrier = Barrier(count)

    def run(number: int) -> Any:
        store = Store(url, answer_seconds=60)
        try:
            store.next_due()
            barrier.wait(60)
            return do(number, store)
        finally:
            store.close()

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(run, range(count)))


def storm(number: int, store: Store) -> list[tuple[str, str, Outcome]]:
    """Groups of gifts and claims in several rooms, some of them said twice."""
    chance = random.Random(number)
    done: list[tuple[str, str, Outcome]] = []
    for turn in range(12):
        group: list[Book] = []
        users: list[str] = []
        for each in range(10):
            user = f"user{chance.randrange(60)}"
            room = chance.choice(ROOMS)
            asked: Book = claim(1, user, room)
            if chance.random() < 0.6:
                asked = give(f"{number}/{turn}/{each}", user, room=room, count=chance.randint(1, 5), combo_ms=5)
            group.append(asked)
            users.append(user)
        for _ in range(chance.choice((1, 1, 2))):
            outcomes = store.commit(group, [], turn).outcomes
        done += [(book.room, user, outcome) for book, user, outcome in zip(group, users, outcomes, strict=True)]
    return done


def check(store: Store, done: list[tuple[str, str, Outcome]]) -> None:
    entries = store.outbox(100_000)
    for room in ROOMS:
        mine = [each for each in entries if each.room == room]
        assert sorted(each.number for each in mine) == list(range(1, len(mine) + 1))
        times = [each.booked_ms for each in sorted(mine, key=lambda each: each.number)]
        assert times == sorted(times)
        events = [event(each) for each in sorted(mine, key=lambda each: each.number)]
        assert [each[2] for each in events] == [each.number for each in sorted(mine, key=lambda each: each.number)]

        sums: dict[str, int] = {}
        for each in events:
            if each[0] == 8:
                user = each[1][0]
                sums[user] = sums.get(user, 0) + each[6]
                assert each[11] == sums[user]
        assert {each.user: each.given for each in store.givers(room, "", 0, 1_000)} == sums

        won = [each for each in events if each[0] == 12]
        assert len({each[1][0] for each in won}) == len(won) == SHARES
        assert [each[5] for each in won] == shares(SEED, 1_000, SHARES, "random")
        assert [each[4] for each in won] == list(range(1, SHARES + 1))
        assert [each[4] for each in events if each[0] == 13] == ["emptied"]
        answered = {
            user: outcome.entry.number for where, user, outcome in done if where == room and isinstance(outcome, Booked)
        }
        assert set(answered.values()) <= set(range(1, len(mine) + 1))


def test_many_stores_give_and_claim_at_once(url: str) -> None:
    store = Store(url, answer_seconds=60)
    for room in ROOMS:
        store.commit([pack(f"p{room}", 1_000, SHARES, room=room)], [], 0)
    done = [each for them in everybody(4, url, storm) for each in them]
    store.commit([claim(1, f"late{number}", room) for room in ROOMS for number in range(SHARES)], [], 99)
    check(store, done)
    store.close()


def test_many_processes_claim_at_once(new_postgresql: NewUrl) -> None:
    url = new_postgresql()
    store = Store(url, answer_seconds=60)
    store.commit([pack("p", 1_000, SHARES)], [], 0)
    program = """
import json, sys
from engine.ledger.store import Store
from engine.ledger.values import Booked, Claim
from engine.schema import Author
store = Store(sys.argv[1], answer_seconds=60)
sys.stdin.read(1)
won = {}
for start in range(0, 60, 6):
    users = [f"u{number}" for number in range(start, start + 6)]
    outcomes = store.commit([Claim(room="hall", packet=1, author=Author(user)) for user in users], [], 5).outcomes
    won |= {user: outcome.amount for user, outcome in zip(users, outcomes) if isinstance(outcome, Booked)}
store.close()
print(json.dumps(won))
"""
    command = [sys.executable, "-c", program, url]
    running = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    answers = [json.loads(each.communicate("x", timeout=60)[0]) for each in running]
    assert answers[0] == answers[1] == answers[2]
    assert sorted(answers[0].values()) == sorted(shares(SEED, 1_000, SHARES, "random"))
    store.close()


def test_a_key_is_used_once_though_nodes_use_it_at_once_in_rooms_of_their_own(url: str) -> None:
    def same(number: int, store: Store) -> list[Outcome]:
        return store.commit([give(f"k{each}", room=f"room{number}") for each in range(20)], [], 1).outcomes

    answers = everybody(4, url, same)
    for each in zip(*answers, strict=True):
        booked = [outcome for outcome in each if isinstance(outcome, Booked)]
        assert len(booked) == 1
        assert [outcome.code for outcome in each if not isinstance(outcome, Booked)] == [Code.CONFLICT] * 3


def test_rooms_are_locked_in_one_order_whatever_the_order_of_the_requests(url: str) -> None:
    names = [f"room{number}" for number in range(8)]

    def shuffled(number: int, store: Store) -> None:
        chance = random.Random(number)
        for turn in range(8):
            chance.shuffle(names_of := list(names))
            users = [f"new{chance.randrange(50)}" for _ in names_of]
            group = [give(f"{number}/{turn}/{room}", user, room=room) for room, user in zip(names_of, users, strict=True)]
            marks = [Mark(room, turn, 7, 1) for room in names_of[:4]]
            store.commit(group, marks, turn)

    everybody(4, url, shuffled)
    store = Store(url, answer_seconds=60)
    assert {store.commit([give(f"last {room}", room=room)], [], 1).entries[0].number for room in names} == {33}
    store.close()


def test_corrections_at_once_never_take_more_than_there_is(url: str) -> None:
    store = Store(url, answer_seconds=60)
    store.commit([give("g", count=10)], [], 1)
    answers = everybody(4, url, lambda number, own: own.commit([correct(f"c{number}", 1, -40)], [], 1).outcomes[0])
    assert sorted(isinstance(each, Booked) for each in answers) == [False, False, True, True]
    assert store.givers("hall", "", 0, 1)[0].given == 20
    store.close()


def test_a_person_is_forgotten_while_it_gives(url: str) -> None:
    """Whatever is booked of it before belongs to the pseudonym, whatever after to a new person, and nothing is lost."""

    def run(number: int, store: Store) -> str | None:
        if number == 0:
            return store.erase("ann")
        for turn in range(15):
            store.commit([give(f"{number}/{turn}", "ann", room=f"room{number}")], [], turn)
        return None

    store = Store(url, answer_seconds=60)
    store.commit([give("first", "ann", room="room1")], [], 0)
    pseudonym = next(each for each in everybody(3, url, run) if each)
    total = 0
    for room in ("room1", "room2"):
        lines = store.givers(room, "", 0, 10)
        assert {each.user for each in lines} <= {"ann", pseudonym}
        total += sum(each.given for each in lines)
        shown: dict[str, int] = {}
        for entry in store.outbox(100, room):
            shown[event(entry)[1][0]] = shown.get(event(entry)[1][0], 0) + 10
        assert shown == {each.user: each.given for each in lines}
    assert total == 310
    store.close()


def test_many_open_a_new_database_at_once(new_database: NewUrl, tmp_path: Any) -> None:
    for url in (new_database(), f"sqlite:///{tmp_path}/new.db"):

        def run(number: int, url: str = url) -> int:
            store = Store(url, answer_seconds=60)
            store.open()
            done = store.commit([give(f"k{number}")], [], 1).entries[0].number
            store.close()
            return done

        with ThreadPoolExecutor(4) as pool:
            assert sorted(pool.map(run, range(4))) == [1, 2, 3, 4]
