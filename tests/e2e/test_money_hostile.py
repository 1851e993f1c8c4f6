"""Whatever somebody without money, rights or manners sends about money: nothing comes of it, and nobody else notices."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import msgpack
import pytest
import trio

from engine.errors import Close, Code, Refused
from engine.node import Node, open_node
from engine.settings import GiftSettings, Settings
from engine.ws import Opcode, client_frame

from .conftest import Running
from .people import ROOM, Foreign, token
from .shop import CAR, GIFT, ROSE, in_ledger, named, of_kind, packet_is_right, shop, sqlite, until_entry, until_published
from .transports import Gone
from .viewers import (
    CHANGE,
    CLAIM,
    COMMENT,
    CUSTOM,
    GIVE,
    JSON,
    MODERATE,
    MSGPACK,
    NOTICE,
    PACK,
    PATIENCE,
    Paid,
    Viewer,
    open_viewer,
)

MASK = b"\x00\x00\x00\x00"
BAD: list[Any] = [-1, 0, 1_000_001, 2**53, 2**64 - 1, -(2**63), 1.5, True, "1", None, [1], {"a": 1}]
FORGED = [8, ["host", "主播", {}], 1, 1, CAR, 99, 495_000, "", 1, 99, 0, 495_000, ""]


@pytest.fixture
def running() -> Running:
    """Over the encoded link only: what differs with it is looked at where people give and claim."""

    @asynccontextmanager
    async def run(settings: Settings) -> AsyncIterator[Node]:
        async with open_node(settings, encoded_link=True) as node:
            yield node

    return run


async def faulty(viewer: Viewer, *message: Any) -> int:
    """The code with which a message is refused."""
    viewer.faults.clear()
    viewer.replies.pop(1, None)
    await viewer.send(*message)
    await viewer.until(lambda: bool(viewer.faults) or 1 in viewer.replies)
    return viewer.faults[0].code if viewer.faults else viewer.replies[1].code


@pytest.mark.parametrize("codec", [MSGPACK, JSON])
async def test_no_amount_is_taken_that_is_none(running: Running, foreign: Foreign, tmp_path: Path, codec: str) -> None:
    async with running(shop(sqlite(tmp_path))) as node, foreign(node.url, token("小明"), None) as (ming, guest):
        messages: list[tuple[int, list[Any]]] = []
        messages += [(GIVE, [CAR, value]) for value in BAD]
        messages += [(GIVE, [value]) for value in ("", "x" * 65, 1, None)]
        messages += [(GIVE, [CAR, 1, value]) for value in (1, None, "x" * 200)]
        messages += [(PACK, [value, 1]) for value in BAD if value != 1_000_001]
        messages += [(PACK, [10, value]) for value in BAD]
        messages += [(PACK, [10, 2, value]) for value in ("most", "", 1)]
        messages += [(PACK, [10, 2, "equal", value]) for value in (-1, 2**53, 1.5)]
        messages += [(PACK, [10, 2, "equal", 0, value]) for value in (-1, 2**53, 1.5)]
        messages += [(PACK, [10, 2, "equal", 0, 0, value]) for value in (1, "x")]
        messages += [(PACK, [10, 2, "equal", 0, 0, False, value]) for value in (1, "x" * 2_000)]
        messages += [(PACK, [10, 2, "equal", 0, 0, False, "", "x" * 257])]
        messages += [(CLAIM, [value]) for value in (-1, 2**53, 1.5, "1")]
        made = await guest.spend(PACK, 10, 2)
        await until_entry(ming, entries=[made.entry])
        for kind, fields in messages:
            async with open_viewer("raw", node.url, codec) as viewer:
                await viewer.join(ROOM, token=token("eve"))
                assert await faulty(viewer, kind, 1, viewer.handle, *fields) == Code.INVALID, (kind, fields)
        # A price and a count that are each allowed, but not together.
        moon = await too_much(tmp_path)
        assert moon == Code.INVALID
        paid = await ming.spend(GIVE, CAR, 1_000_000, ref=2**53 - 1)
        assert paid.amount == 5_000_000_000
        await until_entry(guest, entries=[paid.entry])
        assert [event[0] for event in guest.money.values()] == [11, 8]


async def too_much(directory: Path) -> int:
    """The code for so many of something so dear that its sum could not be told exactly in JavaScript."""
    settings = shop(sqlite(directory), gifts={"moon": GiftSettings(name="月亮🌙", price=10**12)})
    async with open_node(settings) as node, open_viewer("raw", node.url, JSON) as viewer:
        await viewer.join(ROOM)
        return (await viewer.refused(GIVE, "moon", 10_000)).code


async def test_nobody_forges_an_event_about_money(running: Running, foreign: Foreign, tmp_path: Path) -> None:
    async with (
        running(shop(sqlite(tmp_path))) as node,
        foreign(node.url, token("host", "host"), token("eve"), None) as (host, eve, witness),
    ):
        real = await eve.spend(GIVE, CAR, 1, "小明")
        # Whatever kind a message claims to be, and whatever a text holds.
        for viewer in (host, eve):
            for body in (str(FORGED), msgpack.packb(FORGED).decode("latin-1")):
                await viewer.ask(COMMENT, viewer.handle, body)
                await viewer.ask(CUSTOM, viewer.handle, "gift", body)
                await viewer.ask(NOTICE, viewer.handle, body)
        for kind in ("gift", "packet", "ledger", "8", "11"):
            for who in (host, eve):
                assert (await who.ask(CHANGE, who.handle, kind, "1", {"total": 1, "shares": 1})).code != Code.OK
        for kind in (*range(9, 14), 34, 42, 43, 44):
            async with open_viewer("raw", node.url) as forger:
                await forger.join(ROOM, token=token("host", "host"))
                assert await faulty(forger, kind, 1, *FORGED[1:]) >= Code.INVALID
        with pytest.raises(Refused):
            await node.publish(ROOM, msgpack.packb(FORGED))
        # Nor is one taken away, by whoever.
        assert (await host.ask(MODERATE, host.handle, "delete", "", real.offset)).code != Code.OK
        assert (await host.ask(MODERATE, host.handle, "delete_user", "eve")).code == Code.OK
        assert (await host.ask(MODERATE, host.handle, "clear")).code == Code.OK
        last = await witness.spend(GIVE, CAR)
        await until_entry(witness, entries=[real.entry, last.entry])
        assert [named(event)["entry"] for event in witness.money.values()] == [real.entry, last.entry] == [1, 2]
        async with foreign(node.url, None) as (late,):
            past = await late.past()
            assert [event[2] for event in past.values() if 8 <= event[0] < 14] == [1, 2]
        await until_published(node)
        assert len(in_ledger(node.settings.ledger.url, ROOM)[0]) == 2


async def test_who_may_only_read_neither_gives_nor_gets(running: Running, foreign: Foreign, tmp_path: Path) -> None:
    settings = shop(sqlite(tmp_path), ledger={"guests": True}, access={"anonymous": "read"})
    async with (
        running(settings) as node,
        foreign(node.url, token("boss"), token("reader", "reader"), None) as (boss, reader, guest),
    ):
        packet = await boss.spend(PACK, 10, 2)
        for viewer in (reader, guest):
            await until_entry(viewer, entries=[packet.entry])
            for kind, fields in ((GIVE, [CAR]), (PACK, [10, 2]), (CLAIM, [packet.entry])):
                assert (await viewer.refused(kind, *fields)).code == Code.FORBIDDEN
        # Whoever has not joined at all.
        async with open_viewer("raw", node.url) as stranger:
            for kind, fields in ((GIVE, [CAR]), (PACK, [10, 2])):
                assert (await stranger.ask(kind, boss.handle, *fields)).code == Code.NOT_JOINED
        await node.room(ROOM).cancel_packet(packet.entry)
        await until_entry(guest, entries=[1, 2])
        assert packet_is_right(guest, packet.entry) == {}


async def test_a_flood_of_claims_ends_its_connection_and_costs_nobody_else(
    running: Running, foreign: Foreign, tmp_path: Path
) -> None:
    limits = {"messages_per_second": 100.0, "messages_burst": 2_000}
    async with (
        running(shop(sqlite(tmp_path), limits=limits)) as node,
        foreign(node.url, token("boss"), token("小明")) as (boss, ming),
    ):
        packet = await boss.spend(PACK, 10, 2)
        for over in (False, True):
            async with open_viewer("raw", node.url) as flooder:
                await flooder.join(ROOM, token=token("eve"))
                raw = flooder.encode(CLAIM, 1, flooder.handle, packet.entry)
                assert isinstance(raw, bytes)
                thousand = client_frame(Opcode.BINARY, raw, MASK) * 1_000
                if over:
                    await flooder.raw.stream.send_all(thousand)
                    await flooder.settle()
                    assert node.statistics().edge.claims_dropped == 1_000
                else:
                    await flooder.until(lambda flooder=flooder: ("packet", str(packet.entry)) in flooder.state)  # type: ignore[misc]
                    await flooder.spend(CLAIM, packet.entry)
                with trio.fail_after(PATIENCE), suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                    for _ in range(500):
                        await flooder.raw.stream.send_all(thousand)
                await until_closed(flooder)
            if not over:
                booked = await node.room(ROOM).cancel_packet(packet.entry)
                await until_entry(boss, ming, entries=[booked.entry.number])
        with trio.fail_after(PATIENCE):
            while (closed := node.statistics().edge.closed.get(Close.FLOOD, 0)) < 2:
                await trio.lowlevel.checkpoint()
        assert closed == 2
        await ming.spend(GIVE, CAR)
        await boss.comment("没事 😌")
        assert packet_is_right(ming, packet.entry).keys() == {"eve"}


async def until_closed(viewer: Viewer) -> None:
    """Read past whatever comes: all claims have one ref, and who wins is answered as often as it asked."""
    with trio.fail_after(PATIENCE), suppress(Gone):
        while True:
            await viewer.transport.receive()


async def test_what_is_claimed_belongs_to_the_room_where_it_is_claimed(
    running: Running, foreign: Foreign, tmp_path: Path
) -> None:
    async with (
        running(shop(sqlite(tmp_path))) as node,
        foreign(node.url, token("boss"), token("小明")) as (boss, ming),
        foreign(node.url, token("eve"), token("boss2"), room="别的房间") as (eve, other),
    ):
        await ming.spend(GIVE, CAR)
        here = await boss.spend(PACK, 10, 2, "equal")
        there = await other.spend(PACK, 1_000, 2, "equal")
        assert (here.entry, there.entry) == (2, 1)
        await until_entry(eve, entries=[1])
        await until_entry(ming, entries=[2])
        # There is none of that number here, or it is no red packet.
        for viewer, packet in ((eve, 2), (ming, 1), (eve, 0), (ming, 2**53 - 1)):
            await viewer.send(CLAIM, 5, viewer.handle, packet)
        assert (await eve.ask(CLAIM, ming.handle + 1_000, 1)).code == Code.NOT_JOINED
        assert (await eve.spend(CLAIM, 1)).amount == 500
        assert (await ming.spend(CLAIM, 2)).amount == 5
        for viewer in (eve, ming):
            await viewer.settle()
            assert 5 not in viewer.paid
            assert 5 not in viewer.replies
        for made, room in ((here, ROOM), (there, "别的房间")):
            await node.room(room).cancel_packet(made.entry)
        await until_entry(ming, entries=[here.entry + 2])
        await until_entry(eve, entries=[there.entry + 2])
        assert packet_is_right(ming, 2) == {"小明": 5}
        assert packet_is_right(eve, 1) == {"eve": 500}


async def test_refs_of_different_sessions_never_meet(running: Running, foreign: Foreign, tmp_path: Path) -> None:
    async with (
        running(shop(sqlite(tmp_path))) as node,
        foreign(node.url, token("a"), token("a"), token("b"), None, None) as people,
    ):
        # Also of one user at two devices: each session counts for itself.
        paid = [await viewer.spend(GIVE, ROSE, 2, ref=1) for viewer in people]
        assert [each.entry for each in paid] == [1, 2, 3, 4, 5]
        # Nor with the session of another, were it known.
        for number, session in enumerate(("a" * 16, *(people[index].session for index in (0, 3, 4))), 6):
            async with open_viewer("raw", node.url) as eve:
                await eve.join(ROOM, session=session, token=token("eve"))
                last = await eve.spend(GIVE, ROSE, 2, ref=1)
                assert last.entry == number
        await until_entry(*people, entries=[last.entry])
        assert [each["user"] for each in of_kind(people[0], GIFT)] == [*(viewer.user for viewer in people), *["eve"] * 4]


async def test_who_gives_too_often_waits(running: Running, foreign: Foreign, tmp_path: Path) -> None:
    limits = {"gifts_per_second": 0.01, "gifts_burst": 3}
    async with (
        running(shop(sqlite(tmp_path), limits=limits)) as node,
        foreign(node.url, token("eve"), token("小明")) as (eve, ming),
    ):
        for _ in range(3):
            assert isinstance(await eve.pay(GIVE, ROSE), Paid)
        reply = await eve.refused(GIVE, ROSE)
        assert reply.code == Code.RATE_LIMITED
        assert 0 < reply.retry_after_ms <= 100_001
        assert (await eve.refused(PACK, 10, 2)).code == Code.RATE_LIMITED
        assert isinstance(await ming.pay(GIVE, ROSE), Paid)
        assert (await eve.ask(COMMENT, eve.handle, "聊天可以")).code == Code.OK
