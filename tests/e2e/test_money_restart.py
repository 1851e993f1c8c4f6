"""Nodes that end between two steps of a gift: what was acknowledged is in the ledger once, and comes to whoever comes back."""

from __future__ import annotations

import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import trio

from bench.redisproc import redis_server
from engine.ledger.store import Store
from engine.ledger.values import Give
from engine.node import Node, open_node
from engine.schema import Author
from engine.settings import Settings

from .conftest import Running
from .people import ROOM, Foreign, token
from .processes import serve
from .shop import (
    CAR,
    GIFT,
    PACKET,
    ROSE,
    combos_are_right,
    environment,
    in_ledger,
    named,
    of_kind,
    packet_is_right,
    shop,
    sqlite,
    until_entry,
    until_published,
)
from .transports import Gone
from .viewers import CLAIM, GIVE, JSON, MSGPACK, PACK, PATIENCE, READ_GIVERS, Viewer, open_viewer


@pytest.fixture
def running() -> Running:
    """Over the encoded link only: what differs with it is looked at where people give and claim."""

    @asynccontextmanager
    async def run(settings: Settings) -> AsyncIterator[Node]:
        async with open_node(settings, encoded_link=True) as node:
            yield node

    return run


async def back(stack: AsyncExitStack, url: str, viewer: Viewer, make: str, user: str | None, **more: Any) -> Viewer:
    """Whoever this was, with another client, from where it was."""
    again = await stack.enter_async_context(open_viewer(make, url, viewer.subprotocol, **more))
    await again.join(ROOM, viewer.position, session=viewer.session, token=token(user) if user else None)
    return again


async def test_what_was_acknowledged_comes_back_after_a_restart(
    running: Running, foreign: Foreign, tmp_path: Path, ws_home: Path
) -> None:
    settings = shop(sqlite(tmp_path))
    users = ("小明", "老板", None, None)
    async with running(settings) as node, foreign(node.url, *(user and token(user) for user in users)) as before:
        ming, boss, *_ = before
        acknowledged = [await ming.spend(GIVE, ROSE, 2, ref=number) for number in range(1, 6)]
        packet = await boss.spend(PACK, 100, 3, "equal", 0, 0, False, "发财🎉", ref=1)
        acknowledged += [packet, await ming.spend(GIVE, CAR, ref=6)]
        await ming.comment("发财🎉！")
        await until_entry(*before[:3], entries=[paid.entry for paid in acknowledged])
    # One of them did not see the end of it.
    async with running(settings) as node, AsyncExitStack() as stack:
        after = []
        for number, (viewer, user) in enumerate(zip(before, users, strict=True)):
            assert viewer.position is not None
            make = ("ws", "websockets")[number % 2]
            after.append(await back(stack, node.url, viewer, make, user, home=ws_home))
        for old, viewer in zip(before, after, strict=True):
            await until_entry(viewer, entries=[paid.entry for paid in acknowledged])
            assert [gap[3] for gap in viewer.gaps] == ["epoch"]
            for entry, event in old.money.items():
                assert viewer.money[entry] == event
        ming, boss, guest, _ = after
        # To a retry the first entry; it is at another place now.
        for number, paid in enumerate(acknowledged[:5], 1):
            retried = await ming.spend(GIVE, ROSE, 2, ref=number)
            assert (retried.entry, retried.amount) == (paid.entry, paid.amount)
            assert ming.position is not None
        retried = await boss.spend(PACK, 100, 3, "equal", 0, 0, False, "发财🎉", ref=1)
        assert retried.entry == packet.entry
        # The leaderboard, and what is open.
        assert guest.totals["givers"] == [["小明", "", 5_100]]
        assert (await guest.read(READ_GIVERS))[5] == [["小明", "", 5_100]]
        assert guest.value("packet", str(packet.entry))["phrase"] == "发财🎉"
        await ming.comment("我又说一次：发财🎉")
        assert (await ming.spend(CLAIM, packet.entry)).amount == 34
        booked = await node.room(ROOM).cancel_packet(packet.entry)
        await until_entry(*after, entries=range(1, booked.entry.number + 1))
        for viewer in after:
            assert packet_is_right(viewer, packet.entry) == {"小明": 34}
            combos_are_right(viewer, ended=False)
            assert len(of_kind(viewer, GIFT)) == 6
        await until_published(node)
    booked_entries, outbox = in_ledger(settings.ledger.url, ROOM)
    assert not outbox
    assert [entry.number for entry in booked_entries] == list(range(1, len(booked_entries) + 1))


async def test_who_comes_back_when_the_outbox_is_published_already_sees_it_too(
    running: Running, foreign: Foreign, tmp_path: Path
) -> None:
    settings = shop(sqlite(tmp_path))
    async with running(settings) as node, foreign(node.url, token("小明"), None) as before:
        paid = [await before[0].spend(GIVE, CAR, ref=number) for number in (1, 2)]
        await until_entry(before[0], entries=[1, 2])
        await until_published(node)
    # Booked by a node that ended before it could publish it.
    store = Store(settings.ledger.url)
    lost = Give(
        room=ROOM,
        key="p/付款",
        stream="",
        author=Author("小红"),
        ref=1,
        gift=CAR,
        price=5_000,
        count=1,
        receiver="",
        combo_ms=0,
    )
    store.commit([lost], [], int(time.time() * 1000))
    store.close()
    async with running(settings) as node, AsyncExitStack() as stack:
        # Nobody is there yet when it comes to the room.
        await until_published(node)
        with trio.fail_after(PATIENCE):
            while node.statistics().hub.money.lane.published < 1:
                await trio.lowlevel.checkpoint()
        for make, viewer in zip(("websockets", "raw"), before, strict=True):
            after = await back(stack, node.url, viewer, make, None)
            await until_entry(after, entries=[*(each.entry for each in paid), 3])
            assert [named(event)["user"] for event in after.money.values()] == ["小明", "小明", "小红"]


async def press(viewer: Viewer, sent: dict[int, tuple[str, int]], flowing: trio.Event) -> None:
    """Give without pause until the connection ends."""
    with suppress(Gone):
        while True:
            viewer.refs += 1
            sent[viewer.refs] = (ROSE, 1 + len(sent) % 3) if len(sent) % 4 else (CAR, 1)
            await viewer.send(GIVE, viewer.refs, viewer.handle, *sent[viewer.refs])
            while len(sent) - len(viewer.paid) > 10:
                await viewer.take()
            assert not viewer.replies
            if len(viewer.paid) > 20:
                flowing.set()
    with suppress(Gone):
        while True:
            await viewer.take()


@pytest.mark.parametrize("workers", ["0", "2"])
async def test_a_killed_node_has_lost_no_gift_that_it_acknowledged(tmp_path: Path, ws_home: Path, workers: str) -> None:
    ledger = sqlite(tmp_path)
    environ = environment(ledger, ROOMCAST_NODE__WORKERS=workers, ROOMCAST_NODE__RUN_DIRECTORY=str(tmp_path / "run"))
    makes = (("websockets", MSGPACK), ("ws", JSON), ("raw", MSGPACK), ("raw", JSON))
    users = [f"送礼{number}🎁" for number in range(len(makes))]
    sent: list[dict[int, tuple[str, int]]] = [{} for _ in makes]
    before: list[Viewer] = []
    async with serve(environment=environ) as served, AsyncExitStack() as stack:
        for (make, codec), user in zip(makes, users, strict=True):
            viewer = await stack.enter_async_context(open_viewer(make, served.url, codec, home=ws_home))
            await viewer.join(ROOM, token=token(user))
            before.append(viewer)
        packet = await before[0].spend(PACK, 100, 10, "equal")
        async with trio.open_nursery() as nursery:
            for viewer, gifts in zip(before, sent, strict=True):
                flowing = trio.Event()
                nursery.start_soon(press, viewer, gifts, flowing)
                await flowing.wait()
            served.process.kill()
            await served.ended()
    acknowledged = {paid.entry for viewer in before for paid in viewer.paid.values()}
    assert len(acknowledged) == sum(len(viewer.paid) for viewer in before) > 80
    async with serve(environment=environ) as served, AsyncExitStack() as stack:
        after = [
            await back(stack, served.url, viewer, make, user, home=ws_home)
            for viewer, (make, _), user in zip(before, reversed(makes), users, strict=True)
        ]
        witness = await stack.enter_async_context(open_viewer("websockets", served.url))
        await witness.join(ROOM)
        for viewer, gifts, old in zip(after, sent, before, strict=True):
            await until_entry(viewer, entries=acknowledged)
            for ref, gift in gifts.items():
                await viewer.send(GIVE, ref, viewer.handle, *gift)
            await viewer.until(lambda viewer=viewer, gifts=gifts: gifts.keys() <= viewer.paid.keys())  # type: ignore[misc]
            for ref, first in old.paid.items():
                assert ref not in gifts or (viewer.paid[ref].entry, viewer.paid[ref].amount) == (first.entry, first.amount)
        # Each gift once, whenever it was booked; and what is open can be claimed.
        assert (await after[1].spend(CLAIM, packet.entry)).amount == 10
        last = await after[0].spend(GIVE, CAR)
        for viewer in after:
            await until_entry(viewer, entries=range(1, last.entry + 1))
            assert not viewer.again
            shown = [(each["user"], each["ref"], each["gift"], each["count"]) for each in of_kind(viewer, GIFT)][:-1]
            assert sorted(shown) == sorted(
                (user, ref, *gift) for user, theirs in zip(users, sent, strict=True) for ref, gift in theirs.items()
            )
            combos_are_right(viewer, ended=False)
        given = dict.fromkeys(users, 0)
        for fields in of_kind(after[0], GIFT):
            given[fields["user"]] += fields["amount"]
            assert fields["given"] == given[fields["user"]]
        board = sorted((-amount, user) for user, amount in given.items())
        assert (await witness.read(READ_GIVERS))[5] == [[user, "", -amount] for amount, user in board]
    entries, _ = in_ledger(ledger, ROOM)
    assert [entry.number for entry in entries][: last.entry] == list(range(1, last.entry + 1))


async def test_what_a_killed_node_left_behind_another_one_publishes(
    foreign: Foreign, running: Running, tmp_path: Path, shared_ledger: str
) -> None:
    # Not in the test's own directory, whose name may be too long for a socket.
    with tempfile.TemporaryDirectory() as directory, redis_server(Path(directory), "--save", "") as server:
        redis = {"url": server.url, "answer_seconds": 0.5}
        environ = environment(
            shared_ledger,
            ROOMCAST_REDIS__URL=server.url,
            ROOMCAST_REDIS__ANSWER_SECONDS="0.5",
            ROOMCAST_REDIS__PREFIX="roomcast",
        )
        async with (
            serve(environment=environ) as doomed,
            running(shop(shared_ledger, redis=redis)) as node,
            foreign(node.url, token("小红"), None) as watchers,
        ):
            async with open_viewer("websockets", doomed.url) as ming:
                await ming.join(ROOM, token=token("小明"))
                first = await ming.spend(GIVE, CAR, ref=1)
                await until_entry(*watchers, entries=[first.entry])
                # From now on what is booked cannot be published.
                server.pause()
                await ming.send(GIVE, 2, ming.handle, CAR, 2)
                await ming.send(PACK, 3, ming.handle, 10, 2, "equal")
                with trio.fail_after(PATIENCE):
                    while len(entries := (await trio.to_thread.run_sync(in_ledger, shared_ledger, ROOM))[0]) < 3:
                        pass
                doomed.process.kill()
                await doomed.ended()
                assert not {2, 3} & ming.paid.keys()
            server.resume()
            # Nobody asks for it.
            await until_entry(*watchers, entries=[1, 2, 3])
            for viewer in watchers:
                assert [named(event)["kind"] for event in viewer.money.values()] == [GIFT, GIFT, PACKET]
                assert not viewer.again
            async with open_viewer("websockets", node.url, JSON) as again:
                await again.join(ROOM, ming.position, session=ming.session, token=token("小明"))
                for ref, fields, kind in ((1, (CAR,), GIVE), (2, (CAR, 2), GIVE), (3, (10, 2, "equal"), PACK)):
                    assert (await again.spend(kind, *fields, ref=ref)).entry == ref
                await again.spend(CLAIM, 3)
                await watchers[0].spend(CLAIM, 3)
                await until_entry(again, *watchers, entries=range(1, 7))
                assert packet_is_right(watchers[1], 3) == {"小明": 5, "小红": 5}
                assert watchers[0].money == watchers[1].money
            await until_published(node)
    assert not in_ledger(shared_ledger, ROOM)[1]
    assert len(entries) == 3
