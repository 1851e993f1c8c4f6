"""The hub over a broker that keeps its word: rooms, replies, ticks, counters, backfill, draining."""

from __future__ import annotations

from itertools import pairwise

import pytest
import trio
from trio.testing import MockClock

from engine.errors import Code, Refused
from engine.hub.moderation import EVERYWHERE
from engine.link.messages import (
    Backfill,
    CloseRoom,
    DirectTo,
    FetchBackfill,
    FetchSnapshot,
    Frames,
    Likes,
    OpenRoom,
    Pace,
    Presence,
    RefuseRoom,
    ReplyTo,
    Say,
    SharedSnapshot,
    Stop,
)
from engine.schema import Author, handle_of
from engine.settings import LimitSettings, RoomSettings

from .harness import START_MS, ScriptedBroker, batches, decode, open_hub, settle

TICK = 0.1
PLAIN = RoomSettings(tick_grid_seconds=TICK, tick_max_seconds=1.0, counters_seconds=1.0, heartbeat_seconds=25.0)


# -- rooms -------------------------------------------------------------------------------------------------------------


async def test_opening_a_room_brings_its_snapshot_in_the_codecs_that_are_needed(autojump_clock: MockClock) -> None:
    async with open_hub(room=PLAIN) as harness:
        edge = harness.edge()
        edge.send(OpenRoom("大厅", 7, [0, 2]))
        await settle()
        (snapshot,) = edge.of(SharedSnapshot)
        assert (snapshot.opening, snapshot.offset) == (7, 0)
        assert set(snapshot.frames) == {0, 2}
        now_ms = START_MS + round(trio.current_time() * 1000)
        assert decode(snapshot.frames[0]) == [
            [33, handle_of("大厅"), "大厅", snapshot.epoch, 0, now_ms, [0, 0], 25_000, {}, [], []]
        ]


async def test_a_snapshot_stands_where_the_batches_before_it_end(autojump_clock: MockClock) -> None:
    """What waits for its tick is not in it: it comes as the next batch, to the newcomer's edge too."""
    async with open_hub(room=PLAIN) as harness:
        first, second = harness.edge(), harness.edge()
        await first.open("room")
        first.say("room", "a")
        await trio.sleep(2 * TICK)
        first.say("room", "b")
        await settle()
        await second.open("room")
        assert [snapshot.offset for snapshot in second.of(SharedSnapshot)] == [1]
        await trio.sleep(1)
        assert [batch for batch in batches(first.messages()) if batch[2]] == [(1, 1, ["a"]), (2, 2, ["b"])]
        assert [batch for batch in batches(second.messages()) if batch[2]] == [(2, 2, ["b"])]


async def test_a_newer_snapshot_is_given_on_request(autojump_clock: MockClock) -> None:
    async with open_hub(room=PLAIN) as harness:
        edge = harness.edge()
        await edge.open("room")
        edge.say("room", "a")
        await trio.sleep(1)
        edge.send(FetchSnapshot("room"), FetchSnapshot("unknown"))
        await settle()
        assert [snapshot.offset for snapshot in edge.of(SharedSnapshot)] == [0, 1]


async def test_rooms_beyond_the_limit_are_refused(autojump_clock: MockClock) -> None:
    async with open_hub(room=RoomSettings(rooms_max=1)) as harness:
        edge = harness.edge()
        await edge.open("one")
        await edge.open("two")
        assert [(refusal.room, refusal.code) for refusal in edge.of(RefuseRoom)] == [("two", Code.ROOM_FULL)]
        edge.send(CloseRoom("one"))
        await settle()
        await edge.open("two")
        assert [snapshot.room for snapshot in edge.of(SharedSnapshot)] == ["one", "two"]


async def test_a_room_that_every_edge_has_closed_is_forgotten(autojump_clock: MockClock) -> None:
    async with open_hub(room=PLAIN) as harness:
        edges = [harness.edge(), harness.edge()]
        for edge in edges:
            await edge.open("room")
        edges[0].send(CloseRoom("room"))
        await settle()
        assert harness.hub.statistics().rooms == 1
        edges[1].end.close()
        await settle()
        assert harness.hub.statistics().rooms == 0
        edges[0].forget()
        await trio.sleep(100)
        assert edges[0].got == []


@pytest.mark.parametrize("attempt", range(8))
async def test_a_room_closed_and_opened_again_in_one_turn_lives(attempt: int, autojump_clock: MockClock) -> None:
    """Leaving the broker and coming back must not change places, in whatever order the tasks run."""
    async with open_hub(room=PLAIN) as harness:
        edge = harness.edge()
        await edge.open("room")
        edge.send(CloseRoom("room"), OpenRoom("room", 1, [0]), Presence("room", 1))
        await settle()
        edge.forget()
        edge.say("room", "anybody?")
        await trio.sleep(1)
        assert [(reply.code, reply.offset) for reply in edge.of(ReplyTo)] == [(Code.OK, 1)]
        assert [last for _, last, bodies in batches(edge.messages()) if bodies] == [1]


async def test_a_room_closed_before_the_broker_has_answered_is_forgotten(autojump_clock: MockClock) -> None:
    async with open_hub(room=PLAIN, broker=ScriptedBroker) as harness:
        broker = harness.scripted
        gate = broker.gates["subscribe"] = trio.Event()
        edge = harness.edge()
        await edge.open("room")
        edge.send(CloseRoom("room"))
        await settle()
        gate.set()
        await trio.sleep(1)
        assert harness.hub.statistics().rooms == 0
        assert broker.watched == {EVERYWHERE}


# -- saying ------------------------------------------------------------------------------------------------------------


async def test_every_say_is_answered_with_its_offset_and_shown_once(autojump_clock: MockClock) -> None:
    async with open_hub(room=PLAIN) as harness:
        edge = harness.edge()
        await edge.open("room")
        edge.send(*(Say("room", viewer, "", 7, Author(f"guest-{viewer}"), f"第{viewer}条") for viewer in range(1, 101)))
        await trio.sleep(1)
        replies = edge.of(ReplyTo)
        assert [(reply.viewer, reply.ref, reply.code, reply.offset) for reply in replies] == [
            (viewer, 7, Code.OK, viewer) for viewer in range(1, 101)
        ]
        assert batches(edge.messages()) == [(1, 100, [f"第{viewer}条" for viewer in range(1, 101)])]
        assert harness.hub.statistics().events_published == 100
        assert harness.hub.statistics().events_waiting == 0


async def test_a_retry_is_answered_with_the_first_offset_and_not_shown_again(autojump_clock: MockClock) -> None:
    async with open_hub(room=PLAIN) as harness:
        edge, other = harness.edge(), harness.edge()
        await edge.open("room")
        await other.open("room")
        edge.say("room", "a", session="s" * 16, ref=1)
        edge.say("room", "b", session="s" * 16, ref=2)
        await trio.sleep(1)
        other.say("room", "a", viewer=9, session="s" * 16, ref=1)
        other.say("room", "c", viewer=9, session="s" * 16, ref=3)
        await trio.sleep(1)
        assert [(reply.viewer, reply.ref, reply.offset) for reply in other.of(ReplyTo)] == [(9, 1, 1), (9, 3, 3)]
        shown = [body for _, _, bodies in batches(edge.messages()) for body in bodies]
        assert shown == ["a", "b", "c"]


async def test_custom_events_keep_their_name(autojump_clock: MockClock) -> None:
    async with open_hub(room=PLAIN) as harness:
        edge = harness.edge()
        await edge.open("room")
        edge.say("room", "{}", name="poll", ref=5)
        await trio.sleep(1)
        assert edge.messages()[0][6] == [[2, ["guest-1", "", {}], 5, "poll", "{}"]]


async def test_all_edges_get_the_same_frames_in_the_variants_they_want(autojump_clock: MockClock) -> None:
    async with open_hub(room=PLAIN) as harness:
        plain, json = harness.edge(encoded=False), harness.edge(encoded=False)
        await plain.open("room", variants=[0])
        await json.open("room", variants=[1, 3])
        plain.say("room", "x" * 300)
        await trio.sleep(1)
        for edge in (plain, json):
            frames = next(frames for frames in edge.of(Frames) if frames.last == 1)
            assert set(frames.frames) == {0, 1, 3}
        ours = next(frames for frames in plain.of(Frames) if frames.last == 1)
        theirs = next(frames for frames in json.of(Frames) if frames.last == 1)
        assert ours.frames[0] is theirs.frames[0]


async def test_the_rooms_rate_refuses_with_a_retry(autojump_clock: MockClock) -> None:
    async with open_hub(room=PLAIN, limits=LimitSettings(room_events_per_second=5.0, withhold="newest")) as harness:
        edge = harness.edge()
        await edge.open("room")
        await trio.sleep(10)
        for number in range(8):
            edge.say("room", str(number), ref=number + 1)
        await settle()
        replies = edge.of(ReplyTo)
        assert sorted(reply.ref for reply in replies if reply.code == Code.OK) == [1, 2, 3, 4, 5]
        refused = [reply for reply in replies if reply.code != Code.OK]
        assert [(reply.code, reply.retry_after_ms > 0) for reply in refused] == [(Code.WITHHELD, True)] * 3
        assert {reply.offset for reply in refused} == {0}
        statistics = harness.hub.statistics()
        assert (statistics.events_published, statistics.events_withheld) == (5, 3)
        await trio.sleep(0.21)
        edge.say("room", "later", ref=99)
        await settle()
        assert edge.of(ReplyTo)[-1].code == Code.OK


async def test_what_waits_for_the_broker_is_bounded_and_the_rest_is_refused(autojump_clock: MockClock) -> None:
    async with open_hub(room=PLAIN, limits=LimitSettings(pending_events=5), broker=ScriptedBroker) as harness:
        broker = harness.scripted
        edge = harness.edge()
        await edge.open("room")
        gate = broker.gates["publish"] = trio.Event()
        for number in range(1, 9):
            edge.say("room", str(number), ref=number)
            await settle()
        assert harness.hub.statistics().events_waiting == 5
        assert [(reply.ref, reply.code) for reply in edge.of(ReplyTo)] == [(ref, Code.OVERLOADED) for ref in (6, 7, 8)]
        gate.set()
        await settle()
        assert [(reply.ref, reply.code) for reply in edge.of(ReplyTo)[3:]] == [(ref, Code.OK) for ref in range(1, 6)]
        assert harness.hub.statistics().events_waiting == 0
        # The first went alone, what came meanwhile together.
        assert [call[2] for call in broker.calls if call[0] == "publish"] == [1, 4]


async def test_the_node_itself_says_and_is_answered_whatever_the_budget(autojump_clock: MockClock) -> None:
    async with open_hub(room=PLAIN, limits=LimitSettings(room_events_per_second=0.001)) as harness:
        edge = harness.edge()
        await edge.open("room")
        assert await harness.hub.say("room", "welcome", session="api", ref=1) == 1
        await trio.sleep(2)
        assert await harness.hub.say("room", "welcome", session="api", ref=1) == 1
        assert await harness.hub.say("nobody is here", "hello") == 1
        assert [await harness.hub.say("room", "and more") for _ in range(3)] == [2, 3, 4]
        with pytest.raises(Refused) as caught:
            await harness.hub.say(" bad", "x")
        assert caught.value.code is Code.BAD_ROOM
        await trio.sleep(1)
        assert [body for _, _, bodies in batches(edge.messages()) for body in bodies] == ["welcome", *["and more"] * 3]


async def test_a_direct_message_goes_to_every_edge_of_the_room(autojump_clock: MockClock) -> None:
    async with open_hub(room=PLAIN) as harness:
        edges = [harness.edge() for _ in range(3)]
        for edge in edges[:2]:
            await edge.open("room")
        edges[0].send(DirectTo("room", Author("guest-1"), "guest-2", "psst"))
        await settle()
        for edge in edges[:2]:
            (direct,) = edge.of(DirectTo)
            assert (direct.user, direct.body) == ("guest-2", "psst")
            assert direct.time >= START_MS
        assert not edges[2].of(DirectTo)


# -- ticks -------------------------------------------------------------------------------------------------------------


async def test_the_batch_of_a_small_room_appears_at_the_next_step_of_the_grid(autojump_clock: MockClock) -> None:
    async with open_hub(room=PLAIN) as harness:
        edge = harness.edge()
        await edge.open("room", viewers=0)
        await trio.sleep(10.03)
        edge.forget()
        said = trio.current_time()
        edge.say("room", "a")
        await trio.sleep(0.05)
        edge.say("room", "b")
        await trio.sleep(5)
        assert batches(edge.messages()) == [(1, 2, ["a", "b"])]
        (came,) = edge.at(Frames)
        assert said < came <= said + TICK + 1e-6
        assert came / TICK == pytest.approx(round(came / TICK))


async def test_the_tick_follows_the_slowest_edge(autojump_clock: MockClock) -> None:
    settings = RoomSettings(tick_grid_seconds=0.01, tick_max_seconds=5.0, fanout_share=0.5)
    async with open_hub(room=settings) as harness:
        fast, slow = harness.edge(), harness.edge()
        await fast.open("room", viewers=1000)
        await slow.open("room", viewers=1000)
        for _ in range(60):
            fast.send(Pace(0.01, 1000))
            slow.send(Pace(1.0, 1000), Pace(0.0, 0))
        await trio.sleep(30)
        fast.forget()
        said = trio.current_time()
        fast.say("room", "a")
        await trio.sleep(10)
        came = next(time for time, message in fast.got if isinstance(message, Frames) and message.last == 1)
        assert came - said == pytest.approx(2.0, abs=0.02)


async def test_a_silent_room_sends_a_heartbeat(autojump_clock: MockClock) -> None:
    async with open_hub(room=PLAIN) as harness:
        edge = harness.edge()
        await edge.open("room", viewers=0)
        edge.say("room", "a")
        await trio.sleep(1)
        edge.forget()
        await trio.sleep(100)
        frames = edge.of(Frames)
        assert [(frame.first, frame.last) for frame in frames] == [(2, 1)] * 4
        assert [message[6:] for message in edge.messages()] == [[[], [], [0, 0], {}]] * 4
        times = edge.at(Frames)
        assert [round(later - earlier, 6) for earlier, later in pairwise(times)] == [25.0] * 3


async def test_counters_go_out_at_most_every_so_often_and_only_when_they_changed(autojump_clock: MockClock) -> None:
    async with open_hub(room=PLAIN) as harness:
        edge = harness.edge()
        await edge.open("room", viewers=1)
        await trio.sleep(5)
        edge.forget()
        for number in range(1, 41):
            edge.send(Likes("room", number))
            await trio.sleep(0.1)
        await trio.sleep(5)
        times = edge.at(Frames)
        # The last ones tell that the rate of likes falls.
        assert 4 <= len(times) <= 9
        assert all(later - earlier > 1.0 - 1e-6 for earlier, later in pairwise(times))
        assert edge.messages()[-1][8] == [40, 1]
        assert batches(edge.messages()) == [(1, 0, [])] * len(times)
        assert harness.hub.counters("room") == (40, 1)


async def test_in_a_huge_room_counters_take_their_share_of_a_core_and_no_more(autojump_clock: MockClock) -> None:
    """100,000 frames of 10 µs take a second; at five percent that is one in twenty seconds."""
    async with open_hub(room=PLAIN) as harness:
        edge = harness.edge()
        await edge.open("room", viewers=100_000)
        for _ in range(60):
            edge.send(Pace(0.01, 1000))
        await trio.sleep(60)
        edge.forget()
        for number in range(1, 601):
            edge.send(Likes("room", number))
            await trio.sleep(0.1)
        times = edge.at(Frames)
        assert 2 <= len(times) <= 4
        assert all(later - earlier > 19.9 for earlier, later in pairwise(times))


async def test_counters_travel_with_a_batch_that_goes_out_anyway(autojump_clock: MockClock) -> None:
    async with open_hub(room=PLAIN) as harness:
        edge = harness.edge()
        await edge.open("room", viewers=1)
        await trio.sleep(5)
        edge.forget()
        edge.send(Likes("room", 3))
        edge.say("room", "a")
        await trio.sleep(10)
        first, *later = [message[3:5] + message[8:] for message in edge.messages()]
        assert first == [1, 1, [3, 1], {"rate": 1}]
        assert later[-1] == [2, 1, [3, 1], {"rate": 0}]


@pytest.mark.parametrize("viewers", [1, 100_000])
async def test_counters_and_heartbeats_that_fall_due_while_events_wait_do_not_stop_the_clock(
    viewers: int, autojump_clock: MockClock
) -> None:
    settings = RoomSettings(tick_grid_seconds=0.5, tick_max_seconds=1.0, counters_seconds=0.05, heartbeat_seconds=1.0)
    async with open_hub(room=settings) as harness:
        edge = harness.edge()
        await edge.open("room", viewers=viewers)
        for number in range(60):
            edge.send(Likes("room", number))
            edge.say("room", str(number), ref=number + 1)
            await trio.sleep(0.07)
        await trio.sleep(5)
        assert [body for _, _, bodies in batches(edge.messages()) for body in bodies] == [str(number) for number in range(60)]


async def test_two_edges_share_a_room_its_counters_and_its_likes(autojump_clock: MockClock) -> None:
    async with open_hub(room=PLAIN) as harness:
        one, two = harness.edge(), harness.edge()
        await one.open("room", viewers=3)
        await two.open("room", viewers=4)
        one.send(Likes("room", 10))
        two.send(Likes("room", 5))
        two.send(Likes("room", 5), Likes("room", 4))
        await trio.sleep(3)
        assert harness.hub.counters("room") == (15, 7)
        two.send(CloseRoom("room"))
        await trio.sleep(3)
        assert harness.hub.counters("room") == (15, 3)
        two.send(OpenRoom("room", 2, [0]), Presence("room", 1), Likes("room", 2))
        await trio.sleep(3)
        assert harness.hub.counters("room") == (17, 4)
        assert one.messages()[-1][8] == [17, 4]
        harness.hub.like("room", 100)
        await trio.sleep(3)
        assert harness.hub.counters("room") == (117, 4)


async def test_an_edge_that_is_gone_takes_its_viewers_along(autojump_clock: MockClock) -> None:
    async with open_hub(room=PLAIN) as harness:
        one, two = harness.edge(), harness.edge()
        await one.open("room", viewers=3)
        await two.open("room", viewers=4)
        two.end.close()
        await trio.sleep(3)
        assert harness.hub.counters("room") == (0, 3)
        one.say("room", "a")
        await trio.sleep(1)
        assert batches(one.messages())[-1] == (1, 1, ["a"])


# -- backfill ----------------------------------------------------------------------------------------------------------


async def test_a_backfill_joins_up_with_what_the_edge_has(autojump_clock: MockClock) -> None:
    async with open_hub(room=PLAIN) as harness:
        edge = harness.edge()
        for number in range(1, 11):
            await harness.hub.say("room", str(number))
        await edge.open("room")
        epoch = edge.of(SharedSnapshot)[0].epoch
        edge.send(FetchBackfill("room", epoch, 3, 9, 0))
        await settle()
        (answer,) = edge.of(Backfill)
        assert (answer.room, answer.epoch, answer.variant, answer.before) == ("room", epoch, 0, 9)
        following, bodies = 4, []
        for first, last, frame in answer.batches:
            assert first == following
            (message,) = decode(frame)
            assert message[:5] == [34, handle_of("room"), epoch, first, last]
            bodies += [event[3] for event in message[6]]
            following = last + 1
        assert following == 9
        assert bodies == ["4", "5", "6", "7", "8"]


async def test_a_long_backfill_is_read_in_pages_and_none_is_lost(autojump_clock: MockClock) -> None:
    async with open_hub(room=PLAIN) as harness:
        edge = harness.edge()
        for start in range(0, 2500, 500):
            async with trio.open_nursery() as nursery:
                for number in range(start + 1, start + 501):
                    nursery.start_soon(harness.hub.say, "room", str(number))
        await edge.open("room")
        epoch = edge.of(SharedSnapshot)[0].epoch
        edge.send(FetchBackfill("room", epoch, 0, 2501, 0))
        await settle()
        (answer,) = edge.of(Backfill)
        assert answer.batches[0][0] == 1
        assert answer.batches[-1][1] == 2500
        for (_, last, _), (first, _, _) in pairwise(answer.batches):
            assert first == last + 1


async def test_of_a_backfill_that_is_too_much_the_newest_part_is_given(autojump_clock: MockClock) -> None:
    """As many of the newest as may be, not none because a page of history is larger than a part of the log."""
    async with open_hub(room=RoomSettings(log_bytes=65_536)) as harness:
        edge = harness.edge()
        async with trio.open_nursery() as nursery:
            for number in range(900):
                nursery.start_soon(harness.hub.say, "room", f"{number}" + "x" * 100)
        await edge.open("room")
        epoch = edge.of(SharedSnapshot)[0].epoch
        edge.send(FetchBackfill("room", epoch, 0, 901, 0))
        await settle()
        (answer,) = edge.of(Backfill)
        assert answer.batches
        assert answer.batches[-1][1] == 900
        assert sum(len(frame) for _, _, frame in answer.batches) <= 65_536


async def test_a_backfill_of_another_epoch_or_of_what_is_gone_is_empty(autojump_clock: MockClock) -> None:
    async with open_hub(room=PLAIN, broker=ScriptedBroker) as harness:
        harness.scripted.past = [None] * 20
        harness.scripted.add("21", "22")
        edge = harness.edge()
        await edge.open("room")
        edge.send(FetchBackfill("room", 99, 20, 22, 0))
        await settle()
        edge.send(FetchBackfill("room", 1, 3, 9, 0))
        await settle()
        edge.send(FetchBackfill("room", 1, 3, 23, 0))
        await settle()
        answers = edge.of(Backfill)
        assert [answer.batches for answer in answers[:2]] == [[], []]
        assert [(first, last) for first, last, _ in answers[2].batches] == [(21, 22)]


# -- the end -----------------------------------------------------------------------------------------------------------


async def test_draining_publishes_and_shows_all_that_waits_and_stops_last(autojump_clock: MockClock) -> None:
    settings = RoomSettings(tick_grid_seconds=1.0, tick_max_seconds=1.0)
    async with open_hub(room=settings) as harness:
        edge, other = harness.edge(), harness.edge()
        await edge.open("room")
        await other.open("room")
        edge.say("room", "a", ref=1)
        edge.say("room", "b", ref=2)
        await settle()
        await harness.hub.drain()
        await settle()
        for each in (edge, other):
            assert batches(each.messages()) == [(1, 2, ["a", "b"])]
            assert isinstance(each.got[-1][1], Stop)
            assert len(each.of(Stop)) == 1
        assert [(reply.ref, reply.offset) for reply in edge.of(ReplyTo)] == [(1, 1), (2, 2)]
        with pytest.raises(Refused) as caught:
            await harness.hub.say("room", "too late")
        assert caught.value.code is Code.UNAVAILABLE


async def test_draining_waits_for_a_publish_under_way(autojump_clock: MockClock) -> None:
    async with open_hub(room=PLAIN, broker=ScriptedBroker) as harness:
        broker = harness.scripted
        edge = harness.edge()
        await edge.open("room")
        gate = broker.gates["publish"] = trio.Event()
        edge.say("room", "a", ref=1)
        await settle()
        edge.say("room", "b", ref=2)
        await settle()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(harness.hub.drain)
            await settle()
            assert edge.of(Stop) == []
            gate.set()
        await settle()
        assert [reply.offset for reply in edge.of(ReplyTo)] == [1, 2]
        assert isinstance(edge.got[-1][1], Stop)


async def test_nothing_comes_after_the_last_message(autojump_clock: MockClock) -> None:
    """Neither a heartbeat nor counters: the edge has begun to say goodbye."""
    async with open_hub(room=PLAIN) as harness:
        edge = harness.edge()
        await edge.open("room")
        edge.send(Likes("room", 5))
        await settle()
        await harness.hub.drain()
        await trio.sleep(100)
        assert isinstance(edge.got[-1][1], Stop)
