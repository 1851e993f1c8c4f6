"""What an edge says to the hub: once, in order, at the end of a turn; what was measured is kept until the link handed it on."""

from __future__ import annotations

from typing import Any, cast

from engine.edge.upward import Upward
from engine.link.base import End
from engine.link.messages import CloseRoom, Down, Qualities, Up
from engine.quality import RoomQuality, Sent


class Link:
    """The near end of a link that hands on as much as it is told to.

    :ivar backlog: what it has not handed on; ``lost`` what it dropped.
    :ivar ended: it takes nothing any more, though nobody has noticed.
    """

    def __init__(self) -> None:
        self.taken: list[Up] = []
        self.backlog = self.lost = 0
        self.ended = False

    def send(self, messages: list[Up]) -> None:
        if not self.ended:
            self.taken += messages
            self.backlog += len(messages)

    def hand_on(self, count: int) -> None:
        self.backlog -= count


def linked() -> tuple[Upward, Link]:
    up, link = Upward(), Link()
    begin(up, link)
    return up, link


def begin(up: Upward, link: Link) -> None:
    up.link = cast("End[Up, Down]", link)


def measured(*rooms: str) -> list[RoomQuality]:
    return [RoomQuality(room, Sent(), {}) for room in rooms]


def rooms(up: Upward) -> list[str]:
    return [each.room for each in up.end()]


def test_what_comes_together_in_a_turn_goes_at_its_end_and_in_order() -> None:
    up, link = linked()
    up.add(CloseRoom("一"), CloseRoom("二"))
    up.add(CloseRoom("三"))
    assert (len(up), link.taken) == (3, [])
    up.turn_over()
    up.turn_over()
    assert link.taken == [CloseRoom("一"), CloseRoom("二"), CloseRoom("三")]
    assert len(up) == 3
    link.hand_on(2)
    up.add(CloseRoom("四"))
    assert len(up) == 2


def test_without_a_link_nothing_is_said_then_or_later() -> None:
    up = Upward()
    up.add(CloseRoom("一"))
    up.turn_over()
    assert len(up) == 0
    link = Link()
    begin(up, link)
    up.add(CloseRoom("二"))
    up.clear()
    up.turn_over()
    assert link.taken == []


def test_what_was_measured_comes_back_unless_it_was_handed_on() -> None:
    up, link = linked()
    up.add(CloseRoom("零"))
    up.turn_over()
    up.tell(measured("一", "二"))
    up.tell(measured("三"))
    assert cast("Any", link.taken[1:]) == [Qualities(measured("一", "二")), Qualities(measured("三"))]
    link.hand_on(1)
    up.add(CloseRoom("四"))
    up.turn_over()
    # The first of the two messages, and the one before them.
    link.hand_on(1)
    assert rooms(up) == ["三"]
    # The next link begins with nothing, whatever the last one had.
    after = Link()
    begin(up, after)
    up.tell(measured("五"))
    after.hand_on(1)
    assert rooms(up) == []


def test_what_a_link_dropped_or_did_not_take_was_not_handed_on() -> None:
    up, link = linked()
    up.tell(measured("一"))
    link.backlog, link.lost = 0, 1
    up.tell(measured("二"))
    link.ended = True
    up.tell(measured("三"))
    assert rooms(up) == ["一", "二", "三"]
    assert up.link is None
