"""The certificate of each stream as a file: over real viewers, edges and processes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import trio

from engine.node import Node, open_node
from engine.settings import Settings

from .nodes import lively
from .processes import serve
from .viewers import MSGPACK, PATIENCE, QUALITY, Viewer, open_viewer

ROOM = "大厅/一号 🎬"


def certificates(directory: Path) -> list[dict[str, Any]]:
    """What is written, in the order in which they began."""
    return [json.loads(path.read_text(encoding="utf-8")) for path in sorted(directory.glob("*.json"))]


def unfinished(directory: Path) -> list[Path]:
    return [path for path in directory.iterdir() if path.suffix != ".json"]


async def written(directory: Path, count: int) -> list[dict[str, Any]]:
    await until(lambda: len(certificates(directory)) >= count)
    return certificates(directory)


async def until(condition: Callable[[], object]) -> None:
    with trio.fail_after(PATIENCE):
        while not condition():  # noqa: ASYNC110  # nobody tells
            await trio.sleep(0.005)


def told(directory: Path, **room: Any) -> Settings:
    return lively(
        node={"name": "北"}, quality={"seconds": 0.05, "directory": str(directory)}, room={"linger_seconds": 0.0, **room}
    )


async def watched(node: Node, viewer: Viewer, count: int) -> None:
    """Say so much, and report that it came."""
    before = node.quality(ROOM)
    reported = before["measured"]["reports"] if before is not None else 0
    for number in range(count):
        await viewer.comment(f"第{number}")
    await viewer.until(lambda: len(viewer.bodies) >= count)
    await viewer.send(QUALITY, viewer.handle, count, count)
    await until(lambda: (found := node.quality(ROOM)) is not None and found["measured"]["reports"] > reported)


async def test_each_stream_has_its_file_and_one_more_is_written_when_the_room_is_closed(tmp_path: Path) -> None:
    async with open_node(told(tmp_path)) as node:
        async with open_viewer("raw", node.url, MSGPACK) as viewer:
            await viewer.join(ROOM)
            await until(lambda: node.quality(ROOM))
            await node.room(ROOM).set("life", "", {"state": "open", "stream": "周一"})
            await watched(node, viewer, 5)
            await node.room(ROOM).set("life", "", {"state": "open", "stream": "周二"})
            before, monday = await written(tmp_path, 2)
            await viewer.comment("再见")
            await viewer.until(lambda: "再见" in viewer.bodies)
        tuesday = (await written(tmp_path, 3))[-1]
        assert node.quality(ROOM) is None
    assert [each["stream"] for each in (before, monday, tuesday)] == ["", "周一", "周二"]
    assert all((each["ended"], each["node"], each["viewers_max"]) == (True, "北", 1) for each in (before, monday, tuesday))
    # With the event that says so begins a stream.
    assert (monday["first"], monday["events"], tuesday["events"]) == (0, 6, 2)
    assert (monday["measured"]["entitled"], monday["measured"]["arrival_rate"]) == (5, 1.0)
    assert monday["networks"].keys() == {"127.0.0.0/16"} or len(monday["networks"]) == 1
    # The last numbers come before the room is closed.
    assert monday["sent"]["entitled"] + tuesday["sent"]["entitled"] == 8
    assert tuesday["sent"]["closed"]
    assert len(certificates(tmp_path)) == 3


async def test_a_node_that_stops_writes_how_it_closed_its_viewers(tmp_path: Path) -> None:
    async with trio.open_nursery() as nursery, open_node(told(tmp_path)) as node:

        async def watch(task_status: trio.TaskStatus[None]) -> None:
            async with open_viewer("raw", node.url, MSGPACK) as viewer:
                await viewer.join(ROOM)
                await watched(node, viewer, 3)
                task_status.started()
                await viewer.until_gone()

        await nursery.start(watch)
    (certificate,) = certificates(tmp_path)
    assert (certificate["events"], certificate["sent"]["entitled"], certificate["measured"]["received"]) == (3, 3, 3)
    assert certificate["sent"]["closed"] == {"4000": 1}


async def served_once(config: Path, directory: Path, before: int, *, orderly: bool) -> None:
    """Run a node in which one room has been closed and another one is open when it stops, or is killed."""
    async with serve("--config", str(config)) as served:
        async with open_viewer("raw", served.url, MSGPACK) as viewer:
            await viewer.join("over")
            await viewer.comment("x")
        await written(directory, before + 1)
        async with open_viewer("raw", served.url, MSGPACK) as viewer:
            await viewer.join("open")
            await viewer.comment("x")
            if orderly:
                served.process.terminate()
                await viewer.until_gone()
                assert await served.ended() == 0
            else:
                served.process.kill()
                await served.ended()


async def test_whoever_kills_a_node_loses_the_certificates_that_are_open_and_no_other(tmp_path: Path) -> None:
    # Of one process: where a supervisor is killed its hub ends by itself, and may write down what it can.
    directory = tmp_path / "certificates"
    directory.mkdir()
    config = tmp_path / "roomcast.toml"
    config.write_text(
        f'[node]\nrun_directory = "{tmp_path}"\n[room]\nlinger_seconds = 0\n[api]\nenabled = false\n'
        f'[quality]\nseconds = 0.05\ndirectory = "{directory}"\n'
    )
    await served_once(config, directory, 0, orderly=False)
    assert [each["room"] for each in certificates(directory)] == ["over"]
    await served_once(config, directory, 1, orderly=True)
    assert [each["room"] for each in certificates(directory)] == ["over", "over", "open"]
    assert not unfinished(directory)
