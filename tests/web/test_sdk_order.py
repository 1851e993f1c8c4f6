"""What the browser SDK makes of a server: of order and what breaks it, of gaps, of goodbyes, of tokens, of silence."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import jwt
import pytest
import trio
from trio_websocket import ConnectionClosed

from .puppet import EPOCH, HANDLE, Puppet, Strings, batch, comment, open_puppet, snapshot
from .visitors import SdkError, Visitor, Visitors, open_visitors

JOIN, COMMENT, LIKE, PING, QUALITY, READ_STATE, CLAIM, RENEW = 1, 3, 4, 5, 6, 16, 19, 23
REPLY, GAP, BYE, PONG, STATE, PAID = 35, 36, 37, 38, 41, 42
SECRET = "a secret of the product and of the server"


@pytest.fixture
async def visitors() -> AsyncIterator[Visitors]:
    async with open_visitors() as opened:
        yield opened


@pytest.fixture
async def puppet() -> AsyncIterator[Puppet]:
    async with open_puppet() as opened:
        yield opened


async def entered(visitors: Visitors, puppet: Puppet, *messages: list[Any], **options: Any) -> tuple[Visitor, Strings]:
    """A viewer in the room."""
    visitor = await visitors.join(puppet.url, "大厅", ready=False, **options)
    strings = await puppet.accept()
    await strings.let_in(*(messages or (snapshot(4),)))
    await visitor.get("ready")
    return visitor, strings


async def returned(puppet: Puppet, *messages: list[Any], **how: Any) -> tuple[list[Any], Strings]:
    """The next connection of a viewer, let in; and its join."""
    strings = await puppet.accept()
    return await strings.let_in(*messages, **{"resumed": True, **how}), strings


async def test_an_address_may_be_that_of_a_page(visitors: Visitors, puppet: Puppet) -> None:
    visitor = await visitors.join(puppet.url.replace("ws:", "http:"), "大厅", ready=False)
    await (await puppet.accept()).let_in(snapshot(4))
    await visitor.get("ready")
    with pytest.raises(SdkError, match="Invalid URL"):
        await visitors.join("ws:", "大厅")


# -- order ---------------------------------------------------------------------------------------------------------------


WRONG: list[list[Any]] = [
    batch(7, comment("leaves a hole")),
    batch(5, comment("repeats")),
    batch(6, comment("of another epoch"), epoch=EPOCH + 1),
    batch(6, comment("too few"), last=7),
    batch(6, [0, 3, 2], last=6),
    batch(6, [0, 3, 0], last=6),
    [34, HANDLE + 1, EPOCH, 6, 5, 0, []],
    [34, HANDLE, EPOCH, 6, 6, 0, None],
    [GAP, HANDLE, EPOCH, 7, 9, "lag"],
    snapshot(9),
]


async def test_what_does_not_join_ends_it_and_is_never_repaired(visitors: Visitors, puppet: Puppet) -> None:
    for wrong in WRONG:
        visitor, strings = await entered(visitors, puppet, snapshot(4), batch(5, comment("first")))
        await visitor.reach(5)
        with suppress(ConnectionClosed):
            await strings.send(wrong, batch(6, comment("never")))
        assert (await visitor.status("closed"))["error"]["reason"] == "violation"
        assert visitor.bodies == ["first"]
        assert await visitor.get("position") == {"epoch": EPOCH, "offset": 5}
        with pytest.raises(SdkError, match="violation"):
            await visitor.call("say", "?")
        assert await strings.closed() == 1000


async def test_after_a_return_what_came_before_is_dropped(visitors: Visitors, puppet: Puppet) -> None:
    visitor, strings = await entered(visitors, puppet)
    await strings.send(batch(5, comment("5"), comment("6"), [0, 3, 2], last=8))
    await visitor.reach(8)
    await strings.close(4001)
    join, strings = await returned(puppet, batch(5, comment("5"), comment("6"), [0, 3, 3], comment("10"), last=10))
    assert join[3:6] == [EPOCH, 8, "session-0123456789"]
    await strings.send(batch(11, comment("11")), batch(12), batch(12, comment("12")))
    await visitor.reach(12)
    assert visitor.offsets == list(range(5, 13))
    assert visitor.bodies == ["5", "6", "10", "11", "12"]
    assert await visitor.get("statistics") == {"events": 5, "overlap": 4, "gaps": 0, "reconnects": 1}


async def test_gaps_are_told_and_the_state_is_read_again(visitors: Visitors, puppet: Puppet) -> None:
    card = ["card", "tea", {"stock": 3}, 1]
    visitor, strings = await entered(visitors, puppet, snapshot(4, [card]))
    assert await visitor.get("certain")
    await strings.send([GAP, HANDLE, EPOCH, 5, 9, "lag"], batch(10, [3, ["host"], 1, "card", "cup", {"n": 1}, 2]))
    old = await strings.receive(READ_STATE)
    assert not await visitor.get("certain")
    await strings.send([STATE, old[1], HANDLE, EPOCH, 9, {}, []])
    asked = await strings.receive(READ_STATE)
    assert not visitor.of("present"), "an answer that is older than what came says nothing"
    await strings.send([STATE, asked[1], HANDLE, EPOCH, 10, {"peak": 9}, [["card", "cup", {"n": 1}, 2]]])
    await visitor.until(lambda item: item["type"] == "present")
    assert list(await visitor.get("state")) == ["card:cup"]
    assert await visitor.get("certain")
    assert [item["reason"] for item in visitor.of("gap")] == ["lag"]
    await strings.send([GAP, HANDLE, EPOCH, 11, 0, "history"], snapshot(20), batch(21, comment("on")))
    await visitor.until(lambda item: item.get("body") == "on")
    await strings.send([GAP, HANDLE, EPOCH, 22, 0, "epoch"], snapshot(2, epoch=EPOCH + 1))
    await strings.send(batch(3, comment("new"), epoch=EPOCH + 1))
    await visitor.until(lambda item: item.get("body") == "new")
    assert [(item["first"], item["last"], item["reason"]) for item in visitor.of("gap")][1:] == [
        (11, 0, "history"),
        (22, 0, "epoch"),
    ]
    assert len(visitor.of("snapshot")) == 3


async def test_a_return_that_is_too_late_is_a_gap(visitors: Visitors, puppet: Puppet) -> None:
    visitor, strings = await entered(visitors, puppet)
    await strings.send(batch(5, comment("5")))
    await visitor.reach(5)
    await strings.close(4000)
    gap = [GAP, HANDLE, EPOCH, 4, 50, "history"]
    await returned(puppet, gap, batch(48, comment("48"), comment("49"), comment("50"), comment("51")), resumed=False)
    await visitor.reach(51)
    assert visitor.offsets == list(range(5, 52))
    assert [(item["first"], item["last"]) for item in visitor.of("gap")] == [(6, 50)]
    assert visitor.bodies == ["5", "51"]


async def test_money_that_is_published_again_is_not_handed_out_again(visitors: Visitors, puppet: Puppet) -> None:
    def gift(entry: int) -> list[Any]:
        return [8, ["anna"], entry, 1, "rose", 1, 10, "", entry, 1, 3000, 10 * entry]

    visitor, strings = await entered(visitors, puppet)
    await strings.send(batch(5, gift(1), gift(3), gift(2)))
    await strings.send([GAP, HANDLE, EPOCH, 8, 0, "epoch"], snapshot(1, epoch=EPOCH + 1))
    await strings.send(batch(2, gift(2), gift(3), gift(4), epoch=EPOCH + 1))
    await visitor.until(lambda item: item.get("entry") == 4)
    assert [item["entry"] for item in visitor.of("gift")] == [1, 3, 2, 4]
    assert [(item["first"], item["last"], item["reason"]) for item in visitor.of("omitted")] == [(2, 2, 4), (3, 3, 4)]


async def test_kinds_of_tomorrow_do_not_matter_but_are_told(visitors: Visitors, puppet: Puppet) -> None:
    visitor, strings = await entered(visitors, puppet)
    await strings.send([99, "?"], batch(5, [98, {"x": 1}], [*comment("more"), 0, [], 0, "field of tomorrow"]), [37])
    await visitor.reach(6)
    (unknown,) = visitor.of("unknown")
    assert (unknown["kind"], unknown["fields"]) == (98, [{"x": 1}])
    assert visitor.bodies == ["more"]


# -- requests ------------------------------------------------------------------------------------------------------------


async def test_a_request_is_sent_again_under_its_ref_or_uncertain_elsewhere(visitors: Visitors, puppet: Puppet) -> None:
    visitor, strings = await entered(visitors, puppet)
    failed: list[SdkError] = []

    async def say() -> None:
        try:
            await visitor.call("say", "你好")
        except SdkError as error:
            failed.append(error)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(say)
        first = await strings.receive(COMMENT)
        await strings.close(4000)
        _, strings = await returned(puppet)
        assert await strings.receive(COMMENT) == first
        await strings.send(batch(5, comment("你好", first[1], "me")))
        await visitor.reach(5)
        assert visitor.of("comment")[0]["replaces"]["body"] == "你好"
        assert await visitor.get("pending") == {}
        await strings.close(4000)
        await returned(puppet, session="another-0123456789")
    assert [error.reason for error in failed] == ["uncertain"]
    assert [item["state"] for item in visitor.of("pending")] == ["sent"], "it has come, so nobody is told that it failed"


async def test_what_is_asked_for_without_a_connection_is_sent_later(visitors: Visitors, puppet: Puppet) -> None:
    visitor = await visitors.join(puppet.url, "大厅", ready=False)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(visitor.call, "say", "early")
        await visitor.until(lambda item: item["type"] == "pending")
        await visitor.call("like", 3)
        strings = await puppet.accept()
        await strings.let_in(snapshot(4))
        said, liked = await strings.receive(COMMENT), await strings.receive(LIKE)
        assert (said[2:4], liked[1:]) == ([HANDLE, "early"], [HANDLE, 3, {}])
        await strings.send([REPLY, said[1], 200, 0, "a moderator will decide"])
    assert [item["state"] for item in visitor.of("pending")] == ["sent", "held"]
    await strings.close(4000)
    _, strings = await returned(puppet)
    assert (await strings.receive(LIKE))[2] == 3, "what was told is told first: there another edge begins to count"
    await visitor.call("like", 4)
    assert (await strings.receive(LIKE))[2] == 7
    await strings.close(4000)
    _, strings = await returned(puppet, session="another-0123456789")
    await visitor.call("like", 2)
    while (likes := (await strings.receive(LIKE))[2]) == 0:
        pass
    assert likes == 2, "what the old session was told is not told again"


async def test_nonsense_costs_the_request_alone(visitors: Visitors, puppet: Puppet) -> None:
    visitor, strings = await entered(visitors, puppet, codec="msgpack", narrow="🦄")
    with pytest.raises(SdkError, match="I do not write 🦄"):
        await visitor.call("say", "🦄")
    assert visitor.of("pending")[-1]["state"] == "refused"
    await strings.send(batch(5, comment("on")))
    await visitor.reach(5)


# -- coming back -----------------------------------------------------------------------------------------------------------


async def test_the_band_of_a_close_code_says_whether_to_come_back(visitors: Visitors, puppet: Puppet) -> None:
    for code in (4000, 4199, 1001, 1011, 4201, 4399):
        visitor, strings = await entered(visitors, puppet)
        await strings.close(code)
        await returned(puppet)
        await visitor.status("open", 2)
    for code in (4400, 4404, 4599, 1002):
        visitor, strings = await entered(visitors, puppet)
        await strings.close(code)
        assert (await visitor.status("closed"))["error"]["code"] == code


async def test_back_off_is_longer_when_the_server_asks_for_it_and_within_its_window(visitors: Visitors, puppet: Puppet) -> None:
    options = {"baseMs": 1, "capMs": 1_000_000}
    visitor, strings = await entered(visitors, puppet, **options)
    await strings.close(4000, bye=[BYE, 4000, "the node stops", 3, 5])
    lost = await visitor.status("waiting")
    assert (lost["error"]["code"], lost["error"]["text"]) == (4000, "the node stops")
    assert 3 <= lost["delayMs"] <= 8
    _, strings = await returned(puppet)
    await visitor.status("open", 2)
    await strings.close(4201)
    assert 8 <= (await visitor.status("waiting", 2))["delayMs"] <= 9
    for failed in range(6):
        strings = await puppet.accept()
        await strings.close(4000)
        assert (await visitor.status("waiting", 3 + failed))["delayMs"] <= 2 ** (failed + 1)


async def test_whoever_is_refused_comes_back_when_that_may_help(visitors: Visitors, puppet: Puppet) -> None:
    visitor = await visitors.join(puppet.url, "大厅", ready=False)
    strings = await puppet.accept()
    join = await strings.receive(JOIN)
    await strings.send([REPLY, join[1], 4, 0, "the room is full", 30])
    waiting = await visitor.status("waiting")
    assert (waiting["error"]["code"], waiting["delayMs"] >= 30) == (4, True)
    strings = await puppet.accept()
    join = await strings.receive(JOIN)
    await strings.send([REPLY, join[1], 112, 0, "banned"])
    with pytest.raises(SdkError, match="banned"):
        await visitor.get("ready")


async def test_attempts_are_bounded_when_wanted(visitors: Visitors) -> None:
    visitor = await visitors.join("ws://127.0.0.1:9/ws", "大厅", ready=False, attempts=2)
    assert (await visitor.status("closed"))["error"]["code"] == 1006
    assert len([item for item in visitor.of("status") if item["status"] == "waiting"]) == 2


async def test_silence_for_two_heartbeats_is_a_loss(visitors: Visitors, puppet: Puppet) -> None:
    visitor = await visitors.join(puppet.url, "大厅", ready=False)
    strings = await puppet.accept()
    await strings.let_in(snapshot(4), heartbeat_ms=20)
    assert (await visitor.status("waiting"))["error"]["text"] == "silence"
    await returned(puppet)
    await visitor.status("open", 2)


async def test_a_codec_that_is_too_narrow_does_not_cost_the_room(visitors: Visitors, puppet: Puppet) -> None:
    visitor, strings = await entered(visitors, puppet, codec="msgpack", narrow="🦄")
    assert strings.subprotocol == "roomcast.v1.msgpack"
    await strings.send(batch(5, comment("🦄")))
    _, strings = await returned(puppet, batch(5, comment("🦄")))
    assert strings.subprotocol == "roomcast.v1.json"
    await visitor.reach(5)
    assert visitor.bodies == ["🦄"]


# -- tokens, measurements --------------------------------------------------------------------------------------------------


def lasting(seconds: float, user: str = "anna") -> str:
    return jwt.encode({"sub": user, "exp": time.time() + seconds}, SECRET, "HS256")


async def test_a_token_is_renewed_before_it_expires(visitors: Visitors, puppet: Puppet) -> None:
    tokens = [lasting(1.5), lasting(600)]
    visitor = await visitors.join(puppet.url, "大厅", ready=False, tokens=list(tokens))
    strings = await puppet.accept()
    join = await strings.let_in([33, HANDLE, "大厅", EPOCH, 4, int(time.time() * 1000), [0, 1], 60_000])
    assert join[8] == tokens[0]
    await visitor.get("ready")
    assert (await strings.receive(RENEW))[2] == tokens[1]


async def test_an_expired_token_is_replaced_where_there_can_be_another(visitors: Visitors, puppet: Puppet) -> None:
    tokens = [lasting(600), lasting(700)]
    visitor, strings = await entered(visitors, puppet, tokens=list(tokens))
    await strings.close(4403)
    join, strings = await returned(puppet)
    assert join[8] == tokens[1]
    await visitor.status("open", 2)
    await strings.close(4404)
    await returned(puppet)
    await visitor.status("open", 3)
    for code in (4403, 4404):
        other, strings = await entered(visitors, puppet, token=tokens[0])
        await strings.close(code)
        assert (await other.status("closed"))["error"]["code"] == code


async def test_a_pass_that_is_not_known_yet_is_tried_again_with_another_one(visitors: Visitors, puppet: Puppet) -> None:
    visitor = await visitors.join(puppet.url, "大厅", ready=False, tokens=["rcp_1", "rcp_2", "rcp_3"])
    for attempt in (1, 2):
        strings = await puppet.accept()
        join = await strings.receive(JOIN)
        assert join[8] == f"rcp_{attempt}"
        await strings.send([REPLY, join[1], 3, 0, "the pass is not known yet", 10])
    join, strings = await returned(puppet, snapshot(4), resumed=False)
    assert join[8] == "rcp_3"
    await visitor.get("ready")
    await strings.close(4403, bye=[BYE, 4403, "the pass has expired"])
    assert (await returned(puppet))[0][8] == "rcp_3"
    assert (await visitor.call("quality"))["reconnects"] == {"3": 2, "4403": 1}


async def test_the_clock_is_the_servers_and_quality_is_reported(visitors: Visitors, puppet: Puppet) -> None:
    visitor, strings = await entered(visitors, puppet, quality=1, qualityMs=50)
    ahead = 3_600_000
    async with trio.open_nursery() as nursery:
        nursery.start_soon(visitor.call, "ping")
        for _ in range(2):
            ping = await strings.receive(PING)
            await strings.send([PONG, ping[1], int(time.time() * 1000) + ahead])
    message = batch(5, comment("5"), comment("6"))
    message[5], message[7] = int(time.time() * 1000) + ahead - 7_200_000, [0, 7_200_000]
    await strings.send(message)
    await visitor.reach(6)
    assert abs(await visitor.call("now") - time.time() * 1000 - ahead) < 60_000
    report = await strings.receive(QUALITY)
    assert report[:5] == [QUALITY, HANDLE, 2, 2, 0]
    assert (sum(report[5]), report[6]) == (1, {}), "the first one was before the viewer came"


async def test_claims_wait_for_the_stream_and_end_with_it(visitors: Visitors, puppet: Puppet) -> None:
    packet = [11, ["boss"], 7, 1, 100, 2, "random", 0, 0, False, "", "", "00"]
    visitor, strings = await entered(visitors, puppet, snapshot(4), batch(5, packet))
    await visitor.reach(5)
    paid: list[Any] = []
    failed: list[int] = []

    async def claim() -> None:
        try:
            paid.append(await visitor.call("claim", 7))
        except SdkError as error:
            failed.append(error.code)

    for events, answered in (
        ([[12, ["me"], 8, 7, 1, 60]], ([{"entry": 8, "offset": 6, "amount": 60}], [])),
        ([[12, ["anna"], 9, 7, 2, 40], [13, ["boss"], 10, 7, "emptied", 2, 0, "00"]], ([], [120])),
    ):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(claim)
            await strings.receive(CLAIM)
            await strings.send(batch(visitor.offsets[-1] + 1, *events))
        assert (paid, failed) == answered
        paid.clear()
