"""The delivery certificate of a room over HTTP."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import trio

from engine.api.models.quality import QualityAnswer
from engine.link import memory_link
from engine.link.messages import Qualities, Up
from engine.node import Node
from engine.quality import Measured, RoomQuality, Sent
from engine.settings import QualitySettings, RoomSettings

from .calling import Called, calling, fault_of, key_of, settings
from .watching import ROOM, at, watching

PATIENCE = 20


def texts(directory: Path) -> list[str]:
    """Of the files in it."""
    return [path.read_text(encoding="utf-8") for path in directory.iterdir()]


async def tell(node: Node, *messages: Up) -> None:
    """Be another edge for a moment: say this, and be heard before this returns."""
    ours, theirs = memory_link()
    ended = node.hub.attach(theirs, "another")
    ours.send(messages)
    ours.close()
    await ended.wait()


def told(received: int = 999, network: str = "甲") -> Qualities:
    measured = Measured(10, 1000, received, 1000 - received, {17: 900, 20: 99}, {"1006": 2})
    return Qualities([RoomQuality(ROOM, Sent(5000, 5, 3, 1, {1001: 4}), {network: measured})])


async def read(called: Called, **more: Any) -> dict[str, Any]:
    """The certificate, once the hub has heard of the viewer."""
    with trio.fail_after(PATIENCE):
        while (answer := await called.call("GET", at("quality"), **more)).status_code == 404:
            await trio.lowlevel.checkpoint()
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def test_it_tells_how_the_room_reaches_its_viewers() -> None:
    async with calling() as called, watching(called, "anna") as viewer:
        await called.call("PUT", at(), json={"stream": "周一 🎬"})
        offset = await viewer.comment("大家好")
        await tell(called.node, told(), told(network="乙"))
        found = await read(called)
        (own,) = called.node.qualities().values()
        assert own | {"until": 0} == found | {"until": 0} == (called.node.quality(ROOM) or {}) | {"until": 0}
        assert (found["room"], found["node"], found["stream"], found["ended"]) == (ROOM, "test", "周一 🎬", False)
        assert (found["last"], found["viewers"], found["viewers_max"]) == (offset, 1, 1)
        assert found["measured"]["arrival_rate"] == 0.999
        assert (found["sent"]["entitled"], found["sent"]["rate"]) == (10_000, 0.999)
        assert found["networks"]["乙"]["reconnects"] == {"1006": 2}
        await called.call("PUT", at(), json={"stream": "周二"})
        found = await read(called)
        assert (found["stream"], found["measured"]["reports"]) == ("周二", 0)
        await called.call("DELETE", at())
        found = await read(called)
        assert (found["stream"], found["ended"]) == ("周二", True)


async def test_every_member_is_documented() -> None:
    async with calling() as called, watching(called):
        found = await read(called)
        assert QualityAnswer.model_validate(found).model_dump() == found
        schemas = called.app.state.about.document["components"]["schemas"]
        for name in ("QualityAnswer", "SentAnswer", "MeasuredAnswer", "DelaysAnswer"):
            for member, schema in schemas[name]["properties"].items():
                assert "description" in schema or "$ref" in schema or member == "room", (name, member)


async def test_a_room_that_nobody_watches_here_has_none() -> None:
    keys = key_of("reads", "rooms:read", rooms=["大厅/*"]), key_of("elsewhere", "rooms:read", rooms=["二"])
    async with calling(replace(settings(*keys), room=RoomSettings(linger_seconds=0))) as called:
        assert fault_of(await called.call("GET", at("quality")))["name"] == "not_found"
        async with watching(called):
            assert (await read(called, key="rc_reads"))["room"] == ROOM
            assert (await called.call("GET", at("quality"), key="rc_elsewhere")).status_code == 403
            assert (await called.call("GET", at("quality", room=f"{ROOM}#backstage"))).status_code == 404


async def test_a_node_that_stops_has_written_what_it_knew(tmp_path: Path) -> None:
    given = replace(settings(), quality=QualitySettings(directory=str(tmp_path)))
    async with calling(given) as called, watching(called):
        await tell(called.node, told())
        before = await read(called)
    (written,) = [json.loads(text) for text in texts(tmp_path)]
    assert written["ended"]
    assert {name: written[name] for name in ("room", "since", "networks")} == {
        name: before[name] for name in ("room", "since", "networks")
    }
