"""What viewers are told beside comments: totals that only grow, notices, who comes and goes. Without sockets."""

from __future__ import annotations

import time
from typing import Any

import pytest
from tables import HANDLE, Table

from bench.audience import Audience
from bench.certificate import certify
from bench.generator.passes import Passes
from bench.generator.sender import Desk, Voice
from bench.generator.totals import LIKES, reaction, withheld
from bench.load import Load
from engine.access import Role, admit
from engine.schema import Join
from engine.settings import AccessSettings
from engine.tokens import Keyring


def told(table: Table, time: int, likes: int, **totals: Any) -> bytes:
    """A batch of nothing but counters and totals."""
    return table.message(34, HANDLE, 1, 1, 0, time, [], [], [likes, 2], totals)


def test_a_total_is_known_to_who_has_had_the_frame_that_told_it_first() -> None:
    table = Table(3)
    first, again = told(table, 1000, 5, reactions={"👍": 2}), told(table, 2000, 5, withheld={"events": 7}, peak=3, rate=1)
    heard = table.swarm.logs[0].totals
    table.viewers[0].data_received(first)
    assert heard.values == {LIKES: 5, reaction("👍"): 2}
    assert (heard.viewers(LIKES), heard.viewers(reaction("👍")), heard.viewers("likes of nobody")) == (1, 1, 0)
    for viewer in table.viewers[1:]:
        viewer.data_received(first + again)
    assert (heard.viewers(LIKES), heard.viewers(withheld("events"))) == (3, 2)
    table.swarm.mark()
    table.viewers[0].data_received(again)
    assert (heard.viewers(LIKES), heard.viewers(withheld("events"))) == (3, 3)
    assert not table.faults


def test_frames_that_reach_viewers_in_turn_with_older_ones_are_counted_once_each() -> None:
    table = Table(2)
    frames = [told(table, 1000 * number, number) for number in range(1, 6)]
    for frame in frames:
        table.viewers[0].data_received(frame)
    for frame in frames:
        table.viewers[1].data_received(frame)
    log = table.swarm.logs[0]
    assert (log.counted, log.apart_ms, log.totals.viewers(LIKES)) == ({0: 5}, 1000, 2)
    assert table.tally.silent_frames == 10


def test_each_of_two_nodes_tells_its_own_viewers() -> None:
    table = Table(2)
    table.viewers[1].node = 1
    table.viewers[0].data_received(told(table, 1000, 5))
    table.viewers[1].data_received(told(table, 1001, 5))
    log = table.swarm.logs[0]
    assert log.totals.viewers(LIKES) == 2
    assert log.apart_ms is None


def test_a_snapshot_tells_totals_and_recent_events_are_no_deliveries() -> None:
    table = Table()
    table.viewers[0].expects_snapshot = True
    totals = {"withheld": {"bytes": 3}, "unique": 9}
    table.viewers[0].data_received(
        table.message(33, HANDLE, "r0", 1, 0, 0, [2, 1], 25_000, totals, [["attribute", "a", {}, 1]], [[1, 0, table.event(1)]])
    )
    assert table.swarm.logs[0].totals.values == {LIKES: 2, withheld("bytes"): 3}
    assert (table.tally.deliveries, table.faults) == (0, {})


def test_notices_and_presence_take_offsets_and_are_checked() -> None:
    table = Table(2)
    comment = table.event(1)
    notice = [4, ["host", "", {}, "host", 0], 2, table.event(2)[3], False]
    moderator = [7, ["m", "", {}, "moderator", 0], True]
    data = table.batch(1, 3, events=[comment, notice, moderator])
    for viewer in table.viewers:
        viewer.data_received(data)
    log = table.swarm.logs[0]
    assert (table.tally.deliveries, table.tally.notices, log.presence, len(log.where)) == (6, 2, 1, 2)
    assert log.check_order() == 0
    assert not table.faults
    table.viewers[0].data_received(table.batch(4, 4, events=[[4, *notice[1:3], "forged", False]]))
    assert table.faults == {"altered": 1}


def test_a_withheld_comment_is_counted_by_reason_and_a_withheld_notice_is_a_fault() -> None:
    table = Table()
    viewer = table.viewers[0]
    desk = Desk(table.swarm, {0: viewer}, seed=1)
    voice = desk._voices[0] = Voice(viewer)
    for notice in (False, False, True):
        desk._message(voice, 0, like=False, notice=notice)
    for ref, name in ((1, "events"), (2, "bytes"), (3, "events")):
        viewer.data_received(table.message(35, ref, 6, 0, f"no place (limits.room_{name}_per_second)", 50))
    assert desk.totals() == {0: {withheld("events"): 1, withheld("bytes"): 1}}
    assert voice.refused == {3: 6}
    desk.verify()
    assert table.faults == {"refused": 1}


REPORT: dict[str, Any] = {
    "total": {"notices": 6},
    "faults": [],
    "fault_counts": {},
    "likes_lost": {},
    "entitled": 0,
    "covered": 0,
    "rooms": {},
    "sent": 10,
    "accepted": 7,
    "heard": {"0": [7, 2]},
    "found": {"0": [7, 3]},
    "calm": True,
}
TOTALS = {"0": {LIKES: 4, reaction("👍"): 2, withheld("events"): 2, withheld("bytes"): 1}}


def test_what_was_offered_is_what_was_accepted_and_what_was_withheld() -> None:
    made = certify([REPORT], TOTALS, [])
    assert made.balanced
    assert (made.offered, made.accepted, made.withheld_comments) == (10, 7, {"events": 2, "bytes": 1})
    assert (made.notices, made.likes, made.reactions) == (2, 4, 2)


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"sent": 11}, "balance"),
        ({"found": {"0": [6, 3]}}, "balance"),
        ({"found": {"0": [8, 3]}}, "balance"),
        ({"total": {"notices": 5}}, "notices"),
    ],
)
def test_what_does_not_add_up_fails(changes: dict[str, Any], kind: str) -> None:
    assert certify([REPORT | changes], TOTALS, []).fault_counts == {kind: 1}
    assert certify([REPORT | changes | {"calm": False}], TOTALS, []).balanced


def test_hosts_speakers_and_visitors_have_the_tokens_they_need() -> None:
    load = Load(viewers=30, senders=20, notices=1.0, withhold="levels", notable_share=0.1)
    audience = Audience(load)
    passes = Passes(load, audience)
    keyring = Keyring(AccessSettings(secret=load.secret, anonymous="write"))

    def standing(index: int) -> tuple[str, int]:
        found = admit(Join(1, "room", token=passes.token_of(index)), keyring, int(time.time() * 1000)).standing
        return found.role, found.level

    assert audience.hosts == (29,)
    assert standing(29) == ("host", 0)
    assert {standing(index) for index in audience.senders if index != 29} == {
        ("viewer", (1 << number) - 1) for number in range(9)
    }
    assert [standing(index)[0] for index in (30, 31, 40)] == [Role.MODERATOR.value, "viewer", Role.MODERATOR.value]
    assert Passes(Load(), Audience(Load())).token_of(0) is None
