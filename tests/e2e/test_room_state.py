"""What a room is: attributes, cards, polls, questions, pins, life; the same for all, whenever they came, wherever they are."""

from __future__ import annotations

from typing import Any

import trio

from engine.errors import Close, Code
from engine.node import Node, open_node

from .conftest import Running
from .people import ROOM, Foreign, live, token
from .viewers import ASK, CHANGE, MODERATE, PATIENCE, READ_STATE, VOTE, Viewer, open_viewer


async def change(viewer: Viewer, *fields: Any) -> Code:
    return Code((await viewer.ask(CHANGE, viewer.handle, *fields)).code)


async def agreed(*viewers: Viewer) -> None:
    """All are told the same by events as by asking."""
    for viewer in viewers:
        await viewer.settle()
        seen = dict(viewer.state)
        await viewer.read(READ_STATE)
        assert viewer.state == seen
    assert all(viewer.state == viewers[0].state for viewer in viewers)


async def test_cards_pins_and_attributes_are_the_same_for_all_at_two_nodes(
    running: Running, foreign: Foreign, redis: dict[str, Any]
) -> None:
    settings = live(redis=redis, room={"viewer_attributes": 1})
    async with (
        running(settings) as one,
        open_node(settings) as two,
        foreign(one.url, token("host", "host"), None) as (host, guest),
        foreign(two.url, token("anna"), token("host2", "host")) as (anna, second),
    ):
        said = await anna.comment("置顶我 📌")
        await host.change("card", "茶", {"title": "龙井 🍵", "price": "¥99", "stock": 3, "now": True})
        await second.change("card", "瓷", {"title": "青花瓷", "now": True})
        await host.change("card", "茶", {"stock": 2})
        await host.change("pin", str(said), {"offset": said})
        await anna.change("attribute", "心情", {"value": "开心 😀"})
        last = (await second.act(3, "好了")).offset
        for viewer in (host, guest, anna, second):
            await viewer.until_offset(last)
            assert viewer.value("card", "茶")["now"] is False
            assert viewer.value("card", "茶")["stock"] == 2
            assert viewer.value("card", "瓷")["now"] is True
            assert viewer.value("pin", str(said))["event"][3] == "置顶我 📌"
            assert viewer.value("attribute", "心情") == {"value": "开心 😀"}
        await agreed(host, guest, anna, second)
        # A newcomer is told all of it at once.
        async with foreign(two.url, None, None) as late:
            for viewer in late:
                assert viewer.state == host.state
                assert viewer.shown[said] == "置顶我 📌"
        # Compare and set: of two who build on the same version one is told.
        version = anna.state["card", "茶"][1]
        assert await change(host, "card", "茶", {"stock": 1}, version) == Code.OK
        assert await change(second, "card", "茶", {"stock": 7}, version) == Code.CONFLICT
        assert await change(second, "card", "新", {"title": "x"}, 0) == Code.OK
        assert await change(host, "card", "新", {"title": "y"}, 0) == Code.CONFLICT
        # One's own only, and only so many.
        assert await change(guest, "attribute", "心情", {"value": "x"}) == Code.FORBIDDEN
        assert await change(anna, "attribute", "再来", {"value": 1}) == Code.STATE_FULL
        assert await change(anna, "card", "茶", {"stock": 0}) == Code.FORBIDDEN
        await host.change("attribute", "心情", None)
        # What is deleted is not to be read in what was pinned either.
        told = (await host.act(MODERATE, "delete", "", said)).offset
        await anna.until_offset(told)
        await anna.until(lambda: ("pin", str(said)) not in anna.state)
        assert "置顶我" not in str(await guest.past())
        await agreed(host, guest, anna, second)


async def test_an_attribute_goes_with_who_set_it(running: Running, foreign: Foreign) -> None:
    async with running(live(room={"viewer_attributes": 2})) as node, foreign(node.url, token("host", "host")) as (host,):
        async with foreign(node.url, token("anna"), None) as (anna, guest):
            await anna.change("attribute", "举手 ✋", {"value": True}, -1, True)
            await guest.change("attribute", "留下", {"value": "我还在"})
            await host.until(lambda: host.value("attribute", "举手 ✋") is not None)
        await host.until(lambda: host.value("attribute", "举手 ✋") is None)
        assert host.value("attribute", "留下") == {"value": "我还在"}


async def test_votes_are_exact_and_one_for_each_user_at_all_nodes(
    running: Running, foreign: Foreign, redis: dict[str, Any]
) -> None:
    settings = live(redis=redis)
    options = ["🍎 苹果", "🍐 梨", "🍊 橘子"]
    async with (
        running(settings) as one,
        open_node(settings) as two,
        foreign(one.url, token("host", "host"), token("anna")) as (host, anna),
        foreign(two.url, token("anna"), token("bob")) as (again, bob),
    ):
        await host.change("poll", "水果", {"question": "吃什么？", "options": options})
        for viewer in (again, bob):
            await viewer.until(lambda viewer=viewer: viewer.value("poll", "水果") is not None)  # type: ignore[misc]
        assert bob.value("poll", "水果")["options"] == options
        await anna.act(VOTE, "poll", "水果", 2)
        assert (await again.ask(VOTE, again.handle, "poll", "水果", 1)).code == Code.ALREADY_VOTED
        # The same choice once more is the same vote.
        await again.act(VOTE, "poll", "水果", 2)
        await bob.act(VOTE, "poll", "水果", 0)
        assert (await bob.ask(VOTE, bob.handle, "poll", "水果", 3)).code == Code.INVALID
        assert (await bob.ask(VOTE, bob.handle, "poll", "没有", 0)).code == Code.NOT_FOUND
        async with trio.open_nursery() as nursery:
            for number in range(40):
                nursery.start_soon(_vote, (one, two)[number % 2], token(f"用户{number}"), number % 3)
        expected = [15, 13, 14]
        for viewer in (host, anna, again, bob):
            await viewer.until(lambda viewer=viewer: viewer.totals.get("votes", {}).get("poll:水果") == expected)  # type: ignore[misc]
        async with foreign(two.url, None) as (late,):
            assert late.totals["votes"] == {"poll:水果": expected}
        await host.change("poll", "水果", {"open": False})
        await bob.until(lambda: not bob.value("poll", "水果")["open"])
        assert (await bob.ask(VOTE, bob.handle, "poll", "水果", 0)).code == Code.ROOM_MODE
        # Under its name a new one begins without votes.
        await host.change("poll", "水果", None)
        await host.change("poll", "水果", {"question": "再来？", "options": ["是", "否"]})
        await bob.until(lambda: (bob.value("poll", "水果") or {}).get("question") == "再来？")
        await bob.act(VOTE, "poll", "水果", 1)
        async with foreign(one.url, None, None) as late_ones:
            for viewer in late_ones:
                await viewer.until(lambda viewer=viewer: viewer.totals.get("votes") == {"poll:水果": [0, 1]})  # type: ignore[misc]


async def _vote(node: Node, who: str, choice: int) -> None:
    async with open_viewer("raw", node.url) as viewer:
        await viewer.join(ROOM, token=who)
        while viewer.value("poll", "水果") is None:
            await viewer.take()
        await viewer.act(VOTE, "poll", "水果", choice)


async def test_questions_are_asked_voted_for_and_answered(running: Running, foreign: Foreign) -> None:
    async with running(live()) as node, foreign(node.url, token("host", "host"), token("anna", name="安娜"), None) as people:
        host, anna, guest = people
        await anna.act(ASK, "什么时候发货？🚚")
        await host.until(lambda: any(kind == "question" for kind, _ in host.state))
        [key] = [key for kind, key in host.state if kind == "question"]
        assert host.value("question", key)["body"] == "什么时候发货？🚚"
        assert host.value("question", key)["author"] == {"id": "anna", "name": "安娜"}
        for viewer in (anna, guest):
            await viewer.act(VOTE, "question", key)
        await host.until(lambda: host.totals.get("votes") == {f"question:{key}": [2]})
        for number in range(2):
            await anna.act(ASK, f"还有 {number}")
        assert (await anna.ask(ASK, anna.handle, "太多了")).code == Code.STATE_FULL
        assert (await guest.ask(ASK, guest.handle, "\u200b")).code == Code.EMPTY
        assert await change(anna, "question", key, {"answered": True}) == Code.FORBIDDEN
        await host.change("question", key, {"answered": True})
        await guest.until(lambda: guest.value("question", key)["answered"])
        assert (await guest.ask(VOTE, guest.handle, "question", key)).code == Code.ROOM_MODE
        await agreed(host, anna, guest)


async def test_a_room_is_created_closed_and_archived(running: Running, foreign: Foreign) -> None:
    async with running(live(room={"created_only": True})) as node:
        async with open_viewer("websockets", node.url) as early:
            refusal = await early.knock(ROOM)
            assert refusal is not None
            assert refusal.code == Code.NOT_FOUND
            assert "room.created_only" in refusal.text
        room = node.room(ROOM)
        await room.life("open", title="开播 🎬")
        async with foreign(node.url, token("host", "host"), None) as (host, guest):
            assert guest.value("life") == {"state": "open", "title": "开播 🎬", "stream": ""}
            await host.change("life", "", {"state": "closed"})
            await guest.until(lambda: guest.value("life")["state"] == "closed")
            assert (await guest.ask(ASK, guest.handle, "为什么？")).code == Code.ROOM_MODE
            assert await change(host, "card", "茶", {"title": "还行"}) == Code.OK
            await room.life("archived")
            for viewer in (host, guest):
                assert (await viewer.until_gone()).code == Close.GOING_AWAY
        async with open_viewer("websockets", node.url) as late:
            refusal = await late.knock(ROOM, token=token("host", "host"))
            assert refusal is not None
            assert refusal.code == Code.ROOM_MODE
        # Its past stays.
        assert [event.event[3:5] async for event in room.history() if event.event[0] == 3][-1] == ["life", ""]
        with trio.fail_after(PATIENCE):
            await room.life("open")
        async with foreign(node.url, None) as (back,):
            assert back.value("card", "茶")["title"] == "还行"
