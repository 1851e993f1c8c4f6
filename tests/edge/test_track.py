"""The track: whatever the sockets take and whenever, every viewer reads whole frames that join, or is told what is missing.

A state machine drives a track over scripted sockets; the oracle is each viewer's byte stream, read by an independent reader
and by the client's own rules.
"""

from __future__ import annotations

import msgpack
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, precondition, rule

from engine.client.items import Position
from engine.edge.session import Session, Stage
from engine.edge.track import Track
from engine.link.messages import SharedSnapshot
from engine.settings import RoomSettings
from engine.ws import Opcode, deflate, frame

from .scripted import HANDLE, PRIVATE_BYTES, FakeSocket, FakeWire, Reader, joined, pong, viewer

LAG_SECONDS = 4.0
LOG_SECONDS = 10.0


def batch_frame(epoch: int, first: int, last: int, variant: int, padding: int) -> bytes:
    """A batch of omitted offsets; what follows the known elements makes it as large as wanted."""
    events = [[0, 2, last - first + 1]] if last >= first else []
    payload = msgpack.packb([34, HANDLE, epoch, first, last, 1, events, [], [0, 0], {}, variant, b"x" * padding])
    if variant & 2:
        return frame(Opcode.BINARY, deflate(payload), compressed=True)
    return frame(Opcode.BINARY, payload)


def batch_frames(epoch: int, first: int, last: int, padding: int, deflated: bool) -> dict[int, bytes]:
    variants = (0, 2) if deflated else (0,)
    return {variant: batch_frame(epoch, first, last, variant, padding) for variant in variants}


def snapshot_frame(epoch: int, offset: int, padding: int = 0) -> bytes:
    message = [33, HANDLE, "room", epoch, offset, 1, [0, 0], 25_000, {}, [], [], b"x" * padding]
    return frame(Opcode.BINARY, msgpack.packb(message))


def gap_frame(epoch: int, first: int, last: int, reason: str) -> bytes:
    return frame(Opcode.BINARY, msgpack.packb([36, HANDLE, epoch, first, last, reason]))


def shared(epoch: int, offset: int, padding: int = 0) -> SharedSnapshot:
    return SharedSnapshot("room", 1, epoch, offset, {0: snapshot_frame(epoch, offset, padding)})


class Viewer:
    """One connection and what the test knows of it."""

    def __init__(self, session: Session, sock: FakeSocket) -> None:
        self.session = session
        self.sock = sock
        self.reader = Reader(sock)
        self.pongs = 0
        self.prompt = sock.room is None
        """Its socket took everything, always: it may miss nothing."""


class TrackMachine(RuleBasedStateMachine):
    """Rules are what may happen to a track; the invariants are what must hold after each."""

    inside: Bundle[Viewer] = Bundle("inside")
    outside: Bundle[Viewer] = Bundle("outside")

    @initialize(
        policy=st.sampled_from(("skip", "close")), log_bytes=st.sampled_from((300, 2_000, 100_000)), head=st.integers(0, 3)
    )
    def begin(self, policy: str, log_bytes: int, head: int) -> None:
        self.settings = RoomSettings(
            lag_policy="skip" if policy == "skip" else "close",
            log_bytes=log_bytes,
            lag_seconds=LAG_SECONDS,
            log_seconds=LOG_SECONDS,
        )
        self.now = 100.0
        self.wire = FakeWire()
        self.epoch, self.head = 5, head
        self.track = Track(HANDLE, 0, shared(5, head), self.settings, self.wire)
        self.viewers: list[Viewer] = []

    # -- the room -----------------------------------------------------------------------------------------------------

    @rule(
        count=st.integers(0, 3), padding=st.sampled_from((0, 0, 50, 200, 700)), deflated=st.booleans(), more=st.integers(1, 3)
    )
    def append(self, count: int, padding: int, deflated: bool, more: int) -> None:
        for _ in range(more):
            first, self.head = self.head + 1, self.head + count
            self.track.append(first, self.head, batch_frames(self.epoch, first, self.head, padding, deflated), self.now)
            self._within_bounds()

    @rule(offset=st.integers(0, 5))
    def restart(self, offset: int) -> None:
        frames = {0: gap_frame(self.epoch, self.head + 1, 0, "epoch") + snapshot_frame(self.epoch + 1, offset)}
        self.epoch, self.head = self.epoch + 1, offset
        self.track.restart(self.epoch, self.head, frames, self.now)
        self._within_bounds()
        self.track.renew(shared(self.epoch, self.head))

    @rule(padding=st.sampled_from((0, 200, 700)))
    def renew(self, padding: int) -> None:
        self.track.renew(shared(self.epoch, self.head, padding))

    @rule(sizes=st.lists(st.integers(1, 4), min_size=1, max_size=4), padding=st.sampled_from((0, 50)), hole=st.booleans())
    def prepend(self, sizes: list[int], padding: int, hole: bool) -> None:
        """A backfill arrives: batches of the past, cut differently than they were cut when they were live."""
        last = self.track.log.floor - 1 - hole
        batches: list[tuple[int, int, dict[int, bytes]]] = []
        for size in sizes:
            first = last - size + 1
            if first < 1:
                break
            batches.insert(0, (first, last, {0: batch_frame(self.epoch, first, last, 0, padding)}))
            last = first - 1
        size, count = self.track.log.bytes, len(self.track.log)
        self.track.prepend(batches, self.now)
        added = len(self.track.log) > count
        assert not (added and hole)
        assert self.track.log.bytes == size + int(added) * sum(len(frames[0]) for _, _, frames in batches)

    @rule(budget=st.integers(1, 4))
    def step(self, budget: int) -> None:
        if self.track.begin():
            assert 0 < self.track.step(budget) <= budget

    @rule()
    def settle(self) -> None:
        while not self.track.settled:
            if self.track.begin():
                self.track.step(100)

    @rule(seconds=st.sampled_from((0.5, LAG_SECONDS + 0.1, LOG_SECONDS + 0.1)))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    # -- viewers ------------------------------------------------------------------------------------------------------

    def _new(self, variant: int, room: int | None) -> Viewer:
        session, sock = viewer(len(self.viewers) + 1, variant, room=room)
        someone = Viewer(session, sock)
        self.viewers.append(someone)
        return someone

    def _live(self, someone: Viewer) -> None:
        """As `engine.edge.room` lets in a viewer without a position."""
        if self.track.snapshot(self.now) is None:
            self.track.renew(shared(self.epoch, self.head))
        snapshot = self.track.snapshot(self.now)
        assert snapshot is not None
        self.track.welcome(someone.session, joined(False), *snapshot)

    @rule(target=inside, variant=st.sampled_from((0, 2)), room=st.one_of(st.none(), st.integers(0, 400)))
    def come(self, variant: int, room: int | None) -> Viewer:
        someone = self._new(variant, room)
        self._live(someone)
        return someone

    @rule(
        target=inside, variant=st.sampled_from((0, 2)), room=st.one_of(st.none(), st.integers(0, 400)), back=st.integers(0, 12)
    )
    def come_back(self, variant: int, room: int | None, back: int) -> Viewer:
        """A viewer with a position, as near to the log's floor as it may be."""
        someone = self._new(variant, room)
        log = self.track.log
        offset = max(self.head - back, log.floor - 1)
        cursor = log.find(self.epoch, offset)
        assert cursor is not None
        someone.reader.follower.position = Position(self.epoch, offset)
        self.wire.push(someone.session, joined(True))
        if someone.session.stage is Stage.OPEN:
            self.track.enter(someone.session, cursor)
        return someone

    @rule(target=outside, someone=consumes(inside))
    def leave(self, someone: Viewer) -> Viewer:
        """The room is left, the connection stays; the answer to the request follows."""
        if someone.session.stage is Stage.OPEN:
            self.track.leave(someone.session)
            self._push(someone)
        return someone

    @rule(target=inside, someone=consumes(outside), space=st.integers(0, 400))
    def enter_again(self, someone: Viewer, space: int) -> Viewer:
        if someone.session.stage is Stage.OPEN:
            if someone.sock.room is not None:
                someone.sock.room += space
            self._live(someone)
        return someone

    @rule(someone=inside, count=st.integers(1, 3))
    def private(self, someone: Viewer, count: int) -> None:
        for _ in range(count):
            if someone.session.stage is Stage.OPEN:
                self._push(someone)

    @rule(someone=outside)
    def private_outside(self, someone: Viewer) -> None:
        if someone.session.stage is Stage.OPEN:
            self._push(someone)

    def _push(self, someone: Viewer) -> None:
        someone.pongs += 1
        self.wire.push(someone.session, pong(someone.pongs))

    @rule(someone=st.one_of(inside, outside), space=st.integers(1, 1000), chunk=st.one_of(st.none(), st.integers(1, 60)))
    def take(self, someone: Viewer, space: int, chunk: int | None) -> None:
        """The peer reads: its socket takes some more, and the poller tells of it."""
        if someone.sock.room is not None and not someone.sock.broken:
            someone.sock.room += space
            someone.sock.chunk = chunk
            if someone.session in self.wire.armed:
                self.wire.writable(someone.session)

    @rule(someone=st.one_of(inside, outside), after=st.integers(0, 80))
    def reset(self, someone: Viewer, after: int) -> None:
        """The connection will break, after some more bytes: in mid-frame as likely as not."""
        someone.sock.room = after if someone.sock.room is None else min(someone.sock.room, after)
        someone.sock.broken = True
        someone.prompt = False
        if someone.session in self.wire.armed:
            self.wire.writable(someone.session)

    @rule(someone=st.one_of(inside, outside))
    def drop(self, someone: Viewer) -> None:
        self.wire.drop(someone.session)

    # -- what holds ---------------------------------------------------------------------------------------------------

    def _within_bounds(self) -> None:
        log = self.track.log
        if self.track.passed >= log.end - 1:
            newest = log[log.end - 1].size
            assert log.bytes <= max(self.settings.log_bytes * 3 // 2, newest)

    @precondition(lambda self: hasattr(self, "track"))
    @invariant()
    def streams_are_whole_frames_that_join(self) -> None:
        for someone in self.viewers:
            someone.reader.read()
            session = someone.session
            if session.stage is Stage.OPEN and session.track is not None and not session.blocked:
                assert not someone.reader.rest, "at a frame boundary, they say"
            if someone.prompt:
                assert session not in self.wire.closed or self.wire.closed[session] is None
                assert not [gap for gap in someone.reader.gaps if gap[3] == "lag"]

    @precondition(lambda self: hasattr(self, "track"))
    @invariant()
    def bytes_are_those_of_entries_in_the_log_or_pinned(self) -> None:
        log = self.track.log
        entries = {id(log[number]): log[number] for number in range(log.start, log.end)}
        pins: dict[int, int] = {}
        for someone in self.viewers:
            entry = someone.session.entry
            if entry is not None:
                entries[id(entry)] = entry
                pins[id(entry)] = pins.get(id(entry), 0) + 1
        assert log.bytes == sum(entry.size for entry in entries.values())
        for key, entry in entries.items():
            assert entry.pins == pins.get(key, 0)

    @precondition(lambda self: hasattr(self, "track"))
    @invariant()
    def everybody_is_in_one_set_and_watched_when_something_is_left(self) -> None:
        track = self.track
        there = track.sessions
        assert len(there) == len(set(there)) == len(track)
        for someone in self.viewers:
            session = someone.session
            assert (session in there) == (session.track is track)
            if session.stage is Stage.CLOSED:
                assert session.track is None
            elif session.track is None:
                assert (session in self.wire.armed) or not session.blocked
            else:
                assert (session in self.wire.armed) == (session in track.laggards)
                if session in track.laggards:
                    assert session.entry is not None or session.cursor >= track.log.start
                else:
                    assert not session.blocked
                    assert session.cursor >= track.passed

    def teardown(self) -> None:
        """Everybody reads on: who was not closed has everything, and nothing is left over."""
        if not hasattr(self, "track"):
            return
        for someone in self.viewers:
            someone.sock.chunk = None
            if not someone.sock.broken:
                someone.sock.room = None
        self.settle()
        for _ in range(3):
            for session in list(self.wire.armed):
                if session in self.wire.armed:
                    self.wire.writable(session)
        assert not self.wire.armed, "watched for nothing, which keeps the process busy"
        for someone in self.viewers:
            someone.reader.read()
            session = someone.session
            if session.stage is Stage.CLOSED:
                continue
            assert not someone.reader.rest
            # The one that was too many to wait closed it.
            too_many = self.wire.closed.get(session) == 4202
            assert someone.pongs - too_many <= someone.reader.pong <= someone.pongs
            assert someone.reader.ended == (session.stage is Stage.CLOSING)
            if session.track is not None:
                assert someone.reader.position == (self.epoch, self.head)
                assert session.cursor == self.track.log.end
        assert not self.track.laggards
        log = self.track.log
        assert log.bytes == sum(log[number].size for number in range(log.start, log.end))
        # Whoever broke is found out by writing to it; then nobody holds anything.
        for someone in self.viewers:
            self.wire.drop(someone.session)
        log.trim(log.end)
        assert log.bytes == 0
        assert not len(self.track)


TestTrack = TrackMachine.TestCase
TestTrack.settings = settings(
    max_examples=150, stateful_step_count=40, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)


def test_a_viewer_who_came_back_catches_up_with_the_backfill_though_its_socket_takes_little() -> None:
    wire = FakeWire()
    track = Track(HANDLE, 0, shared(5, 20), RoomSettings(log_bytes=65_536), wire)
    track.append(21, 21, batch_frames(5, 21, 21, 100, False), 0.0)
    assert track.log.floor == 21
    batches = [(first, first + 4, {0: batch_frame(5, first, first + 4, 0, 100)}) for first in (1, 6, 11, 16)]
    track.prepend(batches, 1.0)
    assert track.log.floor == 1
    session, sock = viewer(1, room=len(joined(True)))
    reader = Reader(sock)
    reader.follower.position = Position(5, 3)
    wire.push(session, joined(True))
    cursor = track.log.find(5, 3)
    assert cursor is not None
    sock.room = len(joined(True)) + 50
    track.enter(session, cursor)
    for _ in range(40):
        if session in wire.armed:
            sock.room += 50
            wire.writable(session)
    reader.read()
    assert reader.gaps == []
    assert reader.seen == [(5, 1, 5), (5, 6, 10), (5, 11, 15), (5, 16, 20), (5, 21, 21)]
    assert not wire.armed


def test_a_snapshot_whose_successor_left_the_log_is_never_taken_again() -> None:
    """A backfill gives the successor's number to another entry."""
    track = Track(HANDLE, 0, shared(5, 0), RoomSettings(log_bytes=300), FakeWire())
    for first, last, padding in ((1, 2, 700), (3, 3, 0)):
        track.append(first, last, batch_frames(5, first, last, padding, False), 0.0)
        assert not track.begin()
    track.append(4, 3, batch_frames(5, 4, 3, 0, False), 0.0)
    assert track.log.floor == 3
    assert track.snapshot(0.0) is None
    track.prepend([(2, 2, {0: batch_frame(5, 2, 2, 0, 0)})], 0.0)
    assert (track.log.floor, track.log.start) == (2, 0)
    assert track.snapshot(0.0) is None
    track.renew(shared(5, 3))
    assert track.snapshot(0.0) is not None


def test_who_missed_only_heartbeats_is_told_of_no_gap() -> None:
    wire = FakeWire()
    track = Track(HANDLE, 0, shared(5, 0), RoomSettings(lag_seconds=LAG_SECONDS), wire)
    session, sock = viewer(1)
    reader = Reader(sock)
    wire.push(session, joined(False) + snapshot_frame(5, 0))
    track.enter(session, 0)
    sock.room = 0
    now = 0.0
    for _ in range(3):
        now += LAG_SECONDS + 1
        track.append(1, 0, batch_frames(5, 1, 0, 0, False), now)
        while not track.settled:
            if track.begin():
                track.step(9)
    sock.room = None
    if session in wire.armed:
        wire.writable(session)
    reader.read()
    assert reader.gaps == []
    assert reader.position == (5, 0)


def test_who_leaves_in_the_middle_of_a_frame_gets_its_rest_before_the_answer() -> None:
    wire = FakeWire()
    track = Track(HANDLE, 0, shared(5, 0), RoomSettings(), wire)
    session, sock = viewer(1)
    reader = Reader(sock)
    wire.push(session, joined(False) + snapshot_frame(5, 0))
    track.enter(session, 0)
    sock.room = 20
    track.append(1, 1, batch_frames(5, 1, 1, 50, False), 0.0)
    track.begin()
    track.step(1)
    assert session.entry is not None
    track.leave(session)
    wire.push(session, pong(1))
    assert not len(track)
    sock.room = None
    wire.writable(session)
    reader.read()
    assert reader.seen == [(5, 1, 1)]
    assert reader.pong == 1
    assert not reader.rest
    assert session not in wire.armed


def test_who_enters_with_something_left_over_is_not_watched_for_longer_than_needed() -> None:
    """Watched for writability without anything to write, an idle socket keeps a processor busy."""
    wire = FakeWire()
    track = Track(HANDLE, 0, shared(5, 0), RoomSettings(), wire)
    session, sock = viewer(1, room=10)
    wire.push(session, joined(False) + snapshot_frame(5, 0))
    assert session in wire.armed
    sock.room = None
    track.enter(session, 0)
    while session in wire.armed:
        assert session.blocked or session.cursor < track.log.end
        wire.writable(session)
    assert not track.laggards
    assert len(track) == 1


def test_a_snapshot_that_no_socket_takes_at_once_is_shared_by_who_has_half_of_it() -> None:
    """A room's state may be larger than what may wait for one viewer."""
    wire = FakeWire()
    size = 50 * PRIVATE_BYTES
    track = Track(HANDLE, 0, shared(5, 0, size), RoomSettings(), wire)
    viewers = [viewer(number, room=room) for number, room in enumerate((0, 10, 100, size), 1)]
    for session, _ in viewers:
        snapshot = track.snapshot(0.0)
        assert snapshot is not None
        track.welcome(session, joined(False), *snapshot)
    # Its socket did not even take the answer to the join, so that all of it would wait in private.
    assert wire.closed == {viewers[0][0]: 4202, viewers[1][0]: 4202}
    assert track.log.bytes == len(snapshot_frame(5, 0, size))
    track.append(1, 1, batch_frames(5, 1, 1, 0, False), 0.0)
    for session, sock in viewers[2:]:
        wire.push(session, pong(1))
        reader = Reader(sock)
        sock.room = None
        wire.writable(session)
        reader.read()
        assert [message[0] for _, message in reader.messages] == [32, 33, 38, 34]
        assert reader.position == (5, 1)
        assert session not in wire.armed
    assert track.log.bytes == track.log[0].size
    # Nobody was left with a close frame in the middle of another.
    for session, sock in viewers[:2]:
        sock.room = None
        wire.writable(session)
        reader = Reader(sock)
        reader.read()
        assert reader.ended
        assert not reader.rest
