"""Whatever somebody without rights, or without manners, sends to a live room: it costs the sender, and nobody else."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import msgpack
import pytest
import trio

from engine.errors import Close, Code
from engine.ws import Opcode, client_frame

from .conftest import Running
from .people import ROOM, Foreign, live, token
from .transports import Gone
from .viewers import (
    ASK,
    CHANGE,
    CHOOSE,
    COMMENT,
    CUSTOM,
    DIRECT,
    JSON,
    LIKE,
    MODERATE,
    MSGPACK,
    NOTICE,
    PATIENCE,
    READ_HISTORY,
    READ_STATE,
    RECEIPT,
    VOTE,
    Viewer,
    open_viewer,
)

LARGEST = 2**53 - 1


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


VALUES: list[Any] = [
    *({"value": value} for value in (float("nan"), float("inf"), b"bin", None, {}, [1], nested(500), 2**64 - 1, -(2**63))),
    *({"value": value} for value in (2**53, msgpack.ExtType(5, b"x"), msgpack.Timestamp(1), "x" * 5_000, {"a": {"b": [{}]}})),
    *({None: 1}, {1: 2}, {b"value": 1}, {f"k{number}": 1 for number in range(33)}, {"k" * 33: 1}, [], "value"),
]
TEXTS = [
    '{"value": 123456789012345678901234567890}',
    '{"value": -123456789012345678901234567890}',
    '{"value": NaN}',
    '{"value": 1e999}',
    '{"value": "\\ud800"}',
    '{"value": ' + "[" * 900 + "]" * 900 + "}",
    '{"value": ' + '{"a":' * 900 + "1" + "}" * 901,
]


async def refused(viewer: Viewer, data: str | bytes, ref: int) -> bool:
    """Whether a message is refused as it should be."""
    viewer.faults.clear()
    await viewer.transport.send(data)
    await viewer.until(lambda: bool(viewer.faults) or ref in viewer.replies)
    reply = viewer.faults[0] if viewer.faults else viewer.replies.pop(ref)
    return reply.code in (Code.INVALID, Code.TOO_LONG) and bool(reply.text)


async def test_no_value_breaks_a_node_or_a_client(running: Running, foreign: Foreign) -> None:
    async with running(live(room={"viewer_attributes": 5})) as node, foreign(node.url, None, token("anna")) as witnesses:
        for number, value in enumerate([*VALUES, *TEXTS]):
            codec = JSON if isinstance(value, str) and value in TEXTS else MSGPACK
            async with open_viewer("raw", node.url, codec) as host:
                await host.join(ROOM, token=token("host", "host"))
                if codec == JSON:
                    data: str | bytes = f'[10, 1, {host.handle}, "attribute", "k", {value}]'
                else:
                    data = msgpack.packb([CHANGE, 1, host.handle, "attribute", "k", value])
                assert await refused(host, data, 1), number
        for kind, fields in (
            (CHANGE, ["mode", "", {"slow": {"viewer": float("nan")}}]),
            (CHANGE, ["pin", "1", {"offset": True}]),
            (CHANGE, ["pin", str(LARGEST), {"offset": LARGEST}]),
            (CHANGE, ["life", "", {"state": "lost"}]),
            (CHANGE, ["notice", "5", {"offset": 5}]),
            (NOTICE, ["x", True, LARGEST]),
            (MODERATE, ["mute", "eve", 0, LARGEST]),
            (MODERATE, ["delete", "", LARGEST]),
            (MODERATE, ["approve", "", LARGEST]),
            (MODERATE, ["dance", "eve"]),
            (VOTE, ["poll", "p", 63]),
        ):
            async with open_viewer("raw", node.url) as host:
                await host.join(ROOM, token=token("host", "host"))
                reply = await host.ask(kind, host.handle, *fields)
                assert reply.code >= Code.INVALID, (kind, fields)
        last = await witnesses[0].comment("没事 😌", ref=LARGEST)
        for witness in witnesses:
            await witness.until_offset(last)
            assert not witness.state
            # What JavaScript could not read exactly was sent to nobody.
            assert json.loads(json.dumps(witness.events[last])) == witness.events[last]


async def test_a_guest_may_do_nothing_but_take_part(running: Running, foreign: Foreign) -> None:
    async with running(live()) as node, foreign(node.url, None, token("anna", level=99, follower=True)) as people:
        for viewer in people:
            for kind, fields in (
                (CUSTOM, ["礼物", "{}"]),
                (DIRECT, [people[0].user, "x"]),
                (NOTICE, ["公告"]),
                (NOTICE, ["公告", True, 1]),
                (CHANGE, ["mode", "", {"mode": "closed"}]),
                (CHANGE, ["life", "", {"state": "archived"}]),
                (CHANGE, ["attribute", "k", {"value": 1}]),
                (CHANGE, ["attribute", "k", {"value": 1}, -1, True]),
                (CHANGE, ["card", "k", None]),
                (CHANGE, ["notice", "1", None]),
                (MODERATE, ["ban", "host", 0, 0, "", True]),
            ):
                assert (await viewer.ask(kind, viewer.handle, *fields)).code == Code.FORBIDDEN, (kind, fields)
            assert (await viewer.ask(CHOOSE, viewer.handle, "nothing")).code == Code.NOT_FOUND
            await viewer.read(READ_HISTORY, LARGEST, 1_000)
            await viewer.read(READ_STATE)
        for room, code in (
            ("#everywhere", Code.BAD_ROOM),
            (f"{ROOM}#backstage", Code.FORBIDDEN),
            ("#backstage", Code.FORBIDDEN),
        ):
            async with open_viewer("websockets", node.url) as viewer:
                assert (refusal := await viewer.knock(room)) is not None
                assert refusal.code == code
        async with open_viewer("websockets", node.url) as host:
            # Not even who may do everything.
            assert (refusal := await host.knock("#everywhere", token=token("host", "host"))) is not None
            assert refusal.code == Code.BAD_ROOM
        assert not await people[0].past()


FLOODS: dict[str, Any] = {
    "votes": lambda number, viewer: (VOTE, number, viewer.handle, "poll", "p", number % 2),
    "receipts": lambda number, viewer: (RECEIPT, viewer.handle, number % 50, number % 3 == 0),
    "reactions": lambda number, viewer: (LIKE, viewer.handle, number, {"🔥": number, f"{number}": 1}),
    "questions": lambda number, viewer: (ASK, number, viewer.handle, f"问题 {number}"),
    "attributes": lambda number, viewer: (CHANGE, number, viewer.handle, "attribute", f"{number % 9}", {"value": "v" * 500}),
    "pages": lambda number, viewer: (READ_HISTORY, number, viewer.handle, 0, 1_000),
    "states": lambda number, viewer: (READ_STATE, number, viewer.handle),
}


@pytest.mark.parametrize("flood", FLOODS)
async def test_a_flood_harms_nobody_else(running: Running, flood: str) -> None:
    settings = live(room={"viewer_attributes": 5}, edge={"send_buffer_bytes": 4096})
    async with (
        running(settings) as node,
        open_viewer("raw", node.url) as host,
        open_viewer("websockets", node.url, JSON) as witness,
        open_viewer("raw", node.url, receive_buffer=4096) as viewer,
    ):
        await host.join(ROOM, token=token("host", "host"))
        await witness.join(ROOM)
        await viewer.join(ROOM)
        await host.change("poll", "p", {"question": "?", "options": ["是", "否"]})
        for number in range(20):
            await host.comment(f"{number} " + "填" * 150)
        notice = (await host.act(NOTICE, "公告", True)).offset
        data = b"".join(
            client_frame(Opcode.BINARY, msgpack.packb(FLOODS[flood](number, viewer)), b"mask") for number in range(1, 1_501)
        )
        # It reads nothing of what it is told; it may be sent away for that.
        with suppress(trio.BrokenResourceError), trio.fail_after(PATIENCE):
            await viewer.raw.stream.send_all(data)
        await witness.until_offset(await witness.comment("还好吗？"))
        await witness.act(VOTE, "poll", "p", 1)
        await witness.send(RECEIPT, witness.handle, notice, True)
        await witness.until(lambda: witness.totals.get("receipts", {}).get(str(notice), [0, 0])[1] >= 1)
        assert set(witness.totals["receipts"]) == {str(notice)}
        await witness.until(lambda: sum(witness.totals.get("votes", {}).get("poll:p", [])) >= 1)
        assert sum(witness.totals["votes"]["poll:p"]) <= 2
        assert len([key for key in witness.state if key[0] in ("question", "attribute")]) <= 5
        statistics = node.statistics()
        assert set(statistics.edge.closed) <= {Close.PRIVATE_FULL, Close.FLOOD}
        assert statistics.hub.events_waiting < 10_000


async def test_a_room_that_is_archived_answers_all_who_wait_or_sends_them_away(running: Running, foreign: Foreign) -> None:
    async with running(live()) as node, foreign(node.url, token("host", "host"), None) as (host, guest):
        async with open_viewer("raw", node.url) as speaker, open_viewer("raw", node.url, JSON) as other:
            for viewer in (speaker, other):
                await viewer.join(ROOM)
            with suppress(Gone):
                for number in range(1, 501):
                    await speaker.send(COMMENT, number, speaker.handle, f"{number}")
                    await other.send(ASK, number, other.handle, f"{number}")
                    if number == 250:
                        await host.send(CHANGE, 77, host.handle, "life", "", {"state": "archived"})
            for viewer in (host, guest, speaker, other):
                assert (await viewer.until_gone()).code == Close.GOING_AWAY
            codes = {reply.code for viewer in (speaker, other) for reply in viewer.replies.values()}
            assert codes <= {Code.OK, Code.STATE_FULL, Code.ROOM_MODE, Code.UNAVAILABLE}
            accepted = {reply.offset: ref for ref, reply in speaker.replies.items() if reply.code == Code.OK}
        past = {event.offset: event.event async for event in node.room(ROOM).history()}
        for offset, ref in accepted.items():
            assert past[offset][3] == str(ref)
        await node.room(ROOM).life("open")
        async with foreign(node.url, None, None) as back:
            for viewer in back:
                await viewer.until_offset(await viewer.comment("又开了 🎉"))
