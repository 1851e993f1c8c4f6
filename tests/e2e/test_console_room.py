"""The room of the figures, with real nodes: who has a pass for it gets them each second, at whatever node, and nobody else."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import trio

from engine.errors import Close, Code
from engine.hub.passes import CONNECTED_SECONDS
from engine.node import Node, open_node
from engine.settings import ApiKey, Settings
from engine.tokens import LEEWAY_SECONDS
from engine.tokens.passes import holder_of

from .backends import CALLERS, serving, settings
from .conftest import Clock, Running
from .people import ROOM, Foreign, live, token
from .viewers import CHANGE, COMMENT, CUSTOM, LIKE, MODERATE, NOTICE, PATIENCE, READ_HISTORY, Viewer, open_viewer

CONSOLE = "#console"


def watched(**sections: dict[str, Any]) -> Settings:
    """Of a node with an HTTP API, and so with figures."""
    return live(api={"enabled": True, "port": 0}, **sections)


def figures(viewer: Viewer) -> list[dict[str, Any]]:
    """What a viewer of the room was told."""
    assert all(event[1][0] == "server" and event[3] == "figures" for event in viewer.events.values())
    return [json.loads(event[4]) for event in viewer.events.values()]


async def until_figures(viewer: Viewer, count: int = 1, *, nodes: int = 1) -> list[dict[str, Any]]:
    await viewer.until(lambda: len(viewer.events) >= count and len({each["node"] for each in figures(viewer)}) >= nodes)
    return figures(viewer)


async def enter(viewer: Viewer, text: str, room: str = CONSOLE) -> None:
    """Come in with a pass of which the edge may not have heard yet."""
    with trio.fail_after(PATIENCE):
        while (refusal := await viewer.knock(room, token=text)) is not None:
            assert (refusal.code, refusal.retry_after_ms) == (Code.UNAVAILABLE, 1_000)


@asynccontextmanager
async def looking(node: Node, make: str = "websockets") -> AsyncIterator[Viewer]:
    made = await node.make_pass("key:ops")
    async with open_viewer(make, node.url) as viewer:
        await enter(viewer, made.text)
        yield viewer


async def test_figures_come_while_somebody_is_there(running: Running, foreign: Foreign) -> None:
    async with running(watched()) as node, foreign(node.url, None, token("u")) as (guest, _):
        assert node.hub.statistics().events_published == 0
        async with looking(node) as viewer:
            assert viewer.joined[5] == "reader"
            first, second = (await until_figures(viewer, 2))[:2]
            assert second["time"] > first["time"]
            assert (first["node"], first["workers"]) == (node.name, 0)
            assert [(each["room"], each["viewers"]) for each in second["rooms"]] == [(ROOM, 2)]
            assert second["vitals"]["edges"][0]["connections"] == 3
        await guest.comment("你好")
        assert all(event[0] == 1 for event in guest.events.values())
        assert [line.room for line in node.rooms()] == [ROOM]


async def test_nobody_speaks_there_and_nobody_else_comes_in(running: Running) -> None:
    async with running(watched()) as node, looking(node, make="raw") as viewer:
        wanted: dict[int, list[Any]] = {
            COMMENT: ["你好"],
            CUSTOM: ["figures", "{}"],
            NOTICE: ["公告"],
            CHANGE: ["card", "茶", {"title": "龙井"}],
            MODERATE: ["mute", "eve"],
        }
        for kind, fields in wanted.items():
            assert (await viewer.ask(kind, viewer.handle, *fields)).code == Code.FORBIDDEN
        await viewer.send(LIKE, viewer.handle, 1)
        await viewer.until(lambda: bool(viewer.faults))
        assert viewer.faults[-1].code == Code.FORBIDDEN
        assert await viewer.read(READ_HISTORY, 0, 10) is not None
        moderating = (await node.make_pass("key:ops", ROOM)).text
        async with open_viewer("raw", node.url) as moderator, open_viewer("raw", node.url) as other:
            await enter(moderator, moderating, ROOM)
            for wrong in (
                *(None, moderating, token("host", "host"), token("h", "server"), token("h", "host", rooms=["#c*", "*"])),
                token("h", "host", rooms=[ROOM]),
            ):
                refusal = await other.knock(CONSOLE, token=wrong)
                assert refusal is not None, wrong
                assert refusal.code == Code.FORBIDDEN
            # A product may send its own people there, by its name, and they look as all do.
            refusal = await other.knock(f"{CONSOLE}#backstage", token=token("h", "host", rooms=[CONSOLE]))
            assert refusal is not None
            assert refusal.code == Code.FORBIDDEN
            await other.join(CONSOLE, token=token("h", "host", rooms=[CONSOLE]))
            assert other.joined[5] == "reader"
        for name in ("#consoles", "#", "#konsole"):
            async with open_viewer("raw", node.url) as other:
                await other.join(name)
                assert await other.comment("你好") == 1


async def test_what_is_no_pass_or_none_any_more_opens_nothing(running: Running) -> None:
    async with running(watched()) as node, open_viewer("raw", node.url) as viewer:
        good = (await node.make_pass("ops")).text
        for wrong, code in ((f"{good[:-4]}AAAA", Code.UNAVAILABLE), (good[:-1], Code.BAD_TOKEN), ("rcp_", Code.BAD_TOKEN)):
            refusal = await viewer.knock(CONSOLE, token=wrong)
            assert refusal is not None
            assert refusal.code == code
            assert good not in refusal.text
        refusal = await viewer.knock(ROOM, token=good)
        assert refusal is not None
        assert refusal.code == Code.BAD_TOKEN
        await enter(viewer, good)
        await node.revoke(user="ops")
        assert (await viewer.until_gone()).code == Close.TOKEN_REVOKED
        async with open_viewer("raw", node.url) as again:
            refusal = await again.knock(CONSOLE, token=good)
            assert refusal is not None
            assert refusal.code == Code.BAD_TOKEN


async def test_a_connection_ends_when_the_claims_do(running: Running, clock: Clock) -> None:
    async with running(watched()) as node, looking(node, make="raw") as viewer:
        await viewer.settle()
        clock.ahead_seconds = int(CONNECTED_SECONDS + LEEWAY_SECONDS) - 60
        await viewer.settle()
        clock.ahead_seconds += 60
        assert (await viewer.until_gone()).code == Close.TOKEN_EXPIRED


async def test_who_came_by_a_key_that_holds_no_more_as_it_did_is_sent_out() -> None:
    kept, changed, gone = (ApiKey(name=name, sha256=f"{number:064x}") for number, name in enumerate(("ops", "值班", "old")))
    given = watched()
    given = replace(given, api=replace(given.api, keys=(kept, changed, gone)))
    later = replace(given, api=replace(given.api, keys=(kept, replace(changed, scopes=("node:read",)))))
    async with open_node(given, reread=lambda: later) as node, AsyncExitStack() as stack:
        there = [await stack.enter_async_context(open_viewer("raw", node.url)) for _ in given.api.keys]
        for viewer, key in zip(there, given.api.keys, strict=True):
            await enter(viewer, (await node.make_pass(holder_of(key.name))).text)
        assert (await node.reload()).changed == ["api.keys"]
        for viewer in there[1:]:
            assert (await viewer.until_gone()).code == Close.TOKEN_REVOKED
        count = len(there[0].events)
        await until_figures(there[0], count + 1)
        async with open_viewer("raw", node.url) as viewer:
            await enter(viewer, (await node.make_pass(holder_of(changed.name))).text)


async def test_the_product_is_not_asked_about_who_comes_to_look(running: Running) -> None:
    asked: list[str] = []

    async def decide(question: Any) -> None:
        asked.append(question.room)

    async with running(watched()) as node:
        node.before("join", decide)
        async with looking(node), open_viewer("raw", node.url) as guest:
            await guest.join(ROOM)
        assert asked == [ROOM]


async def test_created_only_does_not_concern_it(running: Running) -> None:
    async with running(watched(room={"created_only": True})) as node, looking(node) as viewer:
        await until_figures(viewer)


async def test_a_pass_and_a_look_at_one_node_are_good_at_all(redis: dict[str, Any]) -> None:
    given = watched(redis=redis)
    nodes = [replace(given, node=replace(given.node, name=name)) for name in ("北", "南")]
    async with open_node(nodes[0]) as north, open_node(nodes[1]) as south:
        made = await south.make_pass("ops")
        async with open_viewer("websockets", north.url) as viewer, open_viewer("raw", south.url) as guest:
            await guest.join(ROOM)
            await enter(viewer, made.text)
            told = await until_figures(viewer, 2, nodes=2)
            assert {each["node"] for each in told} == {"北", "南"}
            rooms = [each["rooms"] for each in told if each["node"] == "南"]
            assert [line["room"] for line in rooms[-1]] == [ROOM]
        assert [line.room for line in north.rooms()] == []


async def test_workers_are_told_of_passes_and_told_apart(tmp_path: Path) -> None:
    with serving(tmp_path, settings(tmp_path, workers=2)) as site:
        async with CALLERS["http.client"](site) as api:
            made = await api.done("POST", "/v1/passes", {"room": None})
            assert made["url"] == site.url
            async with open_viewer("websockets", made["url"]) as viewer:
                await enter(viewer, made["token"], made["room"])
                told = (await until_figures(viewer))[-1]
                assert told["workers"] == 2
                lines = told["vitals"]["edges"]
                assert len({line["pid"] for line in lines} - {0}) == 2
                assert all(line["resident_bytes"] > 1 << 20 for line in lines)
            advised = await api.done("GET", "/v1/node/advice?seconds=10")
            assert advised["since_seconds"] >= 0
