"""What a feed shows: against a plain model, and that every viewer can still count."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import msgpack
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw
from strategies import values

from engine.room.batcher import Collected
from engine.room.feeds import Feeds, FeedView
from engine.schema import (
    MSGPACK,
    Author,
    ComboEvent,
    CommentEvent,
    CorrectionEvent,
    CustomEvent,
    EventKind,
    GiftEvent,
    HeldEvent,
    LinkedCommentEvent,
    ModeratedEvent,
    NoticeEvent,
    OmittedEvent,
    OmittedReason,
    PacketEndEvent,
    PacketEvent,
    PresenceEvent,
    RankedAuthor,
    ShareEvent,
    StateEvent,
)
from engine.settings import FeedSettings

START = 1_700_000_000_000
IDS = ("ann", "bob", "小明", "guest-1")
MONEY_EVENTS = (GiftEvent, ComboEvent, CorrectionEvent, PacketEvent, ShareEvent, PacketEndEvent)
NAMES: dict[int, Any] = {1: "comment", 2: "custom", 4: "notice", 7: "presence"}

authors = st.one_of(
    st.builds(Author, st.sampled_from(IDS), st.text(max_size=5), st.dictionaries(st.text(max_size=3), st.text(max_size=3))),
    st.builds(
        RankedAuthor,
        st.sampled_from(IDS),
        st.text(max_size=5),
        st.just({}),
        st.sampled_from(("viewer", "moderator", "host", "server", "")),
        st.integers(0, 100),
    ),
)
texts = st.sampled_from(("", "x", "太好看了😂" * 8))
events = st.one_of(
    st.builds(CommentEvent, authors, st.integers(0, 2**53 - 1), texts),
    st.builds(LinkedCommentEvent, authors, st.just(1), texts, st.just(3), st.lists(texts, max_size=2), st.integers(0, START)),
    st.builds(CustomEvent, authors, st.just(1), texts, texts),
    st.builds(NoticeEvent, authors, st.just(1), texts, st.booleans()),
    st.builds(PresenceEvent, authors, st.booleans()),
    st.builds(StateEvent, authors, st.just(1), texts, texts, st.sampled_from((None, {"price": "９９"})), st.integers(0, 9)),
    st.builds(ModeratedEvent, authors, st.just("delete"), texts, st.lists(st.integers(1, 9), max_size=4)),
    st.builds(HeldEvent, authors, texts, st.just(1), st.just(Raw(b"\x93\x00\x01\x02"))),
    st.builds(OmittedEvent, st.sampled_from((1, 2)), st.just(1)),
    *(values(kind) for kind in MONEY_EVENTS),
)
feeds = st.builds(
    FeedSettings,
    comments_per_second=st.sampled_from((0.0, 1.0, 2.0, 0.5, 2.5, 10.0)),
    kinds=st.lists(st.sampled_from(("comment", "custom", "notice", "presence")), unique=True).map(tuple),
    roles=st.lists(st.sampled_from(("viewer", "moderator", "host", "server")), unique=True, max_size=2).map(tuple),
    users=st.lists(st.sampled_from(IDS), unique=True, max_size=2).map(tuple),
)


def modelled(settings: FeedSettings, said: list[tuple[Any, int]]) -> list[Any]:
    """Each event if it is shown, else None."""
    seen: dict[int, int] = {}
    rate = settings.comments_per_second
    shown: list[Any] = []
    for event, time in said:
        name = NAMES.get(event.__struct_config__.tag)
        visible = name is None or name in settings.kinds
        if visible and name is not None and event.author.id not in settings.users:
            role = getattr(event.author, "role", "") or "viewer"
            visible = not settings.roles or role in settings.roles
            if visible and rate and name in ("comment", "custom"):
                window = math.floor(time * rate / (1000 * math.ceil(rate)))
                seen[window] = seen.get(window, 0) + 1
                visible = seen[window] <= math.ceil(rate)
        shown.append(event if visible else None)
    return shown


def spread(view: Collected) -> list[Any]:
    """What a viewer makes of it: an event for each offset, None where its feed left one out."""
    offsets: list[Any] = []
    for event in view.events:
        fields = msgpack.unpackb(event)
        offsets += [None] * fields[2] if fields[:2] == [0, OmittedReason.FEED] else [event]
    assert len(offsets) == view.last - view.first + 1
    return offsets


@given(feeds, st.lists(st.tuples(events, st.integers(0, 900)), max_size=25), st.lists(st.integers(0, 25), max_size=4))
def test_a_feed_shows_what_a_plain_model_shows_however_it_is_batched(
    settings: FeedSettings, said: list[tuple[Any, int]], cuts: list[int]
) -> None:
    time = START
    timed = []
    for event, pause in said:
        time += pause
        timed.append((event, time))
    view = FeedView(settings)
    result: list[Any] = []
    bounds = sorted({0, len(timed), *(min(cut, len(timed)) for cut in cuts)})
    for start, end in pairwise(bounds):
        part = timed[start:end]
        batch = Collected(start + 1, end, [MSGPACK.encode(event) for event, _ in part], [time for _, time in part])
        shown = view.show(batch)
        assert (shown.first, shown.last) == (batch.first, batch.last)
        assert len(shown.events) == len(shown.times)
        assert shown.times[:1] == batch.times[:1]
        assert set(shown.times) <= set(batch.times)
        runs = [event[:2] == b"\x93\x00" and event[2] == OmittedReason.FEED for event in shown.events]
        assert not any(one and other for one, other in pairwise(runs)), "a run is one event"
        if shown.events == batch.events:
            assert shown is batch
        result += spread(shown)
    assert result == [None if event is None else MSGPACK.encode(event) for event in modelled(settings, timed)]


def comments(count: int, every_ms: int, author: Author = Author("ann")) -> Collected:  # noqa: B008  (it is frozen)
    events = [MSGPACK.encode(CommentEvent(author, number, "太好看了")) for number in range(1, count + 1)]
    return Collected(1, count, events, [START + number * every_ms for number in range(count)])


def test_a_readable_feed_shows_so_many_in_every_second() -> None:
    shown = FeedView(FeedSettings(comments_per_second=10)).show(comments(1_000, 10))
    times = [time for event, time in zip(shown.events, shown.times, strict=True) if event[1] == EventKind.COMMENT]
    assert [sum(time // 1000 == START // 1000 + second for time in times) for second in range(10)] == [10] * 10


def test_a_rate_below_one_is_one_in_a_longer_time() -> None:
    shown = FeedView(FeedSettings(comments_per_second=0.1)).show(comments(60, 1_000))
    assert sum(event[1] == EventKind.COMMENT for event in shown.events) == 6


def test_the_smallest_rate_is_next_to_nothing() -> None:
    shown = FeedView(FeedSettings(comments_per_second=5e-324)).show(comments(60, 1_000))
    assert sum(event[1] == EventKind.COMMENT for event in shown.events) == 1


def test_tombstones_stay_beside_what_the_feed_leaves_out() -> None:
    tombstone = MSGPACK.encode(OmittedEvent(OmittedReason.DELETED, 1))
    hidden = MSGPACK.encode(CommentEvent(Author("ann"), 1, "x"))
    batch = Collected(5, 9, [hidden, hidden, tombstone, tombstone, hidden], [1, 2, 3, 4, 5])
    shown = FeedView(FeedSettings(kinds=("notice",))).show(batch)
    assert [msgpack.unpackb(event) for event in shown.events] == [[0, 3, 2], [0, 1, 1], [0, 1, 1], [0, 3, 1]]
    assert shown.times == [1, 3, 4, 5]


def test_users_of_a_feed_are_shown_whatever_their_role_and_however_many_speak() -> None:
    view = FeedView(FeedSettings(comments_per_second=1, roles=("host",), users=("ann",)))
    assert view.show(batch := comments(50, 1)) is batch
    others = view.show(comments(50, 1, Author("bob")))
    assert [msgpack.unpackb(event) for event in others.events] == [[0, 3, 50]]


@given(feeds, st.lists(st.one_of(*(values(kind) for kind in MONEY_EVENTS)), min_size=1, max_size=40))
def test_money_is_in_every_feed_however_much_it_is(settings: FeedSettings, money: list[Any]) -> None:
    batch = Collected(1, len(money), [MSGPACK.encode(event) for event in money], [START] * len(money))
    assert FeedView(settings).show(batch) is batch


def test_money_takes_no_place_from_comments() -> None:
    gifts = [MSGPACK.encode(GiftEvent(Author("ann"), entry, 1, "rose", 1, 10, "", 1, 1, 0, 10)) for entry in range(1, 50)]
    view = FeedView(FeedSettings(comments_per_second=1))
    view.show(Collected(1, 49, gifts, [START] * 49))
    assert [event[1] for event in view.show(comments(2, 1)).events] == [EventKind.COMMENT, EventKind.OMITTED]


def test_kinds_that_a_feed_does_not_know_are_shown() -> None:
    new = msgpack.packb([15, ["ann", "", {}], "from a later version"])
    batch = Collected(1, 1, [new], [START])
    assert FeedView(FeedSettings(kinds=(), roles=("host",))).show(batch) is batch


def test_feeds_are_numbered_from_one_in_the_order_of_the_settings() -> None:
    feeds = Feeds({"readable": FeedSettings(comments_per_second=10), "money": FeedSettings(kinds=("custom",))})
    assert len(feeds) == 3
    assert [feeds.number(name) for name in ("", "readable", "money", "none")] == [0, 1, 2, None]
    assert feeds.plain_variants == (0, 1, 4, 5, 8, 9)
    batch = comments(50, 1)
    assert feeds.view(0).show(batch) is batch
    assert len(feeds.view(1).show(batch).events) == 11
    assert len(feeds.view(2).show(batch).events) == 1


def test_a_feed_that_is_not_there_any_more_shows_everything() -> None:
    batch = comments(50, 1)
    assert Feeds({}).view(3).show(batch) is batch
