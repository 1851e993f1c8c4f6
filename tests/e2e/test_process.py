"""A node as its operator runs it: signals under load, and descriptors that run out."""

from __future__ import annotations

import shutil
import signal
from contextlib import AsyncExitStack

import pytest
import trio

from engine.errors import Close

from .conftest import Connect
from .processes import clean_environment, serve
from .transports import Gone, connect_raw
from .viewers import COMMENT, PATIENCE, Viewer, open_viewer

LIVELY = {
    "ROOMCAST_LIMITS__COMMENTS_PER_SECOND": "100000",
    "ROOMCAST_LIMITS__COMMENTS_BURST": "100000",
    "ROOMCAST_LIMITS__MESSAGES_PER_SECOND": "100000",
    "ROOMCAST_LIMITS__MESSAGES_BURST": "100000",
    "ROOMCAST_NODE__RETURN_WINDOW_SECONDS": "2.5",
}
ROOM = "收摊"


async def chatter(viewer: Viewer, acknowledged: dict[int, str], flowing: trio.Event) -> None:
    """Comment without pause until the connection ends; note what was acknowledged."""
    sent: dict[int, str] = {}
    try:
        while True:
            viewer.refs += 1
            sent[viewer.refs] = f"{viewer.user} {len(sent)}"
            await viewer.send(COMMENT, viewer.refs, viewer.handle, sent[viewer.refs])
            while len(sent) - len(viewer.replies) > 20:
                await viewer.take()
            if len(viewer.replies) > 100:
                flowing.set()
    except Gone as error:
        gone = error
    if viewer.bye is None:
        gone = await viewer.until_gone()
    assert gone.code == Close.SHUTDOWN
    for ref, reply in viewer.replies.items():
        if ref in sent and reply.code == 0:
            acknowledged[reply.offset] = sent[ref]
        elif ref in sent:
            assert 0 < reply.code < 100, "a refusal at the end invites to try again"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_every_acknowledged_comment_is_delivered_before_goodbye(number: signal.Signals, connect: Connect) -> None:
    async with serve(environment=clean_environment(**LIVELY)) as node, AsyncExitStack() as stack:
        speakers = [await stack.enter_async_context(open_viewer("raw", node.url)) for _ in range(5)]
        speakers.append(await stack.enter_async_context(connect(node.url)))
        listeners = [await stack.enter_async_context(open_viewer("raw", node.url)) for _ in range(5)]
        listeners.append(await stack.enter_async_context(connect(node.url)))
        for viewer in (*speakers, *listeners):
            await viewer.join(ROOM)
        acknowledged: dict[int, str] = {}
        async with trio.open_nursery() as nursery:
            for viewer in speakers:
                flowing = trio.Event()
                nursery.start_soon(chatter, viewer, acknowledged, flowing)
                await flowing.wait()
            for viewer in listeners:
                nursery.start_soon(gone_with_shutdown, viewer)
            node.process.send_signal(number)
        assert len(acknowledged) > 500
        for viewer in (*speakers, *listeners):
            assert viewer.bye is not None
            assert viewer.bye[1] == Close.SHUTDOWN
            assert viewer.bye[4] == 2500
            assert viewer.told[-1] == 37
            assert not viewer.gaps
            joined_at = viewer.snapshots[0][4]
            for offset, body in acknowledged.items():
                if offset > joined_at:
                    assert viewer.events[offset][-1] == body
        assert await node.ended() == 0


async def gone_with_shutdown(viewer: Viewer) -> None:
    assert (await viewer.until_gone()).code == Close.SHUTDOWN


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_second_signal_hurries(number: signal.Signals) -> None:
    environment = clean_environment(**LIVELY, ROOMCAST_NODE__SHUTDOWN_SECONDS="600")
    async with (
        serve(environment=environment) as node,
        open_viewer("raw", node.url) as deaf,
        open_viewer("raw", node.url) as viewer,
    ):
        await deaf.join(ROOM)
        await viewer.join(ROOM)
        node.process.send_signal(number)
        await viewer.until_gone()
        # The deaf one never answers the close: without a second signal it would be waited for.
        node.process.send_signal(number)
        assert await node.ended() == 0


async def test_the_deadline_ends_who_does_not_go() -> None:
    environment = clean_environment(**LIVELY, ROOMCAST_NODE__SHUTDOWN_SECONDS="0.5")
    async with serve(environment=environment) as node, open_viewer("raw", node.url) as deaf:
        await deaf.join(ROOM)
        node.process.send_signal(signal.SIGTERM)
        assert await node.ended() == 0


async def test_an_idle_node_ends_at_once() -> None:
    async with serve() as node:
        node.process.send_signal(signal.SIGTERM)
        assert await node.ended() == 0


async def test_running_out_of_descriptors_harms_nobody_who_is_connected() -> None:
    prlimit = shutil.which("prlimit")
    assert prlimit is not None, "prlimit (util-linux) is needed"
    async with serve(environment=clean_environment(**LIVELY), before=(prlimit, "--nofile=400:400")) as node:
        assert node.listening["viewers_max"] == 400 - 256
        async with open_viewer("raw", node.url) as one, open_viewer("raw", node.url) as two:
            await one.join(ROOM)
            await two.join(ROOM)
            async with AsyncExitStack() as crowd:
                for number in range(500):
                    await crowd.enter_async_context(await connect_raw(node.url))
                    if number % 100 == 0:
                        offset = await one.comment(f"{number}")
                        await two.until_offset(offset)
                offset = await one.comment("crowded")
                await two.until_offset(offset)
            await recovered(node.url)
            offset = await one.comment("calm")
            await two.until_offset(offset)
            assert two.bodies == ["0", "100", "200", "300", "400", "crowded", "calm"]
            node.process.send_signal(signal.SIGTERM)
            for viewer in (one, two):
                assert (await viewer.until_gone()).code == Close.SHUTDOWN
        assert await node.ended() == 0


async def recovered(url: str) -> None:
    """Wait until a newcomer is served again: the node has to notice first that the crowd has gone."""
    with trio.fail_after(PATIENCE):
        while True:
            try:
                async with open_viewer("trio-websocket", url) as viewer:
                    await viewer.join("elsewhere")
                    return
            except* Exception:
                await trio.lowlevel.checkpoint()
