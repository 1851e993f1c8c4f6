"""From what is booked to what the product was told: all of it, in order in each room, whatever the product does."""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
from receiver import KEY, SECRET, Happening, Receiver, Reply, is_genuine, receiver
from trio.testing import wait_all_tasks_blocked

from bench.postgresproc import FORGETFUL, postgres_server
from engine.errors import Code, Refused
from engine.hooks import signing
from engine.hooks.letters import DeadLetter
from engine.hub.webhooks import Webhooks
from engine.ledger.lane import Lane
from engine.ledger.values import Entry, Give, Mark
from engine.schema import Author
from engine.settings import HookSettings, LedgerSettings

QUICK: dict[str, Any] = {"secret": SECRET, "retry_seconds": 0.01, "retry_most_seconds": 0.02, "attempts": 1_000}


def now_ms() -> int:
    return time.time_ns() // 1_000_000


class Teller:
    """What of a hub books and tells."""

    def __init__(self, url: str, hooks: HookSettings) -> None:
        self.lane = Lane(LedgerSettings(url=url, answer_seconds=30), self._publish, now_ms, lambda: None)
        self.webhooks = Webhooks(hooks, self.lane, now_ms)
        self._offset = 0

    async def _publish(self, entries: Sequence[Entry]) -> list[Mark]:
        self._offset += len(entries)
        return [Mark(each.room, each.number, 1, self._offset + each.number) for each in entries]

    async def give(self, *rooms: str, key: str = "k", count: int = 1) -> None:
        """Book gifts in each of these rooms."""
        async with trio.open_nursery() as nursery:
            for number in range(count):
                for room in rooms:
                    gift = Give(
                        room=room,
                        key=f"{key}/{room}/{number}",
                        stream="",
                        author=Author("ann"),
                        ref=number + 1,
                        gift="rose",
                        price=10,
                        count=1,
                        receiver="",
                        combo_ms=0,
                    )
                    nursery.start_soon(self.lane.book, gift)


@asynccontextmanager
async def telling(url: str, to: str, **hooks: Any) -> AsyncIterator[Teller]:
    """One that runs while the block does, and ends as if it was killed."""
    teller = Teller(url, HookSettings(**{**QUICK, "events_url": to, **hooks}))
    async with trio.open_nursery() as nursery:
        await nursery.start(teller.lane.run)
        nursery.start_soon(teller.webhooks.run)
        yield teller
        nursery.cancel_scope.cancel()


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/ledger.db"


async def until(holds: Callable[[], bool]) -> None:
    with trio.fail_after(30):
        while not holds():
            await wait_all_tasks_blocked(0.01)


class Joined:
    """What each room was sent: nothing may come before all that is before it was taken."""

    def __init__(self, told: Receiver) -> None:
        self._told = told
        self.last: dict[str, int] = {}

    def parts(self, happenings: list[Happening]) -> dict[str, list[Happening]]:
        parts: dict[str, list[Happening]] = {}
        for each in happenings:
            parts.setdefault(each["room"], []).append(each)
        for room, part in parts.items():
            numbers = [each["number"] for each in part]
            assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
            assert numbers[0] <= self.last.get(room, 0) + 1, (room, numbers, self.last)
        return parts

    def take(self, happenings: list[Happening]) -> None:
        self._told.take(happenings)
        for each in happenings:
            self.last[each["room"]] = max(self.last.get(each["room"], 0), each["number"])


def told_once_in_order(told: Receiver, rooms: Sequence[str], count: int) -> None:
    found = told.firsts()
    assert sorted(found) == sorted(rooms)
    for room in rooms:
        assert [each["number"] for each in found[room]] == list(range(1, count + 1))
        assert [each["data"]["entry"] for each in found[room]] == list(range(1, count + 1))
    assert len(told.ids()) == len(rooms) * count
    assert told.genuine


# -- what arrives -----------------------------------------------------------------------------------------------------


async def test_gifts_are_told_as_they_were_booked(url: str) -> None:
    async with receiver() as told, telling(url, told.url) as teller:
        await teller.give("大厅", count=3)
        await told.has(3)
        first = told.taken[0]
        assert {name: first[name] for name in ("type", "room", "number")} == {
            "type": "gift.given",
            "room": "大厅",
            "number": 1,
        }
        assert abs(first["time"] - now_ms()) < 60_000
        assert (first["data"]["type"], first["data"]["author"]["id"], first["data"]["amount"]) == ("gift", "ann", 10)
        headers, body = told.requests[0]
        assert headers["content-type"] == "application/json"
        assert signing.verified([KEY], headers, body, time.time())
        assert is_genuine(headers, body)
        # Whoever changes a byte, or the id, or has another key, is found out by both.
        other = bytes(32)
        for forged, content, key in (
            (headers, body + b" ", KEY),
            ({**headers, "webhook-id": "evt_1"}, body, KEY),
            (headers, body, other),
        ):
            assert not is_genuine(forged, content, key)
            assert not signing.verified([key], forged, content, time.time())
    told_once_in_order(told, ["大厅"], 3)


async def test_while_the_secret_is_changed_both_hold(url: str) -> None:
    both = f"{signing.make_secret()} {SECRET}"
    async with receiver() as told, telling(url, told.url, secret=both) as teller:
        await teller.give("hall")
        await told.has(1)
        assert told.genuine
        assert len(told.requests[0][0]["webhook-signature"].split()) == 2


async def test_without_an_address_nothing_is_written_and_nothing_is_kept(url: str) -> None:
    async with telling(url, "") as teller:
        await teller.give("hall")
        page = await teller.lane.read(lambda store: store.webhooks.page(10, now_ms()))
        assert (page.waiting, page.rooms) == (0, [])
        await teller.webhooks.drain(5)
        assert teller.webhooks.statistics().waiting == 0


async def test_an_address_and_topics_that_change_hold_at_once(url: str) -> None:
    async with receiver() as told, receiver() as other, telling(url, told.url, events=("gift",)) as teller:
        await teller.give("a")
        await told.has(1)
        hooks = HookSettings(**QUICK, events_url=other.url, events=("gift", "room"))
        teller.webhooks.adopt(hooks)
        await teller.give("b")
        await other.has(1)
        teller.webhooks.adopt(HookSettings(**QUICK, events_url=other.url, events=("room",)))
        await teller.give("c")
        teller.webhooks.adopt(hooks)
        await teller.give("d")
        await other.has(2)
        assert [each["room"] for each in (*told.taken, *other.taken)] == ["a", "b", "d"]


# -- what fails -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
async def test_everything_arrives_in_order_at_a_product_that_fails_lies_hangs_and_is_late(url: str, seed: int) -> None:
    chance = random.Random(seed)
    rooms = [f"room{number}" for number in range(5)]
    async with receiver() as told:
        joined = Joined(told)

        def answer(happenings: list[Happening]) -> Reply:
            parts = joined.parts(happenings)
            match chance.randrange(12):
                case 0:
                    return chance.choice((301, 400, 404, 429, 500, 503)), b"no"
                case 1:
                    return None
                case 2:
                    # Taken, and then the answer is lost, or comes when nobody waits for it.
                    joined.take(happenings)
                    if chance.random() < 0.3:
                        told.late = 1.0
                        return 204, b""
                    return 500, b""
                case 3:
                    return 422, chance.choice((b"", b"{}", b'{"failed": 1}', b'{"failed": []}', b'{"failed": ["x"]}', b"\xff"))
                case 4 | 5:
                    kept = [part[: chance.randint(0, len(part))] for part in parts.values()]
                    joined.take([each for part in kept for each in part])
                    ids = [each["id"] for part, some in zip(parts.values(), kept, strict=True) for each in part[len(some) :]]
                    return 422, repr({"failed": ids}).replace("'", '"').encode()
                case _:
                    joined.take(happenings)
                    return 200, b'{"thanks": true}'

        told.answer = answer
        async with telling(url, told.url, events_batch=7, events_seconds=0.25) as teller:
            async with trio.open_nursery() as nursery:
                for part in range(4):
                    nursery.start_soon(lambda part=part: teller.give(*rooms, key=f"{part}", count=10))  # type: ignore[misc]
            await told.has(200)
            told.answer = lambda _: (204, b"")
            await until(lambda: teller.webhooks.statistics().sent == 200)
            await teller.webhooks.drain(20)
            statistics = teller.webhooks.statistics()
            assert (statistics.dead, statistics.lost, statistics.waiting) == (0, 0, 0)
    told_once_in_order(told, rooms, 40)


async def test_the_same_request_comes_again_with_the_same_id(url: str) -> None:
    async with receiver() as told:
        told.answer = lambda _: (204, b"") if len(told.requests) > 2 else (500, b"")
        async with telling(url, told.url) as teller:
            await teller.give("hall")
            await told.has(1)
            assert len({message for message, _ in told.batches}) == 1
            assert len({body for _, body in told.requests}) == 1
            assert teller.webhooks.statistics().failures == 2


async def test_who_comes_back_tells_what_was_not_told(url: str) -> None:
    async with receiver() as told:
        told.answer = lambda _: None
        async with telling(url, told.url, events_seconds=0.1) as teller:
            await teller.give("a", "b", count=20)
            await told.until(lambda: len(told.requests) > 1)
        told.answer = lambda _: (204, b"")
        # The lease of who was killed has to end first.
        async with telling(url, told.url, events_seconds=0.1):
            await told.has(40)
    told_once_in_order(told, ["a", "b"], 20)


async def test_what_is_stopped_tells_what_is_due_and_leaves_the_lease(url: str) -> None:
    async with receiver() as told:
        async with telling(url, told.url, events_seconds=60) as teller:
            await teller.give("a", key="begun")
            await told.has(1)
            await teller.give("a", count=3)
            await teller.webhooks.drain(20)
            assert len(told.ids()) == 4
        async with telling(url, told.url, events_seconds=60) as teller:
            await teller.give("a", key="again", count=3)
            await told.has(7)
    told_once_in_order(told, ["a"], 7)


async def test_a_product_that_is_away_does_not_hold_up_a_node_that_stops(url: str) -> None:
    async with telling(url, "http://127.0.0.1:9/") as teller:
        await teller.give("a", "b", count=3)
        tried = False
        with trio.fail_after(30):
            while not tried:
                page = await teller.lane.read(lambda store: store.webhooks.page(10, now_ms() + 60_000))
                tried = any(room.attempts for room in page.rooms)
        await teller.webhooks.drain(20)
        page = await teller.lane.read(lambda store: store.webhooks.page(10, now_ms() + 60_000))
        assert (page.waiting, page.dead) == (6, 0)


# -- what is put aside ------------------------------------------------------------------------------------------------


def poisoned(told: Receiver, number: int) -> Callable[[list[Happening]], Reply]:
    """A product that fails as a whole whenever this one of room a is there."""

    def answer(happenings: list[Happening]) -> Reply:
        return (500, b"") if any((each["room"], each["number"]) == ("a", number) for each in happenings) else (204, b"")

    return answer


async def until_dead(teller: Teller, holds: Callable[[list[DeadLetter]], bool]) -> list[DeadLetter]:
    with trio.fail_after(30):
        while not holds(letters := await teller.webhooks.dead()):
            await wait_all_tasks_blocked(0.01)
    return letters


async def test_only_what_the_product_cannot_take_is_put_aside_and_read_and_sent_again(url: str) -> None:
    async with receiver() as told, telling(url, told.url, attempts=8) as teller:
        told.answer = poisoned(told, 5)
        await teller.give("a", "b", count=20)
        await told.has(39)
        (letter,) = await until_dead(teller, lambda letters: len(letters) == 1)
        assert (letter.happening.room, letter.happening.number, letter.reason) == ("a", 5, "status 500")
        assert letter.attempts == 8
        assert letter.happening.data["entry"] == 5
        assert [each["number"] for each in told.firsts()["a"]] == [*range(1, 5), *range(6, 21)]
        assert await teller.webhooks.dead(letter.happening.id) == []
        # It is put aside again, and taken in the end.
        assert await teller.webhooks.replay(letter.happening.id) == 1
        (failed,) = await until_dead(teller, lambda letters: letters[0].attempts == 9)
        assert not failed.again
        told.answer = lambda _: (204, b"")
        assert await teller.webhooks.replay() == 1
        await told.has(40)
        assert told.taken[-1]["id"] == letter.happening.id
        assert await until_dead(teller, lambda letters: not letters) == []
        assert teller.webhooks.statistics().dead == 1


async def test_what_will_never_be_taken_is_put_aside_at_once_and_dropped(url: str) -> None:
    async with receiver() as told, telling(url, told.url) as teller:

        def answer(happenings: list[Happening]) -> Reply:
            bad = [each for each in happenings if each["number"] == 2]
            if not bad:
                return 204, b""
            told.take(each for each in happenings if each["number"] < 2)
            return 410, f'{{"failed": ["{bad[0]["id"]}"]}}'.encode()

        told.answer = answer
        await teller.give("a", count=4)
        await told.has(3)
        (letter,) = await until_dead(teller, lambda letters: len(letters) == 1)
        assert (letter.happening.number, letter.attempts) == (2, 1)
        assert await teller.webhooks.drop(letter.happening.id) == 1
        assert await teller.webhooks.dead() == []
        for call in (teller.webhooks.replay, teller.webhooks.drop):
            with pytest.raises(Refused) as refused:
                await call(letter.happening.id)
            assert refused.value.code is Code.NOT_FOUND
            with pytest.raises(Refused) as refused:
                await call("…")
            assert refused.value.code is Code.INVALID
            assert await call() == 0


async def test_rooms_whose_happenings_are_taken_do_not_wait_for_one_that_fails(url: str) -> None:
    async with receiver() as told, telling(url, told.url, retry_seconds=60, retry_most_seconds=60) as teller:

        def answer(happenings: list[Happening]) -> Reply:
            refused = [each["id"] for each in happenings if each["room"] == "a"]
            told.take(each for each in happenings if each["room"] != "a")
            return (422, repr({"failed": refused}).replace("'", '"').encode()) if refused else (204, b"")

        told.answer = answer
        await teller.give("a", "b", "c", count=10)
        await told.has(20)
        await teller.give("b", key="more", count=5)
        await told.has(25)
        assert "a" not in told.firsts()


# -- several nodes ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def shared() -> Iterator[str]:
    with tempfile.TemporaryDirectory() as directory, postgres_server(Path(directory), *FORGETFUL) as server:
        yield server.url


async def test_one_of_two_nodes_tells_and_the_other_goes_on_when_it_is_killed(shared: str) -> None:
    killed = trio.Event()

    async def run_doomed(to: str, *, task_status: trio.TaskStatus[Teller]) -> None:
        async with telling(shared, to, events_seconds=0.1) as teller:
            await teller.give("a", count=5)
            task_status.started(teller)
            await killed.wait()

    async with receiver() as told, trio.open_nursery() as nursery:
        joined = Joined(told)

        def answer(happenings: list[Happening]) -> Reply:
            joined.parts(happenings)
            joined.take(happenings)
            return 200, b""

        told.answer = answer
        doomed = await nursery.start(run_doomed, f"{told.url}/doomed")
        await told.has(5)
        async with telling(shared, f"{told.url}/other", events_seconds=0.1) as other:
            await other.give("a", "b", key="other", count=5)
            await doomed.give("a", key="doomed", count=5)
            await told.has(20)
            # As long as it lives it has the lease.
            assert set(told.targets) == {"/told/doomed"}
            killed.set()
            await other.give("a", "b", key="later", count=5)
            await told.has(30)
            assert told.targets[-1] == "/told/other"
    for room, count in (("a", 20), ("b", 10)):
        assert [each["number"] for each in told.firsts()[room]] == list(range(1, count + 1))
