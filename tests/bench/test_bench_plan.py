"""The capacity planner's arithmetic, without an engine."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from bench.plan.calibrate import Check
from bench.plan.model import Costs, Demand, Share, share_of, size
from engine.settings import RoomSettings

COSTS = Costs(
    join=100e-6,
    message=15e-6,
    like=5e-6,
    batch=100e-6,
    frame=10e-6,
    byte=0.2e-9,
    wall=1.0,
    process_bytes=50e6,
    viewer_bytes=900,
    kernel_bytes=4000,
    event_bytes=30,
    frame_bytes=40,
    spread=0.05,
)
ROOM = RoomSettings()
DEMANDS = st.builds(
    Demand,
    viewers=st.integers(1_000, 100_000_000),
    rooms=st.integers(1, 1_000),
    messages_per_second=st.floats(0.01, 1_000),
    likes_per_second=st.floats(0, 1_000),
    body_bytes=st.integers(1, 1_000),
    latency_ms=st.floats(200, 3_000),
)


def one(viewers: float, **changes: object) -> Share:
    return share_of(COSTS, replace(Demand(viewers=int(viewers)), **changes), ROOM, rooms=1, viewers=viewers)  # type: ignore[arg-type]  # fields of a demand


def test_a_busy_room_keeps_its_core_at_the_fanout_share_whatever_its_size() -> None:
    for viewers in (10_000, 20_000, 40_000):
        share = one(viewers)
        ingest = share.ingest
        assert 0.75 * ROOM.fanout_share < share.load - ingest <= ROOM.fanout_share
        assert share.frames < 1 / share.tick + 1e-9


def test_a_small_room_sends_what_comes() -> None:
    share = one(10, messages_per_second=0.5)
    assert share.frames == 0.5
    assert ROOM.tick_grid_seconds <= share.tick < 2 * ROOM.tick_grid_seconds
    assert share.frame_bytes == 40 + 30 + 48


def test_a_silent_room_has_heartbeats() -> None:
    assert one(1000, messages_per_second=1e-6).frames > 1 / ROOM.heartbeat_seconds * 0.99


def test_latency_grows_with_the_room_and_is_what_limits_an_edge() -> None:
    latencies = [one(viewers).latency for viewers in (1_000, 10_000, 30_000, 60_000)]
    assert latencies == sorted(latencies)
    tight, loose = (size(COSTS, Demand(viewers=10_000_000, latency_ms=ms), ROOM) for ms in (300, 1_500))
    assert tight.share.viewers < loose.share.viewers
    assert tight.edges > loose.edges


@given(DEMANDS)
def test_a_sizing_carries_the_demand_within_its_limits(demand: Demand) -> None:
    sizing = size(COSTS, demand, ROOM)
    share = sizing.share
    if sizing.feasible:
        assert share.load <= demand.utilisation
        assert share.latency * 1000 <= demand.latency_ms
        assert share.rooms * share.viewers <= demand.process_viewers
    assert sizing.edges * share.rooms * share.viewers >= demand.viewers * 0.999
    assert sizing.nodes >= max(sizing.by.values())
    assert sizing.nodes * demand.node_cores >= sizing.cores * 0.999
    assert sizing.by[sizing.saturates_first] == max(sizing.by.values())
    assert sizing.broker_operations >= 0


@given(DEMANDS, st.integers(2, 5))
def test_more_viewers_never_need_less(demand: Demand, factor: int) -> None:
    less, more = (size(COSTS, replace(demand, viewers=demand.viewers * each), ROOM) for each in (1, factor))
    # An edge is whole, and so is what its rooms remember: the second of two may be nearly empty.
    assert more.memory_bytes > less.memory_bytes * 0.5
    assert more.egress_bits > less.egress_bits * 0.8
    assert more.deliveries > less.deliveries


def test_what_cannot_be_done_is_said() -> None:
    assert not size(COSTS, Demand(viewers=1_000, latency_ms=5), ROOM).feasible
    assert not size(COSTS, Demand(viewers=10**6, rooms=1, utilisation=0.0001), ROOM).feasible


def test_the_error_of_a_prediction_is_relative() -> None:
    check = Check({"cpu": 0.3}, {"cpu": 0.25})
    assert round(check.error("cpu"), 6) == 0.2
