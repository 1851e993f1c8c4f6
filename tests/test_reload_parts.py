"""Parts that take other settings, each by itself: what it had stays, and what comes is judged by the new ones."""

from __future__ import annotations

import socket
from dataclasses import replace
from pathlib import Path

import pytest
import trio
from hub.harness import comment, open_hub, settle
from ledger.fake_store import FakeStore
from trio.testing import MockClock

from engine.access import Rate
from engine.brokers.base import LIMITED, NO_EVENTS, Ballot, Deliver, Keep, Pending, Position, RecordFull
from engine.brokers.budget import Budget
from engine.brokers.memory import MemoryBroker
from engine.brokers.redis.functions import Change, Functions
from engine.edge.admission import Admission, key_of
from engine.edge.flows import Flows
from engine.edge.held import Held
from engine.errors import Code, Refused, RoomcastError
from engine.hub.wordlists import WordListError, WordLists
from engine.ledger.values import Gift
from engine.link.messages import Say
from engine.reload import Reloaded
from engine.room.tail import Tail
from engine.schema import Author
from engine.settings import (
    BrokerSettings,
    EdgeSettings,
    GiftSettings,
    LedgerSettings,
    LimitSettings,
    ModerationSettings,
    RedisSettings,
    RoomSettings,
    Settings,
    WordList,
)
from engine.workers.channel import AskReload, Channel, Order, Outcome, Report
from engine.workers.reloading import Reloading

BIG = [b"\x93\x01" + bytes([number]) * 30 for number in range(8)]


def forget(_: object) -> None:
    pass


# -- brokers -----------------------------------------------------------------------------------------------------------


def settings(*, limits: LimitSettings | None = None, **broker: float) -> Settings:
    return Settings(broker=BrokerSettings(**broker), limits=limits or LimitSettings())  # type: ignore[arg-type]


async def test_the_memory_broker_keeps_what_it_has_within_the_new_bounds() -> None:
    deliver: Deliver = forget
    broker = MemoryBroker(BrokerSettings(), deliver, lambda: 1_000)
    await broker.publish("room", [Pending(event, "s", number) for number, event in enumerate(BIG)])
    for field in ("a", "b"):
        await broker.amend("room", field, b"value")
    assert await broker.cast("room", [Ballot("poll:1", "anna", 0, Keep.FIRST)]) == [True]
    epoch = (await broker.subscribe("room")).epoch

    broker.adopt(settings(history_events=3, retry_keys=2, record_fields=2, tallies=1))
    with pytest.raises(RecordFull, match="record_fields"):
        await broker.amend("room", "c", b"value")
    assert await broker.amend("room", "a", b"other") == 3
    with pytest.raises(RecordFull, match="tallies"):
        await broker.cast("room", [Ballot("poll:2", "anna", 0, Keep.FIRST)])
    assert (await broker.history("room", 0, 10)).events.first == 6
    await broker.publish("room", [Pending(b"\x93\x01x")])
    assert [await broker.published("room", "s", number) for number in (5, 6, 7)] == [0, 7, 8]

    limited = Pending(b"\x93\x01x", lane=LIMITED)
    broker.adopt(settings(limits=LimitSettings(room_events_per_second=1.0)))
    assert (await broker.publish("room", [limited, limited])).offsets == [10, NO_EVENTS]
    # The same budget again does not fill it up.
    broker.adopt(settings(limits=LimitSettings(room_events_per_second=1.0, likes_burst=3)))
    assert (await broker.publish("room", [limited])).offsets == [NO_EVENTS]
    broker.adopt(settings())
    assert (await broker.publish("room", [limited])).offsets == [11]
    assert await broker.amend("room", "c", b"value") == 4
    assert (await broker.subscribe("room")).epoch == epoch


def test_what_is_asked_of_redis_has_the_new_limits() -> None:
    def functions(broker: BrokerSettings, redis: RedisSettings, budget: Budget) -> Functions:
        return Functions(broker, redis, "node", lambda below: 0, lambda: 5, budget)

    old = BrokerSettings(), RedisSettings(), Budget()
    new = (
        BrokerSettings(history_events=3, retry_keys=4, record_bytes=99, tallies=2, history_seconds=9.0),
        RedisSettings(compress_bytes=16, wait_replicas=2, totals_seconds=0.5),
        Budget(3.0, 4_000.0),
    )
    changed, made = functions(*old), functions(*new)
    before = changed.base("room")
    changed.adopt(*new)
    here, events = Position(1, 2), [Pending(b"x" * 50, lane=LIMITED)]
    for one, other in (
        (changed.publish("room", here, 1, events), made.publish("room", here, 1, events)),
        (changed.amend("room", here, 1, Change("f", b"v")), made.amend("room", here, 1, Change("f", b"v"))),
        (changed.history("room", here, 0, 10), made.history("room", here, 0, 10)),
    ):
        assert one == other
    assert changed.base("room") == before
    assert changed.publish("room", here, 1, events) != functions(*old).publish("room", here, 1, events)


# -- edge --------------------------------------------------------------------------------------------------------------


def test_a_limit_of_addresses_counts_who_is_there_already() -> None:
    admission = Admission(EdgeSettings(viewers_per_address=0), 10)
    keys = [admission.count("203.0.113.7") for _ in range(2)]
    assert all(allowed for _, allowed in keys)
    here = [key for key, _ in keys if key is not None]
    admission.adopt(EdgeSettings(viewers_per_address=2, trusted_proxies=("10.0.0.0/8",)), 5, [*here, key_of("127.0.0.1") or 0])
    assert admission.viewers_max == 5
    assert admission.trusted("10.1.2.3")
    assert not admission.count("203.0.113.7")[1]
    assert admission.count("127.0.0.1")[1]
    for _ in range(3):
        admission.release(here[0])
    # Another limit does not count anybody again.
    admission.adopt(EdgeSettings(viewers_per_address=1), 5, [])
    assert admission.count("203.0.113.7")[1]
    assert not admission.count("203.0.113.7")[1]


def test_nobody_waits_by_a_rate_that_does_not_hold_any_more() -> None:
    slow, fast = Rate(0.001, 1), Rate(10.0, 5)
    state = slow.take(0.0, 100.0)
    assert fast.take(state, 100.0) < 0
    settled = fast.settle(state, 100.0)
    assert 0 < -fast.take(settled, 100.0) <= 0.1
    assert fast.take(settled, 100.2) > 0
    assert fast.settle(100.05, 100.0) == 100.05, "who waits for less goes on so"
    flows = Flows(0.001, 1)
    assert flows.take(1, 100.0) == 0
    assert flows.take(1, 100.0) > 900_000
    flows.adopt(10.0, 5, 100.0)
    assert flows.take(1, 100.2) == 0


def test_more_may_wait_for_a_hub_than_before() -> None:
    held = Held(1)
    say = [Say("room", number, "", number, Author("a"), "x") for number in (1, 2)]
    held.add(say[0])
    with pytest.raises(Refused):
        held.add(say[1])
    held.most = 2
    held.add(say[1])
    assert len(held.messages) == 2


# -- rooms -------------------------------------------------------------------------------------------------------------


def test_the_tail_is_cut_at_once_and_grows_with_what_comes() -> None:
    tail = Tail(3)
    tail.add(1, [comment(str(number)) for number in range(5)], [1] * 5)
    changes = tail.changes
    tail.adopt(2)
    assert [offset for offset, _, _ in tail.recent()] == [4, 5]
    assert tail.changes > changes
    tail.adopt(4)
    tail.add(6, [comment("6"), comment("7"), comment("8")], [2] * 3)
    assert [offset for offset, _, _ in tail.recent()] == [5, 6, 7, 8]


async def test_batches_and_counters_come_by_the_new_settings(autojump_clock: MockClock) -> None:
    room = RoomSettings(counters_seconds=50.0, tick_max_seconds=1.0, recent_events=0)
    old = Settings(room=room)
    async with open_hub(room=room) as harness:
        edge = harness.edge()
        await edge.open("room")
        await trio.sleep(1)
        edge.forget()
        harness.hub.like("room", 1)
        await trio.sleep(5)
        assert not edge.messages()
        # Who waits for the next report of counters waits less.
        await harness.hub.adopt(replace(old, room=replace(room, counters_seconds=0.1, batch_bytes=1024)))
        await trio.sleep(1)
        assert len(edge.messages()) == 1
        edge.forget()
        async with trio.open_nursery() as nursery:
            for _ in range(4):
                nursery.start_soon(harness.hub.say, "room", "x" * 600)
        await trio.sleep(1)
        assert [len(message[6]) for message in edge.messages()] == [1] * 4


async def test_what_is_withheld_follows_the_rule_in_force(autojump_clock: MockClock) -> None:
    limits = LimitSettings(room_events_per_second=8.0, withhold="levels")
    async with open_hub(limits=limits, room=RoomSettings()) as harness:
        edge = harness.edge()
        await edge.open("room")
        for ref in range(1, 7):
            edge.comment("room", f"u{ref}", "x", ref)
            await settle()
        low = [code for code in edge.codes().values() if code == Code.OK]
        assert len(low) < 6
        await trio.sleep(10)
        edge.forget()
        await harness.hub.adopt(Settings(limits=replace(limits, withhold="newest")))
        for ref in range(11, 17):
            edge.comment("room", f"u{ref}", "x", ref)
            await settle()
        assert list(edge.codes().values()) == [Code.OK] * 6


async def test_gifts_that_the_product_offers_stay_and_win(autojump_clock: MockClock) -> None:
    rose = GiftSettings(name="Rose", price=10)
    async with open_hub(gifts={"rose": rose, "car": rose}, ledger=LedgerSettings(spend="free"), store=FakeStore()) as harness:
        catalogue = harness.hub.money.catalogue
        await catalogue.offer(Gift("boat", "Boat", 3, "", 0))
        await catalogue.offer(Gift("car", "Car", 5, "", 0))
        gifts = {"rose": replace(rose, price=20), "car": replace(rose, price=20)}
        await harness.hub.adopt(Settings(gifts=gifts, ledger=LedgerSettings(spend="free")))
        assert {gift.id: gift.price for gift in catalogue.all()} == {"boat": 3, "car": 5, "rose": 20}
        await catalogue.withdraw("car")
        assert {gift.id: gift.price for gift in catalogue.all()} == {"boat": 3, "car": 20, "rose": 20}


# -- word lists --------------------------------------------------------------------------------------------------------


async def test_lists_change_whole_or_not_at_all(tmp_path: Path) -> None:
    good, bad = tmp_path / "good", tmp_path / "bad"
    good.write_text("one\n", encoding="utf-8")
    bad.write_bytes(b"\xff\n")
    lists = WordLists(ModerationSettings(lists=(WordList(file=str(good)),)))
    await lists.load()
    other = ModerationSettings(lists=(WordList(file=str(good), action="mask"), WordList(file=str(bad))))
    with pytest.raises(WordListError, match="bad, line 1"):
        await lists.adopt(other)
    assert lists.words.check("one").action == "block"
    bad.write_text("two\n", encoding="utf-8")
    # What was there is followed still.
    good.write_text("three\n", encoding="utf-8")
    assert await lists.look()
    await lists.adopt(other)
    assert [lists.words.check(word).action for word in ("one", "two", "three")] == ["", "block", "mask"]
    await lists.adopt(ModerationSettings())
    assert lists.words.check("two").action == ""


async def test_lists_that_come_later_are_looked_at_as_often_as_is_set(tmp_path: Path, mock_clock: MockClock) -> None:
    file = tmp_path / "words"
    file.write_text("one\n", encoding="utf-8")
    lists = WordLists(ModerationSettings())
    async with trio.open_nursery() as nursery:
        await nursery.start(lists.run)
        await lists.adopt(ModerationSettings(reload_seconds=100.0, lists=(WordList(file=str(file)),)))
        file.write_text("another\n", encoding="utf-8")
        mock_clock.jump(101)
        # In a thread, which no clock waits for.
        while lists.words.check("another").action != "block":
            await trio.lowlevel.checkpoint()
        nursery.cancel_scope.cancel()


# -- a hub in a process of its own -------------------------------------------------------------------------------------


async def test_who_asks_a_hub_is_answered_by_the_supervisor() -> None:
    ours, theirs = (Channel(sock, kind) for sock, kind in zip(socket.socketpair(), (Order, Report), strict=True))
    reloading = Reloading(ours)
    got: dict[str, Reloaded | str] = {}

    async def ask(name: str) -> None:
        try:
            got[name] = await reloading.ask()
        except RoomcastError as error:
            got[name] = str(error)

    async with trio.open_nursery() as nursery:
        questions = []
        for name in ("one", "two"):
            nursery.start_soon(ask, name)
            question = await theirs.receive()
            assert isinstance(question, AskReload)
            questions.append(question.number)
        with trio.CancelScope() as impatient:
            impatient.cancel()
            await reloading.ask()
        await theirs.send(Outcome(questions[1], faults=[("a.b", "no good"), ("c.d", "nor this")]))
        await theirs.send(Outcome(99, error="for somebody who has gone"))
        await theirs.send(Outcome(questions[0], ["a.b"], ["c.d"]))
        for _ in range(3):
            reloading.answered(await ours.receive())
    assert got == {"one": Reloaded(["a.b"], ["c.d"]), "two": "no good\nnor this"}
    ours.close()
    theirs.close()
