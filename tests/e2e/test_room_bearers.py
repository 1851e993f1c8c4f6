"""Tokens of live connections, with clients that are not ours: how they come, expire, are renewed and taken back; keys that
change. Over both links, and over worker processes with another node beside them."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import jwt
import pytest
import trio
import websockets.trio.client as websockets_client
from tokenmaking import jwk, key_set, signed, token_key
from websockets.typing import Subprotocol

from engine.client import Closed, Disconnected, Options, Reconnected, open_client
from engine.client.bearer import renewal_pause
from engine.client.items import Comment
from engine.errors import Close, Code
from engine.node import open_node
from engine.tokens import LEEWAY_SECONDS
from engine.ws import Opcode, client_frame

from .conftest import Clock, Running
from .nodes import lively
from .people import ROOM, SECRET, Foreign, live, token
from .processes import clean_environment, serve
from .transports import Gone, HttpRefusal
from .viewers import COMMENT, JSON, MSGPACK, PATIENCE, Viewer, open_viewer

RENEW = 23
QUICK = Options(backoff_base_seconds=0.01, backoff_cap_seconds=0.05)


def brief(user: str) -> str:
    """A token that holds for a moment more."""
    return jwt.encode({"sub": user, "exp": time.time() - LEEWAY_SECONDS + 0.7}, SECRET, "HS256")


async def join_briefly(viewer: Viewer, user: str) -> None:
    """As often as it takes on a machine that is busy."""
    with trio.fail_after(PATIENCE):
        while (refusal := await viewer.knock(ROOM, token=brief(user))) is not None:
            assert refusal.code == Code.BAD_TOKEN


async def unharmed(viewer: Viewer) -> None:
    await viewer.until_offset(await viewer.comment("还在"))


# -- how they come -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("codec", [MSGPACK, JSON])
async def test_a_token_among_the_subprotocols_is_used_and_never_repeated(running: Running, codec: str) -> None:
    host, forged = token("主播-1", "host"), token("主播-1", "host")[:-3] + "AAA"
    async with running(live()) as node:
        for offer in ([f"roomcast.token.{host}", codec], [codec, f"roomcast.token.{host}"]):
            names = [Subprotocol(each) for each in offer]
            async with websockets_client.connect(node.url, subprotocols=names, proxy=None, ping_interval=None) as connection:
                assert connection.subprotocol == codec
                assert connection.response is not None
                assert host not in str(connection.response.headers)
            async with open_viewer("raw", node.url, codec, headers={"Sec-WebSocket-Protocol": ", ".join(offer)}) as viewer:
                await viewer.join(ROOM)
                assert viewer.joined[4:6] == ["主播-1", "host"]
                await unharmed(viewer)
        headers = {"Sec-WebSocket-Protocol": f"{codec},roomcast.token.{forged}"}
        async with open_viewer("raw", node.url, codec, headers=headers) as viewer:
            for _ in range(2):
                refusal = await viewer.knock(ROOM)
                assert refusal is not None
                assert refusal.code == Code.BAD_TOKEN
                assert forged not in refusal.text
            # What the join brings goes before.
            await viewer.join(ROOM, token=token("anna"))
            assert viewer.user == "anna"
        for alone in (f"roomcast.token.{host}", "roomcast.token.", f"{codec}, roomcast.token."):
            with pytest.raises(HttpRefusal) as caught:
                async with open_viewer("raw", node.url, codec, headers={"Sec-WebSocket-Protocol": alone}):
                    pass
            assert caught.value.status == 400
            assert host not in caught.value.body


@pytest.mark.parametrize("allowed", [True, False])
async def test_a_token_in_the_address_is_used_only_where_that_is_allowed(
    running: Running, allowed: bool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    anna = token("anna")
    async with (
        running(live(access={"token_in_query": allowed})) as node,
        open_viewer("websockets", f"{node.url}?x=1&token={anna}") as viewer,
    ):
        await viewer.join(ROOM)
        assert (viewer.user == "anna") is allowed
        await unharmed(viewer)
    told = [record for record in caplog.records if record.name.startswith("roomcast")]
    assert told
    assert anna not in str([vars(record) for record in told])


# -- the product's own connection ----------------------------------------------------------------------------------------


async def test_a_products_server_is_read_as_fast_as_it_is_answered(running: Running) -> None:
    """Two megabytes: of steady input so little is taken a second that it would not end in time."""
    settings = live(
        room={"tick_grid_seconds": 1.0, "tick_max_seconds": 1.0}, limits={"messages_burst": 10, "comments_burst": 1}
    )
    async with running(settings) as node, open_viewer("raw", node.url) as server:
        await server.join(ROOM, token=token("shop", "server"))
        opcode, body = Opcode.BINARY, "礼" * 150
        messages = [server.encode(COMMENT, ref, server.handle, body) for ref in range(10, 5_010)]
        data = b"".join(client_frame(opcode, message) for message in messages if isinstance(message, bytes))
        assert len(data) > 34 * 65_536
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.raw.stream.send_all, data)
            await server.until(lambda: len(server.replies) >= 5_000)
        assert {reply.code for reply in server.replies.values()} == {Code.OK}
        assert sorted(reply.offset for reply in server.replies.values()) == list(range(1, 5_001))


# -- until when they hold ----------------------------------------------------------------------------------------------


async def test_a_connection_ends_with_its_token_unless_that_was_renewed(running: Running, ws_home: Path, clock: Clock) -> None:
    async with (
        running(live()) as node,
        open_viewer("websockets", node.url, MSGPACK) as staying,
        open_viewer("ws", node.url, JSON, home=ws_home) as going,
        open_viewer("raw", node.url, JSON) as guest,
    ):
        await guest.join(ROOM)
        await staying.join(ROOM, token=token("anna"))
        await going.join(ROOM, token=token("bob"))
        assert (await staying.ask(RENEW, token("anna", level=7, seconds=9_000))).code == Code.OK
        assert (await staying.ask(RENEW, token("bob", seconds=9_000))).code == Code.FORBIDDEN
        assert (await guest.ask(RENEW, token("bob"))).code == Code.FORBIDDEN
        clock.ahead_seconds = 3_600
        # Clocks may differ by ten seconds.
        await unharmed(going)
        clock.ahead_seconds = 3_620
        gone = await going.until_gone()
        assert (gone.code, gone.reason) == (Close.TOKEN_EXPIRED, "the token has expired")
        offset = await staying.comment("我还在")
        await guest.until_offset(offset)
        assert guest.events[offset][1][3:] == ["viewer", 7]
        await unharmed(guest)
        assert node.statistics().edge.closed[Close.TOKEN_EXPIRED] == 1


async def test_what_is_taken_back_ends_at_once_and_opens_nothing_any_more(running: Running, foreign: Foreign) -> None:
    bearers = token("anna", jti="t-1"), token("anna", jti="t-2"), token("eve"), None
    async with running(live()) as node, foreign(node.url, *bearers) as (one, two, eve, guest):
        await node.revoke(token="t-1")
        gone = await one.until_gone()
        assert (gone.code, gone.reason) == (Close.TOKEN_REVOKED, "the token was taken back")
        await unharmed(two)
        await node.revoke(user="eve", seconds=60)
        assert (await eve.until_gone()).code == Close.TOKEN_REVOKED
        async with open_viewer("raw", node.url) as back:
            for each in (token("anna", jti="t-1"), jwt.encode({"sub": "eve", "iat": 1, "exp": 9e9}, SECRET, "HS256")):
                refusal = await back.knock(ROOM, token=each)
                assert refusal is not None
                assert refusal.code == Code.BAD_TOKEN
            await back.join(ROOM, token=jwt.encode({"sub": "eve", "iat": time.time() + 5, "exp": 9e9}, SECRET, "HS256"))
        assert (await two.ask(RENEW, token("anna", jti="t-1"))).code == Code.BAD_TOKEN
        for viewer in (two, guest):
            await unharmed(viewer)


# -- keys --------------------------------------------------------------------------------------------------------------


async def test_keys_change_while_viewers_stay(running: Running, tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    file.write_text(key_set(jwk("RS256"), jwk("EdDSA")))
    access = {"secret": "", "keys": (token_key("ES256", tmp_path),), "jwks": str(file), "jwks_seconds": 3600.0}
    async with (
        running(lively(access=access)) as node,
        open_viewer("raw", node.url) as first,
        open_viewer("raw", node.url) as next_one,
    ):

        async def knock(viewer: Viewer, bearer: str) -> int:
            with trio.fail_after(PATIENCE):
                while (refusal := await viewer.knock(ROOM, token=bearer)) is not None and refusal.code == Code.UNAVAILABLE:
                    assert refusal.retry_after_ms > 0
                return refusal.code if refusal is not None else Code.OK

        assert await knock(first, signed("RS256", sub="anna")) == Code.OK
        assert await knock(next_one, signed("RS256", 1, sub="bob")) == Code.BAD_TOKEN
        file.write_text(key_set(jwk("RS256", 1), jwk("EdDSA")))
        node.hub.trust.adopt(node.settings.access)
        with trio.fail_after(PATIENCE):
            while await knock(next_one, signed("RS256", 1, sub="bob")) != Code.OK:
                pass
        await unharmed(first)
        async with open_viewer("raw", node.url) as last:
            assert await knock(last, signed("RS256", sub="anna")) == Code.BAD_TOKEN, "though it was verified before"
            assert await knock(last, signed("ES256", sub="carl")) == Code.OK
            assert last.joined[5] == "viewer"
        async with open_viewer("raw", node.url) as guest:
            await guest.join(ROOM)
            reply = await guest.ask(COMMENT, guest.handle, "你好")
            assert reply.code == Code.FORBIDDEN, "guests read where there are tokens"


async def test_worker_processes_and_all_nodes_know_what_was_taken_back(tmp_path: Path, redis: dict[str, Any]) -> None:
    file = tmp_path / "keys.json"
    file.write_text(key_set(jwk("EdDSA")))
    environment = clean_environment(
        ROOMCAST_ACCESS__SECRET=SECRET,
        ROOMCAST_ACCESS__JWKS=str(file),
        ROOMCAST_NODE__WORKERS="1",
        ROOMCAST_NODE__RUN_DIRECTORY=str(tmp_path / "run"),
        ROOMCAST_REDIS__URL=redis["url"],
        ROOMCAST_REDIS__PREFIX=redis["prefix"],
    )
    async with serve(environment=environment) as served, open_node(live(redis=redis)) as beside:
        async with (
            open_viewer("websockets", served.url) as anna,
            open_viewer("websockets", served.url, JSON) as bob,
            open_viewer("raw", beside.url) as eve,
        ):
            with trio.fail_after(PATIENCE):
                while (refusal := await anna.knock(ROOM, token=signed("EdDSA", sub="anna", jti="t-1"))) is not None:
                    assert refusal.code == Code.UNAVAILABLE
            await join_briefly(bob, "bob")
            await eve.join(ROOM, token=token("eve", jti="t-3"))
            await beside.revoke(token="t-1")
            assert (await anna.until_gone()).code == Close.TOKEN_REVOKED
            assert (await bob.until_gone()).code == Close.TOKEN_EXPIRED
            await unharmed(eve)
        # Whoever starts later knows, too.
        async with open_node(live(redis=redis)) as late, open_viewer("raw", late.url) as back:
            # It is let in before the node has heard of it, and then sent away, or it is not let in.
            try:
                refusal = await back.knock(ROOM, token=token("anna", jti="t-1"))
                code = (await back.until_gone()).code if refusal is None else refusal.code
            except Gone as gone:
                code = gone.code
            assert code in (Close.TOKEN_REVOKED, Code.BAD_TOKEN)


# -- our own client ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("codec", ["msgpack", "json"])
async def test_our_client_renews_its_token_in_time(monkeypatch: pytest.MonkeyPatch, codec: Any) -> None:
    # An hour passes in an instant, and none of the tokens expires however busy the machine is.
    monkeypatch.setattr("engine.client.supervisor.renewal_pause", lambda token, now: renewal_pause(token, now) / 100_000)
    asked = 0
    enough = trio.Event()

    async def fresh() -> str:
        nonlocal asked
        if asked == 3:
            enough.set()
            await trio.sleep_forever()
        asked += 1
        return token("anna", level=asked, seconds=3_600)

    async with (
        open_node(live(), encoded_link=True) as node,
        open_client(node.url, room=ROOM, token=fresh, codec=codec, options=QUICK) as client,
    ):
        with trio.fail_after(PATIENCE):
            await enough.wait()
            offset = await client.comment("你好")
            async for item in client:
                if isinstance(item, Comment) and item.offset == offset:
                    break
        assert isinstance(item, Comment)
        assert item.author.level == 3
        assert not client.reconnects


async def test_our_client_comes_back_with_another_token_and_not_with_one_that_was_taken_back(clock: Clock) -> None:
    given: list[str] = []

    async def fresh() -> str:
        given.append(token("anna", jti=f"t-{len(given)}", seconds=9_000 * len(given) + 3_600))
        return given[-1]

    async with (
        open_node(live(), encoded_link=True) as node,
        open_client(node.url, room=ROOM, token=fresh, options=QUICK) as client,
    ):
        clock.ahead_seconds = 3_620
        items: list[Any] = []
        with trio.fail_after(PATIENCE):
            async for item in client:
                items.append(item)
                if isinstance(item, Reconnected):
                    break
        assert [item.code for item in items if isinstance(item, Disconnected)] == [Close.TOKEN_EXPIRED]
        assert len(given) == 2
        assert await client.comment("又来了")
        await node.revoke(token="t-1")
        with pytest.raises(Closed) as caught, trio.fail_after(PATIENCE):
            async for _ in client:
                pass
        assert caught.value.code == Close.TOKEN_REVOKED


async def test_our_client_with_one_token_ends_with_it(clock: Clock) -> None:
    async with (
        open_node(live(), encoded_link=True) as node,
        open_client(node.url, room=ROOM, token=token("anna"), options=QUICK) as client,
    ):
        clock.ahead_seconds = 3_620
        with pytest.raises(Closed) as caught, trio.fail_after(PATIENCE):
            async for _ in client:
                pass
        assert caught.value.code == Close.TOKEN_EXPIRED
