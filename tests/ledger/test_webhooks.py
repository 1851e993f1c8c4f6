"""The outbox of happenings, in both databases: numbers, order, keys, dead letters, the lease, and who is forgotten."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import msgpack
import pytest

from engine.hooks.letters import Letter, Mark, News, RoomPage, Settled, kinds_of, packed, place_of
from engine.ledger.store import Store
from engine.ledger.values import Book, End, Finish
from engine.schema import Author, EventKind

from .requests import claim, correct, give, pack

MONEY = kinds_of(("gift", "red_packet"))
ME, OTHER = "a" * 16, "b" * 16


def news(room: str, what: str = "moderation.mute", key: str = "", mark: Mark | None = None, **table: object) -> News:
    return News(room, what, 1_000, packed({"action": what, **table}), key, mark)


def waiting(store: Store, now_ms: int = 1_000, limit: int = 100) -> dict[str, list[Letter]]:
    return {room.name: room.letters for room in store.webhooks.page(limit, now_ms).rooms}


def numbers(store: Store, now_ms: int = 1_000) -> dict[str, list[int]]:
    return {room: [each.number for each in letters] for room, letters in waiting(store, now_ms).items()}


def settle(store: Store, *settled: Settled, holder: str = ME, now_ms: int = 1_000) -> bool:
    assert store.webhooks.lease(holder, 60_000, now_ms) == 0
    return store.webhooks.settle(holder, settled, now_ms)


def room(store: Store, name: str, now_ms: int = 1_000) -> RoomPage:
    return next(each for each in store.webhooks.page(100, now_ms).rooms if each.name == name)


def put_aside(store: Store, name: str, number: int) -> str:
    page = room(store, name)
    assert settle(store, Settled(page.row, number, number - 1, dead=number, tries=3, reason="status 500\0"))
    return f"{page.origin}-{page.row}-{number}"


# -- what comes in ----------------------------------------------------------------------------------------------------


def test_what_is_booked_is_told_in_the_order_of_its_entries(store: Store) -> None:
    group: list[Book] = [give("1", combo_ms=5), give("2", combo_ms=5), pack("p", 10, 2), claim(3, "bob"), correct("c", 1)]
    store.commit([*group, give("x", room="房间")], [], 1_000, MONEY)
    store.commit([End(room="hall", packet=3, reason="cancelled"), Finish(room="hall", combo=1)], [], 2_000, MONEY)
    letters = waiting(store)
    assert [(each.number, each.type, each.time) for each in letters["hall"]] == [
        (1, "gift.given", 1_000),
        (2, "gift.given", 1_000),
        (3, "red_packet.opened", 1_000),
        (4, "red_packet.claimed", 1_000),
        (5, "gift.corrected", 1_000),
        (6, "red_packet.ended", 2_000),
        (7, "gift.combo", 2_000),
    ]
    assert [each.number for each in letters["房间"]] == [1]
    told = letters["hall"][0].happening(room(store, "hall"))
    assert (told.room, told.type, told.data["author"]["name"], told.data["amount"]) == ("hall", "gift.given", "ANN", 10)
    assert place_of(told.id) == (room(store, "hall").row, 1)
    assert len({each.happening(room(store, name)).id for name in letters for each in letters[name]}) == 8


def test_nothing_is_told_of_topics_that_are_not_wanted(store: Store) -> None:
    store.commit([give("1"), pack("p", 10, 2)], [], 1)
    assert waiting(store) == {}
    store.commit([give("2"), pack("q", 10, 2)], [], 1, kinds_of(("red_packet", "room")))
    assert [each.type for each in waiting(store)["hall"]] == ["red_packet.opened"]
    assert kinds_of(()) == frozenset()
    assert kinds_of(("gift",)) == {EventKind.GIFT, EventKind.COMBO, EventKind.CORRECTION}


def test_what_is_booked_once_is_told_once(store: Store) -> None:
    store.commit([give("1"), give("1")], [], 1, MONEY)
    store.commit([give("1"), give("1", count=2)], [], 2, MONEY)
    assert numbers(store) == {"hall": [1]}


def test_the_same_key_is_told_once_and_after_it_was_delivered_too(store: Store) -> None:
    assert store.webhooks.tell([news("hall", key="k"), news("hall", key="k"), news("other", key="k"), news("hall")]) == 3
    assert numbers(store) == {"hall": [1, 2], "other": [1]}
    assert settle(store, Settled(room(store, "hall").row, 1, 2))
    assert store.webhooks.tell([news("hall", key="k")]) == 0
    assert numbers(store) == {"other": [1]}
    store.webhooks.prune(1_000 + 86_400_001)
    assert store.webhooks.tell([news("hall", key="k"), news("other", key="k")]) == 1
    assert numbers(store) == {"hall": [3], "other": [1]}


def test_a_mark_is_told_when_it_is_newer_and_other_than_the_last(store: Store) -> None:
    def tell(epoch: int, rank: int, value: str) -> int:
        return store.webhooks.tell([news("hall", "room.closed", mark=Mark("life", epoch, rank, value))])

    assert tell(7, 3, "closed\nlive now") == 1
    assert tell(7, 4, "closed\nlive now") == 0
    assert tell(7, 3, "open\n") == 0
    assert tell(7, 9, "open\n") == 1
    assert tell(7, 8, "closed\nlive now") == 0
    # A history that was lost begins anew.
    assert tell(6, 1, "closed\nlive now") == 1
    peak = News("hall", "viewers.peak", 1, packed({"viewers": 100}), mark=Mark("peak", 7, 100, "7/100"))
    assert store.webhooks.tell([peak, peak]) == 1
    assert numbers(store) == {"hall": [1, 2, 3, 4]}


def test_many_at_once_leave_no_hole_in_any_room(url: str) -> None:
    stores = [Store(url, answer_seconds=30) for _ in range(3)]

    def tell(number: int, store: Store) -> None:
        for part in range(8):
            rooms = ("a", "b", "c") if number % 2 else ("c", "b", "a")
            store.webhooks.tell([news(name, key=f"{part}") for name in rooms])
            store.commit([give(f"{number}/{part}/{name}", room=name) for name in rooms], [], 1, MONEY)

    threads = [threading.Thread(target=tell, args=each) for each in enumerate(stores)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # Of the keys each once, and every gift.
    assert numbers(stores[0]) == {name: list(range(1, 8 + 24 + 1)) for name in "abc"}
    for store in stores:
        store.close()


# -- what goes out ----------------------------------------------------------------------------------------------------


def test_what_was_delivered_is_not_there_any_more_and_the_next_ones_are(store: Store) -> None:
    store.webhooks.tell([news("hall") for _ in range(5)])
    page = room(store, "hall")
    assert (page.sent, page.attempts) == (0, 0)
    assert settle(store, Settled(page.row, 1, 3))
    assert numbers(store) == {"hall": [4, 5]}
    assert room(store, "hall").sent == 3
    assert settle(store, Settled(page.row, 4, 5))
    assert store.webhooks.page(100, 1_000).waiting == 0
    store.webhooks.tell([news("hall")])
    assert numbers(store) == {"hall": [6]}


def test_a_room_that_failed_is_not_due_until_its_time_and_others_are(store: Store, url: str) -> None:
    store.webhooks.tell([news("hall"), news("hall"), news("other")])
    # PostgreSQL's own time counts there.
    later = 3_600_000
    assert settle(store, Settled(room(store, "hall").row, 1, 0, attempts=4, pause_ms=later))
    page = store.webhooks.page(100, 1_000)
    assert [each.name for each in page.rooms] == ["other"]
    assert page.next_ms is not None
    assert later - 60_000 < page.next_ms <= later
    assert (page.waiting, page.dead) == (3, 0)
    if url.startswith("sqlite"):
        assert (room(store, "hall", later + 1_000).attempts, room(store, "hall", later + 1_000).sent) == (4, 0)


def test_a_page_has_something_of_every_room_that_is_due(store: Store) -> None:
    store.webhooks.tell([*(news("big") for _ in range(100)), *(news(f"small{number}") for number in range(9))])
    page = store.webhooks.page(20, 1_000)
    assert page.more
    assert sorted((each.name, len(each.letters)) for each in page.rooms) == [
        ("big", 2),
        *((f"small{number}", 1) for number in range(9)),
    ]
    assert not store.webhooks.page(1_000_000, 1_000).more


def test_one_that_is_put_aside_lets_its_room_go_on(store: Store) -> None:
    store.webhooks.tell([news("hall", key=f"{number}") for number in range(1, 5)])
    page = room(store, "hall")
    assert settle(store, Settled(page.row, 1, 1, dead=2, tries=20, reason="status 500"))
    assert numbers(store) == {"hall": [3, 4]}
    (letter,) = store.webhooks.dead((0, 0), 10)
    assert (letter.happening.number, letter.attempts, letter.reason, letter.again) == (2, 20, "status 500", False)
    assert letter.happening.data == {"action": "moderation.mute"}
    assert store.webhooks.page(100, 1_000).dead == 1
    assert settle(store, Settled(page.row, 3, 4))
    assert store.webhooks.letter(place_of(letter.happening.id)) == letter


def test_dead_letters_are_read_in_parts_replayed_and_dropped(store: Store) -> None:
    store.webhooks.tell([news(name) for name in ("a", "b") for _ in range(3)])
    ids = [put_aside(store, name, number) for name in ("a", "b") for number in (1, 2, 3)]
    assert [each.happening.id for each in store.webhooks.dead((0, 0), 4)] == ids[:4]
    assert [each.happening.id for each in store.webhooks.dead(place_of(ids[3]), 4)] == ids[4:]
    assert store.webhooks.letter((1_000, 1)) is None
    assert store.webhooks.page(100, 1_000).again == []
    assert store.webhooks.replay(place_of(ids[1])) == 1
    (again,) = store.webhooks.page(100, 1_000).again
    assert [each.number for each in again.letters] == [2]
    assert again.letters[0].happening(again).id == ids[1]
    # It fails once more; then it is taken.
    assert settle(store, Settled(again.row, 2, 1, dead=2, tries=4, reason="status 503", again=True))
    letter = store.webhooks.letter(place_of(ids[1]))
    assert letter is not None
    assert (letter.attempts, letter.reason, letter.again) == (4, "status 503", False)
    assert store.webhooks.replay(place_of(ids[1])) == 1
    assert settle(store, Settled(again.row, 2, 2, again=True))
    assert store.webhooks.letter(place_of(ids[1])) is None
    assert store.webhooks.drop(place_of(ids[0])) == 1
    assert store.webhooks.drop(place_of(ids[0])) == 0
    assert store.webhooks.replay(None) == 4
    assert store.webhooks.drop(None) == 4
    assert store.webhooks.page(100, 1_000).dead == 0


@pytest.mark.parametrize(
    "text", ["", "1-2", "x-1-2", "ab-1-", "ab--1", "ab-1-2-3", "ab-1-\u0663", "ab-1-9999999999999999", "é"]
)
def test_what_is_no_id_is_told(text: str) -> None:
    with pytest.raises(ValueError, match="is none of a happening"):
        place_of(text)


# -- whose turn it is -------------------------------------------------------------------------------------------------


def test_one_at_a_time_delivers_and_only_that_one_writes_down_what_became_of_it(store: Store, url: str) -> None:
    store.webhooks.tell([news("hall")])
    row = room(store, "hall").row
    assert store.webhooks.lease(ME, 60_000, 1_000) == 0
    assert store.webhooks.lease(ME, 60_000, 2_000) == 0
    wait = store.webhooks.lease(OTHER, 60_000, 2_000)
    assert 0 < wait <= 60_000
    assert not store.webhooks.settle(OTHER, [Settled(row, 1, 1)], 2_000)
    assert numbers(store) == {"hall": [1]}
    store.webhooks.release(OTHER)
    assert store.webhooks.lease(OTHER, 60_000, 2_000) > 0
    store.webhooks.release(ME)
    assert store.webhooks.lease(OTHER, 60_000, 2_000) == 0
    assert not store.webhooks.settle(ME, [Settled(row, 1, 1)], 2_000)
    assert store.webhooks.settle(OTHER, [Settled(row, 1, 1)], 2_000)
    assert numbers(store) == {}
    if url.startswith("sqlite"):
        # Who was killed does not renew it.
        assert store.webhooks.lease(ME, 60_000, 61_999) == 1
        assert store.webhooks.lease(ME, 60_000, 62_000) == 0


def test_of_many_that_want_the_lease_one_has_it(url: str) -> None:
    stores = [Store(url, answer_seconds=30) for _ in range(4)]
    had: list[int] = []

    def want(number: int, store: Store) -> None:
        if not store.webhooks.lease(f"{number}" * 16, 60_000, 1_000):
            had.append(number)

    threads = [threading.Thread(target=want, args=each) for each in enumerate(stores)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(had) == 1
    for store in stores:
        store.close()


# -- who is forgotten -------------------------------------------------------------------------------------------------


def names_in(letters: Sequence[Letter], page: RoomPage) -> list[object]:
    return [(each.happening(page).data["author"]["id"], each.happening(page).data.get("user")) for each in letters]


def test_somebody_who_is_forgotten_is_not_told_of_any_more(store: Store) -> None:
    store.commit([give("1", "ann"), give("2", "bob", receiver="ann"), correct("c", 1)], [], 1, MONEY)
    moderated: dict[str, Any] = {"author": {"id": "mod", "name": "M", "attributes": {}, "role": "", "level": 0}, "user": "ann"}
    store.webhooks.tell([news("hall", **moderated), news("hall", **{**moderated, "user": "hannah"})])
    by_her = {**moderated, "author": {**moderated["author"], "id": "ann"}}
    store.webhooks.tell([news("hall", **by_her)])
    put_aside(store, "hall", 1)
    pseudonym = store.erase("ann")
    assert pseudonym is not None
    page = room(store, "hall")
    assert names_in(page.letters, page) == [
        ("bob", None),
        ("op", pseudonym),
        ("mod", pseudonym),
        ("mod", "hannah"),
        (pseudonym, pseudonym),
    ]
    assert page.letters[0].happening(page).data["to"] == pseudonym
    (letter,) = store.webhooks.dead((0, 0), 10)
    assert letter.happening.data["author"] == {"id": pseudonym, "name": "", "attributes": {}, "role": "", "level": 0}


def test_what_a_later_release_tells_of_is_passed_on_as_it_is(store: Store) -> None:
    store.webhooks.tell([News("hall", "gift.wrapped", 1, msgpack.packb([99, ["ann"], 5]))])
    page = room(store, "hall")
    assert page.letters[0].happening(page).data == {"event": [99, ["ann"], 5]}


def test_an_author_is_told_with_role_and_level(store: Store) -> None:
    store.commit([give("1", author=Author("ann", "安", {"team": "红"}))], [], 1, MONEY)
    page = room(store, "hall")
    shown = {"id": "ann", "name": "安", "attributes": {"team": "红"}, "role": "", "level": 0}
    assert page.letters[0].happening(page).data["author"] == shown
