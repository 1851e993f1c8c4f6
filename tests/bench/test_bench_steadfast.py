"""Viewers and senders of a load with faults, without sockets: epochs that change, connections that are lost, comments that are
said again until they are accepted."""

from __future__ import annotations

import asyncio
from typing import Any

import msgpack
import pytest
from tables import HANDLE, Table

from bench.certificate import certify
from bench.generator.receiver import JOIN_REF, Busy, Viewer, ViewerState
from bench.generator.sender import Desk, Voice

UNAVAILABLE, EMPTY = 3, 106


def steadfast(viewers: int = 1) -> tuple[Table, list[Viewer]]:
    table = Table(viewers)
    lost: list[Viewer] = []
    table.swarm.on_lost = lost.append
    return table, lost


def told(table: Table, epoch: int, first: int) -> bytes:
    """An epoch ends at every viewer."""
    return table.message(36, HANDLE, epoch, first, 0, "epoch")


def test_a_change_of_epoch_is_one_gap_and_everybody_is_entitled_to_what_it_saw() -> None:
    table = Table(2)
    table.swarm.may_gap = range(2)
    for viewer, last in zip(table.viewers, (3, 2), strict=True):
        viewer.data_received(table.batch(1, last))
    first, second = table.viewers
    first.data_received(told(table, 1, 4) + table.snapshot(2, epoch=2) + table.batch(3, 4, epoch=2))
    second.data_received(told(table, 1, 3) + table.snapshot(2, epoch=2) + table.batch(3, 4, epoch=2))
    tally = table.tally
    assert (tally.gaps, tally.gap_offsets, tally.deliveries) == (2, 0, 3 + 2 + 2 * 2)
    assert table.swarm.entitled == tally.accounted == 9
    assert [viewer.log is table.swarm.logs[0] for viewer in table.viewers] == [True, True]
    assert [log.epoch for log in table.swarm.every_log()] == [1, 2]
    assert not table.faults


def test_who_stays_in_the_old_epoch_goes_on_there_and_is_counted() -> None:
    table = Table(2)
    table.swarm.may_gap = range(2)
    table.viewers[0].data_received(told(table, 1, 1) + table.snapshot(0, epoch=2))
    table.viewers[1].data_received(table.batch(1, 2))
    assert (table.tally.deliveries, table.swarm.entitled) == (2, 2)
    table.viewers[0].connection_lost(None)
    table.reconnect(0, resumed=False)
    table.viewers[0].data_received(table.snapshot(2))
    assert [log.epoch for log in table.swarm.every_log()] == [1, 2]
    assert table.viewers[0].log is table.viewers[1].log


def test_a_new_epoch_without_a_word_is_a_fault_where_nothing_may_be_lost() -> None:
    table, _ = steadfast()
    viewer = table.viewers[0]
    viewer.connection_lost(None)
    table.reconnect(0, resumed=False)
    viewer.data_received(table.snapshot(0, epoch=2))
    assert table.faults == {"gap": 1}


def test_a_lost_connection_is_no_fault_and_whoever_cares_is_told_once() -> None:
    table, lost = steadfast(2)
    table.viewers[0].connection_lost(ConnectionResetError())
    assert lost == [table.viewers[0]]
    assert table.swarm.live == 1
    table.viewers[1].leave()
    table.viewers[1].connection_lost(None)
    assert lost == [table.viewers[0]]
    assert not table.faults


@pytest.mark.parametrize(("code", "fault"), [(UNAVAILABLE, False), (EMPTY, True)])
def test_a_join_that_is_refused_for_the_time_being_is_tried_again(code: int, fault: bool) -> None:
    table, lost = steadfast()
    viewer, pipe = table.viewers[0], table.pipes[0]
    viewer.connection_lost(None)
    waiter = Waiter()
    viewer.connection_made(pipe)  # type: ignore[arg-type]  # a fake transport
    viewer.waiter = waiter  # type: ignore[assignment]  # a fake future
    viewer.data_received(table.upgrade(viewer) + table.message(35, JOIN_REF, code, 0, "not now", 1000))
    assert isinstance(waiter.error, Busy) != fault
    assert table.faults == ({"refused": 1} if fault else {})
    assert len(lost) == 1


class Waiter:
    """A future, as far as a viewer knows one."""

    error: Exception | None = None

    def done(self) -> bool:
        return False

    def set_exception(self, error: Exception) -> None:
        self.error = error


class Speaking:
    """One sender whose comments are due all at once."""

    def __init__(self, comments: int, likes: int = 0) -> None:
        self.table, _ = steadfast()
        self.viewer, self.pipe = self.table.viewers[0], self.table.pipes[0]
        self.desk = Desk(self.table.swarm, {0: self.viewer}, seed=1)
        self.voice = self.desk._voices[0] = Voice(self.viewer)
        self.voice.due.extend([(0, False)] * comments + [(0, True)] * likes)
        self.pipe.written = b""
        self.desk._go_on(self.voice)

    def said(self) -> list[list[Any]]:
        """What has been written since somebody last looked."""
        data, self.pipe.written = self.pipe.written, b""
        messages = []
        while data:
            size, start = data[1] & 0x7F, 2
            if size == 126:
                size, start = int.from_bytes(data[2:4], "big"), 4
            mask, payload = data[start : start + 4], data[start + 4 : start + 4 + size]
            messages.append(msgpack.unpackb(bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload))))
            data = data[start + 4 + size :]
        return messages

    def reply(self, ref: int, code: int = 0, offset: int = 0) -> None:
        self.viewer.data_received(self.table.message(35, ref, code, offset, "", 1))


def test_a_sender_says_the_next_when_the_previous_is_accepted() -> None:
    speaking = Speaking(2, likes=1)
    assert [message[:2] for message in speaking.said()] == [[3, 1]]
    speaking.reply(1, offset=7)
    assert [message[:2] for message in speaking.said()] == [[3, 2]]
    speaking.reply(2, offset=8)
    assert speaking.said() == [[4, HANDLE, 1]]
    assert speaking.voice.accepted == {1: (1, 7), 2: (1, 8)}


def test_what_was_not_answered_is_said_again_on_the_next_connection_and_two_answers_do_no_harm() -> None:
    speaking = Speaking(1)
    [first] = speaking.said()
    speaking.viewer.connection_lost(None)
    speaking.table.reconnect(0, resumed=True)
    speaking.pipe.written = b""
    speaking.desk._back(speaking.viewer)
    assert speaking.said() == [first]
    speaking.reply(1, offset=7)
    speaking.reply(1, offset=7)
    assert speaking.voice.accepted == {1: (1, 7)}
    assert not speaking.table.faults


@pytest.mark.parametrize("hasty", [False, True])
def test_whoever_comes_back_first_repeats_the_likes_that_were_told_even_none_and_tells_new_ones_then(hasty: bool) -> None:
    speaking = Speaking(0)
    for before in (0, 1):
        speaking.viewer.connection_lost(None)
        # While it is away nothing is told, nor taken for told.
        assert speaking.desk._tapped(speaking.voice) == b""
        speaking.table.reconnect(0, resumed=True)
        speaking.pipe.written = b""
        speaking.voice.due.append((0, True))
        if hasty:
            # The schedule may go on before the crowd has seen that it is back.
            speaking.desk._go_on(speaking.voice)
        speaking.desk._back(speaking.viewer)
        assert speaking.said() == [[4, HANDLE, before], [4, HANDLE, before + 1]]


def test_what_was_refused_for_the_time_being_is_said_again_and_what_never_will_be_is_not() -> None:
    async def play() -> None:
        speaking = Speaking(2)
        [first] = speaking.said()
        written, write = asyncio.Event(), speaking.pipe.write

        def noticed(data: bytes) -> None:
            write(data)
            written.set()

        speaking.pipe.write = noticed  # type: ignore[method-assign]  # to wait for it
        speaking.reply(1, UNAVAILABLE)
        await asyncio.wait_for(written.wait(), 10)
        assert speaking.said() == [first]
        speaking.reply(1, EMPTY)
        assert [message[:2] for message in speaking.said()] == [[3, 2]]
        assert speaking.voice.refused == {1: EMPTY}

    asyncio.run(play())


def test_hushed_senders_end_what_they_were_saying() -> None:
    speaking = Speaking(5)
    speaking.desk.hush()
    speaking.said()
    speaking.reply(1, offset=1)
    assert speaking.said() == []
    assert speaking.desk.statistics()["waiting"] == 0


@pytest.mark.parametrize("changed", [False, True])
def test_an_accepted_comment_that_is_nowhere_is_missing_unless_a_new_epoch_covers_it(changed: bool) -> None:
    speaking = Speaking(1)
    table, viewer = speaking.table, speaking.viewer
    table.swarm.may_gap = range(1)
    speaking.reply(1, offset=3)
    viewer.data_received(table.batch(1, 2))
    if changed:
        viewer.data_received(told(table, 1, 3) + table.snapshot(2, epoch=2))
    speaking.desk.verify()
    assert speaking.desk.covered == int(changed)
    assert table.faults == ({} if changed else {"missing": 1})


def test_processes_are_compared_where_they_saw_the_same_part_of_an_epoch() -> None:
    report = {
        "total": {},
        "faults": [],
        "fault_counts": {},
        "likes_lost": {"0": 2},
        "entitled": 0,
        "covered": 1,
        "rooms": {"0": [5, 0, 7, 99]},
        "heard": {"0": [3, 0]},
        "calm": False,
    }
    later = report | {"rooms": {"0": [5, 3, 4, 11]}, "likes_lost": {"0": 3}}
    other = report | {"rooms": {"0": [5, 0, 7, 98]}}
    fine = certify([report, later], {"0": {"likes": 10}}, [])
    assert fine.balanced
    assert (fine.covered, fine.likes, fine.likes_lost) == (2, 10, 3)
    assert certify([report, other], {}, []).fault_counts == {"disagree": 1}


def test_a_viewer_that_is_back_is_live() -> None:
    table, _ = steadfast()
    table.viewers[0].connection_lost(None)
    table.reconnect(0, resumed=True)
    assert table.viewers[0].state is ViewerState.RESUMING
    assert table.swarm.live == 1
