"""Feeds at an edge: whatever a viewer chooses and whenever, its batches join; and what was deleted is sent to nobody any more.

A state machine drives a room over scripted sockets and a hub that answers late; the oracle is each viewer's byte stream, read
by an independent reader and by the client's own rules.
"""

from __future__ import annotations

from typing import Any

import msgpack
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, precondition, rule

from engine.client.items import Position
from engine.edge.room import EdgeRoom
from engine.edge.session import Session, Stage
from engine.errors import Code
from engine.link.messages import (
    Backfill,
    FetchBackfill,
    FetchSnapshot,
    Frames,
    OpenRoom,
    Redact,
    Restart,
    SharedSnapshot,
    Up,
    Wants,
)
from engine.schema import Author, Join, handle_of
from engine.settings import RoomSettings
from engine.ws import Opcode, deflate, frame

from .scripted import FakeSocket, FakeWire, Reader, viewer

HANDLE = handle_of("room")
LAG_SECONDS = 4.0
LINGER_SECONDS = 6.0
DELETED = 1
MARK = 10
"""Where a batch of these tests says which variant it is; nobody reads so far."""


def packed(variant: int, message: list[Any]) -> bytes:
    payload = msgpack.packb(message)
    if variant & 2:
        return frame(Opcode.BINARY, deflate(payload), compressed=True)
    return frame(Opcode.BINARY, payload)


class Hub:
    """The room as the hub has it: what happened, and what the edge is to be told."""

    def __init__(self, head: int) -> None:
        self.epoch, self.head = 5, head
        self.gone: set[int] = set()
        self.wants: list[int] = []
        self.padding = 0

    def _event(self, offset: int) -> list[Any]:
        if offset in self.gone:
            return [0, DELETED, 1]
        return [1, ["guest-1"], 9, f"{offset} " + "x" * self.padding]

    def batch(self, variant: int, first: int, last: int) -> bytes:
        """Feed 0 has everything, feed 1 every second event, feed 2 every third."""
        feed = variant >> 2
        events = [[0, 3, 1] if offset % (feed + 1) else self._event(offset) for offset in range(first, last + 1)]
        return packed(variant, [34, HANDLE, self.epoch, first, last, 1, events, [], [0, 0], {}, variant])

    def frames(self, first: int, last: int) -> Frames:
        return Frames("room", self.epoch, first, last, {variant: self.batch(variant, first, last) for variant in self.wants})

    def _snapshot(self, variant: int) -> bytes:
        recent = [[offset, 1, self._event(offset)] for offset in range(max(self.head - 3, 1), self.head + 1)]
        recent = [one for one in recent if one[0] not in self.gone]
        return packed(variant, [33, HANDLE, "room", self.epoch, self.head, 1, [0, 0], 25_000, {}, [], recent])

    def snapshot(self) -> SharedSnapshot:
        return SharedSnapshot("room", 1, self.epoch, self.head, {variant: self._snapshot(variant) for variant in self.wants})

    def restart(self, head: int) -> Restart:
        gap = [36, HANDLE, self.epoch, self.head + 1, 0, "epoch"]
        self.epoch, self.head, self.gone = self.epoch + 1, head, set()
        frames = {variant: packed(variant, gap) + self._snapshot(variant) for variant in self.wants}
        return Restart("room", self.epoch, self.head, frames)

    def backfill(self, wanted: FetchBackfill, size: int, kept: int) -> Backfill:
        """Cut differently than it was when it was live, from ``kept`` on."""
        batches: list[tuple[int, int, bytes]] = []
        last = wanted.before - 1
        while wanted.epoch == self.epoch and last > max(wanted.after, kept):
            first = max(last - size + 1, wanted.after + 1)
            batches.insert(0, (first, last, self.batch(wanted.variant, first, last)))
            last = first - 1
        return Backfill("room", wanted.epoch, wanted.variant, wanted.before, batches)


class Viewer:
    """One connection, and what the test knows of it."""

    def __init__(self, session: Session, sock: FakeSocket) -> None:
        self.session = session
        self.sock = sock
        self.reader = Reader(sock)
        self.choices: dict[int, int] = {}
        self.deleted: dict[tuple[int, int], tuple[int, int]] = {}
        """By epoch and offset, where batches and snapshots must not show it any more."""
        self.first = session.variant


class FeedMachine(RuleBasedStateMachine):
    """Rules are what may happen to a room; the invariants are what must hold after each."""

    viewers_: Bundle[Viewer] = Bundle("viewers")

    @initialize(head=st.integers(0, 8), log_bytes=st.sampled_from((400, 3_000, 100_000)), close=st.booleans())
    def begin(self, head: int, log_bytes: int, close: bool) -> None:
        self.now = 100.0
        self.wire = FakeWire()
        policy = RoomSettings(
            log_bytes=log_bytes,
            lag_seconds=LAG_SECONDS,
            log_seconds=10.0,
            lag_policy="close" if close else "skip",
            linger_seconds=LINGER_SECONDS,
        )
        self.room = EdgeRoom("room", 1, policy, self.wire)
        self.hub = Hub(head)
        self.pending: list[Up] = []
        self.viewers: list[Viewer] = []
        self.ref = 0

    # -- the hub ------------------------------------------------------------------------------------------------------

    @precondition(lambda self: self.hub.wants)
    @rule(count=st.integers(0, 3), padding=st.sampled_from((0, 0, 50, 300)), more=st.integers(1, 3))
    def append(self, count: int, padding: int, more: int) -> None:
        self.hub.padding = padding
        for _ in range(more):
            first, self.hub.head = self.hub.head + 1, self.hub.head + count
            self.room.frames(self.hub.frames(first, self.hub.head), self.now)

    @precondition(lambda self: self.hub.wants and self.hub.head)
    @rule(data=st.data())
    def redact(self, data: st.DataObject) -> None:
        first = data.draw(st.integers(1, self.hub.head))
        last = min(first + data.draw(st.integers(0, 2)), self.hub.head)
        offsets = range(first, last + 1)
        self.hub.gone.update(offsets)
        self.room.redact(Redact("room", self.hub.epoch, [first, last], DELETED))
        self.room.snapshot(self.hub.snapshot(), self.now)
        for someone in self.viewers:
            batches = len(someone.sock.received)
            snapshots = batches + len(someone.session.private or b"") + 1_000_000 * (someone.session.entry is not None)
            for offset in offsets:
                someone.deleted.setdefault((self.hub.epoch, offset), (batches, snapshots))

    @precondition(lambda self: self.hub.wants)
    @rule(head=st.integers(0, 5))
    def restart(self, head: int) -> None:
        self.room.restart(self.hub.restart(head), self.now)
        self.room.snapshot(self.hub.snapshot(), self.now)

    @rule(size=st.integers(1, 4), kept=st.integers(0, 6))
    def answer(self, size: int, kept: int) -> None:
        self._answer(size, kept)

    def _answer(self, size: int, kept: int) -> None:
        self.pending += self.room.outbox
        self.room.outbox = []
        if not self.pending:
            return
        match self.pending.pop(0):
            case OpenRoom(variants=variants) | Wants(variants=variants):
                self.hub.wants = variants
                self.room.snapshot(self.hub.snapshot(), self.now)
            case FetchSnapshot():
                self.room.snapshot(self.hub.snapshot(), self.now)
            case FetchBackfill() as wanted:
                self.room.backfill(self.hub.backfill(wanted, size, kept), self.now)

    @rule(budget=st.integers(1, 4))
    def step(self, budget: int) -> None:
        for track in self.room.tracks.values():
            if track.begin():
                track.step(budget)

    @rule()
    def settle(self) -> None:
        for track in self.room.tracks.values():
            while not track.settled:
                if track.begin():
                    track.step(100)

    @rule(seconds=st.sampled_from((0.5, LAG_SECONDS + 0.1, LINGER_SECONDS + 0.1)))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    # -- viewers ------------------------------------------------------------------------------------------------------

    @rule(
        target=viewers_,
        variant=st.integers(0, 5).map(lambda n: n << 1),
        space=st.one_of(st.none(), st.integers(0, 600)),
        back=st.one_of(st.none(), st.integers(0, 12)),
    )
    def come(self, variant: int, space: int | None, back: int | None) -> Viewer:
        session, sock = viewer(len(self.viewers) + 1, variant, room=space)
        session.author = Author(f"guest-{len(self.viewers)}")
        someone = Viewer(session, sock)
        self.viewers.append(someone)
        join = Join(1, "room")
        if back is not None and self.hub.wants:
            offset = max(self.hub.head - back, 0)
            join = Join(1, "room", self.hub.epoch, offset, "s" * 16)
            someone.reader.follower.position = Position(self.hub.epoch, offset)
            someone.reader.returns = True
        self.room.enter(session, join, self.now)
        return someone

    @rule(someone=viewers_, feed=st.integers(0, 2))
    def choose(self, someone: Viewer, feed: int) -> None:
        session = someone.session
        if session.stage is Stage.OPEN and session.track is not None:
            self.ref += 1
            variant = session.variant & 3 | feed << 2
            someone.choices[self.ref] = variant
            self.room.choose(session, self.ref, variant)

    @rule(someone=viewers_, space=st.integers(1, 1000), chunk=st.one_of(st.none(), st.integers(1, 60)))
    def take(self, someone: Viewer, space: int, chunk: int | None) -> None:
        """The peer reads: its socket takes some more, and the poller tells of it."""
        if someone.sock.room is not None:
            someone.sock.room += space
            someone.sock.chunk = chunk
            if someone.session in self.wire.armed:
                self.wire.writable(someone.session)

    @rule(someone=viewers_)
    def leave(self, someone: Viewer) -> None:
        if someone.session.room is not None and someone.session.stage is Stage.OPEN:
            self.room.leave(someone.session)

    @rule(someone=viewers_)
    def drop(self, someone: Viewer) -> None:
        self.wire.drop(someone.session)

    # -- what holds ---------------------------------------------------------------------------------------------------

    @precondition(lambda self: hasattr(self, "room"))
    @invariant()
    def streams_join_and_show_what_was_chosen_and_nothing_that_is_gone(self) -> None:
        for someone in self.viewers:
            someone.reader.read()
            variant: int | None = None
            for start, message in someone.reader.messages:
                match message:
                    case [35, ref, Code.OK, *_]:
                        variant = someone.choices[ref]
                    case [33, _, _, epoch, *_] if len(message) > 10:
                        for offset, _, _ in message[10]:
                            assert start < someone.deleted.get((epoch, offset), (0, start + 1))[1]
                    case [34, _, epoch, first, *_]:
                        variant = someone.first if variant is None else variant
                        # A viewer that takes compressed frames gets plain ones where there are no others.
                        assert message[MARK] in (variant, variant & ~2)
                        for offset, event in enumerate(message[6], first):
                            assert event[0] == 0 or start < someone.deleted.get((epoch, offset), (start + 1, 0))[0]

    @precondition(lambda self: hasattr(self, "room"))
    @invariant()
    def everybody_is_in_one_place(self) -> None:
        room = self.room
        inside = room.present
        assert len(inside) == len(set(inside)) == len(room)
        for someone in self.viewers:
            session = someone.session
            outside = [waiting for waiting, _ in room.outside if waiting is session]
            assert len(outside) == (session.room is not None and session.track is None)
            assert (session in inside) == (session.track is not None)
            if session.track is not None:
                assert session.track is room.tracks[session.variant & ~2]
                assert (session in self.wire.armed) == (session in session.track.laggards)
        for track in room.tracks.values():
            assert all(session.track is track for session in track.changing)

    @precondition(lambda self: hasattr(self, "room"))
    @invariant()
    def bytes_are_those_of_entries_in_the_log_or_pinned(self) -> None:
        for track in self.room.tracks.values():
            log = track.log
            entries = {id(log[number]): log[number] for number in range(log.start, log.end)}
            for someone in self.viewers:
                if someone.session.track is track and someone.session.entry is not None:
                    entries[id(someone.session.entry)] = someone.session.entry
            assert log.bytes == sum(entry.size for entry in entries.values())

    def teardown(self) -> None:
        """Everybody reads on, and the hub answers: each is in the feed it chose last, and has everything."""
        if not hasattr(self, "room"):
            return
        for someone in self.viewers:
            someone.sock.chunk = someone.sock.room = None
        while self.pending or self.room.outbox:
            self._answer(3, 0)
        self.settle()
        for _ in range(3):
            for session in list(self.wire.armed):
                if session in self.wire.armed:
                    self.wire.writable(session)
        assert not self.wire.armed
        self.streams_join_and_show_what_was_chosen_and_nothing_that_is_gone()
        for someone in self.viewers:
            session = someone.session
            if session.track is None:
                continue
            assert someone.reader.position == (self.hub.epoch, self.hub.head)
            answers = {message[1]: message[2] for _, message in someone.reader.messages if message[0] == 35}
            assert answers.keys() == someone.choices.keys()
            if someone.choices:
                last = max(someone.choices)
                assert answers[last] == Code.OK
                assert session.variant == someone.choices[last]
            assert set(answers.values()) <= {Code.OK, Code.CONFLICT}
        for someone in self.viewers:
            self.wire.drop(someone.session)
        assert not len(self.room)
        assert not self.room.outside
        for track in self.room.tracks.values():
            assert not track.changing
            track.log.trim(track.log.end)
            assert track.log.bytes == 0


TestFeeds = FeedMachine.TestCase
TestFeeds.settings = settings(
    max_examples=200, stateful_step_count=40, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)


class Here:
    """A room with a hub that answers when it is asked to."""

    def __init__(self, head: int = 0) -> None:
        self.wire = FakeWire()
        self.room = EdgeRoom("room", 1, RoomSettings(), self.wire)
        self.hub = Hub(head)

    def come(self, variant: int, back: int | None = None, space: int | None = None) -> Viewer:
        session, sock = viewer(len(self.room) + 1, variant, room=space)
        session.author = Author("guest-1")
        someone = Viewer(session, sock)
        join = Join(1, "room")
        if back is not None:
            join = Join(1, "room", self.hub.epoch, back, "s" * 16)
            someone.reader.follower.position = Position(self.hub.epoch, back)
            someone.reader.returns = True
        self.room.enter(session, join, 0.0)
        return someone

    def answer(self, size: int = 2) -> None:
        while self.room.outbox:
            match self.room.outbox.pop(0):
                case OpenRoom(variants=variants) | Wants(variants=variants):
                    self.hub.wants = variants
                    self.room.snapshot(self.hub.snapshot(), 0.0)
                case FetchBackfill() as wanted:
                    self.room.backfill(self.hub.backfill(wanted, size, 0), 0.0)

    def batch(self, count: int = 1, *, send: bool = True) -> None:
        first, self.hub.head = self.hub.head + 1, self.hub.head + count
        self.room.frames(self.hub.frames(first, self.hub.head), 0.0)
        while send and not all(track.settled for track in self.room.tracks.values()):
            for track in self.room.tracks.values():
                if track.begin():
                    track.step(100)

    def take(self, someone: Viewer, space: int | None) -> None:
        sock = someone.sock
        sock.room = None if space is None or sock.room is None else sock.room + space
        if someone.session in self.wire.armed:
            self.wire.writable(someone.session)


def told(someone: Viewer) -> list[tuple[int, int]]:
    """First offset and variant of each batch that came; 0 and the ref of each reply."""
    someone.reader.read()
    messages = [message for _, message in someone.reader.messages]
    return [
        (message[3], message[MARK]) if message[0] == 34 else (0, message[1]) for message in messages if message[0] in (34, 35)
    ]


def test_who_has_half_of_a_frame_changes_after_it() -> None:
    here = Here()
    slow, other = here.come(0, space=200), here.come(4)
    here.answer()
    here.hub.padding = 300
    for _ in range(3):
        here.batch()
    assert slow.session.entry is not None
    here.room.choose(slow.session, 9, 4)
    assert told(slow) == []
    here.take(slow, None)
    assert told(slow) == [(1, 0), (0, 9), (2, 4), (3, 4)]
    assert told(other) == [(1, 4), (2, 4), (3, 4)]


def test_who_is_behind_the_beginning_of_a_feed_changes_when_it_has_got_there() -> None:
    here = Here()
    slow = here.come(0, space=200)
    here.answer()
    here.hub.padding = 300
    for _ in range(3):
        here.batch()
    here.room.choose(slow.session, 9, 4)
    here.answer()
    assert here.room.tracks[4].log.floor == 4
    for _ in range(2):
        here.batch()
    here.take(slow, None)
    here.batch()
    # Whatever it was given in one write is of one feed.
    assert told(slow) == [(1, 0), (2, 0), (3, 0), (4, 0), (5, 0), (0, 9), (6, 4)]


def test_who_is_where_the_logs_are_cut_differently_stays_until_they_are_not() -> None:
    here = Here(8)
    here.come(0), here.come(4)
    here.answer()
    here.hub.padding = 300
    # The past comes for one feed in twos, for the other in fours: as many entries, of other offsets.
    one = here.come(0, back=4)
    here.answer(size=2)
    here.come(4, back=0)
    here.answer(size=4)
    slow = here.come(0, back=4, space=200)
    here.room.choose(slow.session, 9, 4)
    here.batch()
    assert slow.session.entry is not None
    here.take(slow, None)
    here.batch()
    assert [offset for offset, _ in told(slow)] == [5, 7, 9, 0, 10]
    assert slow.session.variant == 4
    assert told(one) == [(5, 0), (7, 0), (9, 0), (10, 0)]


def test_who_is_live_but_not_passed_yet_when_a_feed_begins_is_not_forgotten() -> None:
    here = Here()
    someone = here.come(0)
    here.answer()
    here.batch(send=False)
    here.room.choose(someone.session, 9, 4)
    here.batch(send=False)
    here.answer()
    assert told(someone) == [(1, 0), (2, 0), (0, 9)]
    here.batch()
    assert told(someone) == [(1, 0), (2, 0), (0, 9), (3, 4)]
