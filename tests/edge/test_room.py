"""A room at an edge: who comes in when, from where, and what the hub is asked for."""

from __future__ import annotations

import json

import msgpack

from engine.client.items import Position
from engine.edge.room import EdgeRoom
from engine.edge.session import Session
from engine.link.messages import Backfill, FetchBackfill, FetchSnapshot, Frames, OpenRoom, Restart, SharedSnapshot, Up, Wants
from engine.schema import JSON, Author, Join, handle_of
from engine.settings import RoomSettings
from engine.ws import Opcode, frame

from .scripted import FakeSocket, FakeWire, Reader, frames_in, viewer

HANDLE = handle_of("room")
EPOCH = 5


def payload_frames(message: list[object], codecs: tuple[int, ...] = (0, 1)) -> dict[int, bytes]:
    encoded = {0: frame(Opcode.BINARY, msgpack.packb(message)), 1: frame(Opcode.TEXT, JSON.encode(message))}
    return {codec: encoded[codec] for codec in codecs}


def snapshot(offset: int, epoch: int = EPOCH, codecs: tuple[int, ...] = (0, 1)) -> SharedSnapshot:
    message: list[object] = [33, HANDLE, "room", epoch, offset, 1, [0, 0], 25_000]
    return SharedSnapshot("room", 1, epoch, offset, payload_frames(message, codecs))


def frames(first: int, last: int, codecs: tuple[int, ...] = (0, 1), epoch: int = EPOCH) -> Frames:
    events = [[0, 2, last - first + 1]] if last >= first else []
    return Frames("room", epoch, first, last, payload_frames([34, HANDLE, epoch, first, last, 1, events, [], [0, 0]], codecs))


def backfill(before: int, *ranges: tuple[int, int]) -> Backfill:
    return Backfill("room", EPOCH, 0, before, [(first, last, frames(first, last).frames[0]) for first, last in ranges])


class Here:
    """A room, its wire, and the viewers that came."""

    def __init__(self, settings: RoomSettings | None = None) -> None:
        self.wire = FakeWire()
        self.room = EdgeRoom("room", 1, settings or RoomSettings(), self.wire)
        self.now = 0.0
        self._count = 0

    def come(self, join: Join | None = None, *, json: bool = False) -> tuple[Session, FakeSocket]:
        self._count += 1
        session, sock = viewer(self._count, 1 if json else 0)
        if json:
            session.codec = JSON
        session.author = Author(f"guest-{self._count}")
        self.room.enter(session, join or Join(1, "room"), self.now)
        return session, sock

    def pass_on(self) -> None:
        for track in self.room.tracks.values():
            while not track.settled:
                if track.begin():
                    track.step(100)

    def frames(self, message: Frames) -> None:
        self.room.frames(message, self.now)
        self.pass_on()

    def asked(self) -> list[Up]:
        out, self.room.outbox = self.room.outbox, []
        return out


def reader_of(sock: FakeSocket, position: tuple[int, int] | None = None) -> Reader:
    reader = Reader(sock)
    if position is not None:
        reader.follower.position = Position(*position)
        reader.returns = True
    reader.read()
    return reader


def test_the_first_viewers_wait_for_the_snapshot_that_the_opening_brings() -> None:
    here = Here()
    socks = [here.come()[1] for _ in range(3)]
    assert here.asked() == [OpenRoom("room", 1, [0])]
    assert len(here.room) == 0
    assert here.room.pending == 3
    here.room.snapshot(snapshot(7), here.now)
    assert here.asked() == []
    assert len(here.room) == 3
    assert here.room.pending == 0
    here.frames(frames(8, 9))
    for sock in socks:
        assert reader_of(sock).position == (EPOCH, 9)


def test_a_viewer_of_another_codec_waits_for_a_newer_snapshot() -> None:
    here = Here()
    here.come()
    here.asked()
    here.room.snapshot(snapshot(0, codecs=(0,)), here.now)
    here.frames(frames(1, 5, (0,)))
    _, sock = here.come(json=True)
    assert here.asked() == [Wants("room", [0, 1])]
    here.frames(frames(6, 7, (0,)))
    here.room.snapshot(snapshot(7), here.now)
    here.frames(frames(8, 9))
    kinds = [json.loads(payload)[0] for _, _, payload, _ in frames_in(sock.received)]
    assert kinds == [32, 33, 34]


def test_frames_without_a_codec_that_came_while_the_hub_did_not_know_of_it_are_survived() -> None:
    """The second viewer came after the hub was asked to open the room and before its answer: the answer and the first frames
    are only for the codec that the hub knew."""
    here = Here()
    _, ours = here.come()
    here.asked()
    _, theirs = here.come(json=True)
    assert Wants("room", [0, 1]) in here.asked()
    here.room.snapshot(snapshot(0, codecs=(0,)), here.now)
    here.frames(frames(1, 2, (0,)))
    assert here.asked() == []
    here.room.snapshot(snapshot(2), here.now)
    here.frames(frames(3, 4))
    assert reader_of(ours).position == (EPOCH, 4)
    messages = [json.loads(payload) for _, _, payload, _ in frames_in(theirs.received)]
    # Whatever it was told, it has no hole that nothing names.
    following = None
    for read in messages:
        if read[0] == 33:
            following = read[4] + 1
        elif read[0] in (34, 36):
            assert read[3] == following
            following = read[4] + 1
    assert following == 5


def test_a_returning_viewer_goes_on_in_the_log() -> None:
    here = Here()
    here.come()
    here.room.snapshot(snapshot(0), here.now)
    here.frames(frames(1, 5))
    here.frames(frames(6, 10))
    here.asked()
    _, sock = here.come(Join(1, "room", EPOCH, 7, "s" * 16))
    assert here.asked() == []
    reader = reader_of(sock, (EPOCH, 7))
    assert reader.seen == [(EPOCH, 6, 10)]
    assert reader.position == (EPOCH, 10)


def test_one_that_has_seen_more_than_the_edge_drops_the_overlap() -> None:
    here = Here()
    here.come()
    here.room.snapshot(snapshot(5), here.now)
    _, sock = here.come(Join(1, "room", EPOCH, 8, "s" * 16))
    here.frames(frames(6, 10))
    assert reader_of(sock, (EPOCH, 8)).position == (EPOCH, 10)


def test_what_the_log_does_not_have_is_fetched_once_for_all_and_shared() -> None:
    here = Here()
    here.come()
    here.room.snapshot(snapshot(20), here.now)
    here.asked()
    _, one = here.come(Join(1, "room", EPOCH, 5, "s" * 16))
    _, two = here.come(Join(1, "room", EPOCH, 12, "t" * 16))
    assert here.asked() == [FetchBackfill("room", EPOCH, 5, 21, 0)]
    here.frames(frames(21, 22))
    here.room.backfill(backfill(21, (6, 12), (13, 20)), here.now)
    assert here.asked() == []
    assert reader_of(one, (EPOCH, 5)).seen == [(EPOCH, 6, 12), (EPOCH, 13, 20), (EPOCH, 21, 22)]
    assert reader_of(two, (EPOCH, 12)).seen == [(EPOCH, 13, 20), (EPOCH, 21, 22)]
    assert reader_of(two, (EPOCH, 12)).gaps == []


def test_who_needs_more_than_was_asked_for_is_asked_for_again() -> None:
    here = Here()
    here.come()
    here.room.snapshot(snapshot(20), here.now)
    here.asked()
    here.come(Join(1, "room", EPOCH, 15, "s" * 16))
    _, older = here.come(Join(1, "room", EPOCH, 3, "t" * 16))
    assert here.asked() == [FetchBackfill("room", EPOCH, 15, 21, 0)]
    here.room.backfill(backfill(21, (16, 20)), here.now)
    assert here.asked() == [FetchBackfill("room", EPOCH, 3, 16, 0)]
    here.room.backfill(backfill(16, (4, 15)), here.now)
    assert reader_of(older, (EPOCH, 3)).seen == [(EPOCH, 4, 15), (EPOCH, 16, 20)]


def test_what_the_history_does_not_have_is_told_with_a_snapshot() -> None:
    here = Here()
    here.come()
    here.room.snapshot(snapshot(20), here.now)
    here.frames(frames(21, 22))
    here.asked()
    _, sock = here.come(Join(1, "room", EPOCH, 5, "s" * 16))
    assert here.asked() == [FetchBackfill("room", EPOCH, 5, 21, 0)]
    here.room.backfill(backfill(21), here.now)
    reader = reader_of(sock, (EPOCH, 5))
    assert reader.gaps == [(EPOCH, 6, 20, "history")]
    assert reader.position == (EPOCH, 22)
    assert here.asked() == []


def test_a_part_that_joins_but_does_not_reach_far_enough_is_no_hole() -> None:
    here = Here()
    here.come()
    here.room.snapshot(snapshot(20), here.now)
    _, sock = here.come(Join(1, "room", EPOCH, 5, "s" * 16))
    here.room.backfill(backfill(21, (11, 20)), here.now)
    reader = reader_of(sock, (EPOCH, 5))
    assert reader.gaps == [(EPOCH, 6, 20, "history")]
    assert reader.position == (EPOCH, 20)


def test_a_position_in_another_epoch_is_told_to_be_gone() -> None:
    here = Here()
    here.come()
    here.room.snapshot(snapshot(20), here.now)
    _, sock = here.come(Join(1, "room", EPOCH - 1, 99, "s" * 16))
    here.frames(frames(21, 21))
    reader = reader_of(sock, (EPOCH - 1, 99))
    assert reader.gaps == [(EPOCH - 1, 100, 0, "epoch")]
    assert reader.position == (EPOCH, 21)


def test_who_comes_from_another_epoch_is_shown_all_that_followed_its_end() -> None:
    here = Here()
    here.come()
    here.room.snapshot(snapshot(20), here.now)
    for number in range(21, 26):
        here.now += 2.0
        here.frames(frames(number, number))
    here.room.snapshot(snapshot(25), here.now)
    _, late = here.come(Join(1, "room", EPOCH - 1, 99, "s" * 16))
    _, fresh = here.come()
    here.pass_on()
    reader = reader_of(late, (EPOCH - 1, 99))
    assert reader.gaps == [(EPOCH - 1, 100, 0, "epoch")]
    assert reader.seen == [(EPOCH, number, number) for number in range(21, 26)]
    assert reader.position == (EPOCH, 25)
    assert reader_of(fresh).seen == []


def test_in_another_codec_the_beginning_is_fetched_once_for_all_who_come() -> None:
    here = Here()
    here.come(json=True)
    here.room.snapshot(snapshot(20, codecs=(1,)), here.now)
    here.frames(frames(21, 23, codecs=(1,)))
    lost = Join(1, "room", EPOCH - 1, 99, "s" * 16)
    socks = [here.come(lost)[1] for _ in range(2)]
    here.asked()
    here.room.snapshot(snapshot(23), here.now)
    assert here.asked() == [FetchBackfill("room", EPOCH, 20, 24, 0, True)]
    (state,) = snapshot(20, codecs=(0,)).frames.values()
    past = [(21, 23, frames(21, 23).frames[0])]
    here.room.backfill(Backfill("room", EPOCH, 0, 24, past, 20, state), here.now)
    here.frames(frames(24, 24))
    socks.append(here.come(lost)[1])
    assert not here.asked()
    for sock in socks:
        reader = reader_of(sock, (EPOCH - 1, 99))
        assert reader.gaps == [(EPOCH - 1, 100, 0, "epoch")]
        assert reader.seen == [(EPOCH, 21, 23), (EPOCH, 24, 24)]


def test_when_the_beginning_is_not_to_be_had_it_is_the_present() -> None:
    here = Here()
    here.come(json=True)
    here.room.snapshot(snapshot(20, codecs=(1,)), here.now)
    here.frames(frames(21, 23, codecs=(1,)))
    _, sock = here.come(Join(1, "room", EPOCH - 1, 99, "s" * 16))
    here.room.snapshot(snapshot(23), here.now)
    (state,) = snapshot(20, codecs=(0,)).frames.values()
    here.room.backfill(Backfill("room", EPOCH, 0, 24, [], 20, state), here.now)
    here.frames(frames(24, 24))
    reader = reader_of(sock, (EPOCH - 1, 99))
    assert reader.seen == [(EPOCH, 24, 24)]


def test_when_the_log_does_not_go_back_that_far_any_more_it_begins_at_the_present() -> None:
    here = Here(RoomSettings(log_seconds=20.0, lag_seconds=10.0))
    here.come()
    here.room.snapshot(snapshot(20), here.now)
    for number in range(21, 41):
        here.now += 2.0
        here.frames(frames(number, number))
    here.room.snapshot(snapshot(40), here.now)
    _, late = here.come(Join(1, "room", EPOCH - 1, 99, "s" * 16))
    here.frames(frames(41, 41))
    reader = reader_of(late, (EPOCH - 1, 99))
    assert reader.gaps == [(EPOCH - 1, 100, 0, "epoch")]
    assert reader.seen == [(EPOCH, 41, 41)]


def test_a_new_epoch_is_told_to_those_here_and_to_those_who_wait_for_the_past() -> None:
    here = Here()
    _, live = here.come()
    here.room.snapshot(snapshot(20), here.now)
    _, resuming = here.come(Join(1, "room", EPOCH, 5, "s" * 16))
    told = {
        number: payload_frames([36, HANDLE, EPOCH, 21, 0, "epoch"])[number] + snapshot(3, EPOCH + 1).frames[number]
        for number in (0, 1)
    }
    here.room.restart(Restart("room", EPOCH + 1, 3, told), here.now)
    here.room.snapshot(snapshot(3, EPOCH + 1), here.now)
    here.pass_on()
    here.room.backfill(backfill(21, (6, 20)), here.now)
    here.frames(frames(4, 5, epoch=EPOCH + 1))
    assert reader_of(live).position == (EPOCH + 1, 5)
    reader = reader_of(resuming, (EPOCH, 5))
    assert reader.gaps == [(EPOCH, 6, 0, "epoch")]
    assert reader.position == (EPOCH + 1, 5)


def test_a_snapshot_that_lies_too_far_back_is_renewed_once_for_all_who_wait() -> None:
    here = Here()
    here.come()
    here.room.snapshot(snapshot(0), here.now)
    here.frames(frames(1, 5))
    here.now += 1000.0
    here.asked()
    socks = [here.come()[1] for _ in range(3)]
    assert here.asked() == [FetchSnapshot("room")]
    here.room.snapshot(snapshot(5), here.now)
    for sock in socks:
        reader = reader_of(sock)
        assert reader.position == (EPOCH, 5)
        assert reader.seen == []


def test_who_leaves_while_waiting_is_not_let_in() -> None:
    here = Here()
    waiting, sock = here.come()
    here.room.leave(waiting)
    here.room.snapshot(snapshot(0), here.now)
    resuming, other = here.come(Join(1, "room", EPOCH + 0, 0, "s" * 16))
    here.frames(frames(1, 1))
    assert not sock.received
    assert len(here.room) == 1
    assert reader_of(other, (EPOCH, 0)).position == (EPOCH, 1)
    here.room.leave(resuming)
    assert len(here.room) == 0


def test_a_room_that_is_refused_tells_who_waited() -> None:
    here = Here()
    session, _ = here.come(Join(41, "room"))
    assert here.room.refuse() == [(session, 41)]
    assert session.room is None
    assert here.room.pending == 0


def test_likes_of_a_session_that_comes_back_go_on_where_they_were() -> None:
    here = Here()
    session, _ = here.come()
    session.likes = 12
    here.room.leave(session)
    again, _ = viewer(1)
    again.secret, again.author = session.secret, Author("guest-1")
    here.room.enter(again, Join(1, "room", session=session.secret), here.now)
    assert again.likes == 12
    stranger, _ = viewer(9)
    stranger.author = Author("guest-9")
    here.room.enter(stranger, Join(1, "room", session=stranger.secret), here.now)
    assert stranger.likes < 0


def test_frames_that_nobody_has_wanted_for_long_are_not_asked_for_any_more() -> None:
    here = Here(RoomSettings(linger_seconds=10.0))
    _, ours = here.come()
    theirs, _ = here.come(json=True)
    assert here.asked() == [OpenRoom("room", 1, [0]), Wants("room", [0, 1])]
    here.room.snapshot(snapshot(0), here.now)
    here.room.leave(theirs)
    for _ in range(3):
        here.now += 6.0
        here.frames(frames(here.room.tracks[0].log.head + 1, here.room.tracks[0].log.head + 1))
    assert here.asked() == [Wants("room", [0])]
    here.frames(frames(4, 4, (0,)))
    _, again = here.come(json=True)
    assert here.asked() == [Wants("room", [0, 1])]
    here.room.snapshot(snapshot(4), here.now)
    here.frames(frames(5, 5))
    assert reader_of(ours).position == (EPOCH, 5)
    assert [json.loads(payload)[0] for _, _, payload, _ in frames_in(again.received)] == [32, 33, 34]
    # The last one stays, whoever is there.
    for session in here.room.present:
        here.room.leave(session)
    for offset in range(6, 11):
        here.now += 20.0
        here.frames(frames(offset, offset))
        assert here.room.tracks
    assert len(here.room.tracks) == 1


def test_who_was_taken_in_with_an_answer_to_earlier_wants_comes_back() -> None:
    """Its frames were not wanted any more, then wanted again, and a snapshot from before was on its way."""
    here = Here(RoomSettings(linger_seconds=1.0))
    here.come()
    theirs, _ = here.come(json=True)
    here.room.snapshot(snapshot(0), here.now)
    here.room.leave(theirs)
    for offset in (1, 2):
        here.frames(frames(offset, offset))
        here.now += 2.0
    assert here.asked()[-1] == Wants("room", [0])
    again, _ = here.come(json=True)
    here.room.snapshot(snapshot(2), here.now)
    assert again.track is not None
    here.frames(frames(3, 3, (0,)))
    assert here.wire.closed == {again: 4000}
    here.room.snapshot(snapshot(3), here.now)
    back, sock = here.come(json=True)
    here.frames(frames(4, 4))
    assert back.track is not None
    assert [json.loads(payload)[0] for _, _, payload, _ in frames_in(sock.received)] == [32, 33, 34]
