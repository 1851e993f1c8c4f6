"""Gifts: from whoever gives to everybody in the room, once and exactly, whatever is repeated, refused or taken back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import trio

from engine.client import open_client
from engine.errors import Code, Refused
from engine.hub.spending import Spend
from engine.ledger.values import Gift
from engine.node import open_node
from engine.ws import Opcode, client_frame

from .conftest import Running
from .people import ROOM, Foreign, token
from .shop import (
    CAR,
    CORRECTION,
    FINISH,
    GIFT,
    ROSE,
    combos_are_right,
    has_paid,
    in_ledger,
    named,
    of_kind,
    shop,
    sqlite,
    until_entry,
    until_published,
)
from .viewers import CHANGE, COMMENT, GIVE, JSON, MSGPACK, READ_GIFTS, READ_GIVERS, Paid, Viewer, open_viewer

MASK = b"\x00\x00\x00\x00"


def at_once(viewer: Viewer, *messages: list[Any]) -> bytes:
    """Messages as frames in one piece."""
    opcode = Opcode.TEXT if viewer.subprotocol == JSON else Opcode.BINARY
    encoded = [viewer.encode(*message) for message in messages]
    return b"".join(client_frame(opcode, each.encode() if isinstance(each, str) else each, MASK) for each in encoded)


async def test_everybody_sees_the_same_gifts_and_who_gives_is_answered_with_them(
    running: Running, foreign: Foreign, tmp_path: Path
) -> None:
    names = ("小明", "mary🚀", "Жанна", "محمد")
    async with (
        running(shop(sqlite(tmp_path))) as node,
        foreign(node.url, *(token(name, name=f"{name} 👩‍🚀", level=3) for name in names)) as people,
        foreign(node.url, None) as (guest,),
        open_viewer("raw", node.url, deflate=False) as plain,
        open_client(node.url, room=ROOM, token=token("ours")) as ours,
    ):
        await plain.join(ROOM)
        assert all(viewer.transport.deflate for viewer in (*people, guest))
        assert not plain.transport.deflate
        given = []
        for number, viewer in enumerate((*people, guest), 1):
            given.append((viewer, await viewer.spend(GIVE, ROSE, number, "主播👑" if number % 2 else "")))
            given.append((viewer, await viewer.spend(GIVE, CAR)))
        mine = await ours.give(CAR, 2, to="嘉宾")
        crowd = (*people, guest, plain)
        await until_entry(*crowd, entries={mine.entry, *(paid.entry for _, paid in given)})
        for viewer, paid in given:
            events = [has_paid(each, paid) for each in crowd]
            assert all(event == events[0] for event in events)
            assert events[0]["user"] == viewer.user
        shown = [named(plain.money[paid.entry]) for _, paid in given]
        assert [(each["gift"], each["count"], each["amount"], each["to"]) for each in shown[:4]] == [
            (ROSE, 1, 10, "主播👑"),
            (CAR, 1, 5_000, ""),
            (ROSE, 2, 20, ""),
            (CAR, 1, 5_000, ""),
        ]
        assert plain.money[given[0][1].entry][1] == ["小明", "小明 👩‍🚀", {}, "viewer", 3]
        assert named(plain.money[mine.entry])["amount"] == mine.amount == 10_000
        assert sorted(plain.money) == list(range(1, len(plain.money) + 1))
        await until_published(node)
        booked, outbox = in_ledger(node.settings.ledger.url, ROOM)
        assert not outbox
        assert [entry.number for entry in booked] == list(range(1, len(booked) + 1))


@pytest.mark.parametrize("codec", [MSGPACK, JSON])
async def test_a_retry_gets_the_first_answer_also_from_another_connection(
    running: Running, foreign: Foreign, tmp_path: Path, codec: str
) -> None:
    async with running(shop(sqlite(tmp_path))) as node, foreign(node.url, token("bob"), None) as witnesses:
        async with open_viewer("raw", node.url, codec) as anna:
            await anna.join(ROOM, token=token("anna"))
            session = anna.session
            first = await anna.spend(GIVE, ROSE, 2, "小明", ref=7)
            assert await anna.spend(GIVE, ROSE, 2, "小明", ref=7) == first
            for other in ((ROSE, 3, "小明"), (ROSE, 2), (CAR, 2, "小明")):
                assert (await anna.refused(GIVE, *other, ref=7)).code == Code.CONFLICT
            # It is gone before it can be answered, and before it is known whether it was heard.
            await anna.raw.stream.send_all(at_once(anna, [GIVE, 8, anna.handle, CAR]))
        async with open_viewer("websockets", node.url, codec) as anna:
            await anna.join(ROOM, session=session, token=token("anna"))
            assert await anna.spend(GIVE, ROSE, 2, "小明", ref=7) == first
            assert (await anna.refused(GIVE, CAR, ref=7)).code == Code.CONFLICT
            second = await anna.spend(GIVE, CAR, ref=8)
            assert await anna.spend(GIVE, CAR, ref=8) == second
        # The key is one for all rooms, and of nobody else's.
        async with open_viewer("websockets", node.url, codec) as anna, open_viewer("raw", node.url, codec) as eve:
            await anna.join("另一个房间", session=session, token=token("anna"))
            assert (await anna.refused(GIVE, ROSE, 2, "小明", ref=7)).code == Code.CONFLICT
            await eve.join(ROOM, session=session, token=token("eve"))
            third = await eve.spend(GIVE, ROSE, 2, "小明", ref=7)
        for witness in witnesses:
            await until_entry(witness, entries=[third.entry])
            gifts = of_kind(witness, GIFT)
            assert [(each["entry"], each["user"]) for each in gifts] == [
                (first.entry, "anna"),
                (second.entry, "anna"),
                (third.entry, "eve"),
            ]


async def test_what_is_asked_for_twice_before_it_is_answered_is_booked_once(running: Running, tmp_path: Path) -> None:
    async with (
        running(shop(sqlite(tmp_path))) as node,
        open_viewer("raw", node.url) as anna,
        open_viewer("raw", node.url) as again,
    ):
        await anna.join(ROOM, token=token("anna"))
        await again.join(ROOM, token=token("anna"), session=anna.session)
        assert again.session == anna.session
        for ref in range(1, 21):
            for viewer in (anna, again):
                await viewer.send(GIVE, ref, viewer.handle, CAR)
        for viewer in (anna, again):
            await viewer.until(lambda viewer=viewer: len(viewer.paid) == 20)  # type: ignore[misc]
        assert anna.paid == again.paid
        await until_entry(anna, entries=(paid.entry for paid in anna.paid.values()))
        assert sorted(anna.money) == list(range(1, 21))


async def test_gifts_that_follow_each_other_become_combos_with_exact_totals(
    running: Running, foreign: Foreign, tmp_path: Path
) -> None:
    async with (
        running(shop(sqlite(tmp_path))) as node,
        foreign(node.url, token("小明"), token("小红"), None) as people,
        open_viewer("raw", node.url) as fast,
    ):
        await fast.join(ROOM, token=token("连击王"))
        handle = fast.handle
        presses = [[GIVE, ref, handle, ROSE, ref % 3 + 1, "嘉宾" if ref % 4 == 0 else ""] for ref in range(1, 41)]
        await fast.raw.stream.send_all(at_once(fast, *presses, [GIVE, 99, handle, CAR], [GIVE, 100, handle, CAR]))
        for viewer in people:
            for _ in range(3):
                await viewer.spend(GIVE, ROSE)
        await fast.until(lambda: len(fast.paid) == 42)
        combos = 0
        while not combos or len(of_kind(fast, FINISH)) < combos:
            await fast.take()
            combos = combos_are_right(fast, ended=False)
        last = (await fast.spend(GIVE, CAR)).entry
        for viewer in (fast, *people):
            await until_entry(viewer, entries=range(1, last + 1))
            assert combos_are_right(viewer, ended=True) == combos
            assert viewer.money == fast.money
        # Neither other gifts nor other receivers are part of it.
        assert {fields["to"] for fields in of_kind(fast, FINISH)} >= {"", "嘉宾"}
        assert not [fields for fields in of_kind(fast, FINISH) if fields["gift"] == CAR]


async def test_everybody_is_told_who_gave_most_and_can_read_on(running: Running, foreign: Foreign, tmp_path: Path) -> None:
    async with (
        running(shop(sqlite(tmp_path), ledger={"givers_shown": 2})) as node,
        foreign(node.url, token("host", "host"), token("小明", name="小明🌟"), token("b"), token("a")) as people,
    ):
        host, ming, b, a = people

        async def told(*givers: list[Any]) -> None:
            for viewer in people:
                await viewer.until(lambda viewer=viewer: viewer.totals.get("givers") == list(givers))  # type: ignore[misc]

        for viewer, count in ((ming, 7), (b, 5), (a, 5), (host, 1)):
            paid = await viewer.spend(GIVE, ROSE, count)
        await told(["小明", "小明🌟", 70], ["a", "", 50])
        async with foreign(node.url, None, None) as late:
            for viewer in late:
                assert viewer.totals["givers"] == [["小明", "小明🌟", 70], ["a", "", 50]]
        board = [["小明", "小明🌟", 70], ["a", "", 50], ["b", "", 50], ["host", "", 10]]
        for viewer in people:
            assert (await viewer.read(READ_GIVERS))[3:] == ["", 0, board]
            assert (await viewer.read(READ_GIVERS, "", 1, 2))[3:] == ["", 1, board[1:3]]
            assert (await viewer.read(READ_GIVERS, None, 9))[3:] == ["", 9, []]
        await node.room(ROOM).refund(paid.entry, key="refund")
        last = await b.spend(GIVE, CAR)
        await told(["b", "", 5_050], ["小明", "小明🌟", 70])
        # Another broadcast begins anew; that of all time goes on.
        await host.act(CHANGE, "life", "", {"state": "open", "stream": "晚场🌙"})
        await told()
        await ming.spend(GIVE, ROSE)
        await told(["小明", "小明🌟", 10])
        assert (await a.read(READ_GIVERS))[3:] == ["晚场🌙", 0, [["小明", "小明🌟", 10]]]
        everything = [["b", "", 5_050], ["小明", "小明🌟", 80], ["a", "", 50]]
        assert (await a.read(READ_GIVERS, ""))[3:] == ["", 0, everything]
        assert [tuple(each) for each in everything] == [
            (each.user, each.name, each.given) for each in await node.room(ROOM).givers("")
        ]
        assert last.amount == 5_000


async def test_the_product_gives_once_for_each_payment(foreign: Foreign, tmp_path: Path) -> None:
    async with (
        open_node(shop(sqlite(tmp_path)), encoded_link=True) as node,
        foreign(node.url, token("小明"), None) as viewers,
    ):
        room = node.room(ROOM)
        answers = []

        async def pay(key: str) -> None:
            answers.append(await room.gift("土豪🧧", CAR, 3, to="小明", key=key))

        async with trio.open_nursery() as nursery:
            for number in range(20):
                nursery.start_soon(pay, f"付款-{number % 2}")
        assert sorted(answer.entry.number for answer in answers) == [1] * 10 + [2] * 10
        assert [answer.repeated for answer in answers].count(False) == 2
        for other in ((CAR, 2, "小明"), (CAR, 3, ""), (ROSE, 3, "小明")):
            with pytest.raises(Refused) as refused:
                await room.gift("土豪🧧", other[0], other[1], to=other[2], key="付款-0")
            assert refused.value.code == Code.CONFLICT
        for user, gift, count, key, code in (
            ("x", "unicorn", 1, "k", Code.NOT_FOUND),
            ("x", CAR, 0, "k", Code.INVALID),
            ("x", CAR, 1_000_001, "k", Code.INVALID),
            ("x", CAR, 1, "k" * 97, Code.INVALID),
        ):
            with pytest.raises(Refused) as refused:
                await room.gift(user, gift, count, key=key)
            assert refused.value.code == code
        # The key of a payment is none of a viewer's.
        paid = await viewers[0].spend(GIVE, CAR)
        await until_entry(*viewers, entries=[paid.entry])
        assert paid.entry == 3
        for viewer in viewers:
            assert [(each["user"], each["amount"], each["to"]) for each in of_kind(viewer, GIFT)][:2] == [
                ("土豪🧧", 15_000, "小明")
            ] * 2


async def test_the_product_decides_whether_a_viewer_may_spend(foreign: Foreign, tmp_path: Path) -> None:
    asked: list[Spend] = []
    allowed: set[str] = set()

    async def charge(spend: Spend) -> str | None:
        asked.append(spend)
        if spend.user == "慢":
            if spend.key not in allowed:
                await trio.sleep_forever()
        elif spend.user == "坏":
            raise ValueError("no wallet")
        elif spend.user == "穷":
            return "余额不足 💸"
        return None

    settings = shop(sqlite(tmp_path), ledger={"spend": "hook", "spend_seconds": 0.5})
    async with (
        open_node(settings, encoded_link=True) as node,
        foreign(node.url, *map(token, ("富", "穷", "慢", "坏")), None) as (rich, poor, slow, broken, witness),
    ):
        assert (await rich.refused(GIVE, CAR)).code == Code.FORBIDDEN
        node.on_spend = charge
        await slow.send(GIVE, 1, slow.handle, CAR, 2)
        await broken.send(GIVE, 1, broken.handle, CAR)
        paid = await rich.spend(GIVE, ROSE, 3, "嘉宾", ref=1)
        assert (await witness.ask(COMMENT, witness.handle, "我还在")).code == Code.OK
        reply = await poor.refused(GIVE, ROSE)
        assert (reply.code, reply.text) == (Code.UNPAID, "余额不足 💸")
        for viewer in (slow, broken):
            await viewer.until(lambda viewer=viewer: 1 in viewer.replies)  # type: ignore[misc]
            assert viewer.replies[1].code == Code.UNAVAILABLE
            assert viewer.replies[1].retry_after_ms > 0
        (spend,) = [each for each in asked if each.user == "慢"]
        assert (spend.room, spend.gift, spend.count, spend.amount, spend.receiver) == (ROOM, CAR, 2, 10_000, "")
        # The same purchase has the same key, and that is no secret's.
        allowed.add(spend.key)
        assert slow.session not in spend.key
        late = await slow.spend(GIVE, CAR, 2, ref=1)
        assert len({each.key for each in asked if each.user == "慢"}) == 1
        assert await rich.spend(GIVE, ROSE, 3, "嘉宾", ref=1) == paid
        assert len({each.key for each in asked if each.user == "富"}) == 1
        await until_entry(witness, entries=[paid.entry, late.entry])
        assert {each["user"] for each in of_kind(witness, GIFT)} == {"富", "慢"}


async def test_what_was_given_is_taken_back_by_entries_of_their_own(foreign: Foreign, tmp_path: Path) -> None:
    async with (
        open_node(shop(sqlite(tmp_path)), encoded_link=True) as node,
        foreign(node.url, token("小明"), token("eve"), None) as viewers,
    ):
        room = node.room(ROOM)
        ming, eve, _ = viewers
        gift = await ming.spend(GIVE, CAR, 2, "嘉宾")
        other = await eve.spend(GIVE, CAR)
        part = await room.refund(gift.entry, 3_000, reason="送错了 🙏", key="退款-1")
        assert (await room.refund(gift.entry, 3_000, reason="送错了 🙏", key="退款-1")).entry.number == part.entry.number
        rest = await room.refund(gift.entry, key="退款-2")
        assert (part.amount, rest.amount) == (-3_000, -7_000)
        for entry, amount, key, code in (
            (gift.entry, 1, "退款-3", Code.INVALID),
            (other.entry, 5_001, "退款-4", Code.INVALID),
            (99, None, "退款-5", Code.NOT_FOUND),
            (part.entry.number, None, "退款-6", Code.NOT_FOUND),
            (other.entry, None, "退款-1", Code.CONFLICT),
        ):
            with pytest.raises(Refused) as refused:
                await room.refund(entry, amount, key=key)
            assert refused.value.code == code
        await until_entry(*viewers, entries=[rest.entry.number])
        for viewer in viewers:
            corrections = of_kind(viewer, CORRECTION)
            assert [(each["user"], each["corrected"], each["amount"], each["given"]) for each in corrections] == [
                ("小明", gift.entry, -3_000, 7_000),
                ("小明", gift.entry, -7_000, 0),
            ]
            assert corrections[0]["reason"] == "送错了 🙏"
            assert has_paid(viewer, gift)["amount"] == 10_000, "the gift stays as it was"
        assert (await ming.read(READ_GIVERS))[5] == [["eve", "", 5_000]]


async def test_what_is_offered_at_one_node_can_be_given_at_all(
    foreign: Foreign, redis: dict[str, Any], shared_ledger: str
) -> None:
    settings = shop(shared_ledger, redis=redis)
    async with (
        open_node(settings, encoded_link=True) as one,
        open_node(settings) as two,
        foreign(one.url, token("小明")) as (here,),
        foreign(two.url, token("mary"), None) as (there, witness),
    ):
        configured = [[ROSE, "一朵玫瑰 🌹", 10, "rose", 1_000], [CAR, "跑车🏎️", 5_000, "", 0]]
        for viewer in (here, there):
            assert (await viewer.read(READ_GIFTS))[3] == configured
        await one.offer_gift(Gift("飞吻😘", "飞吻", 1, "kiss", 0))
        await two.offer_gift(Gift(CAR, "跑车🏎️", 6_000, "", 0))
        offered = [["飞吻😘", "飞吻", 1, "kiss", 0], configured[0], [CAR, "跑车🏎️", 6_000, "", 0]]
        # Each node looks at what others have changed every few seconds.
        async with trio.open_nursery() as nursery:
            for viewer in (here, there):
                nursery.start_soon(until_offered, viewer, offered)
        given = [await here.spend(GIVE, CAR), await there.spend(GIVE, "飞吻😘", 9)]
        assert [paid.amount for paid in given] == [6_000, 9]
        await one.withdraw_gift("飞吻😘")
        assert (await here.refused(GIVE, "飞吻😘")).code == Code.NOT_FOUND
        for viewer in (here, there, witness):
            await until_entry(viewer, entries=[paid.entry for paid in given])
            assert [has_paid(viewer, paid)["gift"] for paid in given] == [CAR, "飞吻😘"]


async def until_offered(viewer: Viewer, gifts: list[list[Any]]) -> None:
    while (await viewer.read(READ_GIFTS))[3] != gifts:
        pass


async def test_what_cannot_be_given_is_refused_with_the_reason(foreign: Foreign, tmp_path: Path) -> None:
    async with (
        open_node(shop(sqlite(tmp_path)), encoded_link=True) as node,
        foreign(node.url, token("host", "host"), token("anna")) as (host, anna),
    ):
        assert (await anna.refused(GIVE, "unicorn")).code == Code.NOT_FOUND
        assert (await anna.refused(GIVE, CAR, 1, "a\nb")).code == Code.INVALID
        await host.act(CHANGE, "life", "", {"state": "closed"})
        await anna.until(lambda: anna.value("life") is not None)
        assert (await anna.refused(GIVE, CAR)).code == Code.ROOM_MODE
        await host.act(CHANGE, "life", "", {"state": "open"})
        await anna.until(lambda: anna.value("life")["state"] == "open")
        assert isinstance(await anna.pay(GIVE, CAR), Paid)
