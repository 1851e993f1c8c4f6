"""What a viewer in Python got of what it was entitled to: counted right, told once, and not made better than it was."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from engine.client import Options, open_client
from engine.client.items import Author, Comment, Gap, Omitted, Position
from engine.client.quality import Meter
from engine.quality import BUCKETS, bucket_of
from engine.schema import JSON, Quality

from .fakeroom import HANDLE, ROOM, FakeRoom, Peer, serving

EPOCH, SERVER_MS = 7, 1_700_000_000_000
QUALITY = 6


def said(offset: int, time: int = 0) -> Comment:
    return Comment(EPOCH, offset, time, author=Author("u0"), body="", ref=0)


def measuring(place: Position | None = None) -> Meter:
    """In the room since 100 s, and the server's clock is there."""
    meter = Meter(place)
    meter.entered(100.0)
    meter.clock(100.0, 100.0, SERVER_MS)
    return meter


STEPS = st.lists(st.tuples(st.sampled_from(["event", "omitted", "gap", "unknown", "cut", "refused"]), st.integers(1, 50)))


@given(STEPS, st.booleans())
def test_entitled_is_what_the_position_moved_and_received_is_all_but_the_gaps(
    steps: list[tuple[str, int]], arrives: bool
) -> None:
    first = offset = 1_000
    meter, missing, gaps = measuring(Position(EPOCH, first)), 0, 0
    causes: list[str] = []
    told = [0, 0, 0]
    for what, count in steps:
        match what:
            case "event":
                offset += 1
                meter.came(said(offset), 101.0)
            case "omitted":
                meter.came(Omitted(EPOCH, offset + 1, offset + count, 1), 101.0)
                offset += count
            case "cut" | "refused":
                meter.lost(1006)
                if what == "refused":
                    meter.lost(3, refused=True)
                meter.lost(1006)  # an attempt that failed
                causes += ["1006", "3"][: 1 + (what == "refused")]
                meter.entered(101.0)
                report = meter.report()
                if report is not None and arrives:
                    meter.told(report)
                    told = [before + more for before, more in zip(told, report.fields, strict=False)]
            case _:
                known = what == "gap"
                meter.came(Gap(EPOCH, offset + 1, offset + count if known else 0, "lag"), 101.0)
                if not known:
                    meter.moved(None)
                offset += count
                missing, gaps = missing + count, gaps + 1
        meter.moved(Position(EPOCH, offset))
    now = meter.quality()
    assert now.entitled == offset - first
    assert (now.received, now.gaps) == (now.entitled - missing, gaps)
    assert now.reconnects == {code: causes.count(code) for code in causes}
    meter.entered(102.0)
    last = meter.report()
    rest = [0, 0, 0] if last is None else last.fields[:3]
    assert [before + more for before, more in zip(told, rest, strict=True)] == [now.entitled, now.received, now.gaps]


def test_another_epoch_begins_to_count_anew() -> None:
    meter = measuring()
    for place in (Position(EPOCH, 500), Position(EPOCH, 510), None, Position(EPOCH + 1, 3), Position(EPOCH + 1, 5)):
        meter.moved(place)
    assert meter.quality().entitled == 12


def test_delays_are_those_of_what_came_live_once_the_clock_was_measured() -> None:
    meter = Meter()
    assert meter.quality().delay_p50_ms is None
    meter.came(said(1, SERVER_MS), 100.0)
    meter.clock(99.0, 100.0, SERVER_MS)
    meter.came(said(2, SERVER_MS), 100.0)
    assert meter.quality().delay_p99_ms is None, "that ping waited for a connection"
    meter.entered(100.0)
    meter.clock(101.0, 103.0, SERVER_MS)
    # Of those that happened later than 2 s before the server was asked, how late each came, at 103 s here.
    late = [-5_000, 0, 1, 10, 999, 2_999, 3_001, 9_000]
    for offset, delay in enumerate(late):
        meter.came(said(offset, SERVER_MS + 1_000 - delay), 103.0)
    report = meter.report()
    assert report is not None
    expected = [0] * BUCKETS
    for delay in late[:-2]:
        expected[bucket_of(delay)] += 1
    assert report.fields[3] == expected
    p99 = meter.quality().delay_p99_ms
    assert p99 is not None
    assert bucket_of(p99 - 0.1) == bucket_of(2_999)


def test_what_was_sent_is_told_again_only_if_the_connection_broke_before_the_answer() -> None:
    meter = measuring(Position(EPOCH, 0))
    for offset in (1, 2, 3):
        meter.moved(Position(EPOCH, offset))
        report = meter.report()
        assert report is not None
        assert report.fields[0] == 1, "one connection keeps the order: what was sent before it arrives before it"
        if offset == 1:
            meter.told(report)
    assert meter.report() is None
    meter.lost(4000)
    meter.entered(101.0)
    again = meter.report()
    assert again is not None
    assert (again.fields[0], again.fields[4]) == (2, {"4000": 1})
    meter.told(again)
    meter.lost(1006)
    meter.entered(102.0)
    last = meter.report()
    assert last is not None
    assert (last.fields[0], last.fields[4]) == (0, {"1006": 1})


# -- the client ----------------------------------------------------------------------------------------------------------


def quick(**options: Any) -> Options:
    return Options(backoff_base_seconds=0.002, backoff_cap_seconds=0.01, **options)


def reports(room: FakeRoom) -> list[Quality]:
    """Those that came, as the engine reads them."""
    read = [JSON.decode(JSON.encode(message)) for message in room.received if message[0] == QUALITY]
    found = [each for each in read if isinstance(each, Quality) and each.handle == HANDLE]
    assert found == read
    return found


async def test_a_client_tells_at_once_why_it_had_to_come_back_and_the_rest_when_it_leaves() -> None:
    async with serving() as room:
        async with open_client(room.url, room=ROOM, options=quick(quality=1.0, quality_seconds=3_600)) as client:
            await room.say("1", "2", "3")
            await client.ping()
            assert not reports(room)
            room.peer.cut()
            await room.until(lambda: reports(room))
            await room.say("4")
            await client.ping()
            now = client.quality()
        await room.until(lambda: len(reports(room)) == 2)
        first, last = reports(room)
        assert (first.entitled, first.received, first.gaps, first.reconnects) == (3, 3, 0, {"1006": 1})
        assert (last.entitled, last.received, last.reconnects) == (1, 1, {})
        assert (now.entitled, now.received, now.gaps, now.reconnects) == (4, 4, 0, {"1006": 1})


async def test_a_client_tells_now_and_then_and_nothing_twice() -> None:
    async with serving() as room:
        async with open_client(room.url, room=ROOM, options=quick(quality=1.0, quality_seconds=0.001)) as client:
            for number in range(20):
                await room.say(f"{number}")
                await client.ping()
            await room.until(lambda: sum(report.entitled for report in reports(room)) == 20)
        assert len(reports(room)) > 1
        assert sum(report.received for report in reports(room)) == 20


async def test_whoever_is_not_in_the_sample_tells_nothing() -> None:
    async with serving() as room:
        async with open_client(room.url, room=ROOM, options=quick(quality_seconds=0.001)) as client:
            await room.say("1")
            await client.ping()
            room.peer.cut()
            await room.until(lambda: len(room.joins) == 2)
            await client.ping()
            assert client.quality().reconnects == {"1006": 1}
        assert not reports(room)


async def test_a_gap_of_unknown_length_counts_with_the_snapshot_that_ends_it() -> None:
    async with serving() as room, open_client(room.url, room=ROOM, options=quick()) as client:
        await room.say("1", "2")
        await client.ping()
        peer: Peer = room.peer
        await peer.send([36, HANDLE, room.epoch, 3, 0, "history"])
        room.events += room.events * 20
        peer.covered = len(room.events)
        await peer.snapshot()
        await client.ping()
        now = client.quality()
        assert (now.entitled, now.received, now.gaps) == (42, 2, 1)
