"""Red packets: whoever claims first has a share, each user one, the sum is exact, and anybody can recompute the draw."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import trio

from engine.client import open_client
from engine.errors import Code, Refused
from engine.node import Node, open_node

from .conftest import Running
from .people import ROOM, Foreign, token
from .shop import (
    CAR,
    END,
    PACKET,
    SHARE,
    has_paid,
    named,
    of_kind,
    packet_is_right,
    shop,
    sqlite,
    until_entry,
)
from .viewers import CHANGE, CLAIM, COMMENT, GIVE, PACK, PATIENCE, Paid, Viewer, open_viewer


def over(viewer: Viewer, packet: int) -> bool:
    return any(fields["packet"] == packet for fields in of_kind(viewer, END))


async def until_over(*viewers: Viewer, packet: int) -> None:
    """Receive until these viewers have been told that a red packet is over, and whatever was sent to them before."""
    async with trio.open_nursery() as nursery:
        for viewer in viewers:
            nursery.start_soon(until_one_is_told, viewer, packet)


async def until_one_is_told(viewer: Viewer, packet: int) -> None:
    await viewer.until(lambda: over(viewer, packet))
    await viewer.settle()


async def until_open(viewer: Viewer, packet: int) -> None:
    """A viewer knows of it by an event, or the room's state if it came later."""
    await viewer.until(lambda: packet in viewer.money or ("packet", str(packet)) in viewer.state)


@pytest.mark.parametrize("split", ["random", "equal"])
async def test_viewers_of_two_nodes_claim_at_once_and_the_sum_is_exact(
    running: Running, foreign: Foreign, redis: dict[str, Any], shared_ledger: str, split: str
) -> None:
    settings = shop(shared_ledger, redis=redis)
    users = [f"用户{number}" for number in range(12)]
    async with running(settings) as one, open_node(settings) as two, AsyncExitStack() as stack:
        crowd: list[Viewer] = []
        for url in (one.url, two.url):
            crowd += await stack.enter_async_context(foreign(url, token(users[0]), token(users[1])))
            for user in users[2:]:
                viewer = await stack.enter_async_context(open_viewer("raw", url))
                await viewer.join(ROOM, token=token(user))
                crowd.append(viewer)
        (boss, witness) = await stack.enter_async_context(foreign(two.url, token("老板🧧"), None))
        made = await boss.spend(PACK, 1_000, 7, split, 0, 0, False, "", "恭喜发财 🎉")
        for viewer in crowd:
            await until_open(viewer, made.entry)
        # Everybody at both nodes, and once more each.
        async with trio.open_nursery() as nursery:
            for viewer in crowd:
                nursery.start_soon(claim_twice, viewer, made.entry)
        await until_over(*crowd, boss, witness, packet=made.entry)
        won = packet_is_right(witness, made.entry)
        assert len(won) == 7
        assert sum(won.values()) == 1_000
        # Whoever has a share is told so, at one of both nodes at least.
        for user in won:
            await until_one_is_paid(*(viewer for viewer in crowd if viewer.user == user))
        for viewer in (*crowd, boss):
            assert viewer.money == witness.money
            assert not viewer.replies, "who gets nothing learns it from the event that everybody sees"
            shares = {fields["entry"] for fields in of_kind(viewer, SHARE) if fields["user"] == viewer.user}
            for paid in viewer.paid.values():
                if viewer is not boss:
                    assert {paid.entry} == shares
                    assert has_paid(viewer, paid)["amount"] == won[viewer.user]
        assert {viewer.user for viewer in crowd if viewer.paid} == set(won)
        await late_claims_are_dropped(one, crowd[5], made.entry)
        await late_claims_are_dropped(two, crowd[-1], made.entry)


async def until_one_is_paid(*viewers: Viewer) -> None:
    """The events may come before the answers."""
    with trio.fail_after(PATIENCE):
        while not any(viewer.paid for viewer in viewers):
            for viewer in viewers:
                await viewer.settle()


async def claim_twice(viewer: Viewer, packet: int) -> None:
    for ref in (1, 2):
        await viewer.send(CLAIM, ref, viewer.handle, packet)


async def late_claims_are_dropped(node: Node, viewer: Viewer, packet: int) -> None:
    """Claims of what is over cost nothing and are not answered."""
    before = node.statistics().edge
    for _ in range(50):
        viewer.refs += 1
        await viewer.send(CLAIM, viewer.refs, viewer.handle, packet)
    await viewer.settle()
    assert viewer.refs not in viewer.paid
    assert not viewer.replies
    after = node.statistics().edge
    assert after.claims_dropped - before.claims_dropped == 50


async def test_a_red_packet_is_not_open_before_its_time(running: Running, foreign: Foreign, tmp_path: Path) -> None:
    async with (
        running(shop(sqlite(tmp_path))) as node,
        foreign(node.url, token("老板"), token("小明"), token("小红")) as (boss, ming, hong),
    ):
        later = await boss.spend(PACK, 10, 2, "equal", 60_000)
        soon = await boss.spend(PACK, 11, 2, "equal", 500)
        for viewer in (ming, hong):
            await until_open(viewer, later.entry)
            await until_open(viewer, soon.entry)
            early = await viewer.refused(CLAIM, later.entry)
            assert early.code == Code.TOO_EARLY
            assert 50_000 < early.retry_after_ms <= 60_000
            while not isinstance(paid := await viewer.pay(CLAIM, soon.entry), Paid):
                assert paid.code == Code.TOO_EARLY
                assert 0 < paid.retry_after_ms <= 500
        await until_over(ming, packet=soon.entry)
        assert packet_is_right(ming, soon.entry) == {"小明": 6, "小红": 5}
        assert not over(ming, later.entry)
        with pytest.raises(Refused) as refused:
            await node.room(ROOM).claim("小明", later.entry)
        assert refused.value.code == Code.TOO_EARLY


async def test_conditions_hold_at_every_node_also_at_one_that_opened_the_room_later(
    running: Running, foreign: Foreign, redis: dict[str, Any], shared_ledger: str
) -> None:
    settings = shop(shared_ledger, redis=redis)
    async with running(settings) as one, open_node(settings) as two, AsyncExitStack() as stack:
        tokens = token("粉丝", follower=True), token("路人"), token("fan", follower=True)
        host, fan, passer_by, other = await stack.enter_async_context(foreign(one.url, token("host", "host"), *tokens))
        await fan.comment("Merry Christmas 🎄 before it counts")
        made = await host.spend(PACK, 100, 5, "equal", 0, 0, True, "MERRY, christmas!", "圣诞快乐")
        for viewer in (fan, passer_by, other):
            await until_open(viewer, made.entry)
            reply = await viewer.refused(CLAIM, made.entry)
            assert reply.code == Code.CONDITION
        assert "MERRY, christmas!" in (await fan.refused(CLAIM, made.entry)).text
        for viewer in (fan, passer_by):
            await viewer.comment("merry  ｃｈｒｉｓｔｍａｓ everybody")
        last = await other.comment("Merry X-mas")
        await fan.until_offset(last)
        assert (await passer_by.refused(CLAIM, made.entry)).code == Code.CONDITION
        assert (await other.refused(CLAIM, made.entry)).code == Code.CONDITION
        # The other node opens the room only now.
        there = await stack.enter_async_context(foreign(two.url, *tokens, None))
        fan_there, passer_by_there, other_there, guest = there
        assert guest.value("packet", str(made.entry))["phrase"] == "MERRY, christmas!"
        paid = await fan_there.spend(CLAIM, made.entry)
        assert await fan.spend(CLAIM, made.entry) == paid._replace(ref=fan.refs)
        assert (await passer_by_there.refused(CLAIM, made.entry)).code == Code.CONDITION
        assert (await other_there.refused(CLAIM, made.entry)).code == Code.CONDITION
        # Said at this node, claimed at the first one, as soon as it is shown there.
        said = await other_there.comment("🎅 MERRY CHRISTMAS 🎅")
        await other.until_offset(said)
        second = await other.spend(CLAIM, made.entry)
        assert second.amount == paid.amount == 20
        booked = await one.room(ROOM).cancel_packet(made.entry)
        assert booked.amount == 60
        crowd = (host, fan, passer_by, other, *there)
        await until_over(*crowd, packet=made.entry)
        assert packet_is_right(host, made.entry) == {"粉丝": 20, "fan": 20}


@pytest.mark.parametrize("guests", [False, True])
async def test_guests_have_a_share_only_if_the_operator_wants_it(
    running: Running, foreign: Foreign, tmp_path: Path, guests: bool
) -> None:
    async with (
        running(shop(sqlite(tmp_path), ledger={"guests": guests})) as node,
        foreign(node.url, token("老板"), None, token("小明")) as (boss, guest, ming),
    ):
        made = await boss.spend(PACK, 100, 3, "equal")
        for viewer in (guest, ming):
            await until_open(viewer, made.entry)
        if guests:
            paid = await guest.spend(CLAIM, made.entry)
            assert await guest.spend(CLAIM, made.entry) == paid._replace(ref=guest.refs)
        else:
            # Nor by coming back, with or without the session, or under another name.
            for session, name in ((guest.session, None), (None, None), (None, "小明")):
                reply = await guest.refused(CLAIM, made.entry)
                assert reply.code == Code.FORBIDDEN
                assert "ledger.guests" in reply.text
                async with open_viewer("websockets", node.url) as again:
                    await again.join(ROOM, session=session, name=name)
                    assert (await again.refused(CLAIM, made.entry)).code == Code.FORBIDDEN
        await ming.spend(CLAIM, made.entry)
        await node.room(ROOM).cancel_packet(made.entry)
        await until_over(boss, packet=made.entry)
        assert packet_is_right(boss, made.entry).keys() == {"小明", *([guest.user] if guests else [])}


async def test_what_nobody_claims_in_time_goes_back(running: Running, foreign: Foreign, tmp_path: Path) -> None:
    async with (
        running(shop(sqlite(tmp_path))) as node,
        foreign(node.url, token("老板"), token("小明"), None) as (boss, ming, guest),
    ):
        made = await boss.spend(PACK, 100, 4, "random", 0, 500)
        kept = await boss.spend(PACK, 50, 5, "equal")
        crowd = (boss, ming, guest)
        for viewer in crowd:
            await until_open(viewer, kept.entry)
        answer = await ming.pay(CLAIM, kept.entry)
        assert isinstance(answer, Paid)
        await ming.send(CLAIM, 1, ming.handle, made.entry)
        await until_over(*crowd, packet=made.entry)
        won = packet_is_right(guest, made.entry)
        (end,) = of_kind(guest, END)
        assert (end["reason"], end["user"], end["rest"]) == ("expired", "老板", 100 - sum(won.values()))
        # A machine that stands still may be later than that.
        assert list(won) == ([ming.user] if 1 in ming.paid else [])
        await late_claims_are_dropped(node, ming, made.entry)
        booked = await node.room(ROOM).cancel_packet(kept.entry)
        assert booked.amount == 40
        assert (await node.room(ROOM).cancel_packet(kept.entry)).entry.number == booked.entry.number
        await until_over(*crowd, packet=kept.entry)
        assert packet_is_right(guest, kept.entry) == {"小明": 10}
        for viewer in crowd:
            assert not [key for kind, key in viewer.state if kind == "packet"]
        with pytest.raises(Refused) as refused:
            await node.room(ROOM).cancel_packet(99)
        assert refused.value.code == Code.NOT_FOUND


async def test_the_product_makes_and_claims_for_its_users(running: Running, foreign: Foreign, tmp_path: Path) -> None:
    async with (
        running(shop(sqlite(tmp_path))) as node,
        foreign(node.url, token("小明"), None) as (ming, guest),
        open_client(node.url, room=ROOM, token=token("ours")) as ours,
    ):
        room = node.room(ROOM)
        made = await room.red_packet("平台🎁", 10, 3, split="equal", text="福利", key="活动-1")
        again = await room.red_packet("平台🎁", 10, 3, split="equal", text="福利", key="活动-1")
        assert (again.repeated, again.entry.number) == (True, made.entry.number)
        with pytest.raises(Refused) as refused:
            await room.red_packet("平台🎁", 11, 3, split="equal", text="福利", key="活动-1")
        assert refused.value.code == Code.CONFLICT
        packet = made.entry.number
        await until_open(ming, packet)
        share = await room.claim("应用内", packet)
        assert (await room.claim("应用内", packet)).entry.number == share.entry.number
        await ming.spend(CLAIM, packet)
        with trio.fail_after(PATIENCE):
            assert (await ours.claim(packet)).amount == 3
        await until_over(ming, guest, packet=packet)
        assert packet_is_right(guest, packet) == {"应用内": 4, "小明": 3, "ours": 3}
        assert guest.money[packet][1][0] == "平台🎁"
        with pytest.raises(Refused) as refused:
            await room.claim("late", packet)
        assert refused.value.code == Code.PACKET_OVER


async def test_a_packet_that_cannot_be_is_refused_and_the_product_may_refuse_too(
    running: Running, foreign: Foreign, tmp_path: Path
) -> None:
    ledger = {"packets_open": 2, "packet_shares": 100, "packet_seconds": 60.0}
    async with running(shop(sqlite(tmp_path), ledger=ledger)) as node, foreign(node.url, token("老板"), None) as (boss, guest):
        for fields, code in (
            ([1, 2], Code.INVALID),
            ([1_000, 101], Code.INVALID),
            ([10, 2, "equal", 60_001], Code.INVALID),
            ([10, 2, "equal", 0, 60_001], Code.INVALID),
            ([10, 2, "equal", 0, 0, False, "\u200b"], Code.EMPTY),
        ):
            assert (await boss.refused(PACK, *fields)).code == code
        made = [await boss.spend(PACK, 2, 2), await guest.spend(PACK, 2, 2)]
        assert (await boss.refused(PACK, 2, 2)).code == Code.STATE_FULL
        await node.room(ROOM).cancel_packet(made[0].entry)
        made.append(await boss.spend(PACK, 2, 2, "random", 0, 0, False, "", "又一个\u202e", ref=5))
        assert await boss.spend(PACK, 2, 2, "random", 0, 0, False, "", "又一个\u202e", ref=5) == made[-1]
        assert (await boss.refused(PACK, 2, 1, "random", 0, 0, False, "", "又一个\u202e", ref=5)).code == Code.CONFLICT
        await until_entry(guest, entries=[paid.entry for paid in made])
        assert [named(event)["text"] for event in guest.money.values() if event[0] == PACKET] == ["", "", "又一个"]


async def test_an_open_packet_is_what_newcomers_find_and_money_does_not_wait_for_it(
    running: Running, foreign: Foreign, tmp_path: Path
) -> None:
    async with running(shop(sqlite(tmp_path))) as node, foreign(node.url, token("host", "host"), token("小明")) as (host, ming):
        made = await host.spend(PACK, 100, 2, "random", 0, 0, False, "发财", "快来🏃")
        # Who has paid is told when that is booked, and the room a moment later.
        await host.until(lambda: host.value("packet", str(made.entry)) is not None)
        async with foreign(node.url, token("小红"), None) as (hong, guest):
            for viewer in (hong, guest):
                value = viewer.value("packet", str(made.entry))
                assert (value["total"], value["shares"], value["text"], value["phrase"]) == (100, 2, "快来🏃", "发财")
                assert value["author"][0] == "host"
            # Nobody else makes, changes or ends one.
            for value in ({"total": 1}, None):
                for key in (str(made.entry), "99"):
                    assert (await host.ask(CHANGE, host.handle, "packet", key, value)).code == Code.FORBIDDEN
            await until_open(ming, made.entry)
            for viewer in (hong, ming):
                assert (await viewer.ask(COMMENT, viewer.handle, "恭喜发财！")).code == Code.OK
                await viewer.spend(CLAIM, made.entry)
                await viewer.spend(GIVE, CAR)
            await until_over(host, hong, ming, guest, packet=made.entry)
            assert packet_is_right(host, made.entry).keys() == {"小红", "小明"}
