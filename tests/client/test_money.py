"""Money as a viewer sees it: what it gives and claims, what comes once, and how a claim ends that nobody answers."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import msgpack
import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from engine import schema
from engine.client import (
    Client,
    Closed,
    Entry,
    Gap,
    Gift,
    Giver,
    Givers,
    LedgerEntries,
    Offer,
    Omitted,
    Packet,
    PacketEnd,
    Paid,
    Reconnected,
    Share,
    Snapshot,
    Uncertain,
)
from engine.client.control import GiversAnswer, OffersAnswer, PaidAnswer
from engine.client.counters import Counters
from engine.client.follower import Follower
from engine.client.items import Author, ProtocolViolation
from engine.client.known import KnownEntries
from engine.errors import Code, Refused
from engine.schema import OmittedReason

from .fakeroom import HANDLE as ROOM_HANDLE
from .fakeroom import FakeRoom, serving
from .test_client import Name, take, viewer
from .test_follower import EPOCH, HANDLE, batch, comment, gap, joined, live, snapshot
from .test_speaking import sent


@pytest.fixture
async def room() -> AsyncIterator[FakeRoom]:
    async with serving() as room:
        yield room


@pytest.fixture(params=["msgpack", "json"])
def codec(request: pytest.FixtureRequest) -> Name:
    name: Name = request.param
    return name


def gift(entry: int) -> list[Any]:
    return [8, ["u1"], entry, 0, "rose", 1, 10, "", entry, 1, 0, 10]


def packet(entry: int) -> list[Any]:
    return [11, ["u1", "Ann"], entry, 0, 100, 3, "random", 5, 9, False, "", "", "c0"]


def packet_end(entry: int, of: int) -> list[Any]:
    return [13, ["u1", "Ann"], entry, of, "emptied", 3, 0, "5eed"]


OPEN = {
    "author": ["u1", "Ann"],
    "total": 100,
    "shares": 3,
    "split": "random",
    "opens": 5,
    "expires": 9,
    "followers": False,
    "phrase": "",
    "text": "",
    "commitment": "c0",
}

# -- what is asked for --------------------------------------------------------------------------------------------------


async def test_what_is_given_is_answered_with_its_entry(room: FakeRoom, codec: Name) -> None:
    async with viewer(room, codec) as client:
        assert await client.give("rose") == Paid(1, 1, 10)
        assert await client.give("rose", 9, "阿明") == Paid(2, 2, 90)
        paid = await client.pack(100, 3, split="equal", opens_ms=5, lasts_ms=6, followers=True, phrase="恭喜", text="发财")
        assert paid == Paid(3, 3, 100)
        items = await take(client, Packet)
        assert [item.entry for item in items[-3:]] == [1, 2, 3]
        assert items[-1].text == "发财"
        assert client.entries == LedgerEntries(3, 1, 3)
        assert client.entries.missing == 0
        assert client.state["packet", "3"].value["phrase"] == "恭喜"
    assert [message[2:] for message in sent(room, 18)] == [[ROOM_HANDLE, "rose", 1, ""], [ROOM_HANDLE, "rose", 9, "阿明"]]
    assert [message[2:] for message in sent(room, 20)] == [[ROOM_HANDLE, 100, 3, "equal", 5, 6, True, "恭喜", "发财"]]


async def test_lists_are_read(room: FakeRoom, codec: Name) -> None:
    async with viewer(room, codec) as client:
        assert await client.gifts() == (Offer("rose", "玫瑰", 10, "petals", 5000),)
        givers = await client.givers(after=1, limit=2)
        assert givers == Givers("today", 1, (Giver("u2", "", 200), Giver("u3", "", -1)))
        assert [each.given for each in givers] == [200, -1]
        assert len(await client.givers("", 3)) == 0
    assert [message[3:] for message in sent(room, 21)] == [[None, 1, 2], ["", 3, 100]]


@pytest.mark.parametrize(
    "ask",
    [
        lambda client: client.give("rose"),
        lambda client: client.pack(5, 1),
        lambda client: client.givers(),
        lambda client: client.gifts(),
    ],
    ids=["give", "pack", "givers", "gifts"],
)
async def test_a_refusal_is_raised_and_another_answer_is_a_violation(
    room: FakeRoom, ask: Callable[[Client], Awaitable[object]]
) -> None:
    async with viewer(room) as client:
        room.on_request = lambda message: [35, message[1], 118, 0, "no money"]
        with pytest.raises(Refused, match="no money") as refused:
            await ask(client)
        assert refused.value.code == Code.UNPAID
        room.on_request = lambda message: [38, message[1], 1]
        with pytest.raises(ProtocolViolation):
            await ask(client)


async def test_a_gift_under_way_is_given_once_over_reconnects(room: FakeRoom) -> None:
    lost = iter([True, False])

    def cut_once(message: list[Any]) -> list[Any] | None:
        if message[0] == 18 and next(lost):
            room.peer.cut()
            return []
        return None

    room.on_request = cut_once
    async with viewer(room) as client:
        assert await client.give("rose") == Paid(1, 1, 10)
    one, two = sent(room, 18)
    assert one == two


# -- claims ---------------------------------------------------------------------------------------------------------------


async def test_a_share_is_answered_and_the_second_claim_as_the_first(room: FakeRoom, codec: Name) -> None:
    async with viewer(room, codec) as client:
        paid = await client.pack(100, 3)
        # Nobody has iterated: what the room is runs ahead of the items.
        assert await client.claim(paid.entry) == Paid(2, 2, 7)
        share = (await take(client, Share))[-1]
        assert (share.packet, share.number, share.amount, share.author.id) == (1, 1, 7, client.user)


async def test_the_last_share_ends_the_packet(room: FakeRoom) -> None:
    async with viewer(room) as client:
        await client.pack(7, 1)
        assert await client.claim(1) == Paid(2, 2, 7)
        await take(client, PacketEnd)
        assert ("packet", "1") not in client.state
        with pytest.raises(Refused) as refused:
            await client.claim(1)
        assert refused.value.code == Code.PACKET_OVER
    assert len(sent(room, 19)) == 1, "what is known to be over is not claimed"


async def test_claims_that_are_not_answered_end_with_the_packet(room: FakeRoom, codec: Name) -> None:
    room.on_request = lambda message: [] if message[0] == 19 else None
    async with viewer(room, codec) as client, trio.open_nursery() as nursery:
        await client.pack(100, 3)
        await client.pack(100, 3)
        refused: list[Code] = []
        for _ in range(3):
            nursery.start_soon(claim_in_vain, client, 1, refused)
        with trio.move_on_after(5) as waiting:
            nursery.start_soon(claim_in_vain, client, 2, refused)
            await room.until(lambda: len(sent(room, 19)) == 4)
            await room.publish([[12, ["somebody"], 7, 1, 1, 100], room.packet_over(1)])
            await take(client, PacketEnd)
        assert not waiting.cancelled_caught
        await trio.testing.wait_all_tasks_blocked()
        assert refused == [Code.PACKET_OVER] * 3
        await room.publish([room.packet_over(2, "expired")])
    assert len(refused) == 4


async def claim_in_vain(client: Client, packet: int, refused: list[Code]) -> None:
    with pytest.raises(Refused) as caught:
        await client.claim(packet)
    refused.append(caught.value.code)


async def test_a_share_in_the_stream_is_an_answer(room: FakeRoom) -> None:
    """The connection that should have had the answer is gone."""
    async with viewer(room) as client, trio.open_nursery() as nursery:
        await client.pack(100, 3)
        room.on_request = lambda message: [] if message[0] == 19 else None
        paid: list[Paid] = []

        async def claim() -> None:
            paid.append(await client.claim(1))

        nursery.start_soon(claim)
        await room.until(lambda: sent(room, 19))
        room.peer.cut()
        room.entries = 2
        room.events += [[12, ["u0"], 2, 1, 1, 30], room.packet_over(1)]
        await take(client, PacketEnd)
    assert paid == [Paid(2, 2, 30)]


async def test_a_claim_ends_when_the_room_is_told_anew_without_the_packet(room: FakeRoom) -> None:
    room.on_request = lambda message: [] if message[0] == 19 else None
    async with viewer(room) as client, trio.open_nursery() as nursery:
        await client.pack(100, 3)
        await client.pack(100, 3)
        refused: list[Code] = []
        nursery.start_soon(claim_in_vain, client, 1, refused)
        nursery.start_soon(claim_in_vain, client, 2, refused)
        await room.until(lambda: len(sent(room, 19)) == 2)
        # One goes in another epoch, the other in a gap.
        del room.state["packet", "1"]
        room.epoch += 1
        room.peer.cut()
        await take(client, Reconnected)
        await take(client, Snapshot)
        await trio.testing.wait_all_tasks_blocked()
        assert refused == [Code.PACKET_OVER]
        del room.state["packet", "2"]
        await room.peer.send([36, ROOM_HANDLE, room.epoch, 3, 3, "lag"])
        room.events.append([0, 1, 1])
        await take(client, Gap)
    assert refused == [Code.PACKET_OVER] * 2


async def test_a_claim_waits_until_the_room_knows_of_the_packet(room: FakeRoom) -> None:
    """The answer about one's own red packet may come before the room is told of it."""
    room.on_request = lambda message: [42, message[1], ROOM_HANDLE, 1, 2, 100] if message[0] == 20 else None
    async with viewer(room) as client, trio.open_nursery() as nursery:
        paid: list[Paid] = []

        async def pack_and_claim() -> None:
            await client.pack(100, 3)
            paid.append(await client.claim(1))

        nursery.start_soon(pack_and_claim)
        await room.until(lambda: sent(room, 20))
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert not sent(room, 19)
        assert not sent(room, 16)
        room.entries, room.left[1] = 1, 3
        room.state["packet", "1"] = [{"shares": 3}, 1]
        await room.publish([packet(1), packet(1)])
        await room.until(lambda: sent(room, 19))
    assert [each.entry for each in paid] == [2]


async def test_a_claim_of_what_came_from_elsewhere_looks_first_whether_it_is_there(room: FakeRoom) -> None:
    async with viewer(room) as client:
        room.entries, room.left[5] = 5, 3
        room.state["packet", "5"] = [{"shares": 3}, 1]
        room.events.append([0, 1, 1])
        with pytest.raises(Refused) as refused:
            await client.claim(4)
        assert refused.value.code == Code.PACKET_OVER
        await room.peer.batch(1, 1)
        assert (await client.claim(5)).entry == 6
    assert len(sent(room, 16)) == 1


async def test_who_waits_for_the_room_learns_that_there_is_no_return(room: FakeRoom) -> None:
    room.on_request = lambda message: [42, message[1], ROOM_HANDLE, 1, 9, 100] if message[0] == 20 else None
    async with viewer(room) as client, trio.open_nursery() as nursery:
        await client.pack(100, 3)
        nursery.start_soon(room.peer.close, 4403)
        with pytest.raises(Closed):
            await client.claim(1)


async def test_a_claim_whose_session_is_lost_is_uncertain(room: FakeRoom) -> None:
    room.on_request = lambda message: [] if message[0] == 19 else None
    async with viewer(room) as client, trio.open_nursery() as nursery:
        await client.pack(100, 3)

        async def lose() -> None:
            await room.until(lambda: sent(room, 19))
            room.session = "t" * 20
            room.peer.cut()

        nursery.start_soon(lose)
        with pytest.raises(Uncertain):
            await client.claim(1)


async def test_a_claim_that_was_given_up_is_forgotten(room: FakeRoom) -> None:
    room.on_request = lambda message: [] if message[0] == 19 else None
    async with viewer(room) as client:
        await client.pack(100, 3)
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(client.claim, 1)
                await room.until(lambda: sent(room, 19))
                scope.cancel()
        await room.publish([room.packet_over(1)])
        await take(client, PacketEnd)
        assert (await client.give("rose")).entry == 3


# -- once -----------------------------------------------------------------------------------------------------------------


def test_money_that_comes_again_is_dropped_and_counted() -> None:
    follower = live()
    follower.feed(batch(1, 3, events=[gift(7), comment(2), gift(8)]))
    assert follower.entries == LedgerEntries(2, 7, 8)
    follower.feed(gap(4, 0, "epoch"))
    follower.feed(snapshot(1, epoch=8))
    items = follower.feed(batch(2, 5, epoch=8, events=[gift(7), gift(8), gift(9), gift(9)]))
    assert items == [
        Omitted(8, 2, 2, OmittedReason.KNOWN),
        Omitted(8, 3, 3, OmittedReason.KNOWN),
        Gift(8, 4, 1004, Author("u1"), 9, 0, "rose", 1, 10, "", 9, 1, 0, 10),
        Omitted(8, 5, 5, OmittedReason.KNOWN),
    ]
    statistics = follower.statistics()
    assert (statistics.events, statistics.known, statistics.omitted) == (4, 3, 0)
    assert follower.entries == LedgerEntries(3, 7, 9)
    assert follower.position == (8, 5)


def test_what_was_not_taken_is_not_known() -> None:
    follower = live()
    with pytest.raises(ProtocolViolation):
        follower.feed(batch(1, 2, events=[gift(1), [8, ["u1"], -5]]))
    assert follower.entries == LedgerEntries(0, 0, 0)
    (item,) = follower.feed(batch(1, 1, events=[gift(1)]))
    assert isinstance(item, Gift)


def test_what_a_snapshot_shows_is_not_part_of_the_count() -> None:
    follower = Follower()
    follower.feed(joined())
    message = snapshot(4)
    message[10] = [[3, 900, gift(3)], [4, 900, packet(4)]]
    follower.feed(message)
    assert follower.entries.seen == 0
    (item,) = follower.feed(batch(5, 5, events=[gift(3)]))
    assert isinstance(item, Gift)


def test_an_overlap_is_not_counted_again() -> None:
    follower = live()
    follower.feed(batch(1, 2, events=[gift(1), gift(2)]))
    follower.lost()
    follower.feed(joined(resumed=True))
    items = follower.feed(batch(1, 3, events=[gift(1), gift(2), gift(3)]))
    assert [item.entry for item in items if isinstance(item, Gift)] == [3]
    assert (follower.statistics().known, follower.statistics().overlap) == (0, 2)


def test_what_is_missing_shows() -> None:
    follower = live()
    follower.feed(batch(1, 1, events=[gift(5)]))
    follower.feed(gap(2, 3))
    follower.feed(batch(4, 4, events=[gift(8)]))
    assert follower.entries == LedgerEntries(2, 5, 8)
    assert follower.entries.missing == 2
    assert LedgerEntries(0, 0, 0).missing == 0


@given(st.lists(st.integers(1, 40), max_size=80), st.integers(1, 6))
def test_known_entries_are_those_that_came(entries: list[int], most: int) -> None:
    known, bounded, model = KnownEntries(), KnownEntries(most), set[int]()
    for entry in entries:
        assert (entry in known) == (entry in model)
        known.add(entry)
        bounded.add(entry)
        model.add(entry)
        assert known.summary() == LedgerEntries(len(model), min(model), max(model))
        # What came is never forgotten; with too many holes the oldest are taken for known.
        assert model <= {each for each in range(41) if each in bounded}
        holes = sum(each in bounded and each + 1 not in bounded for each in range(41))
        assert holes <= most
    assert {entry for entry in range(1, 41) if entry in known} == model


@given(st.data())
def test_every_entry_is_handed_out_once_whatever_comes_again(data: st.DataObject) -> None:
    """A room whose history is lost now and then, with what was booked last published once more above what is left."""
    follower, epoch, offset, booked = live(), EPOCH, 0, 0
    got: list[int] = []
    for _ in range(data.draw(st.integers(1, 12))):
        events: list[Any] = []
        if data.draw(st.booleans()):
            epoch += 1
            offset = data.draw(st.integers(0, 5))
            follower.feed(gap((follower.position or (0, 0))[1] + 1, 0, "epoch", epoch=epoch - 1))
            follower.feed(snapshot(offset, epoch=epoch))
            events += [gift(entry) for entry in range(data.draw(st.integers(1, booked + 1)), booked + 1)]
        for _ in range(data.draw(st.integers(0, 4))):
            if data.draw(st.booleans()):
                booked += 1
                events.append(gift(booked))
            else:
                events.append(comment(1))
        items = follower.feed(batch(offset + 1, offset + len(events), epoch=epoch, events=events))
        offset += len(events)
        got += [item.entry for item in items if isinstance(item, Gift)]
        spans = sum(item.last - item.first + 1 if isinstance(item, Omitted) else 1 for item in items)
        assert spans == len(events), "each offset is accounted for"
    assert got == list(range(1, booked + 1))
    assert follower.entries.missing == 0


# -- red packets in the room's state --------------------------------------------------------------------------------------


def test_open_red_packets_are_part_of_what_the_room_is() -> None:
    follower = live()
    follower.feed(batch(1, 2, events=[packet(4), packet(5)]))
    assert follower.state.entries == {("packet", "4"): Entry(OPEN, 0), ("packet", "5"): Entry(OPEN, 0)}
    follower.feed(batch(3, 3, events=[packet_end(6, 4)]))
    assert list(follower.state.entries) == [("packet", "5")]


def test_a_snapshot_brings_those_that_are_open() -> None:
    follower = Follower()
    follower.feed(joined())
    message = snapshot(4)
    message[9] = [["packet", "2", OPEN, 7], ["pin", "", {}, 1]]
    follower.feed(message)
    assert follower.state.entries["packet", "2"] == Entry(OPEN, 7)
    follower.feed(batch(5, 5, events=[packet_end(3, 2)]))
    assert list(follower.state.entries) == [("pin", "")]


def test_events_that_are_dropped_change_the_state_all_the_same() -> None:
    """A snapshot of the new epoch may be older than they are."""
    follower = live()
    follower.feed(batch(1, 2, events=[packet(1), packet(2)]))
    follower.feed(gap(3, 0, "epoch"))
    follower.feed(snapshot(0, epoch=8))
    assert follower.state.entries == {}
    items = follower.feed(batch(1, 3, epoch=8, events=[packet(1), packet(2), packet_end(3, 1)]))
    assert [type(item) for item in items] == [Omitted, Omitted, PacketEnd]
    assert list(follower.state.entries) == [("packet", "2")]
    # As do those that a resume repeats.
    follower.lost()
    follower.feed(joined(resumed=True))
    follower.feed(snapshot(1, epoch=8))
    follower.feed(batch(2, 4, epoch=8, events=[packet(2), packet_end(3, 1), packet(4)]))
    assert list(follower.state.entries) == [("packet", "2"), ("packet", "4")]


# -- what is read ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("codec", schema.CODECS, ids=lambda codec: codec.subprotocol)
def test_answers_as_the_engine_writes_them(codec: schema.Codec) -> None:
    messages: list[schema.ServerMessage] = [
        schema.Paid(3, HANDLE, 7, 9, 100),
        schema.Givers(4, HANDLE, "今天", 10, [("u1", "小明", 2**53 - 1), ("u2", "", 0)]),
        schema.Gifts(5, HANDLE, [("rose", "玫瑰", 10, "", 5_000)]),
    ]
    follower = live()
    read = [
        follower.feed(json.loads(codec.encode(each)) if codec.text else msgpack.unpackb(codec.encode(each)))
        for each in messages
    ]
    assert read == [
        [PaidAnswer(3, Paid(7, 9, 100))],
        [GiversAnswer(4, Givers("今天", 10, (Giver("u1", "小明", 2**53 - 1), Giver("u2", "", 0))))],
        [OffersAnswer(5, (Offer("rose", "玫瑰", 10, "", 5_000),))],
    ]


@pytest.mark.parametrize(
    "message",
    [
        [42, 1, HANDLE + 1, 1, 1, 1],
        [42, 1, HANDLE, 1, 1],
        [42, 1, HANDLE, 1, 1, -1],
        [43, 1, HANDLE, "", 0],
        [43, 1, HANDLE, "", 0, [["u1", "Ann"]]],
        [43, 1, HANDLE, "", 0, [["u1", "Ann", 1.5]]],
        [43, 1, HANDLE, None, 0, []],
        [44, 1, HANDLE, {}],
        [44, 1, HANDLE, [["rose", "玫瑰", 10, ""]]],
    ],
)
def test_answers_that_are_malformed_are_caught(message: list[Any]) -> None:
    with pytest.raises(ProtocolViolation):
        live().feed(message)


def test_who_gave_most_is_among_the_totals() -> None:
    follower = live()
    top = [["u1", "Ann", 300], ["u2", "", 20]]
    (counters,) = follower.feed(batch(1, 0, totals={"givers": top}))
    assert counters == Counters(3, 2, givers=(Giver("u1", "Ann", 300), Giver("u2", "", 20)))
    assert follower.feed(batch(1, 0, totals={"givers": top, "peak": 0})) == []
    (counters,) = follower.feed(batch(1, 0, totals={"givers": []}))
    assert counters == Counters(3, 2)


@pytest.mark.parametrize("givers", [{}, [["u1", "Ann"]], [5], [["u1", "Ann", None]]])
def test_totals_that_are_malformed_are_caught(givers: Any) -> None:
    with pytest.raises(ProtocolViolation):
        live().feed(batch(1, 0, totals={"givers": givers}))
