"""What a client asks for beyond comments, against a fake server: the messages on the wire, and what comes of the answers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import trio

from engine.client import Entry, Gap, Moderated, Notice, Present, Snapshot, State, open_client
from engine.client.items import Author, Comment, Omitted, ProtocolViolation
from engine.errors import Code, Refused

from .fakeroom import HANDLE, ROOM, FakeRoom, comment, serving
from .test_client import Name, take, viewer


@pytest.fixture
async def room() -> AsyncIterator[FakeRoom]:
    async with serving() as room:
        yield room


@pytest.fixture(params=["msgpack", "json"])
def codec(request: pytest.FixtureRequest) -> Name:
    name: Name = request.param
    return name


def sent(room: FakeRoom, kind: int) -> list[list[Any]]:
    return [message for message in room.received if message[0] == kind]


async def test_a_comment_may_answer_mention_and_vanish(room: FakeRoom, codec: Name) -> None:
    async with viewer(room, codec) as client:
        assert await client.comment("plain") == 1
        assert await client.comment("linked", reply_to=1, mentions=["u9"], lifetime_seconds=1.5) == 2
        items = await take(client, Comment, 2)
        assert (items[-1].reply_to, items[-1].mentions, items[-1].expires) == (1, ("u9",), 2500)
    assert [message[3:] for message in sent(room, 3)] == [["plain"], ["linked", 1, ["u9"], 1500]]


async def test_what_hosts_and_viewers_ask_for(room: FakeRoom, codec: Name) -> None:
    async with viewer(room, codec) as client:
        assert await client.notice("soon", receipts=True, deadline_seconds=60) == 1
        await client.change("card", "p1", {"title": "茶"}, expect=0)
        assert client.state["card", "p1"] == Entry({"title": "茶"}, 1)
        await client.change("card", "p1", None)
        await client.vote("poll", "a", 2)
        await client.ask("why?")
        await client.moderate("mute", user="u9", seconds=59.5, reason="loud", everywhere=True)
        await client.moderate("delete", offset=1)
        items = await take(client, Moderated, 2)
    assert [type(item) for item in items] == [Snapshot, Notice, State, State, State, Moderated, Moderated]
    assert (items[-2].user, items[-2].until, items[-1].offsets) == ("u9", 60_000, ((1, 1),))
    assert [message[3:] for message in room.received if message[0] in (9, 10, 11, 13, 14)] == [
        ["soon", True, 60_000],
        ["card", "p1", {"title": "茶"}, 0, False],
        ["card", "p1", None, -1, False],
        ["poll", "a", 2],
        ["why?"],
        ["mute", "u9", 0, 60, "loud", True],
        ["delete", "", 1, 0, "", False],
    ]


async def test_what_is_held_is_taken_but_has_no_offset(room: FakeRoom, codec: Name) -> None:
    room.on_request = lambda message: [35, message[1], 200, 7, "a moderator will decide", 0]
    async with viewer(room, codec) as client:
        assert await client.comment("hm") == 0
        room.on_request = lambda message: [35, message[1], 250, 7, "of tomorrow", 0]
        assert await client.comment("hm") == 0


async def test_a_conflict_is_refused(room: FakeRoom) -> None:
    room.on_request = lambda message: [35, message[1], 108, 0, "version 3", 0]
    async with viewer(room) as client:
        with pytest.raises(Refused) as refused:
            await client.change("pin", "", {"offset": 1}, expect=2)
        assert refused.value.code is Code.CONFLICT
        assert client.state == {}


async def test_reactions_go_out_with_the_likes_as_totals(room: FakeRoom, codec: Name) -> None:
    async with viewer(room, codec, like_seconds=60) as client:
        client.react("🔥", 3)
        await room.until(lambda: room.received[-1][0] == 4)
        client.react("🔥")
        client.react("👏", 2)
        client.like(5)
        for name, times in (("", 1), ("x" * 33, 1), ("🔥", -1)):
            with pytest.raises(ValueError, match="reaction"):
                client.react(name, times)
        for number in range(14):
            client.react(f"r{number}", 0)
        with pytest.raises(ValueError, match="16 different"):
            client.react("one more")
    await room.until(lambda: room.received[-1][0] == 2)
    first, last = sent(room, 4)
    assert first == [4, HANDLE, 0, {"🔥": 3}]
    assert (last[2], {name: count for name, count in last[3].items() if count}) == (5, {"🔥": 4, "👏": 2})


async def test_in_a_new_session_only_untold_reactions_count(room: FakeRoom) -> None:
    async with viewer(room) as client:
        client.react("🔥", 3)
        await room.until(lambda: room.received[-1][0] == 4)
        room.peer.cut()
        await room.until(lambda: len(sent(room, 4)) == 2)
        assert room.received[-1] == [4, HANDLE, 0, {"🔥": 3}], "the same session: the same total"
        room.session = "another session here"
        room.peer.cut()
        await room.until(lambda: len(room.joins) == 3)
        client.react("🔥", 1)
        await room.until(lambda: room.received[-1] == [4, HANDLE, 0, {"🔥": 1}])


async def test_history_is_read_in_pages(room: FakeRoom, codec: Name) -> None:
    room.events = [comment(str(number)) for number in range(1, 8)]
    room.events[1] = [0, 1, 1]
    room.page, room.kept = 3, 1
    async with viewer(room, codec) as client:
        page = await client.history()
        assert (page.epoch, page.first, page.last) == (7, 5, 7)
        assert [event.body for event in page.events if isinstance(event, Comment)] == ["5", "6", "7"]
        page = await client.history(page.first)
        assert isinstance(page.events[0], Omitted)
        assert (page.first, page.last) == (2, 4)
        page = await client.history(before=2, limit=1000)
        assert (page.first, page.last, page.events) == (2, 1, ())
        assert [message[3:] for message in sent(room, 15)] == [[0, 100], [5, 100], [2, 1000]]
        room.on_request = lambda message: [35, message[1], 104, 0, "not for you", 0]
        with pytest.raises(Refused):
            await client.history()
        room.on_request = lambda message: [38, message[1], 1]
        with pytest.raises(ProtocolViolation):
            await client.history()


async def test_a_token_and_a_feed_are_part_of_every_join(room: FakeRoom, codec: Name) -> None:
    async with open_client(room.url, room=ROOM, token="a.b.c", feed="readable", codec=codec) as client:
        await client.choose("money")
        room.peer.cut()
        await room.until(lambda: len(room.joins) == 2)
    assert [join[8:] for join in room.joins] == [["a.b.c", "readable"], ["a.b.c", "money"]]
    assert [message[3:] for message in sent(room, 17)] == [["money"]]


async def test_a_feed_without_a_token(room: FakeRoom) -> None:
    async with open_client(room.url, room=ROOM, feed="readable"):
        pass
    assert room.joins[0][8:] == [None, "readable"]


async def test_who_reads_a_notice_says_so(room: FakeRoom, codec: Name) -> None:
    async with viewer(room, codec) as client:
        await room.publish([[4, ["h1"], 0, "soon", True], [4, ["h1"], 0, "by the way"]])
        await room.until(lambda: sent(room, 12))
        await client.received(2)
        await client.read(1)
        await room.until(lambda: len(sent(room, 12)) == 3)
    assert sent(room, 12) == [[12, HANDLE, 1], [12, HANDLE, 2], [12, HANDLE, 1, True]]


async def test_receipts_are_the_programs_own_if_it_wants(room: FakeRoom) -> None:
    async with viewer(room, receipts=False) as client:
        await room.publish([[4, ["h1"], 0, "soon", True]])
        await take(client, Notice)
        await client.read(1)
    await room.until(lambda: room.received[-1][0] == 2)
    assert sent(room, 12) == [[12, HANDLE, 1, True]]


async def test_what_is_told_while_away_is_told_after_the_return(room: FakeRoom) -> None:
    async with viewer(room) as client:
        await room.peer.close(4000)
        await client.read(5)
        await room.until(lambda: sent(room, 12))
        assert len(room.joins) == 2


async def test_the_state_is_read_again_after_a_gap(room: FakeRoom, codec: Name) -> None:
    async with viewer(room, codec) as client:
        room.events = [comment("lost"), room.changed_to(0, "pin", "", {"offset": 1})]
        await room.peer.send([36, HANDLE, 7, 1, 2, "lag"])
        items = await take(client, Present)
        assert isinstance(items[-2], Gap)
        assert items[-1].state == client.state == {("pin", ""): Entry({"offset": 1}, 1)}
        assert client.certain
        assert len(sent(room, 16)) == 1


async def test_the_state_can_be_read_ahead_of_what_is_on_its_way(room: FakeRoom, codec: Name) -> None:
    async with viewer(room, codec) as client:
        room.events = [room.changed_to(0, "pin", "1", {"offset": 1})]
        await client.refresh()
        assert client.state == {("pin", "1"): Entry({"offset": 1}, 1)}
        room.on_request = lambda message: [35, message[1], 104, 0, "not for you", 0]
        with pytest.raises(Refused):
            await client.refresh()


async def test_a_refusal_for_now_is_tried_again_and_one_for_good_is_not(room: FakeRoom) -> None:
    answers: list[int] = [1, 3]

    def refuse(message: list[Any]) -> list[Any] | None:
        return [35, message[1], answers.pop(0), 0, "", 1] if answers else None

    room.on_request = refuse
    async with viewer(room) as client:
        await room.peer.send([36, HANDLE, 7, 1, 2, "lag"])
        room.events = [comment("lost"), comment("lost")]
        await take(client, Present)
        assert len(sent(room, 16)) == 3
        answers.append(104)
        room.events.append(comment("lost"))
        await room.peer.send([36, HANDLE, 7, 3, 3, "lag"])
        await room.until(lambda: not answers)
        assert (await client.ping()).seconds >= 0
        assert not client.certain
        assert len(sent(room, 16)) == 4


async def test_a_client_that_continues_reads_the_state_once(room: FakeRoom) -> None:
    room.events = [comment("before")]
    room.state = {("mode", ""): [{"mode": "open"}, 1]}
    with trio.fail_after(10):
        async with open_client(room.url, room=ROOM, position=(7, 1), session=room.session) as client:
            (item,) = await take(client, Present)
            assert item == Present(7, 1, {("mode", ""): Entry({"mode": "open"}, 1)})


async def test_a_newcomer_is_shown_what_was_said_last(room: FakeRoom, codec: Name) -> None:
    room.events = [comment("a"), comment("b"), [0, 1, 1], [4, ["h1", "", {}, "host", 5], 0, "c"]]
    room.recent = 3
    async with viewer(room, codec) as client:
        (snapshot,) = await take(client, Snapshot)
        assert [(event.offset, event.body) for event in snapshot.recent] == [(2, "b"), (4, "c")]
        assert snapshot.recent[1].author == Author("h1", "", {}, "host", 5)
        assert client.position == (7, 4)
