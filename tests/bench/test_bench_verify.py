"""What the verifier finds, without sockets."""

from __future__ import annotations

import json
import random
from statistics import median
from time import monotonic_ns
from typing import Any

import msgpack
import pytest
from tables import HANDLE, Table

from bench.generator.body import BODY_BYTES_MIN, Bodies, Claim
from bench.generator.corpus import CORPORA, lines
from bench.generator.receiver import ViewerState
from bench.generator.tally import Clock
from bench.generator.wire import BINARY, CLOSE, server_frame
from bench.histogram import Histogram
from bench.limit import limit_frame


def test_viewer_joins_and_counts() -> None:
    table = Table(3)
    data = table.batch(1, 4)
    for viewer in table.viewers:
        viewer.data_received(data)
    assert [viewer.cursor for viewer in table.viewers] == [4, 4, 4]
    assert (table.tally.deliveries, table.tally.frames, table.tally.wire_bytes) == (
        12,
        3,
        3 * len(data) + 3 * (len(table.joined(False)) + len(table.snapshot(0))),
    )
    assert not table.faults
    assert table.tally.whole_latency().total == 12
    assert table.tally.lag.total == 3
    assert table.swarm.entitled == table.tally.accounted == 12


def test_every_offset_a_viewer_is_entitled_to_is_accounted_for_once() -> None:
    table = Table(4)
    table.swarm.may_gap = frozenset({1})
    altered = [*table.event(3)[:3], "x"]
    data = table.batch(1, 4, events=[table.event(1), table.event(2), altered, [0, 1, 1]])
    table.viewers[0].data_received(data)
    table.viewers[1].data_received(table.message(36, HANDLE, 1, 1, 4, "lag"))
    table.viewers[2].data_received(table.batch(3, 4, events=[table.event(3), [0, 1, 1]]))
    table.viewers[3].connection_lost(None)
    table.swarm.logs[0].leave(table.viewers[3].cursor)
    tally = table.tally
    assert (tally.deliveries, tally.altered, tally.omitted, tally.gap_offsets, tally.lost) == (3, 1, 2, 4, 2)
    assert table.swarm.entitled == tally.accounted == 12


def test_a_late_delivery_is_delivered_and_counted() -> None:
    table = Table()
    table.swarm.tally.clock = Clock(late_us=0)
    table.viewers[0].data_received(table.batch(1, 2))
    assert (table.tally.deliveries, table.tally.late) == (2, 2)


def test_bytes_of_a_connection_that_this_side_closes_are_counted_to_the_last() -> None:
    table = Table(2)
    viewer, pipe = table.viewers[0], table.pipes[0]
    before = viewer.received
    viewer.leave()
    data = table.batch(1, 1) + server_frame(CLOSE, (1000).to_bytes(2, "big"))
    viewer.data_received(data)
    assert pipe.closed
    assert (table.swarm.orderly, table.swarm.orderly_bytes) == (1, before + len(data))
    viewer.connection_lost(None)
    table.viewers[1].cut()
    table.viewers[1].connection_lost(None)
    assert table.pipes[1].aborted
    assert (table.swarm.orderly, table.swarm.live, table.faults) == (1, 0, {})


@pytest.mark.parametrize(("status", "busy"), [(503, True), (429, True), (500, False)])
def test_a_refusal_for_the_time_being_is_no_fault(status: int, busy: bool) -> None:
    table = Table()
    viewer = table.viewers[0]
    viewer.cut()
    viewer.connection_lost(None)
    viewer.connection_made(table.pipes[0])  # type: ignore[arg-type]  # a fake transport
    viewer.data_received(b"HTTP/1.1 %d No\r\n\r\n" % status)
    assert table.swarm.busy == busy
    assert table.faults == ({} if busy else {"wire": 1})


def test_bytes_may_come_one_by_one_or_all_at_once() -> None:
    table = Table(2)
    data = table.batch(1, 3) + table.batch(4, 3, events=[]) + table.batch(4, 5)
    for at in range(len(data)):
        table.viewers[0].data_received(data[at : at + 1])
    table.viewers[1].data_received(data)
    assert [viewer.cursor for viewer in table.viewers] == [5, 5]
    assert (table.tally.deliveries, table.tally.silent_frames) == (10, 2)
    assert not table.faults


def test_hole_is_found_and_late_frames_count_as_reordered() -> None:
    table = Table()
    early, late = table.batch(1, 2), table.batch(3, 4)
    table.viewers[0].data_received(late)
    assert (table.faults, table.tally.lost) == ({"hole": 1}, 2)
    table.viewers[0].data_received(early)
    assert table.faults == {"hole": 1, "repeat": 1}
    tally = table.tally
    assert (tally.lost, tally.reordered, tally.duplicated, tally.deliveries) == (0, 2, 0, 4)


def test_repeated_frame_is_a_duplicate() -> None:
    table = Table()
    data = table.batch(1, 2)
    table.viewers[0].data_received(data + data)
    assert (table.faults, table.tally.duplicated, table.tally.deliveries) == ({"repeat": 1}, 2, 2)


def test_heartbeat_beyond_the_cursor_tells_of_a_hole() -> None:
    table = Table()
    table.viewers[0].data_received(table.batch(1, 2) + table.batch(5, 4, events=[]))
    assert (table.faults, table.tally.lost) == ({"hole": 1}, 2)


def test_overlap_after_a_resume_is_counted_apart_and_only_once() -> None:
    table = Table()
    viewer = table.viewers[0]
    batch = table.batch(1, 4)
    viewer.data_received(table.batch(1, 2))
    viewer.swarm.may_gap = frozenset({0})
    viewer.connection_lost(None)
    viewer.connection_made(table.pipes[0])  # type: ignore[arg-type]  # a fake transport
    viewer.data_received(table.upgrade(viewer) + table.joined(True))
    assert viewer.state is ViewerState.RESUMING
    table.bodies = table.swarm.bodies
    events = [list(event) for event in msgpack.unpackb(batch[4:])[6][2:]]
    first = msgpack.unpackb(table.batch(1, 2)[2:] if table.batch(1, 2)[1] < 126 else table.batch(1, 2)[4:])[6]
    viewer.data_received(table.batch(1, 4, events=[*first, *events]))
    assert (viewer.cursor, table.tally.overlap, table.tally.duplicated) == (4, 2, 0)
    viewer.data_received(table.batch(3, 4))
    assert table.tally.duplicated == 2
    assert table.faults == {"repeat": 1}


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda event: [*event[:3], event[3].replace(" ", "_", 1)], "altered"),
        (lambda event: [*event[:3], event[3][:-1]], "altered"),
        (lambda event: [*event[:2], event[2] + 1, event[3]], "altered"),
        (lambda event: [*event[:3], 5], "altered"),
        (lambda event: [2, *event[1:3], "x", "y"], "altered"),
    ],
    ids=["character", "shortened", "ref", "type", "kind"],
)
def test_altered_event_is_found_and_not_delivered(change: Any, fault: str) -> None:
    table = Table()
    events = [table.event(1), change(table.event(2))]
    table.viewers[0].data_received(table.batch(1, 2, events=events))
    assert (table.faults, table.tally.deliveries, table.tally.altered) == ({fault: 1}, 1, 1)


def test_message_of_another_room_is_found() -> None:
    table = Table()
    table.viewers[0].data_received(table.batch(1, 1, events=[table.event(1, room=3)]))
    assert table.faults == {"altered": 1}


def test_one_message_at_two_offsets_is_found() -> None:
    table = Table()
    event = table.event(1)
    table.viewers[0].data_received(table.batch(1, 2, events=[event, event]))
    assert (table.faults, table.tally.twice, table.tally.deliveries) == ({"twice": 1}, 1, 1)


def test_viewers_that_see_different_messages_at_one_offset_disagree() -> None:
    table = Table(2)
    one, two = table.event(1), table.event(2)
    table.viewers[0].data_received(table.batch(1, 2, events=[one, two]))
    table.viewers[1].data_received(table.batch(1, 2, events=[two, one]))
    assert table.faults == {"disagree": 2}


def test_order_of_one_sender_and_replies_are_checked_after_the_run() -> None:
    table = Table()
    table.viewers[0].data_received(table.batch(1, 2, events=[table.event(2), table.event(1)]))
    log = table.swarm.logs[0]
    assert log.check_order() == 1
    assert log.check_reply(9, 2, 1)
    assert not log.check_reply(9, 1, 1)
    assert not log.check_reply(9, 3, 3)
    assert table.faults == {"order": 1, "moved": 1, "missing": 1}


def test_gap_is_a_fault_unless_the_scenario_allows_it() -> None:
    table = Table(2)
    table.swarm.may_gap = frozenset({1})
    for viewer in table.viewers:
        viewer.data_received(table.message(36, HANDLE, 1, 1, 9, "lag") + table.batch(10, 10))
    assert [viewer.cursor for viewer in table.viewers] == [10, 10]
    assert (table.tally.gaps, table.tally.gap_offsets) == (2, 18)
    assert table.faults == {"gap": 1}


def test_gap_that_does_not_begin_at_the_cursor_hides_nothing() -> None:
    table = Table()
    table.swarm.may_gap = frozenset({0})
    table.viewers[0].data_received(table.message(36, HANDLE, 1, 4, 9, "lag"))
    assert (table.faults, table.tally.lost) == ({"hole": 1}, 3)


@pytest.mark.parametrize(
    "data",
    [
        server_frame(BINARY, b"\xc1"),
        server_frame(BINARY, msgpack.packb({"a": 1})),
        server_frame(BINARY, msgpack.packb([99])),
        server_frame(BINARY, msgpack.packb([34, HANDLE])),
        server_frame(BINARY, msgpack.packb([34, HANDLE, 1, 1, 5, 0, []])),
        server_frame(BINARY, msgpack.packb([34, 5, 1, 1, 0, 0, []])),
        server_frame(1, json.dumps([34]).encode()),
        b"\x03\x00",
        b"\xc2\x01x",
    ],
    ids=["garbage", "map", "kind", "short", "range", "room", "codec", "fragment", "deflated"],
)
def test_what_breaks_the_protocol_ends_the_viewer(data: bytes) -> None:
    table = Table()
    table.viewers[0].data_received(data)
    assert sum(table.faults.get(kind, 0) for kind in ("wire", "message")) == 1
    assert table.pipes[0].aborted


def test_limit_frames_are_counted_apart() -> None:
    table = Table(2)
    for size in (130, 200, 6000, 70_000):
        frame = limit_frame(size)
        assert len(frame) == size
        for viewer in table.viewers:
            viewer.data_received(frame)
            viewer.data_received(frame)
    table.swarm.settle()
    assert table.swarm.limit_received == 16
    assert table.tally.deliveries == 0
    assert not table.faults


def test_closing_is_a_fault_until_the_run_stops() -> None:
    table = Table(2)
    table.viewers[0].connection_lost(None)
    table.swarm.stopping = True
    table.viewers[1].connection_lost(None)
    assert table.faults == {"closed": 1}
    assert table.swarm.live == 0


def test_bodies_are_as_long_as_asked_and_read_back() -> None:
    for size in (BODY_BYTES_MIN, 6000, 0):
        for corpus in CORPORA:
            bodies, other = Bodies(1, size, corpus), Bodies(2, size, corpus)
            for sequence in range(20):
                claim = Claim(12_345, sequence, monotonic_ns() // 1000)
                text = bodies.write(claim, 3)
                assert len(text.encode()) == size or not size
                assert bodies.read(text, 3) == claim
                assert bodies.read(text, 4) is None
                assert other.read(text, 3) is None


def test_lines_are_of_the_corpus_and_as_long_as_people_write() -> None:
    for corpus, low, high in (("chinese", 6, 12), ("english", 16, 30), ("emoji", 1, 8)):
        made = lines(random.Random(1), corpus, 2000)
        assert low <= median(map(len, made)) <= high
        assert min(map(len, made)) >= 1
        assert max(map(len, made)) <= 220
    assert any(line.isascii() for line in lines(random.Random(1), "mixed", 100))
    with pytest.raises(KeyError):
        lines(random.Random(1), "latin", 1)


def test_histogram_is_exact_below_256_and_within_a_hundredth_above() -> None:
    histogram = Histogram()
    for value in (1, 2, 3, 255):
        histogram.add(value)
    assert histogram.quantile(0.5) == 2
    assert histogram.milliseconds()["max"] == 0.255
    big = Histogram()
    big.add(1_000_000, 99)
    big.add(5_000_000)
    median = big.quantile(0.5)
    assert median is not None
    assert abs(median / 1_000_000 - 1) < 0.01
    histogram.merge(Histogram.load(json.loads(json.dumps(big.dump()))))
    assert histogram.total == 104
    assert histogram.quantile(1.0) == 5_000_000
    assert Histogram().quantile(0.5) is None
