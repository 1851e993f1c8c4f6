"""The browser SDK in Node against real nodes, in both codecs: what is said comes back in order, each offset once, whatever
happens to the connection."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio
from e2e.nodes import lively
from e2e.people import ROOM, live, token
from e2e.shop import ROSE, shop, sqlite

from engine.access import mint
from engine.node import Node, open_node
from engine.schema import OmittedReason
from engine.settings import FeedSettings

from .visitors import SdkError, Visitors, open_visitors

CODECS = ["json", "msgpack"]


@pytest.fixture
async def visitors() -> AsyncIterator[Visitors]:
    async with open_visitors() as opened:
        yield opened


def cut(node: Node) -> None:
    """Break the connections of all viewers in the room."""
    for sock in node.edge.sockets(ROOM):
        sock.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize("codec", CODECS)
async def test_people_talk_and_each_sees_its_own_words_at_once_and_once(visitors: Visitors, codec: str) -> None:
    texts = ["你好 👋", "<b onclick=alert(1)>&amp;</b>", "👨‍👩‍👧 عربى", "__proto__", "{}" * 200]
    async with open_node(lively()) as node:
        one = await visitors.join(node.url, ROOM, name="小明", codec=codec, attributes={"constructor": "x", "勋章": "🥇"})
        two = await visitors.join(node.url, ROOM, name="</script>", codec=CODECS[0], iterate=True)
        for number, text in enumerate(texts, 1):
            assert await one.call("say", text) == number
        assert await two.call("say", "好", {"replyTo": 1, "mentions": [await one.get("user")]}) == len(texts) + 1
        for each in (one, two):
            await each.reach(len(texts) + 1)
            assert each.bodies == [*texts, "好"]
        comments = one.of("comment")
        assert [pending["body"] for pending in one.of("pending")] == texts
        assert [comment["replaces"]["ref"] for comment in comments[:-1]] == [each["ref"] for each in one.of("pending")]
        assert "replaces" not in comments[-1]
        assert not any("replaces" in comment for comment in two.of("comment")[:-1])
        assert comments[0]["author"] == {
            "id": await one.get("user"), "name": "小明", "attributes": {"constructor": "x", "勋章": "🥇"},
            "role": "", "level": 0,
        }  # fmt: skip
        assert (comments[-1]["replyTo"], comments[-1]["mentions"]) == (1, [await one.get("user")])
        assert await one.get("pending") == {}
        await two.call("leave")
        await visitors.until(lambda: two.ended)
        assert two.ended == [None]
        told = [item for item in two.items if item["type"] != "status"]
        assert [item for item in two.iterated if item["type"] != "status"] == told


@pytest.mark.parametrize("codec", CODECS)
async def test_connections_that_break_lose_nothing_and_double_nothing(visitors: Visitors, codec: str) -> None:
    async with open_node(lively()) as node:
        witness = await visitors.join(node.url, ROOM)
        one = await visitors.join(node.url, ROOM, codec=codec)
        said = 0
        for round_ in range(4):
            await one.call("like", 3)
            for number in range(10):
                said = await node.comment(ROOM, f"{round_}.{number}")
            cut(node)
            said = await one.call("say", f"mine {round_}")
        for each in (one, witness):
            await each.reach(said)
            assert each.offsets == list(range(1, said + 1))
            assert not each.of("gap")
        assert said == 44, "a comment that is sent again after the return is one comment"
        assert (await one.get("statistics"))["reconnects"] == 4
        assert [item["resumed"] for item in one.of("status") if item["status"] == "open"] == [False] + [True] * 4
        await witness.until(lambda item: item["type"] == "counters" and item["likes"] == 12)
        assert (node.counters(ROOM) or [0])[0] == 12
        assert len(one.of("pending")) == 4


async def test_likes_and_reactions_are_summed(visitors: Visitors) -> None:
    async with open_node(lively()) as node:
        one = await visitors.join(node.url, ROOM, likeMs=10_000)
        two = await visitors.join(node.url, ROOM, codec="msgpack")
        async with trio.open_nursery() as nursery:
            for _ in range(50):
                nursery.start_soon(one.call, "like")
                nursery.start_soon(two.call, "react", "🎉", 2)
        await two.until(lambda item: item["type"] == "counters" and item["reactions"].get("🎉") == 100)
        assert (await two.get("counters"))["likes"] == 1, "the first tap goes out at once, the others wait"
        await one.call("leave")
        await two.until(lambda item: item["type"] == "counters" and item["likes"] == 50)
        for name, times in (("x" * 33, 1), ("🎉", -1)):
            with pytest.raises(SdkError):
                await two.call("react", name, times)


async def test_the_first_likes_of_all_count_after_a_return(visitors: Visitors) -> None:
    async with open_node(lively()) as node:
        one = await visitors.join(node.url, ROOM)
        two = await visitors.join(node.url, ROOM)
        for round_ in range(2):
            cut(node)
            for each in (one, two):
                await each.status("waiting", round_ + 1)
                await each.call("like", 2)
                await each.call("react", "🎉")
                await each.call("say", "zurück")
        await two.until(lambda item: item["type"] == "counters" and item["likes"] == 8 and item["reactions"].get("🎉") == 4)


async def test_a_later_page_continues_where_an_earlier_one_stopped(visitors: Visitors) -> None:
    async with open_node(lively()) as node:
        first = await visitors.join(node.url, ROOM)
        await first.call("like", 5)
        await first.reach(await first.call("say", "one"))
        session = await first.get("session")
        await first.call("leave")
        await node.comment(ROOM, "two")
        later = await visitors.join(node.url, ROOM, session=session)
        await later.call("like", 2)
        await later.reach(2)
        assert later.bodies == ["two"]
        assert await later.get("user") == await first.get("user")
        await later.until(lambda item: item["type"] == "counters" and item["likes"] == 7)
        page = await later.call("history", {"limit": 5})
        assert [event["body"] for event in page["events"]] == ["one", "two"]


@pytest.mark.parametrize("codec", CODECS)
async def test_what_a_room_is(visitors: Visitors, codec: str) -> None:
    async with open_node(live(room={"notable_roles": ("host",)})) as node:
        host = await visitors.join(node.url, ROOM, codec=codec, token=token("主播", "host"))
        viewer = await visitors.join(node.url, ROOM, codec=codec, token=token("anna"))
        await host.call("set", "card", "tea", {"title": "龙井", "now": True})
        await host.call("set", "poll", "p", {"question": "?", "options": ["绿", "红"]})
        await viewer.until(lambda item: item["type"] == "state" and item["kind"] == "poll")
        await viewer.call("vote", "poll", "p", 1)
        await viewer.call("question", "多少钱?")
        said = await viewer.call("say", "钉住")
        await host.call("set", "pin", str(said), {"offset": said})
        await viewer.until(lambda item: item["type"] == "state" and item["kind"] == "pin")
        await viewer.until(lambda item: item["type"] == "counters" and item["votes"].get("poll:p") == [0, 1])
        state = await viewer.get("state")
        assert state["card:tea"]["value"]["title"] == "龙井"
        assert state[f"pin:{said}"]["value"]["event"]["body"] == "钉住"
        assert any(entry["kind"] == "question" for entry in state.values())
        newcomer = await visitors.join(node.url, ROOM, codec=codec, token=token("bob"))
        await newcomer.call("refresh")
        assert await newcomer.get("state") == await viewer.get("state") == await host.get("state")
        assert await newcomer.get("certain")
        await host.call("set", "card", "tea", None)
        notice = await host.call("notice", "换到二号直播间", {"receipts": True})
        await viewer.reach(notice)
        await viewer.call("read", notice)
        await host.until(lambda item: item["type"] == "counters" and item["receipts"].get(str(notice)) == [3, 1])
        assert "card:tea" not in await viewer.get("state")
        await host.call("direct", "anna", "悄悄话")
        assert (await viewer.until(lambda item: item["type"] == "direct"))["body"] == "悄悄话"
        await host.call("moderate", "mute", {"user": "anna", "seconds": 60})
        with pytest.raises(SdkError, match="refused") as muted:
            await viewer.call("say", "?")
        assert muted.value.code == 111
        assert viewer.of("pending")[-1]["state"] == "refused"


@pytest.mark.parametrize("codec", CODECS)
async def test_gifts_and_red_packets(visitors: Visitors, codec: str, tmp_path: Path) -> None:
    async with open_node(shop(sqlite(tmp_path))) as node:
        boss = await visitors.join(node.url, ROOM, codec=codec, token=token("老板"))
        anna = await visitors.join(node.url, ROOM, codec=codec, token=token("anna"))
        late = await visitors.join(node.url, ROOM, codec=codec, token=token("late"))
        assert ROSE in [gift["id"] for gift in await anna.call("gifts")]
        paid = await anna.call("give", ROSE, 3)
        gift = await boss.until(lambda item: item["type"] == "gift")
        assert (gift["entry"], gift["amount"], gift["comboCount"], gift["author"]["id"]) == (paid["entry"], 30, 3, "anna")
        packet = (await boss.call("pack", 10, 2, {"text": "恭喜发财"}))["entry"]
        shares = [(await each.call("claim", packet))["amount"] for each in (boss, anna)]
        assert sum(shares) == 10
        with pytest.raises(SdkError, match="120"):
            await late.call("claim", packet)
        await late.until(lambda item: item["type"] == "packetEnd")
        assert f"packet:{packet}" not in await late.get("state")
        board = await late.call("givers")
        assert {"user": "anna", "name": "anna", "given": 30} in [{**each, "name": "anna"} for each in board["givers"]]


async def test_claims_of_a_packet_that_ends_are_answered_by_the_room(visitors: Visitors, tmp_path: Path) -> None:
    async with open_node(shop(sqlite(tmp_path))) as node:
        boss = await visitors.join(node.url, ROOM, token=token("老板"))
        people = [await visitors.join(node.url, ROOM, token=token(f"u{number}")) for number in range(8)]
        packet = (await boss.call("pack", 100, 3))["entry"]
        amounts: list[int] = []
        codes: list[int] = []

        async def claim(number: int) -> None:
            try:
                amounts.append((await people[number].call("claim", packet))["amount"])
            except SdkError as error:
                codes.append(error.code)

        async with trio.open_nursery() as nursery:
            for number in range(8):
                nursery.start_soon(claim, number)
        assert (sum(amounts), len(amounts), codes) == (100, 3, [120] * 5)


async def test_a_feed_that_leaves_comments_out_accounts_for_them(visitors: Visitors) -> None:
    async with open_node(live(feeds={"quiet": FeedSettings(kinds=("notice",))})) as node:
        one = await visitors.join(node.url, ROOM, feed="quiet")
        for number in range(5):
            assert await one.call("say", f"{number}") == number + 1
        await one.reach(5)
        assert {item["reason"] for item in one.of("omitted")} == {OmittedReason.FEED}
        await visitors.until(lambda: len(one.of("pending")) == 10)
        assert {item["state"] for item in one.of("pending")} == {"sent", "published"}
        await one.call("choose", "")
        await one.reach(await one.call("say", "heard"))
        assert one.bodies == ["heard"]


async def test_viewers_continue_at_another_node_when_theirs_stops(visitors: Visitors) -> None:
    settings = lively(node={"return_window_seconds": 0.05})
    async with open_node(settings) as node:
        port = int(node.url.rpartition(":")[2].partition("/")[0])
        one = await visitors.join(node.url, ROOM)
        await one.reach(await one.call("say", "before"))
    lost = await one.status("waiting")
    assert (lost["error"]["code"], lost["error"]["reason"]) == (4000, "closed")
    async with open_node(lively(edge={"port": port})):
        await one.status("open", 2)
        gap = await one.until(lambda item: item["type"] == "gap")
        assert (gap["reason"], gap["last"]) == ("epoch", 0)
        assert await one.call("say", "after") == 1
        await one.until(lambda item: item.get("body") == "after" and item["type"] == "comment")


async def test_tokens_are_renewed_and_who_is_sent_out_stays_out(visitors: Visitors) -> None:
    async with open_node(live()) as node:
        host = await visitors.join(node.url, ROOM, token=token("host", "host"))
        tokens = [mint("x" * 32, "anna"), token("anna")]
        forged = await visitors.join(node.url, ROOM, ready=False, tokens=tokens[:1])
        with pytest.raises(SdkError) as refused:
            await forged.get("ready")
        assert (refused.value.reason, refused.value.code) == ("refused", 117)
        later = await visitors.join(node.url, ROOM, tokens=[None, None, token("anna")])
        assert len([item for item in later.of("status") if item["status"] == "waiting"]) == 2
        await host.call("moderate", "kick", {"user": "anna"})
        closed = await later.status("closed")
        assert closed["error"]["code"] == 4401
        with pytest.raises(SdkError, match="4401"):
            await later.call("say", "?")
