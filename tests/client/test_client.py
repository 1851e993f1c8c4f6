"""The client against a fake server over loopback: order, requests, return after every kind of loss, limits, goodbye."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random
from typing import Any, Literal

import pytest
import trio
import trio.testing

from engine.client import (
    Client,
    Closed,
    Disconnected,
    Options,
    Reconnected,
    Refusal,
    Uncertain,
    Unreachable,
    open_client,
)
from engine.client.items import Comment, Counters, Custom, Direct, Gap, Omitted, Position, ProtocolViolation, Snapshot, Unknown
from engine.errors import Code, Refused

from .fakeroom import GARBAGE, HANDLE, HANG_UP, ROOM, FakeRoom, comment, serving

DEADLINE = 10
"""Seconds until a test counts as stuck."""

Name = Literal["msgpack", "json"]
FAST: dict[str, Any] = {
    "backoff_base_seconds": 0.002,
    "backoff_cap_seconds": 0.01,
    "like_seconds": 0.001,
    "random": Random(1),
}


@pytest.fixture
async def room() -> AsyncIterator[FakeRoom]:
    async with serving() as room:
        yield room


@asynccontextmanager
async def viewer(room: FakeRoom, codec: Name = "msgpack", **options: Any) -> AsyncIterator[Client]:
    fast = Options(**(FAST | options))
    with trio.fail_after(DEADLINE):
        async with open_client(room.url, room=ROOM, name="Ann", codec=codec, options=fast) as client:
            yield client


async def take(client: Client, until: type, count: int = 1) -> list[Any]:
    """Items up to the ``count``-th of a type."""
    items: list[Any] = []
    async for item in client:
        items.append(item)
        count -= isinstance(item, until)
        if count == 0:
            return items
    raise AssertionError("iteration ended without an error")


def bodies(items: list[Any]) -> list[str]:
    return [item.body for item in items if isinstance(item, Comment)]


@pytest.fixture(params=["msgpack", "json"])
def codec(request: pytest.FixtureRequest) -> Name:
    name: Name = request.param
    return name


# -- one connection ---------------------------------------------------------------------------------------------------


async def test_a_viewer_enters_at_the_end_and_sees_what_follows(room: FakeRoom, codec: Name) -> None:
    room.events = [comment("before")]
    async with viewer(room, codec) as client:
        assert (client.user, client.role, client.session) == ("u0", "guest", room.session)
        assert client.position == (7, 1)
        assert client.counters == Counters(0, 1)
        await room.publish([comment("你好 👋"), [2, ["u9"], 0, "poll", "{}"], [99, "tomorrow"], [0, 1, 1]])
        assert [type(item) for item in await take(client, Omitted)] == [Snapshot, Comment, Custom, Unknown, Omitted]
        assert client.position == (7, 5)
    assert room.joins == [[1, 1, ROOM, 0, 0, None, "Ann", {}]]


async def test_requests_are_answered(room: FakeRoom, codec: Name) -> None:
    async with viewer(room, codec) as client:
        assert await client.comment("你好 👋") == 1
        assert await client.custom("poll", "{}") == 2
        await client.direct("u9", "psst")
        trip = await client.ping()
        assert trip.seconds >= 0
        assert trip.server_time == 1_700_000_000_000
    assert [message[0] for message in room.received] == [1, 3, 7, 8, 5, 2]


async def test_a_refused_request_raises_with_code_and_hint(room: FakeRoom, codec: Name) -> None:
    room.on_request = lambda message: [35, message[1], 1, 0, "slow down", 250]
    async with viewer(room, codec) as client:
        with pytest.raises(Refused, match="slow down") as refused:
            await client.comment("x")
    assert (refused.value.code, refused.value.retry_after_ms) == (Code.RATE_LIMITED, 250)


@pytest.mark.parametrize(("code", "retriable"), [(55, True), (199, False)])
async def test_a_code_of_tomorrow_means_what_its_band_means(room: FakeRoom, code: int, retriable: bool) -> None:
    room.on_request = lambda message: [35, message[1], code, 0, "new", 0]
    async with viewer(room) as client:
        with pytest.raises(Refused, match=f"code {code}: new") as refused:
            await client.comment("x")
    assert refused.value.code.retriable is retriable


async def test_many_requests_at_once_get_their_own_answers(room: FakeRoom) -> None:
    offsets: dict[str, int] = {}

    async def say(client: Client, body: str) -> None:
        offsets[body] = await client.comment(body)

    async with viewer(room) as client, trio.open_nursery() as nursery:
        for number in range(50):
            nursery.start_soon(say, client, str(number))
    assert {body: room.events[offset - 1][3] for body, offset in offsets.items()} == {body: body for body in offsets}


async def test_a_text_that_cannot_be_encoded_costs_its_sender_only(room: FakeRoom, codec: Name) -> None:
    async with viewer(room, codec) as client:
        with pytest.raises(UnicodeEncodeError):
            await client.comment("\ud800")
        assert await client.comment("fine") == 1


async def test_a_cancelled_request_does_not_harm_the_connection(room: FakeRoom) -> None:
    async with viewer(room) as client:
        room.on_request = lambda message: []
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(client.comment, "x")
                await room.until(lambda: room.received[-1][0] == 3)
                scope.cancel()
        room.on_request = lambda message: None
        assert await client.comment("y") == 1


async def test_likes_go_out_as_totals_and_at_the_latest_with_the_goodbye(room: FakeRoom) -> None:
    async with viewer(room, like_seconds=60) as client:
        client.like(3)
        await room.until(lambda: room.received[-1][0] == 4)
        client.like(3)
        client.like()
        with pytest.raises(ValueError, match="negative"):
            client.like(-1)
    await room.until(lambda: room.received[-1][0] == 2)
    assert [message for message in room.received if message[0] == 4] == [[4, HANDLE, 3], [4, HANDLE, 7]]


async def test_private_things_and_refusals_without_a_request_are_items(room: FakeRoom) -> None:
    async with viewer(room) as client:
        await room.peer.send([39, HANDLE, ["u9", "Bob", {}], "psst", 5])
        await room.peer.send([35, 0, 104, 0, "likes", 0])
        await room.peer.send([99, "of tomorrow"])
        items = await take(client, Refusal)
        assert isinstance(items[-2], Direct)
        assert items[-1] == Refusal(104, "likes", 0)


async def test_counters_are_an_item_when_they_change(room: FakeRoom) -> None:
    async with viewer(room) as client:
        room.counters = [5, 2]
        await room.peer.batch(1, 0)
        await room.peer.batch(1, 0)
        room.counters = [6, 2]
        await room.peer.batch(1, 0)
        assert (await take(client, Counters, 2))[1:] == [Counters(5, 2), Counters(6, 2)]
        assert client.counters == Counters(6, 2)


async def test_the_viewer_leaves_politely(room: FakeRoom) -> None:
    async with viewer(room):
        peer = room.peer
    await room.until(lambda: peer not in room.peers)
    assert room.received[-1] == [2, 2, HANDLE]
    assert peer.websocket.closed is not None
    assert peer.websocket.closed.code == 1000


async def test_what_the_block_raises_comes_out_as_it_is(room: FakeRoom) -> None:
    with pytest.raises(ZeroDivisionError):
        async with viewer(room):
            raise ZeroDivisionError
    await room.until(lambda: room.received[-1][0] == 2)


async def test_a_cancelled_block_ends_and_still_says_goodbye(room: FakeRoom) -> None:
    with trio.CancelScope() as scope:
        async with viewer(room) as client:
            scope.cancel()
            await anext(client)
    await room.until(lambda: room.received[-1][0] == 2)


async def test_a_server_that_ignores_the_goodbye_does_not_hold_the_viewer() -> None:
    async with deaf_server() as (room, blocked), viewer(room, close_seconds=0.01):
        blocked.set()


@asynccontextmanager
async def deaf_server() -> AsyncIterator[tuple[FakeRoom, trio.Event]]:
    """Stops reading when told to: the event is set before the next message is taken."""
    deaf = trio.Event()

    class Deaf(FakeRoom):
        async def take(self, peer: Any, message: list[Any]) -> None:
            if deaf.is_set():
                await trio.sleep_forever()
            await super().take(peer, message)

    async with serving(Deaf()) as room:
        yield room, deaf


# -- the first connection ---------------------------------------------------------------------------------------------


async def test_nobody_there() -> None:
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listeners[0].socket.getsockname()[1]
    await listeners[0].aclose()
    with pytest.raises(Unreachable):
        async with open_client(f"ws://127.0.0.1:{port}/", room=ROOM):
            pass


async def test_a_refused_handshake_raises_at_once(room: FakeRoom) -> None:
    room.reject = lambda: (503, [(b"Retry-After", b"7")])
    with pytest.raises(Unreachable) as unreachable:
        async with viewer(room):
            pass
    assert (unreachable.value.status, unreachable.value.retry_after_seconds) == (503, 7)
    assert unreachable.value.retriable


@pytest.mark.parametrize("answer", [HANG_UP, GARBAGE])
async def test_a_peer_that_hangs_up_or_speaks_no_http_raises_at_once(room: FakeRoom, answer: Any) -> None:
    room.reject = lambda: answer
    with pytest.raises(Unreachable):
        async with viewer(room, connect_seconds=1000):
            pass


async def test_a_server_that_speaks_something_else_is_noticed(room: FakeRoom) -> None:
    room.chooses = False
    with pytest.raises(Unreachable, match="chose subprotocol None") as unreachable:
        async with viewer(room):
            pass
    assert not unreachable.value.retriable


async def test_a_refused_join_raises_at_once(room: FakeRoom) -> None:
    room.on_join = lambda message: [35, message[1], 107, 0, "no such name", 0]
    with pytest.raises(Refused) as refused:
        async with viewer(room):
            pass
    assert refused.value.code is Code.BAD_ROOM


async def test_a_join_without_an_answer_is_given_up(room: FakeRoom) -> None:
    room.on_join = lambda message: []
    with pytest.raises(Unreachable, match="not in the room"):
        async with viewer(room, connect_seconds=0.02):
            pass


async def test_a_first_connection_closed_before_the_snapshot_raises(room: FakeRoom) -> None:
    room.on_join = lambda message: [37, 4200, "full", 0, 0]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(close_after_join, room, 4200)
        with pytest.raises(Closed) as closed:
            async with viewer(room):
                pass
    assert closed.value.code == 4200


async def close_after_join(room: FakeRoom, code: int) -> None:
    await room.until(lambda: room.joins)
    await room.connected[-1].close(code)


@pytest.mark.parametrize("url", ["http://localhost/", "ws:///ws", "ws://localhost/#x", "localhost"])
async def test_a_url_that_is_none_is_named(url: str) -> None:
    with pytest.raises(ValueError, match="a URL such as"):
        async with open_client(url, room=ROOM):
            pass


# -- coming back ------------------------------------------------------------------------------------------------------


async def test_the_viewer_resumes_after_a_cut(room: FakeRoom, codec: Name) -> None:
    async with viewer(room, codec) as client:
        await room.say("a", "b")
        await take(client, Comment, 2)
        room.peer.cut()
        room.events += [comment("c"), comment("d")]
        room.overlap = 2
        items = await take(client, Comment, 2)
        assert [type(item) for item in items] == [Disconnected, Reconnected, Comment, Comment]
        assert bodies(items) == ["c", "d"]
        assert room.joins[-1][2:] == [ROOM, 7, 2, room.session, "Ann", {}]
        assert client.statistics().overlap == 2
        assert client.reconnects == 1


@pytest.mark.parametrize("code", [1001, 1011, 4000, 4001, 4002, 4150, 4200, 4399])
async def test_the_viewer_comes_back_after_these_codes(room: FakeRoom, code: int) -> None:
    async with viewer(room) as client:
        await room.peer.close(code, "why")
        (_, lost, _) = await take(client, Reconnected)
        assert (lost.code, lost.reason) == (code, "why")


@pytest.mark.parametrize("code", [1000, 1008, 4400, 4403, 4450])
async def test_the_viewer_stays_away_after_these_codes(room: FakeRoom, code: int) -> None:
    async with viewer(room) as client:
        await room.say("last")
        await room.peer.close(code, "why")
        assert bodies(await take(client, Comment)) == ["last"]
        with pytest.raises(Closed, match="why") as closed:
            await anext(client)
        assert closed.value.code == code
        with pytest.raises(Closed):
            await client.comment("x")
        with pytest.raises(Closed):
            client.like()
        with pytest.raises(Closed):
            await anext(client)
    assert len(room.joins) == 1


async def test_a_request_under_way_learns_that_there_is_no_return(room: FakeRoom) -> None:
    room.on_request = lambda message: []
    async with viewer(room) as client, trio.open_nursery() as nursery:
        nursery.start_soon(close_after_request, room, 4403)
        with pytest.raises(Closed):
            await client.comment("x")


async def close_after_request(room: FakeRoom, code: int) -> None:
    await room.until(lambda: room.received[-1][0] == 3)
    await room.peer.close(code)


async def test_a_bye_names_the_window_and_the_code(room: FakeRoom) -> None:
    async with viewer(room) as client:
        await room.peer.send([37, 4000, "restart", 20, 30])
        room.peer.cut()
        (_, lost, _) = await take(client, Reconnected)
        assert (lost.code, lost.reason) == (4000, "restart")
        assert 0.02 <= lost.delay_seconds <= 0.05


async def test_a_bye_without_return_is_final(room: FakeRoom) -> None:
    async with viewer(room) as client:
        await room.peer.send([37, 4403, "banned", 0, 0])
        await room.peer.close(4000)
        with pytest.raises(Closed, match="banned"):
            await take(client, Reconnected)


async def test_a_comment_under_way_is_sent_again_with_the_same_ref(room: FakeRoom, codec: Name) -> None:
    async with viewer(room, codec) as client, trio.open_nursery() as nursery:
        nursery.start_soon(lose_the_answer, room)
        assert await client.comment("once") == 1
    comments = [message for message in room.received if message[0] == 3]
    assert comments == [comments[0]] * 2
    assert len(room.events) == 1


async def lose_the_answer(room: FakeRoom) -> None:
    """Publish the next comment, but cut the connection instead of answering."""
    room.on_request = lambda message: []
    await room.until(lambda: room.received[-1][0] == 3)
    message = room.received[-1]
    room.events.append(comment(message[3], message[1]))
    room.published[message[1]] = len(room.events)
    room.on_request = lambda message: None
    room.peer.cut()


async def test_a_comment_under_way_is_uncertain_when_the_session_is_lost(room: FakeRoom) -> None:
    async with viewer(room) as client, trio.open_nursery() as nursery:
        client.like(5)
        await room.until(lambda: room.received[-1][0] == 4)
        nursery.start_soon(lose_the_answer, room)
        room.session = "another session here"
        with pytest.raises(Uncertain):
            await client.comment("once")
        client.like(2)
        await room.until(lambda: room.received[-1] == [4, HANDLE, 2])
        assert client.session == room.session


async def test_what_is_said_while_away_is_sent_after_the_return(room: FakeRoom) -> None:
    async with viewer(room) as client:
        await room.peer.close(4000)
        await take(client, Disconnected)
        assert await client.comment("back") == 1


async def test_likes_are_repeated_after_the_return(room: FakeRoom) -> None:
    async with viewer(room) as client:
        client.like(3)
        await room.until(lambda: room.received[-1][0] == 4)
        room.peer.cut()
        await room.until(lambda: [message[0] for message in room.received] == [1, 4, 1, 4])
        assert room.received[-1] == [4, HANDLE, 3]


async def test_a_silent_connection_is_left(room: FakeRoom) -> None:
    room.heartbeat_ms = 100
    async with viewer(room) as client:
        room.heartbeat_ms = 60_000
        (_, lost, _) = await take(client, Reconnected)
        assert lost.code == 1006
        assert "silent" in lost.reason


async def test_refused_handshakes_are_waited_out(room: FakeRoom) -> None:
    refusals: list[Any] = [(503, [(b"retry-after", b"0")]), (429, []), (502, []), HANG_UP]
    async with viewer(room) as client:
        room.reject = lambda: refusals.pop(0) if refusals else None
        room.peer.cut()
        items = await take(client, Reconnected)
        assert [item.reason.rpartition(" ")[2] for item in items[2:-2]] == ["503", "429", "502"]
        assert room.handshakes == 6


async def test_a_handshake_refused_for_good_ends_it(room: FakeRoom) -> None:
    async with viewer(room) as client:
        room.reject = lambda: (403, [])
        room.peer.cut()
        with pytest.raises(Unreachable, match="403"):
            await take(client, Reconnected)


async def test_a_return_refused_for_now_is_waited_out_and_for_good_ends_it(room: FakeRoom) -> None:
    answers = [4, 3, 104]
    async with viewer(room) as client:
        room.on_join = lambda message: [35, message[1], answers.pop(0), 0, "", 1]
        room.peer.cut()
        with pytest.raises(Refused) as refused:
            await take(client, Reconnected)
        assert refused.value.code is Code.FORBIDDEN
        assert answers == []


async def test_attempts_and_deadline_bound_the_return(room: FakeRoom) -> None:
    bounds: list[tuple[dict[str, Any], int]] = [
        ({"attempts": 3}, 4),
        ({"deadline_seconds": 0.0, "random": Random(5)}, 1),
    ]
    for bound, handshakes in bounds:
        room.handshakes = 0
        room.reject = lambda: None
        async with viewer(room, **bound) as client:
            room.reject = lambda: (503, [])
            room.peer.cut()
            with pytest.raises((Unreachable, Closed)):
                await take(client, Reconnected)
        assert room.handshakes == handshakes


async def test_a_position_of_an_earlier_client_is_continued(room: FakeRoom, codec: Name) -> None:
    room.events = [comment("a"), comment("b"), comment("c")]
    async with open_client(room.url, room=ROOM, position=(7, 1), session=room.session, codec=codec) as client:
        items = await take(client, Comment, 2)
        assert bodies(items) == ["b", "c"]
        assert client.position == (7, 3)
        assert room.joins[-1][3:6] == [7, 1, room.session]


async def test_a_position_older_than_the_history_is_told_by_a_gap(room: FakeRoom) -> None:
    room.events, room.kept = [comment("a"), comment("b"), comment("c")], 2
    async with open_client(room.url, room=ROOM, position=Position(7, 0)) as client:
        items = await take(client, Comment)
        assert items[0] == Gap(7, 1, 2, "history")
        assert bodies(items) == ["c"]


async def test_a_new_epoch_is_told_by_a_gap_and_a_snapshot(room: FakeRoom) -> None:
    async with viewer(room) as client:
        await room.say("old")
        await take(client, Comment)
        room.epoch, room.events = 8, [comment("new")]
        room.peer.cut()
        (told,) = (await take(client, Gap))[2:]
        assert (told, client.position) == (Gap(7, 2, 0, "epoch"), None)
        await take(client, Snapshot)
        assert client.position == (8, 1)
        await room.say("newer")
        assert bodies(await take(client, Comment)) == ["newer"]


async def test_a_gap_for_lag_goes_on_live(room: FakeRoom) -> None:
    async with viewer(room) as client:
        room.events = [comment(str(number)) for number in range(5)]
        await room.peer.send([36, HANDLE, 7, 1, 5, "lag"])
        await room.say("live")
        assert bodies(await take(client, Comment)) == ["live"]
        assert client.statistics().missing == 5


async def test_a_long_stream_with_many_cuts_arrives_whole(room: FakeRoom, codec: Name) -> None:
    said = [str(number) for number in range(300)]

    async def speak() -> None:
        random = Random(3)
        while len(room.events) < len(said):
            first = len(room.events)
            await room.until(lambda: room.peers)
            await room.say(*said[first : first + random.randrange(1, 20)])
            room.overlap = random.randrange(9)
            if room.peers and random.random() < 0.4:
                room.peer.cut()
                await room.until(lambda: not room.peers)

    async with viewer(room, codec) as client, trio.open_nursery() as nursery:
        nursery.start_soon(speak)
        items = await take(client, Comment, len(said))
        assert bodies(items) == said
        assert client.reconnects > 3


# -- a server that breaks its word ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "last", "events"),
    [
        pytest.param(2, 2, None, id="repeated"),
        pytest.param(4, 4, None, id="hole"),
        pytest.param(3, 4, [comment("one")], id="too few"),
    ],
)
async def test_a_broken_order_raises(room: FakeRoom, first: int, last: int, events: list[Any] | None) -> None:
    async with viewer(room) as client:
        await room.say("a", "b")
        room.events += [comment("c"), comment("d")]
        peer = room.peer
        await peer.batch(first, last, events)
        with pytest.raises(ProtocolViolation):
            await take(client, Gap)
        assert client.position == (7, 2)
        with pytest.raises(ProtocolViolation):
            await client.comment("x")
    assert peer.websocket.closed is not None
    assert peer.websocket.closed.code == 1002


@pytest.mark.parametrize("data", ["[", "text", b"\xc1", b"\x93\x01", b""])
async def test_messages_that_do_not_decode_raise(room: FakeRoom, codec: Name, data: str | bytes) -> None:
    async with viewer(room, codec) as client:
        await room.peer.websocket.send_message(data)
        with pytest.raises(ProtocolViolation):
            await take(client, Gap)


async def test_a_message_above_the_limit_ends_it(room: FakeRoom) -> None:
    async with viewer(room, message_bytes=10_000) as client:
        await room.say("x" * 20_000)
        with pytest.raises(Closed) as closed:
            await take(client, Comment)
        assert closed.value.code == 1009


async def test_messages_of_megabytes_pass(room: FakeRoom) -> None:
    async with viewer(room) as client:
        await room.say(*["x" * 10_000] * 300)
        assert len(bodies(await take(client, Comment, 300))) == 300


# -- bounds -----------------------------------------------------------------------------------------------------------


async def test_answers_arrive_while_nobody_iterates_up_to_the_bound(room: FakeRoom) -> None:
    async with viewer(room, undelivered=100) as client:
        await room.say(*map(str, range(90)))
        assert await client.comment("heard") == 91
        await room.say(*map(str, range(50)))
        room.on_request = lambda message: [35, message[1], 0, 0]
        waiting = trio.Event()

        async def ask() -> None:
            await client.comment("not heard")
            waiting.set()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            await room.until(lambda: room.received[-1][-1] == "not heard")
            await trio.testing.wait_all_tasks_blocked(0.01)
            assert not waiting.is_set()
            assert len(bodies(await take(client, Comment, 141))) == 141
            await waiting.wait()
