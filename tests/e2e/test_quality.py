"""What viewers report and what edges measure comes to the hub once, whatever becomes of the link between them."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest
import trio

from engine.edge import Edge
from engine.hub.hubs import make_hub
from engine.link import memory_link
from engine.node import Node

from .conftest import Running
from .nodes import lively
from .viewers import JSON, LEAVE, MSGPACK, PATIENCE, PING, QUALITY, Viewer, open_viewer

ROOM = "质量"
SETTINGS = lively(quality={"seconds": 0.05})


async def until(condition: Callable[[], bool]) -> None:
    with trio.fail_after(PATIENCE):
        while not condition():  # noqa: ASYNC110  # nothing tells when it is so
            await trio.sleep(0.01)


async def tell(viewer: Viewer, *report: Any) -> None:
    """Report, and return when it has come."""
    await viewer.send(QUALITY, viewer.handle, *report)
    ref = viewer.refs = viewer.refs + 1
    await viewer.send(PING, ref)
    await viewer.until(lambda: ref in viewer.pongs)


def certificate(node: Node) -> dict[str, Any]:
    found = node.quality(ROOM)
    assert found is not None
    return found


@pytest.mark.parametrize("codec", [MSGPACK, JSON], ids=["msgpack", "json"])
async def test_what_viewers_and_edges_count_is_what_the_certificate_says(running: Running, codec: str) -> None:
    async with running(SETTINGS) as node, open_viewer("websockets", node.url, codec) as stays:
        async with (
            open_viewer("websockets", node.url, codec) as closes,
            open_viewer("raw", node.url, codec) as breaks,
            open_viewer("websockets", node.url, codec) as leaves,
        ):
            await see_and_tell(node, [stays, closes, breaks, leaves])
            await leaves.ask(LEAVE, leaves.handle)
        # One closed in the room, one was cut off in it.
        await until(lambda: certificate(node)["sent"]["closed"] == {"1000": 1, "1006": 1})
        assert certificate(node)["sent"]["entitled"] == 40


async def see_and_tell(node: Node, viewers: list[Viewer]) -> None:
    for viewer in viewers:
        await viewer.join(ROOM)
    await until(lambda: node.quality(ROOM) is not None and certificate(node)["viewers"] == 4)
    for number in range(10):
        await viewers[0].comment(f"{number}")
    for viewer in viewers:
        await viewer.until_offset(10)
    await tell(viewers[0], 10, 10, 0, [0, 4, 6], {})
    await tell(viewers[1], 10, 7, 1, [0] * 20 + [7], {"1006": 2, "nonsense": 1})
    # More than there was has the weight of what there was.
    await tell(viewers[2], 1_000, 500)
    for nonsense in ((10, 11), (5, 1, 0, [9])):
        await tell(viewers[3], *nonsense)
    await until(lambda: certificate(node)["measured"]["reports"] == 3 and certificate(node)["sent"]["entitled"] == 40)
    told = certificate(node)
    assert node.statistics().edge.quality_ignored == 2
    assert list(told["networks"]) == ["loopback"]
    measured = told["measured"]
    assert (measured["entitled"], measured["received"], measured["gaps"]) == (30, 10 + 7 + 5, 1)
    assert measured["delays"] == {"1": 4, "2": 6, "20": 7}
    assert measured["reconnects"] == {"1006": 2}
    assert told["sent"]["skipped"] == 0


@pytest.mark.parametrize("encoded", [False, True], ids=["in-process", "encoded"])
async def test_nothing_is_lost_or_told_twice_when_the_hub_is_away(encoded: bool) -> None:
    rounds = 3
    edge, hub = Edge(SETTINGS, lambda: time.time_ns() // 1_000_000), make_hub(SETTINGS)
    edge.listen()
    url = "ws://{}:{}/ws".format(*edge.addresses[0])
    async with trio.open_nursery() as nursery:
        await nursery.start(hub.run)
        ours, theirs = memory_link(encoded=encoded)
        hub.attach(theirs, "edge")
        await nursery.start(edge.serve, ours)
        await nursery.start(edge.run)

        def sums() -> tuple[int, ...]:
            found = hub.statistics().quality
            return found.reports, found.entitled, found.received, found.reconnects, found.sent_entitled

        async with AsyncExitStack() as stack:
            for number in range(1, rounds + 1):
                # Two more each time, who see one comment more, and tell of it when the hub has gone.
                viewers = [await stack.enter_async_context(open_viewer("websockets", url)) for _ in range(2)]
                for viewer in viewers:
                    await viewer.join(ROOM)
                offset = await viewers[0].comment("hello")
                for viewer in viewers:
                    await viewer.until_offset(offset)
                theirs.close()
                await until(lambda: not edge.rooms.linked)
                for viewer in viewers:
                    await tell(viewer, 1, 1, 0, [1], {"1006": 1})
                ours, theirs = memory_link(encoded=encoded)
                hub.attach(theirs, "edge")
                await nursery.start(edge.serve, ours)
                await until(lambda number=number: sums()[0] == 2 * number)  # type: ignore[misc]
        due = sum(2 * number for number in range(1, rounds + 1))
        await until(lambda: sums() == (2 * rounds, 2 * rounds, 2 * rounds, 2 * rounds, due))
        nursery.cancel_scope.cancel()
