"""Two nodes with one ledger, and a Redis that forgets: recent money comes again in the new epoch, and to each viewer once."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from bench.redisproc import RedisProcess, redis_server
from engine.errors import Code
from engine.node import Node, open_node
from engine.settings import Settings

from .conftest import Running
from .people import ROOM, Foreign, token
from .shop import CAR, GIFT, ROSE, combos_are_right, in_ledger, of_kind, packet_is_right, shop, until_entry, until_published
from .viewers import CLAIM, COMMENT, GIVE, PACK, PATIENCE, Paid, Reply, Viewer, open_viewer

KNOWN = 4
"""Reason of an omission: an entry that was shown before."""
HOUSE = "同一个账本🏠"


@pytest.fixture
def running() -> Running:
    """Over the encoded link only: what differs with it is looked at where people give and claim."""

    @asynccontextmanager
    async def run(settings: Settings) -> AsyncIterator[Node]:
        async with open_node(settings, encoded_link=True) as node:
            yield node

    return run


@pytest.fixture
def forgetful() -> Iterator[RedisProcess]:
    """A server that keeps nothing on a disk."""
    # Not in the test's own directory, whose name may be too long for a socket.
    with tempfile.TemporaryDirectory() as directory, redis_server(Path(directory), "--save", "") as server:
        yield server


async def insist(viewer: Viewer, kind: int, *fields: Any, ref: int) -> Paid:
    """Ask again, under the same key, until it is done."""
    with trio.fail_after(PATIENCE):
        while isinstance(answer := await viewer.pay(kind, *fields, ref=ref), Reply):
            assert Code(answer.code).retriable, answer
    return answer


async def told_of_new_epoch(viewer: Viewer, old: int) -> None:
    await viewer.until(lambda: viewer.position is not None and viewer.position[0] != old)


@asynccontextmanager
async def two_nodes(running: Running, ledger: str, server: RedisProcess) -> AsyncIterator[tuple[Node, Node]]:
    settings = shop(ledger, redis={"url": server.url, "answer_seconds": 1.0, "totals_seconds": 0.02})
    async with running(settings) as one, open_node(settings) as two:
        yield one, two


@pytest.mark.parametrize("loss", ["flushed", "killed"])
async def test_recent_money_comes_again_in_the_new_epoch_and_to_each_viewer_once(
    running: Running, foreign: Foreign, shared_ledger: str, forgetful: RedisProcess, loss: str
) -> None:
    async with (
        two_nodes(running, shared_ledger, forgetful) as (one, two),
        foreign(one.url, token("小明"), token("老板")) as (ming, boss),
        foreign(two.url, token("小红"), None) as (hong, guest),
    ):
        crowd = (ming, boss, hong, guest)
        packet = await boss.spend(PACK, 90, 3, "equal", 0, 0, False, "红包拿来", "🧧", ref=1)
        await until_entry(ming, entries=[packet.entry])
        assert (await ming.ask(COMMENT, ming.handle, "红包拿来！")).code == Code.OK
        given = [await viewer.spend(GIVE, ROSE, 2, ref=ref) for ref in range(2, 5) for viewer in (ming, hong, boss)]
        first = await ming.spend(CLAIM, packet.entry, ref=9)
        entries = [packet.entry, first.entry, *(paid.entry for paid in given)]
        await until_entry(*crowd, entries=entries)
        assert guest.position is not None
        epoch = guest.position[0]
        if loss == "flushed":
            forgetful.ask("FLUSHALL")
        else:
            forgetful.kill()
            forgetful.start()
        late = await insist(hong, GIVE, CAR, ref=99)
        for viewer in crowd:
            await told_of_new_epoch(viewer, epoch)
        # All of it is in the new epoch, for those who come now.
        async with foreign(one.url, token("小红"), None) as others, foreign(two.url, None) as (third,):
            for viewer in (*others, third):
                past = await viewer.past()
                shown = [event[2] for event in past.values() if 8 <= event[0] < 14]
                assert sorted(shown) == sorted({*entries, late.entry, *(set(shown) - {*entries})})
                assert {*entries, late.entry} <= set(shown)
            # What was open still is, and what was said and won before is known.
            assert third.value("packet", str(packet.entry))["total"] == 90
        assert (await insist(ming, GIVE, ROSE, 2, ref=2)).entry == given[0].entry
        assert (await insist(ming, CLAIM, packet.entry, ref=10)).entry == first.entry
        assert (await hong.ask(COMMENT, hong.handle, "红包拿来，快")).code == Code.OK
        await insist_on_claim(hong, packet.entry)
        await insist_on_claim(boss, packet.entry, say="红包拿来")
        last = await insist(boss, GIVE, CAR, ref=98)
        for viewer in crowd:
            await until_entry(viewer, entries=range(1, last.entry + 1))
            assert not viewer.again, "each entry is shown once"
            assert sorted(viewer.money) == list(range(1, max(viewer.money) + 1))
            assert packet_is_right(viewer, packet.entry) == {"小明": 30, "小红": 30, "老板": 30}
            assert len(of_kind(viewer, GIFT)) == len(given) + 2
            combos_are_right(viewer, ended=False)
            assert {gap[3] for gap in viewer.gaps} == {"epoch"}
            assert KNOWN in viewer.omitted.values()
        for node in (one, two):
            await until_published(node)
    assert not in_ledger(shared_ledger, ROOM)[1]


async def insist_on_claim(viewer: Viewer, packet: int, say: str = "") -> Paid:
    """What was said may not have come to this node yet."""
    with trio.fail_after(PATIENCE):
        while True:
            if say:
                await viewer.ask(COMMENT, viewer.handle, say)
            answer = await viewer.pay(CLAIM, packet)
            if isinstance(answer, Paid):
                return answer
            assert answer.code == Code.CONDITION or Code(answer.code).retriable, answer


async def test_two_nodes_number_one_ledger_together(
    running: Running, foreign: Foreign, redis: dict[str, Any], shared_ledger: str
) -> None:
    settings = shop(shared_ledger, redis=redis)
    users = [f"土豪{number}" for number in range(4)]
    async with (
        running(settings) as one,
        open_node(settings) as two,
        foreign(one.url, *map(token, users)) as here,
        foreign(two.url, *map(token, users)) as there,
        foreign(two.url, token("土豪0"), room=HOUSE) as (elsewhere,),
    ):
        crowd = (*here, *there)
        async with trio.open_nursery() as nursery:
            for viewer in (*crowd, elsewhere):
                nursery.start_soon(give_many, viewer, 25)
        assert sorted(paid.entry for viewer in crowd for paid in viewer.paid.values())[0] == 1
        assert len({paid.entry for viewer in crowd for paid in viewer.paid.values()}) == 200
        last = (await here[0].spend(GIVE, CAR)).entry
        given = dict.fromkeys(users, 0)
        for viewer in crowd:
            await until_entry(viewer, entries=range(1, last + 1))
            assert viewer.events == crowd[0].events, "one order for all"
            combos_are_right(viewer, ended=False)
        for fields in of_kind(crowd[0], GIFT):
            given[fields["user"]] += fields["amount"]
        assert given == {user: 25 * 2 * 2 * 10 + (5_000 if user == "土豪0" else 0) for user in users}
        # Nodes publish each in its own time: of a giver's sums the one under the greatest number holds.
        by_number = sorted(of_kind(crowd[0], GIFT), key=lambda fields: fields["entry"])
        assert {fields["user"]: fields["given"] for fields in by_number} == given
        # Each room has entries of its own.
        assert sorted(elsewhere.paid[ref].entry for ref in elsewhere.paid)[0] == 1
        # The same session and ref at the other node is a retry, at the same node a user's key is no other user's.
        async with open_viewer("raw", one.url) as again:
            await again.join(ROOM, session=there[1].session, token=token(users[1]))
            ref, paid = next(iter(there[1].paid.items()))
            retried = await again.spend(GIVE, ROSE, 2, ref=ref)
            assert (retried.entry, retried.offset, retried.amount) == paid[1:]


async def give_many(viewer: Viewer, count: int) -> None:
    for _ in range(count):
        viewer.refs += 1
        await viewer.send(GIVE, viewer.refs, viewer.handle, ROSE, 2)
    await viewer.until(lambda: len(viewer.paid) == count)
