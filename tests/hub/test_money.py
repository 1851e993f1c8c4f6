"""Gifts, red packets and corrections at a hub, seen from its edges: what is answered, in what order, and what comes again."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest
import trio
from ledger.fake_store import FakeStore
from trio.testing import MockClock

from engine.access import VIEWER, Standing
from engine.brokers.base import Deliver
from engine.brokers.memory import MemoryBroker
from engine.errors import Code, Refused
from engine.hub.actor import Actor
from engine.hub.spending import Spend
from engine.ledger.split import commitment, shares
from engine.link.messages import Backfill, FetchBackfill, Packets, PrivateTo, Request, SharedSnapshot, Stop
from engine.schema import Author, Change, Claim, EventKind, Give, Moderate, Pack, ReadGifts, ReadGivers
from engine.settings import BrokerSettings, GiftSettings, LedgerSettings, NodeSettings, RedisSettings

from .harness import FakeEdge, Harness, decode, now_ms, open_hub, settle

ROOM = "大厅"
GIFTS = {
    "rose": GiftSettings(name="玫瑰", price=10, effect="rose", combo_seconds=3),
    "car": GiftSettings(name="跑车", price=5_000, combo_seconds=0),
}
FREE = LedgerSettings(spend="free", guests=True)


def paid(edge: FakeEdge, ref: int) -> list[Any]:
    """Entry, offset and amount of the private answer to a request."""
    (answer,) = [decode(message.frame)[0] for message in edge.of(PrivateTo) if message.ref == ref]
    assert answer[0] == 42
    return list(answer[3:])


def money(edge: FakeEdge) -> list[list[Any]]:
    return [event for event in edge.events() if event[0] >= EventKind.GIFT]


def give(edge: FakeEdge, user: str, ref: int, gift: str = "rose", count: int = 1, to: str = "") -> None:
    edge.request(ROOM, user, Give(ref, 0, gift, count, to), viewer=ref)


def claim(edge: FakeEdge, user: str, ref: int, packet: int, **standing: Any) -> None:
    edge.send(Request(ROOM, ref, f"session-{user}", Author(user), Standing(**standing), 0, Claim(ref, 0, packet)))


async def opened(harness: Harness, *rooms: str) -> FakeEdge:
    edge = harness.edge()
    for room in rooms or (ROOM,):
        await edge.open(room)
    return edge


async def test_a_gift_is_answered_with_its_entry_once_everybody_is_shown_it(autojump_clock: MockClock) -> None:
    async with open_hub(gifts=GIFTS, ledger=FREE) as harness:
        edge = await opened(harness)
        give(edge, "anna", 1, "rose", 3, "小明")
        await trio.sleep(0.5)
        assert paid(edge, 1) == [1, 1, 30]
        assert money(edge) == [[8, ["anna", "", {}], 1, 1, "rose", 3, 30, "小明", 1, 3, 3_000, 30, ""]]


async def test_a_retry_of_a_gift_gets_the_first_answer_and_other_content_a_conflict(autojump_clock: MockClock) -> None:
    async with open_hub(gifts=GIFTS, ledger=FREE) as harness:
        edge = await opened(harness)
        give(edge, "anna", 1)
        give(edge, "anna", 1)
        await trio.sleep(0.5)
        give(edge, "anna", 1)
        await trio.sleep(0.5)
        answers = [decode(message.frame)[0][3:] for message in edge.of(PrivateTo)]
        assert answers == [[1, 1, 10]] * 3
        give(edge, "anna", 1, "car")
        await trio.sleep(0.5)
        assert edge.reply(1).code == Code.CONFLICT
        assert len(money(edge)) == 1


async def test_a_combo_grows_and_ends_with_one_event(autojump_clock: MockClock) -> None:
    async with open_hub(gifts=GIFTS, ledger=FREE) as harness:
        edge = await opened(harness)
        for ref in range(1, 5):
            give(edge, "anna", ref, "rose", 2)
            await trio.sleep(1)
        give(edge, "bob", 9, "car")
        await trio.sleep(5)
        gifts = [event for event in money(edge) if event[0] == EventKind.GIFT]
        assert [(event[2], event[8], event[9]) for event in gifts] == [(1, 1, 2), (2, 1, 4), (3, 1, 6), (4, 1, 8), (5, 5, 1)]
        assert [event for event in money(edge) if event[0] == EventKind.COMBO] == [
            [9, ["anna", "", {}], 6, 1, "rose", "", 8, 80]
        ]
        await trio.sleep(30)
        assert len(money(edge)) == 6


async def test_viewers_cannot_give_unless_the_product_lets_them(autojump_clock: MockClock) -> None:
    async with open_hub(gifts=GIFTS) as harness:
        edge = await opened(harness)
        give(edge, "anna", 1)
        await settle()
        assert edge.reply(1).code == Code.FORBIDDEN
        asked: list[Spend] = []

        async def hook(spend: Spend) -> str | None:
            asked.append(spend)
            await trio.sleep(0.1)
            return "余额不足" if spend.user == "poor" else None

        harness.hub.money.spending.hook = hook
        give(edge, "anna", 2, "rose", 2, "小明")
        give(edge, "poor", 3)
        edge.request(ROOM, "anna", Pack(4, 0, 100, 4), viewer=4)
        await trio.sleep(1)
        assert paid(edge, 2)[2] == 20
        assert (edge.reply(3).code, edge.reply(3).text) == (Code.UNPAID, "余额不足")
        assert paid(edge, 4)[2] == 100
        assert sorted((each.user, each.gift, each.count, each.amount, each.receiver) for each in asked) == [
            ("anna", "", 1, 100, ""),
            ("anna", "rose", 2, 20, "小明"),
            ("poor", "rose", 1, 10, ""),
        ]
        # The same purchase under the same key; and no secret in it.
        give(edge, "anna", 2, "rose", 2, "小明")
        await trio.sleep(1)
        assert asked[3].key in [each.key for each in asked[:3] if each.gift]
        assert "session-anna" not in asked[3].key


@pytest.mark.parametrize("fault", ["slow", "broken"])
async def test_a_product_that_does_not_answer_costs_one_gift_and_not_the_room(
    autojump_clock: MockClock, fault: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_hub(gifts=GIFTS) as harness:
        edge = await opened(harness)

        async def hook(spend: Spend) -> str | None:
            if spend.user != "anna":
                return None
            if fault == "slow":
                await trio.sleep_forever()
            raise ValueError("no wallet")

        harness.hub.money.spending.hook = hook
        give(edge, "anna", 1)
        give(edge, "bob", 2)
        edge.comment(ROOM, "carl", "还在", 3)
        await trio.sleep(10)
        assert edge.reply(1).code == Code.UNAVAILABLE
        assert paid(edge, 2)[0] == 1
        assert edge.reply(3).code == Code.OK


async def test_gifts_that_are_not_there_or_too_much_are_refused(autojump_clock: MockClock) -> None:
    gifts = GIFTS | {"moon": GiftSettings(name="月亮", price=10**12)}
    async with open_hub(gifts=gifts, ledger=FREE) as harness:
        edge = await opened(harness)
        give(edge, "anna", 1, "unicorn")
        give(edge, "anna", 2, "moon", 10_000)
        edge.request(ROOM, "anna", Pack(3, 0, 3, 4), viewer=3)
        edge.request(ROOM, "anna", Pack(4, 0, 10**6, 20_000), viewer=4)
        edge.request(ROOM, "mod", Change(5, 0, "life", "", {"state": "closed"}), role="host", viewer=5)
        await settle()
        give(edge, "anna", 6)
        await settle()
        codes = edge.codes()
        assert [codes[ref] for ref in (1, 2, 3, 4, 6)] == [
            Code.NOT_FOUND,
            Code.INVALID,
            Code.INVALID,
            Code.INVALID,
            Code.ROOM_MODE,
        ]
        assert not money(edge)


async def test_the_catalogue_is_read_and_grows_while_the_node_runs(autojump_clock: MockClock) -> None:
    from engine.ledger.values import Gift

    async with open_hub(gifts=GIFTS, ledger=FREE) as harness:
        edge = await opened(harness)
        catalogue = harness.hub.money.catalogue
        await catalogue.offer(Gift("kiss", "飞吻", 1, "kiss", 1_000))
        await catalogue.offer(Gift("car", "跑车", 6_000))
        edge.request(ROOM, "anna", ReadGifts(1, 0))
        await settle()
        (answer,) = [decode(message.frame)[0] for message in edge.of(PrivateTo)]
        assert answer[3] == [
            ["kiss", "飞吻", 1, "kiss", 1_000],
            ["rose", "玫瑰", 10, "rose", 3_000],
            ["car", "跑车", 6_000, "", 5_000],
        ]
        await catalogue.withdraw("car")
        assert catalogue.get("car").price == 5_000
        with pytest.raises(Refused):
            await catalogue.withdraw("rose")


async def test_a_red_packet_is_drawn_as_its_seed_says(autojump_clock: MockClock) -> None:
    async with open_hub(gifts=GIFTS, ledger=FREE) as harness:
        edge, other = await opened(harness), await opened(harness)
        edge.request(ROOM, "boss", Pack(1, 0, 100, 3, text="恭喜发财"), viewer=1)
        await trio.sleep(0.5)
        (packet,) = money(edge)
        assert [packet[0], packet[1][0], packet[2], packet[4], packet[5]] == [11, "boss", 1, 100, 3]
        assert [message.open for message in edge.of(Packets)][-1] == [1]
        for ref, user in enumerate(("a", "b", "a", "c", "d", "e"), 10):
            claim(edge if ref % 2 else other, user, ref, 1)
            await settle()
        await trio.sleep(0.5)
        _, *won, end = money(edge)
        assert [event[1][0] for event in won] == ["a", "b", "c"]
        assert [event[0] for event in won] == [12] * 3
        assert [event[4] for event in won] == [1, 2, 3]
        amounts = [event[5] for event in won]
        assert sum(amounts) == 100
        assert end[0] == 13
        assert end[3:7] == [1, "emptied", 3, 0]
        seed = bytes.fromhex(end[7])
        assert amounts == shares(seed, 100, 3, "random")
        assert packet[12] == commitment(seed)
        # Its first answer to who claims twice; nothing to who comes too late.
        assert paid(edge, 11)[2] == amounts[1]
        assert paid(other, 10) == paid(other, 12)
        assert paid(edge, 13)[2] == amounts[2]
        assert not [message for message in (*edge.of(PrivateTo), *other.of(PrivateTo)) if message.ref in (14, 15)]
        assert not {14, 15} & {*edge.codes(), *other.codes()}
        assert [message.open for message in edge.of(Packets)][-1] == []
        assert harness.hub.statistics().money.claims_late == 2


async def test_the_edges_learn_that_a_packet_is_over_before_viewers_are_shown_it(autojump_clock: MockClock) -> None:
    async with open_hub(gifts=GIFTS, ledger=FREE) as harness:
        edge = await opened(harness)
        edge.request(ROOM, "boss", Pack(1, 0, 1, 1), viewer=1)
        await trio.sleep(0.5)
        claim(edge, "a", 2, 1)
        await trio.sleep(0.5)
        kinds = [
            ("packets", message.open)
            if isinstance(message, Packets)
            else ("events", [event[0] for batch in decode(message.frames[0]) for event in batch[6]])
            for _, message in edge.got
            if isinstance(message, Packets) or (hasattr(message, "frames") and hasattr(message, "first"))
        ]
        assert kinds == [("packets", []), ("packets", [1]), ("events", [11]), ("packets", []), ("events", [12, 13])]


async def test_a_packet_has_its_time_and_its_conditions(autojump_clock: MockClock) -> None:
    async with open_hub(gifts=GIFTS, ledger=LedgerSettings(spend="free")) as harness:
        edge = await opened(harness)
        edge.request(ROOM, "boss", Pack(1, 0, 10, 5, "equal", 2_000, 60_000, True, "恭喜"), viewer=1)
        await trio.sleep(0.5)
        claim(edge, "anna", 2, 1, follower=True)
        claim(edge, "guest-7", 3, 1, follower=True)
        await settle()
        early = edge.reply(2)
        assert early.code == Code.TOO_EARLY
        assert 1_000 < early.retry_after_ms <= 1_500
        assert edge.reply(3).code == Code.FORBIDDEN
        await trio.sleep(2)
        claim(edge, "anna", 4, 1)
        claim(edge, "anna", 5, 1, follower=True)
        await settle()
        assert (edge.reply(4).code, edge.reply(5).code) == (Code.CONDITION, Code.CONDITION)
        edge.comment(ROOM, "anna", "恭喜恭喜", 6)
        await trio.sleep(0.5)
        claim(edge, "anna", 7, 1, follower=True)
        await settle()
        assert paid(edge, 7)[2] == 2
        await trio.sleep(70)
        assert money(edge)[-1][3:7] == [1, "expired", 1, 8]


async def test_an_open_packet_is_part_of_the_rooms_state_and_nobody_else_can_make_one(autojump_clock: MockClock) -> None:
    async with open_hub(gifts=GIFTS, ledger=FREE) as harness:
        edge = await opened(harness)
        edge.request(ROOM, "boss", Pack(1, 0, 10, 5, text="红包"), viewer=1)
        edge.request(ROOM, "mod", Change(2, 0, "packet", "7", {"total": 5}), role="host", viewer=2)
        await trio.sleep(0.5)
        assert edge.reply(2).code == Code.FORBIDDEN
        async with harness.hub.opened(ROOM) as room:
            ((kind, key, value, _),) = room.rules.entries.snapshot()
            assert (kind, key, value["total"], value["shares"], value["text"]) == ("packet", "1", 10, 5, "红包")
            booked = await harness.hub.money.cancel(ROOM, 1)
            assert booked.amount == 10
            await trio.sleep(0.5)
            assert not room.rules.entries.snapshot()


async def test_leaderboards_are_of_the_stream_and_follow_corrections(autojump_clock: MockClock) -> None:
    async with open_hub(gifts=GIFTS, ledger=FREE) as harness:
        edge = await opened(harness)
        give(edge, "anna", 1, "rose", 5)
        give(edge, "bob", 2, "car")
        await trio.sleep(3)
        assert edge.totals()["givers"] == [["bob", "", 5_000], ["anna", "", 50]]
        await harness.hub.money.correct(ROOM, Author("server"), 2, None, "退款", "refund-1")
        await trio.sleep(2)
        edge.comment(ROOM, "x", "…", 3)
        await trio.sleep(1)
        assert edge.totals()["givers"] == [["anna", "", 50]]
        edge.request(ROOM, "mod", Change(4, 0, "life", "", {"state": "open", "stream": "晚场"}), role="host", viewer=4)
        await trio.sleep(11)
        give(edge, "carl", 5)
        await trio.sleep(3)
        assert edge.totals()["givers"] == [["carl", "", 10]]
        for ref, stream in ((6, None), (7, "")):
            edge.request(ROOM, "x", ReadGivers(ref, 0, stream), viewer=ref)
        await settle()
        lists = {message.ref: decode(message.frame)[0][5] for message in edge.of(PrivateTo) if message.ref in (6, 7)}
        assert lists == {6: [["carl", "", 10]], 7: [["anna", "", 50], ["carl", "", 10]]}


async def test_what_a_crash_kept_from_the_stream_comes_when_the_room_opens(autojump_clock: MockClock) -> None:
    store = FakeStore()
    async with open_hub(gifts=GIFTS, ledger=FREE, store=store) as harness:
        edge = await opened(harness)
        for ref in range(1, 4):
            give(edge, f"u{ref}", ref)
        await trio.sleep(0.5)
        # Committed by a node that died before it published anything.
        async with harness.hub.opened(ROOM) as room:
            book = harness.hub.money._gift(room, Actor(Author("ghost"), VIEWER, "session-ghost", 9), Give(9, 0, "car"))
        store.commit([book], [], now_ms())
    async with open_hub(gifts=GIFTS, ledger=FREE, store=store) as harness:
        edge = await opened(harness)
        await trio.sleep(1)
        assert [event[2] for event in money(edge)] == [1, 2, 3, 4]
        await trio.sleep(2)
        assert not store.outbox(10)
        again = await opened(harness)
        give(again, "ghost", 9, "car")
        await trio.sleep(1)
        assert paid(again, 9)[0] == 4
        assert [event[2] for event in money(edge) if event[0] == EventKind.GIFT] == [1, 2, 3, 4]


async def test_an_entry_is_shown_once_though_its_history_was_lost(autojump_clock: MockClock) -> None:
    brokers: list[MemoryBroker] = []

    def broker(deliver: Deliver) -> MemoryBroker:
        brokers.append(MemoryBroker(BrokerSettings(), deliver, now_ms))
        return brokers[0]

    async with open_hub(gifts=GIFTS, ledger=FREE, broker=broker) as harness:
        edge = await opened(harness)
        for ref in range(1, 4):
            give(edge, f"u{ref}", ref, "car")
        await trio.sleep(1)
        stream = brokers[0]._streams[ROOM]
        stream.epoch, stream.head, stream.size = stream.epoch + 1, 0, 0
        for kept in (stream.events, stream.times, stream.keys):
            kept.clear()
        edge.comment(ROOM, "x", "新的开始", 9)
        await trio.sleep(3)
        assert [event[2] for event in money(edge)] == [1, 2, 3]
        past = await harness.hub.broker.history(ROOM, 0, 100)
        again = [msgpack.unpackb(event) for event in past.events.events]
        assert [event[2] for event in again if event[0] == EventKind.GIFT] == [1, 2, 3]
        assert [event[1:3] for event in edge.events() if event[0] == EventKind.OMITTED] in ([[4, 3]], [[4, 1]] * 3)


async def test_moderators_cannot_delete_what_was_paid(autojump_clock: MockClock) -> None:
    async with open_hub(gifts=GIFTS, ledger=FREE) as harness:
        edge = await opened(harness)
        give(edge, "anna", 1)
        edge.comment(ROOM, "anna", "hello", 2)
        await trio.sleep(1)
        edge.request(ROOM, "mod", Moderate(3, 0, "delete", offset=paid(edge, 1)[1]), role="moderator", viewer=3)
        edge.request(ROOM, "mod", Moderate(4, 0, "clear"), role="moderator", viewer=4)
        await trio.sleep(1)
        assert edge.reply(3).code != Code.OK
        assert edge.reply(4).code == Code.OK
        past = await harness.hub.broker.history(ROOM, 0, 100)
        assert EventKind.GIFT in [msgpack.unpackb(event)[0] for event in past.events.events]


async def test_nobody_but_the_ledger_publishes_what_was_paid(autojump_clock: MockClock) -> None:
    async with open_hub(gifts=GIFTS, ledger=FREE) as harness:
        await opened(harness)
        with pytest.raises(Refused, match="ledger"):
            await harness.hub.publish(ROOM, msgpack.packb([8, ["a", "", {}], 1, 1, "rose", 1, 1, "", 1, 1, 0, 1]))


async def test_while_the_ledger_cannot_be_written_the_room_goes_on(autojump_clock: MockClock) -> None:
    store = FakeStore()
    async with open_hub(gifts=GIFTS, ledger=FREE, store=store) as harness:
        edge = await opened(harness)
        give(edge, "anna", 1)
        await trio.sleep(1)
        store.down = True
        give(edge, "anna", 2)
        edge.comment(ROOM, "bob", "还在", 3)
        await trio.sleep(5)
        assert edge.reply(2).code == Code.LEDGER
        assert edge.reply(3).code == Code.OK
        assert harness.hub.statistics().money.lane.failures
        store.down = False
        await trio.sleep(5)
        give(edge, "anna", 2)
        await trio.sleep(1)
        assert paid(edge, 2)[0] == 2


async def test_rooms_open_while_the_ledger_is_out_of_reach_and_get_what_is_theirs_later(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    store = FakeStore()
    async with open_hub(gifts=GIFTS, ledger=FREE, store=store) as harness:
        edge = await opened(harness)
        give(edge, "anna", 1)
        await trio.sleep(1)
    async with open_hub(gifts=GIFTS, ledger=FREE, store=store) as harness:
        store.down = True
        edge = await opened(harness, ROOM, "other")
        edge.comment(ROOM, "bob", "还在", 3)
        await trio.sleep(3)
        assert edge.reply(3).code == Code.OK
        assert not money(edge)
        store.down = False
        await trio.sleep(3)
        assert [event[2] for event in money(edge)] == [1]
        assert edge.totals()["givers"] == [["anna", "", 10]]


async def test_with_redis_there_is_no_money_in_a_file_of_one_node(autojump_clock: MockClock) -> None:
    async with open_hub(gifts=GIFTS, ledger=FREE, redis=RedisSettings(url="redis://127.0.0.1:1")) as harness:
        edge = await opened(harness)
        give(edge, "anna", 1)
        await settle()
        assert edge.reply(1).code == Code.FORBIDDEN
        assert "PostgreSQL" in edge.reply(1).text
        with pytest.raises(Refused, match="PostgreSQL"):
            await harness.hub.money.cancel(ROOM, 1)


async def test_a_phrase_counts_also_after_the_history_was_lost(autojump_clock: MockClock) -> None:
    brokers: list[MemoryBroker] = []

    def broker(deliver: Deliver) -> MemoryBroker:
        brokers.append(MemoryBroker(BrokerSettings(), deliver, now_ms))
        return brokers[0]

    async with open_hub(gifts=GIFTS, ledger=FREE, broker=broker) as harness:
        edge = await opened(harness)
        for ref in range(1, 6):
            edge.comment(ROOM, "x", f"{ref}", ref)
        edge.request(ROOM, "boss", Pack(10, 0, 10, 5, "equal", phrase="恭喜"), viewer=10)
        await trio.sleep(0.5)
        edge.comment(ROOM, "anna", "恭喜恭喜", 11)
        await trio.sleep(0.5)
        stream = brokers[0]._streams[ROOM]
        stream.epoch, stream.head, stream.size = stream.epoch + 1, 0, 0
        for kept in (stream.events, stream.times, stream.keys):
            kept.clear()
        brokers[0]._records.clear()
        edge.comment(ROOM, "x", "新的开始", 12)
        await trio.sleep(1)
        edge.comment(ROOM, "bob", "恭喜", 13)
        await trio.sleep(1)
        for ref, user in ((14, "anna"), (15, "bob"), (16, "carl")):
            claim(edge, user, ref, 1)
        await trio.sleep(1)
        assert (paid(edge, 14)[2], paid(edge, 15)[2]) == (2, 2)
        assert edge.reply(16).code == Code.CONDITION


async def test_where_a_room_began_is_known_also_when_it_was_closed_in_between(autojump_clock: MockClock) -> None:
    store = FakeStore()
    async with open_hub(gifts=GIFTS, ledger=FREE, store=store) as harness:
        edge = await opened(harness)
        give(edge, "anna", 1)
        await trio.sleep(1)
        async with harness.hub.opened(ROOM) as room:
            book = harness.hub.money._gift(room, Actor(Author("ghost"), VIEWER, "session-ghost", 9), Give(9, 0, "car"))
        store.commit([book], [], now_ms())
    async with open_hub(gifts=GIFTS, ledger=FREE, store=store) as harness:
        # The outbox is published before anybody comes back.
        await trio.sleep(5)
        edge = await opened(harness)
        (snapshot,) = edge.of(SharedSnapshot)
        assert (snapshot.offset, snapshot.origin) == (2, 0)
        edge.send(FetchBackfill(ROOM, snapshot.epoch, 0, 3, 0, True))
        await settle()
        (past,) = edge.of(Backfill)
        assert [event[2] for _, _, frame in past.batches for event in decode(frame)[0][6]] == [1, 2]
        assert decode(past.snapshot)[0][4] == 0


async def test_a_ledger_out_of_reach_does_not_keep_the_node_from_stopping_in_order(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    store = FakeStore()
    async with open_hub(gifts=GIFTS, ledger=FREE, store=store, node=NodeSettings(shutdown_seconds=4.0)) as harness:
        edge = await opened(harness)
        give(edge, "anna", 1)
        await trio.sleep(0.1)
        # Where it was published cannot be written down any more.
        store.down = True
        edge.comment(ROOM, "bob", "再见", 2)
        with trio.fail_after(3):
            await harness.hub.drain()
        await settle()
        assert edge.reply(2).code == Code.OK
        assert edge.of(Stop)
