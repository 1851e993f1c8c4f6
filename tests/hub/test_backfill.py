"""The past as frames: in the feed that is wanted, without what has expired."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.brokers.base import Events, Pending
from engine.brokers.memory import MemoryBroker
from engine.hub.backfill import backfill, cut, expired
from engine.link.messages import FetchBackfill
from engine.room.feeds import Feeds
from engine.schema import MSGPACK, Author, CommentEvent, CustomEvent, LinkedCommentEvent, NoticeEvent, StateEvent
from engine.settings import BrokerSettings, FeedSettings

NOW = 1_700_000_000_000
FEEDS = Feeds({"gifts": FeedSettings(kinds=("custom",)), "readable": FeedSettings(comments_per_second=2)})


def linked(expires: int) -> LinkedCommentEvent:
    return LinkedCommentEvent(Author("ann"), 1, "soon gone", 0, [], expires)


others = st.sampled_from(
    (
        CommentEvent(Author("ann"), 1, "x"),
        CustomEvent(Author("ann"), 1, "gift", "🌹"),
        NoticeEvent(Author("ann"), 1, "x"),
        StateEvent(Author("ann"), 1, "card", "1", {"expires": 1}, 1),
    )
)


@given(st.lists(st.one_of(others, st.sampled_from((0, 1, NOW - 1, NOW, NOW + 1)).map(linked)), max_size=12))
def test_what_was_to_vanish_until_now_is_a_tombstone(said: list[Any]) -> None:
    events = [MSGPACK.encode(event) for event in said]
    left = expired(events, NOW)
    gone = [0 < getattr(event, "expires", 0) <= NOW for event in said]
    assert left == [b"\x93\x00\x02\x01" if is_gone else event for event, is_gone in zip(events, gone, strict=True)]
    assert any(gone) or left is events


def shown(frames: list[tuple[int, int, bytes]]) -> list[Any]:
    """Batches as first and last offset, and their events by kind; of what is omitted, reason and count."""
    told = []
    for first, last, frame in frames:
        message = msgpack.unpackb(frame[2:] if frame[1] < 126 else frame[4:])
        assert message[3:5] == [first, last]
        told.append((first, last, [event if event[0] == 0 else event[0] for event in message[6]]))
    return told


async def broker_with(*events: Any) -> tuple[MemoryBroker, int]:
    broker = MemoryBroker(BrokerSettings(), lambda _: None, lambda: NOW)
    epoch, _ = await broker.subscribe("room")
    await broker.publish("room", [Pending(MSGPACK.encode(event)) for event in events])
    return broker, epoch


GIFT = CustomEvent(Author("host"), 1, "gift", "🌹")
TALK = CommentEvent(Author("ann"), 1, "x")


@pytest.mark.parametrize(
    ("variant", "expected"),
    [
        (0, [1, 1, 2, [0, 2, 1], 1, 1]),
        (4, [[0, 3, 2], 2, [0, 3, 3]]),
        # What has expired took its place in the feed when it was new.
        (8, [1, 1, [0, 3, 4]]),
        (10, [1, 1, [0, 3, 4]]),
    ],
)
async def test_a_backfill_is_as_the_feed_shows_it(variant: int, expected: list[Any]) -> None:
    broker, epoch = await broker_with(TALK, TALK, GIFT, linked(1), TALK, TALK)
    answer = await backfill(broker, FetchBackfill("room", epoch, 0, 7, variant), (1, 2), 100_000, FEEDS)
    assert answer.variant == variant & ~2
    assert shown(answer.batches) == [(1, 6, expected)]


async def test_more_than_may_be_answered_is_the_newest_part() -> None:
    broker, epoch = await broker_with(*[TALK] * 500)
    answer = await backfill(broker, FetchBackfill("room", epoch, 0, 501, 0), (), 2_000, FEEDS)
    assert sum(len(frame) for _, _, frame in answer.batches) <= 2_000
    offsets = [(first, last) for first, last, _ in answer.batches]
    assert offsets[-1][1] == 500
    assert all(one[1] + 1 == other[0] for one, other in pairwise(offsets))
    assert 1 < len(offsets) < 500


async def test_another_epoch_has_no_answer() -> None:
    broker, epoch = await broker_with(TALK)
    answer = await backfill(broker, FetchBackfill("room", epoch + 1, 0, 2, 0), (), 2_000, FEEDS)
    assert answer.batches == []


@given(st.lists(st.binary(min_size=1, max_size=20), min_size=1, max_size=30), st.integers(1, 60))
def test_batches_are_cut_at_a_size_and_lose_nothing(events: list[bytes], size: int) -> None:
    parts = list(cut(Events("room", 1, 5, events, list(range(len(events)))), size))
    assert [event for part in parts for event in part.events] == events
    assert [time for part in parts for time in part.times] == list(range(len(events)))
    assert parts[0].first == 5
    assert parts[-1].last == 4 + len(events)
    for part in parts:
        assert part.last - part.first + 1 == len(part.events)
        assert len(part.events) == 1 or sum(map(len, part.events)) <= size
