"""The hub over a broker that delivers late, twice, with holes, or loses a room: nothing is shown out of order, and what will
not come is said."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from engine.brokers.base import Events, Totals
from engine.hub.moderation import EVERYWHERE
from engine.link.messages import Frames, Likes, Restart, SharedSnapshot
from engine.schema import handle_of
from engine.settings import RoomSettings

from .harness import START_MS, FakeEdge, Harness, ScriptedBroker, batches, comment, decode, open_hub, settle

ROOM = "大厅"
HANDLE = handle_of(ROOM)
SETTINGS = RoomSettings(tick_grid_seconds=0.125, tick_max_seconds=1.0, heartbeat_seconds=300.0, counters_seconds=60.0)


@asynccontextmanager
async def opened(*before: str) -> AsyncIterator[tuple[Harness, ScriptedBroker, FakeEdge]]:
    """A hub and an edge in a room whose past holds ``before``."""
    async with open_hub(room=SETTINGS, broker=ScriptedBroker) as harness:
        broker = harness.scripted
        broker.add(*before)
        edge = harness.edge()
        await edge.open(ROOM)
        yield harness, broker, edge


def shown(edge: FakeEdge) -> list[str]:
    return [body for _, _, bodies in batches(edge.messages()) for body in bodies]


def ranges_join(edge: FakeEdge, after: int) -> int:
    """Every frame's range continues the one before; returns the last offset."""
    for frames in edge.of(Frames):
        assert frames.first == after + 1
        assert frames.last >= frames.first - 1
        after = frames.last
        for variant, data in frames.frames.items():
            if variant == 0:
                for message in decode(data):
                    assert (message[1], message[2], message[3], message[4]) == (HANDLE, frames.epoch, frames.first, frames.last)
    return after


async def test_what_comes_twice_or_overlaps_is_shown_once(autojump_clock: MockClock) -> None:
    async with opened("1", "2") as (_, broker, edge):
        broker.add("3", "4", "5")
        broker.deliver(broker.piece(ROOM, 1, 3))
        broker.deliver(broker.piece(ROOM, 2, 4))
        broker.deliver(broker.piece(ROOM, 3, 4))
        broker.deliver(broker.piece(ROOM, 4, 5))
        await trio.sleep(1)
        assert shown(edge) == ["3", "4", "5"]
        assert ranges_join(edge, 2) == 5


async def test_a_hole_is_repaired_from_the_history_before_anything_later_is_shown(autojump_clock: MockClock) -> None:
    async with opened() as (_, broker, edge):
        broker.add("1", "2", "3", "4", "5", "6")
        gate = broker.gates["history"] = trio.Event()
        broker.deliver(broker.piece(ROOM, 1, 1))
        broker.deliver(broker.piece(ROOM, 4, 4))
        await trio.sleep(1)
        assert shown(edge) == ["1"]
        broker.deliver(broker.piece(ROOM, 6, 6))
        await trio.sleep(1)
        assert shown(edge) == ["1"]
        gate.set()
        await trio.sleep(1)
        assert shown(edge) == ["1", "2", "3", "4", "5", "6"]
        assert ranges_join(edge, 0) == 6
        assert [call[2:] for call in broker.calls if call[0] == "history"] == [(1, 2), (4, 1)]


async def test_what_comes_late_while_the_history_is_read_is_shown_once(autojump_clock: MockClock) -> None:
    async with opened() as (_, broker, edge):
        broker.add("1", "2", "3")
        gate = broker.gates["history"] = trio.Event()
        broker.deliver(broker.piece(ROOM, 3, 3))
        await settle()
        broker.deliver(broker.piece(ROOM, 1, 2))
        await trio.sleep(1)
        assert shown(edge) == ["1", "2", "3"]
        gate.set()
        await trio.sleep(1)
        assert shown(edge) == ["1", "2", "3"]


async def test_a_hole_that_the_history_does_not_have_is_told(autojump_clock: MockClock) -> None:
    async with opened("1") as (_, broker, edge):
        broker.past += [None, None, None]
        broker.add("5")
        broker.deliver(broker.piece(ROOM, 5, 5))
        await trio.sleep(1)
        assert [message for message in edge.messages() if message[0] == 36] == [[36, HANDLE, 1, 2, 4, "history"]]
        assert batches(edge.messages()) == [(5, 5, ["5"])]
        assert ranges_join(edge, 1) == 5


async def test_a_hole_of_which_the_history_has_the_end_is_told_as_far_as_needed(autojump_clock: MockClock) -> None:
    async with opened("1") as (_, broker, edge):
        broker.past += [None, None]
        broker.add("4", "5", "6")
        broker.deliver(broker.piece(ROOM, 6, 6))
        await trio.sleep(1)
        assert [message[:6] for message in edge.messages() if message[0] == 36] == [[36, HANDLE, 1, 2, 3, "history"]]
        assert shown(edge) == ["4", "5", "6"]
        assert ranges_join(edge, 1) == 6


async def test_what_waits_for_its_tick_comes_before_the_gap(autojump_clock: MockClock) -> None:
    async with opened() as (_, broker, edge):
        broker.add("1", "2")
        broker.past += [None]
        broker.add("4")
        broker.deliver(broker.piece(ROOM, 1, 2))
        broker.deliver(broker.piece(ROOM, 4, 4))
        await trio.sleep(1)
        assert [message[0] for message in edge.messages()] == [34, 36, 34]
        assert shown(edge) == ["1", "2", "4"]
        assert ranges_join(edge, 0) == 4


async def test_deliveries_before_the_position_is_known_are_not_lost(autojump_clock: MockClock) -> None:
    async with open_hub(room=SETTINGS, broker=ScriptedBroker) as harness:
        broker = harness.scripted
        broker.add("1", "2")
        gate = broker.gates["subscribe"] = trio.Event()
        edge = harness.edge()
        await edge.open(ROOM)
        broker.add("3", "4")
        broker.deliver(Totals(ROOM, 7, 1))
        broker.deliver(broker.piece(ROOM, 3, 3))
        broker.deliver(broker.piece(ROOM, 4, 4))
        broker.past = broker.past[:2]
        gate.set()
        await trio.sleep(1)
        (snapshot,) = edge.of(SharedSnapshot)
        assert snapshot.offset == 2
        assert decode(snapshot.frames[0])[0][6] == [7, 1]
        assert shown(edge) == ["3", "4"]


async def test_a_lost_history_begins_a_new_epoch_for_everybody(autojump_clock: MockClock) -> None:
    async with opened("1") as (_, broker, edge):
        broker.add("2", "3")
        broker.deliver(broker.piece(ROOM, 2, 3))
        await settle()
        broker.restart("a", "b")
        broker.deliver(broker.piece(ROOM, 1, 2))
        await trio.sleep(1)
        broker.add("c")
        broker.deliver(broker.piece(ROOM, 3, 3))
        await trio.sleep(1)
        messages = edge.messages()
        # What waited is shown, then the end of the old epoch is told, then where the new one stands.
        assert [message[0] for message in messages] == [34, 36, 33, 34]
        assert messages[0][2:5] == [1, 2, 3]
        assert messages[1] == [36, HANDLE, 1, 4, 0, "epoch"]
        assert messages[2][1:5] == [HANDLE, ROOM, 2, 2]
        assert messages[3][2:5] == [2, 3, 3]
        (restart,) = edge.of(Restart)
        assert (restart.epoch, restart.offset) == (2, 2)
        assert set(restart.frames) == {0}
        # Newcomers get the snapshot of the new epoch, without asking.
        assert [(snapshot.epoch, snapshot.offset) for snapshot in edge.of(SharedSnapshot)] == [(1, 1), (2, 2)]


async def test_events_of_the_new_epoch_that_came_before_the_restart_are_shown(autojump_clock: MockClock) -> None:
    async with opened() as (_, broker, edge):
        broker.restart("a")
        gate = broker.gates["subscribe"] = trio.Event()
        broker.deliver(broker.piece(ROOM, 1, 1))
        await settle()
        broker.add("b", "c")
        broker.deliver(broker.piece(ROOM, 2, 2))
        broker.deliver(broker.piece(ROOM, 3, 3))
        broker.past = broker.past[:1]
        gate.set()
        await trio.sleep(1)
        assert shown(edge) == ["b", "c"]
        (restart,) = edge.of(Restart)
        assert restart.offset == 1


async def test_an_epoch_that_changes_while_a_hole_is_repaired_is_noticed(autojump_clock: MockClock) -> None:
    async with opened() as (_, broker, edge):
        broker.add("1", "2", "3")
        gate = broker.gates["history"] = trio.Event()
        broker.deliver(broker.piece(ROOM, 3, 3))
        await settle()
        broker.restart("a", "b")
        broker.deliver(broker.piece(ROOM, 1, 2))
        await settle()
        gate.set()
        await trio.sleep(5)
        (restart,) = edge.of(Restart)
        assert (restart.epoch, restart.offset) == (2, 2)
        broker.add("c")
        broker.deliver(broker.piece(ROOM, 3, 3))
        await trio.sleep(5)
        assert edge.messages()[-1][2:5] == [2, 3, 3]


async def test_two_restarts_in_a_row_end_in_the_newest_epoch(autojump_clock: MockClock) -> None:
    async with opened("1") as (_, broker, edge):
        gate = broker.gates["subscribe"] = trio.Event()
        broker.restart("a")
        broker.deliver(broker.piece(ROOM, 1, 1))
        await settle()
        broker.restart("x", "y")
        broker.deliver(broker.piece(ROOM, 1, 2))
        await settle()
        gate.set()
        await trio.sleep(5)
        broker.add("z")
        broker.deliver(broker.piece(ROOM, 3, 3))
        await trio.sleep(5)
        assert edge.of(Restart)[-1].epoch == 3
        assert edge.messages()[-1][2:5] == [3, 3, 3]


async def test_a_room_closed_during_a_restart_is_left_alone(autojump_clock: MockClock) -> None:
    async with opened("1") as (harness, broker, edge):
        gate = broker.gates["subscribe"] = trio.Event()
        broker.restart("a")
        broker.deliver(broker.piece(ROOM, 1, 1))
        await settle()
        edge.end.close()
        await settle()
        gate.set()
        await trio.sleep(1000)
        assert harness.hub.statistics().rooms == 0
        assert broker.watched == {EVERYWHERE}
        assert harness.hub.statistics().batches == 0


async def test_deliveries_for_rooms_that_are_not_open_are_ignored(autojump_clock: MockClock) -> None:
    async with opened() as (_, broker, edge):
        broker.deliver(Totals("other", 1, 1))
        broker.deliver(Events("other", 1, 1, [b"\x90"], [1]))
        broker.add("1")
        broker.deliver(broker.piece(ROOM, 1, 1))
        await trio.sleep(1)
        assert shown(edge) == ["1"]


async def test_totals_that_come_back_lower_do_not_take_likes_away(autojump_clock: MockClock) -> None:
    async with opened() as (harness, broker, edge):
        edge.send(Likes(ROOM, 9))
        broker.deliver(Totals(ROOM, 9, 5))
        broker.deliver(Totals(ROOM, 4, 2))
        assert harness.hub.counters(ROOM) == (9, 2)


async def test_a_hole_that_fills_while_the_history_is_asked_in_vain_is_no_gap(autojump_clock: MockClock) -> None:
    async with opened("1") as (_, broker, edge):
        broker.add("2", "3", "4")
        gate = broker.gates["history"] = trio.Event()
        broker.deliver(broker.piece(ROOM, 4, 4))
        await settle()
        broker.deliver(broker.piece(ROOM, 2, 3))
        broker.past[2] = None
        gate.set()
        await trio.sleep(1)
        assert ranges_join(edge, 1) == 4
        assert shown(edge) == ["2", "3", "4"]


async def test_times_are_the_brokers_and_do_not_go_back_when_an_event_was_long_on_its_way(autojump_clock: MockClock) -> None:
    async with opened() as (harness, broker, edge):
        broker.add("1", "2", "3", "4")
        opening = START_MS
        await trio.sleep(10)
        broker.deliver(Events(ROOM, 1, 1, broker.piece(ROOM, 1, 2).events, [opening + 9_000, opening + 9_005]))
        # What waits for its tick comes after the snapshot, and is not before it.
        newcomer = harness.edge()
        await newcomer.open(ROOM)
        await trio.sleep(400)
        heartbeat = edge.messages()[-1][5]
        assert heartbeat > opening + 300_000
        broker.deliver(Events(ROOM, 1, 3, broker.piece(ROOM, 3, 4).events, [heartbeat - 50, heartbeat + 7]))
        await trio.sleep(1)
        events = [message for message in edge.messages() if message[6]]
        assert [(message[5], message[7]) for message in events] == [(opening + 9_000, [0, 5]), (heartbeat, [0, 7])]
        (snapshot,) = newcomer.of(SharedSnapshot)
        assert decode(snapshot.frames[0])[0][5] <= opening + 9_000


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_whatever_a_broker_does_to_its_deliveries_viewers_see_the_list_or_a_gap(data: st.DataObject) -> None:
    """Cut, repeated, late, lost: every offset is shown once, in order, or covered by a gap."""

    async def run() -> None:
        async with opened("old") as (_, broker, edge):
            count = data.draw(st.integers(1, 25))
            lost = data.draw(st.sets(st.integers(2, count), max_size=6)) if count > 1 else set()
            for offset in range(2, count + 2):
                broker.past.append(None if offset in lost else comment(str(offset)))
            alive = [offset for offset in range(2, count + 2) if offset not in lost]
            pieces = []
            for offset in alive:
                if data.draw(st.integers(0, 3)):
                    pieces.append(offset)
                    if not data.draw(st.integers(0, 4)):
                        pieces.append(offset)
            # The newest always comes in the end: a hole is only known by what is behind it.
            order = [*data.draw(st.permutations(pieces)), count + 1]
            if count + 1 in lost:
                broker.past[count] = comment(str(count + 1))
            for offset in order:
                broker.deliver(broker.piece(ROOM, offset, offset))
                if data.draw(st.booleans()):
                    await trio.sleep(data.draw(st.sampled_from((0.0, 0.0625, 0.25))))
            await trio.sleep(5)
            assert ranges_join(edge, 1) == count + 1
            for message in edge.messages():
                if message[0] == 34:
                    assert [event[3] for event in message[6]] == [str(offset) for offset in range(message[3], message[4] + 1)]

    trio.run(run, clock=MockClock(autojump_threshold=0))
