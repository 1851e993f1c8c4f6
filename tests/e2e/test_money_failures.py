"""A ledger that cannot be written: who gives is told so, the room goes on, and it works again by itself."""

from __future__ import annotations

import os
import resource
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import trio

from bench.postgresproc import NOBODY, PostgresProcess
from engine.errors import Code, Refused
from engine.node import Node, open_node

from .people import ROOM, Foreign, token
from .processes import serve
from .shop import CAR, GIFT, ROSE, environment, in_ledger, of_kind, shop, sqlite, until_entry, until_published
from .viewers import CLAIM, GIVE, PACK, PATIENCE, READ_GIFTS, READ_GIVERS, Paid, Reply, Viewer, open_viewer

TOLD = 77
"""Ref of what could not be booked at first."""


async def until_paid(viewer: Viewer, kind: int, *fields: Any, ref: int) -> Paid:
    """Ask again under the same key until the ledger can be written."""
    with trio.fail_after(PATIENCE):
        while isinstance(answer := await viewer.pay(kind, *fields, ref=ref), Reply):
            assert answer.code == Code.LEDGER, answer
    return answer


async def told(viewer: Viewer, kind: int, *fields: Any) -> None:
    """It is refused, and told why, and when to come again; what is wrong with the database is for its operator to know."""
    reply = await viewer.refused(kind, *fields, ref=TOLD)
    assert reply.code == Code.LEDGER
    assert reply.retry_after_ms > 0
    assert "ledger" in reply.text
    assert not {"/", "INSERT", "sqlite", "postgres"} & set(reply.text.replace("/", " / ").split())


async def goes_on(speaker: Viewer, *others: Viewer) -> None:
    """What is said is heard, and the catalogue can be looked at."""
    body = f"还在 {speaker.refs}"
    offset = await speaker.comment(body)
    for viewer in others:
        await viewer.until_offset(offset)
        assert viewer.bodies[-1] == body
    assert (await speaker.read(READ_GIFTS))[3]


async def each_once(acknowledged: list[Paid], *viewers: Viewer) -> None:
    """All that was acknowledged is there once, under numbers without holes."""
    await until_entry(*viewers, entries=[paid.entry for paid in acknowledged])
    for viewer in viewers:
        assert sorted(viewer.money) == list(range(1, max(viewer.money) + 1))
        assert not viewer.again
        refs = [(fields["user"], fields["ref"]) for fields in of_kind(viewer, GIFT)]
        assert len(refs) == len(set(refs)), "each gift once"


@pytest.mark.parametrize("fault", ["paused", "killed"])
async def test_a_server_that_does_not_answer_costs_gifts_and_not_the_room(
    foreign: Foreign, postgres: PostgresProcess, shared_ledger: str, fault: str
) -> None:
    settings = shop(shared_ledger, ledger={"answer_seconds": 0.5})
    async with (
        open_node(settings, encoded_link=True) as node,
        foreign(node.url, token("小明"), token("小红"), token("土豪"), None) as people,
    ):
        ming, hong, rich, guest = people
        acknowledged = [await ming.spend(GIVE, ROSE, ref=number) for number in range(1, 4)]
        packet = await hong.spend(PACK, 10, 2, "equal", ref=1)
        await until_entry(ming, entries=[packet.entry])
        if fault == "paused":
            postgres.pause()
        else:
            postgres.kill()
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(told, ming, CLAIM, packet.entry)
                nursery.start_soon(told, hong, GIVE, CAR)
                nursery.start_soon(told, rich, PACK, 10, 2)
                nursery.start_soon(refused, node, "付款")
                await goes_on(guest)
            reply = await guest.ask(READ_GIVERS, guest.handle)
            assert reply.code == Code.LEDGER
            await goes_on(*people)
            lane = node.statistics().hub.money.lane
            assert lane.failures
            assert lane.ledger not in ("open", "closed")
        finally:
            if fault == "paused":
                postgres.resume()
            else:
                postgres.start()
        acknowledged.append(await until_paid(hong, GIVE, CAR, ref=TOLD))
        assert [await ming.spend(GIVE, ROSE, ref=number) for number in range(1, 4)] == acknowledged[:3]
        await until_paid(ming, CLAIM, packet.entry, ref=TOLD)
        booked = await node.room(ROOM).gift("产品", CAR, key="付款")
        await until_entry(*people, entries=[booked.entry.number])
        await each_once([*acknowledged, packet], *people)
        assert node.statistics().hub.money.lane.ledger == "open"
        await until_published(node)
    assert not in_ledger(shared_ledger, ROOM)[1]


async def refused(node: Node, key: str) -> None:
    with pytest.raises(Refused) as error:
        await node.room(ROOM).gift("产品", CAR, key=key)
    assert error.value.code == Code.LEDGER


async def test_a_ledger_whose_directory_is_not_there_yet(foreign: Foreign, tmp_path: Path) -> None:
    directory = trio.Path(tmp_path / "还没有")
    settings = shop(sqlite(Path(directory)))
    async with open_node(settings, encoded_link=True) as node, foreign(node.url, token("小明"), None) as (ming, guest):
        await told(ming, GIVE, CAR)
        assert str(directory) in node.statistics().hub.money.lane.ledger
        await goes_on(guest, ming)
        await directory.mkdir()
        paid = await until_paid(ming, GIVE, CAR, ref=TOLD)
        assert paid.entry == 1
        await each_once([paid], ming, guest)


async def test_no_ledger_no_money(foreign: Foreign) -> None:
    settings = shop("", gifts={})
    async with open_node(settings, encoded_link=True) as node, foreign(node.url, token("小明"), None) as (ming, guest):
        assert (await ming.refused(PACK, 10, 2)).code == Code.FORBIDDEN
        assert (await ming.read(READ_GIFTS))[3] == []
        assert (await guest.read(READ_GIVERS))[5] == []
        assert (await guest.comment("没有钱也可以聊天")) == 1


def ledger_files(directory: Path) -> list[Path]:
    """The file, and what SQLite keeps beside it."""
    return list(directory.glob("账本*"))


def may_be_written(directory: Path, files: list[Path], *, yes: bool) -> None:
    """Whether a ledger may be, by others than root."""
    for file in files:
        file.chmod(0o666 if yes else 0o444)
    directory.chmod(0o777 if yes else 0o555)


async def test_a_file_that_may_not_be_written(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    ledger = sqlite(tmp_path)
    async with open_node(shop(ledger)) as node:
        booked = await node.room(ROOM).gift("小明", CAR, key="1")
        await until_published(node)
    files = ledger_files(tmp_path)
    before: tuple[str, ...] = ()
    if os.geteuid() == 0:
        # Root may write whatever it wants: somebody else, who may read all, as an interpreter in root's home needs.
        before = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups")
        before += ("--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search")
    may_be_written(tmp_path, files, yes=False)
    try:
        async with (
            serve(environment=environment(ledger), before=before) as served,
            open_viewer("websockets", served.url) as ming,
            open_viewer("raw", served.url) as guest,
        ):
            await ming.join(ROOM, token=token("小明"))
            await guest.join(ROOM)
            await told(ming, GIVE, CAR)
            assert "rights" in capfd.readouterr().err, "the operator is told more"
            await goes_on(guest, ming)
            may_be_written(tmp_path, files, yes=True)
            paid = await until_paid(ming, GIVE, CAR, ref=TOLD)
            assert paid.entry == booked.entry.number + 1
            await until_entry(guest, entries=[paid.entry])
    finally:
        may_be_written(tmp_path, files, yes=True)


def sizes(directory: Path) -> list[int]:
    """Of the files in it."""
    return [file.stat().st_size for file in directory.iterdir()]


async def test_a_disk_that_is_full(tmp_path: Path, ws_home: Path, capfd: pytest.CaptureFixture[str]) -> None:
    ledger = sqlite(tmp_path)
    async with serve(environment=environment(ledger)) as served, AsyncExitStack() as stack:
        ming = await stack.enter_async_context(open_viewer("ws", served.url, home=ws_home))
        hong = await stack.enter_async_context(open_viewer("websockets", served.url))
        guest = await stack.enter_async_context(open_viewer("raw", served.url))
        await ming.join(ROOM, token=token("小明"))
        await hong.join(ROOM, token=token("小红"))
        await guest.join(ROOM)
        acknowledged = [await ming.spend(GIVE, CAR, ref=1)]
        # No file of the node's can grow beyond this: setrlimit(2).
        most = max(sizes(tmp_path)) + 100_000
        resource.prlimit(served.process.pid, resource.RLIMIT_FSIZE, (most, resource.RLIM_INFINITY))
        answer: Paid | Reply = acknowledged[0]
        while isinstance(answer, Paid):
            answer = await ming.pay(GIVE, CAR, ref=len(acknowledged) + 1)
            if isinstance(answer, Paid):
                acknowledged.append(answer)
        assert answer.code == Code.LEDGER
        await told(hong, GIVE, CAR)
        await goes_on(guest, ming, hong)
        assert "disk" in capfd.readouterr().err, "the operator is told more"
        resource.prlimit(served.process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        later = [await until_paid(ming, GIVE, CAR, ref=answer.ref), await until_paid(hong, GIVE, CAR, ref=TOLD)]
        assert len({paid.entry for paid in (*acknowledged, *later)}) == len(acknowledged) + 2
        await each_once([*acknowledged, *later], ming, hong, guest)
        for ref, paid in enumerate(acknowledged, 1):
            assert await ming.spend(GIVE, CAR, ref=ref) == paid
    assert len(in_ledger(ledger, ROOM)[0]) >= len(acknowledged)


async def test_what_waits_beyond_the_bound_is_refused_and_no_more(tmp_path: Path) -> None:
    settings = shop(sqlite(tmp_path), ledger={"pending": 5, "group": 1})
    async with open_node(settings) as node, open_viewer("raw", node.url) as ming:
        await ming.join(ROOM, token=token("小明"))
        for ref in range(1, 101):
            await ming.send(GIVE, ref, ming.handle, CAR)
        await ming.until(lambda: len(ming.paid) + len(ming.replies) == 100)
        assert {reply.code for reply in ming.replies.values()} <= {Code.OVERLOADED}
        for ref in ming.replies.copy():
            with trio.fail_after(PATIENCE):
                while isinstance(await ming.pay(GIVE, CAR, ref=ref), Reply):
                    pass
        await each_once(list(ming.paid.values()), ming)
        assert len(ming.money) == 100
