"""Every kind of event and answer, as the engine writes it and as a viewer reads it."""

from __future__ import annotations

import json
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from engine import schema
from engine.client.control import PageAnswer, StateAnswer
from engine.client.counters import Counters
from engine.client.items import (
    Author,
    Combo,
    Comment,
    Correction,
    Custom,
    Entry,
    Gift,
    Held,
    Moderated,
    Notice,
    Omitted,
    Packet,
    PacketEnd,
    Page,
    Presence,
    Present,
    ProtocolViolation,
    Share,
    Snapshot,
    State,
    Unknown,
)
from engine.client.reading import read_event

from .test_follower import EPOCH, HANDLE, batch, gap, live

HOST = schema.RankedAuthor("h1", "主播", {"team": "红"}, "host", 9)
READ_HOST = Author("h1", "主播", {"team": "红"}, "host", 9)


def read_back(codec: schema.Codec, message: schema.ServerMessage) -> Any:
    data = codec.encode(message)
    return json.loads(data) if codec.text else msgpack.unpackb(data, strict_map_key=False)


@pytest.fixture(params=schema.CODECS, ids=lambda codec: codec.subprotocol)
def codec(request: pytest.FixtureRequest) -> schema.Codec:
    found: schema.Codec = request.param
    return found


def events(codec: schema.Codec) -> list[Raw]:
    spoken = schema.LinkedCommentEvent(HOST, 5, "你好 👋", 17, ["u2", "u3"], 9_000)
    written = [
        spoken,
        schema.CommentEvent(schema.Author("u1"), 0, "plain"),
        schema.StateEvent(HOST, 6, "card", "p1", {"title": "茶", "price": 5.5, "tags": ["新"]}, 3),
        schema.StateEvent(HOST, 7, "card", "p1", None, 4),
        schema.NoticeEvent(HOST, 8, "要下课了", True),
        schema.ModeratedEvent(HOST, "delete_user", "u7", [3, 5, 9, 9], 0, ""),
        schema.HeldEvent(schema.Author("u1"), "s" * 16, 4, Raw(codec.encode(spoken)), "word"),
        schema.PresenceEvent(HOST, False),
        schema.OmittedEvent(schema.OmittedReason.EXPIRED, 2),
        schema.CustomEvent(HOST, 9, "gift", "{}"),
        schema.GiftEvent(HOST, 1, 10, "rose", 99, 990, "u2", 1, 99, 5_000, 2_000),
        schema.ComboEvent(HOST, 2, 1, "rose", "u2", 100, 1_000),
        schema.CorrectionEvent(schema.Author("server", "", {}), 3, 1, "h1", -990, -5, "refund"),
        schema.PacketEvent(HOST, 4, 11, 1_000, 3, "random", 5_000, 9_000, True, "恭喜", "发财", "c0" * 32),
        schema.ShareEvent(schema.Author("u1"), 5, 4, 1, 333),
        schema.PacketEndEvent(HOST, 6, 4, "expired", 1, 667, "5e" * 32),
    ]
    return [Raw(codec.encode(event)) for event in written]


def read(first: int, times: list[int]) -> list[Any]:
    at = [(EPOCH, first + index, time) for index, time in enumerate(times)]
    comment = (READ_HOST, "你好 👋", 5, 17, ("u2", "u3"), 9_000)
    return [
        Comment(*at[0], *comment),
        Comment(*at[1], Author("u1"), "plain", 0),
        State(*at[2], READ_HOST, 6, "card", "p1", {"title": "茶", "price": 5.5, "tags": ["新"]}, 3),
        State(*at[3], READ_HOST, 7, "card", "p1", None, 4),
        Notice(*at[4], READ_HOST, 8, "要下课了", True),
        Moderated(*at[5], READ_HOST, "delete_user", "u7", ((3, 5), (9, 9)), 0, ""),
        Held(*at[6], Author("u1"), "s" * 16, 4, Comment(*at[6], *comment), "word"),
        Presence(*at[7], READ_HOST, False),
        Omitted(EPOCH, first + 8, first + 9, 2),
        Custom(EPOCH, first + 10, times[9], READ_HOST, "gift", "{}", 9),
        Gift(EPOCH, first + 11, times[10], READ_HOST, 1, 10, "rose", 99, 990, "u2", 1, 99, 5_000, 2_000),
        Combo(EPOCH, first + 12, times[11], READ_HOST, 2, 1, "rose", "u2", 100, 1_000),
        Correction(EPOCH, first + 13, times[12], Author("server"), 3, 1, "h1", -990, -5, "refund"),
        Packet(
            *(EPOCH, first + 14, times[13], READ_HOST, 4, 11, 1_000, 3),
            *("random", 5_000, 9_000, True, "恭喜", "发财", "c0" * 32),
        ),
        Share(EPOCH, first + 15, times[14], Author("u1"), 5, 4, 1, 333),
        PacketEnd(EPOCH, first + 16, times[15], READ_HOST, 6, 4, "expired", 1, 667, "5e" * 32),
    ]


def test_events_of_a_batch(codec: schema.Codec) -> None:
    delays = list(range(16))
    message = schema.Batch(HANDLE, EPOCH, 1, 17, 1000, events(codec), delays, (3, 2), {})
    assert live().feed(read_back(codec, message)) == read(1, [1000 + delay for delay in delays])


def test_a_page_of_history(codec: schema.Codec) -> None:
    times = [500 + at for at in range(16)]
    message = schema.Page(4, HANDLE, EPOCH, 21, 37, times, events(codec))
    (answer,) = live().feed(read_back(codec, message))
    assert answer == PageAnswer(4, Page(EPOCH, 21, 37, tuple(read(21, times))))
    assert isinstance(answer, PageAnswer)
    assert [event.time for event in answer.page.events] == times
    assert live().feed(read_back(codec, schema.Page(4, HANDLE, EPOCH, 1, 0, [], []))) == [PageAnswer(4, Page(EPOCH, 1, 0, ()))]


def test_a_snapshot_with_everything(codec: schema.Codec) -> None:
    totals = {"peak": 7, "rate": 3, "votes": {"poll:a": [1, 2]}, "receipts": {"9": [2, 1]}}
    recent = [
        (offset, 100 + offset, raw) for offset, raw in zip((1, 2, 9), [*events(codec)[:2], events(codec)[8]], strict=True)
    ]
    state: list[tuple[str, str, Any, int]] = [("pin", "", {"offset": 3}, 4)]
    message = schema.Snapshot(HANDLE, "大厅", EPOCH, 5, 500, (3, 2), 25_000, totals, state, recent)
    (snapshot,) = live(5).feed(read_back(codec, message))
    assert isinstance(snapshot, Snapshot)
    assert snapshot.counters == Counters(3, 2, 7, 0, 3, {}, {}, {"poll:a": (1, 2)}, {9: (2, 1)})
    assert snapshot.state == {("pin", ""): Entry({"offset": 3}, 4)}
    assert [(event.offset, event.time) for event in snapshot.recent] == [(1, 101), (2, 102)]


def test_an_answer_about_the_state(codec: schema.Codec) -> None:
    follower = live()
    follower.feed(gap(1, 3))
    message = schema.State(8, HANDLE, EPOCH, 3, {}, [("mode", "", {"mode": "open"}, 2)])
    assert follower.feed(read_back(codec, message)) == [
        StateAnswer(8),
        Present(EPOCH, 3, {("mode", ""): Entry({"mode": "open"}, 2)}),
    ]


def test_integers_may_be_keys_of_a_map() -> None:
    (counters,) = live().feed(
        msgpack.unpackb(msgpack.packb(batch(1, 0, totals={"receipts": {9: [2, 1]}})), strict_map_key=False)
    )
    assert counters == Counters(3, 2, receipts={9: (2, 1)})


def test_an_event_keeps_what_this_version_does_not_know() -> None:
    fields = [4, ["h1", "", {}, "host", 1, "new"], 0, "x", False, "of tomorrow"]
    event = read_event(EPOCH, 1, 2, fields)
    assert event == Notice(EPOCH, 1, 2, Author("h1", "", {}, "host", 1), 0, "x")
    assert event.raw == fields
    assert read_event(EPOCH, 1, 2, [77, 5]) == Unknown(EPOCH, 1, 2, 77, (5,))


@pytest.mark.parametrize(
    "event",
    [
        [1, ["u1"], 0, "x", -1],
        [1, ["u1"], 0, "x", 0, "u2"],
        [1, ["u1"], 0, "x", 0, [5]],
        [1, ["u1"], 0, "x", 0, [], None],
        [1, ["u1", "", {}, 5], 0, "x"],
        [1, ["u1", "", {}, "host", "9"], 0, "x"],
        [4, ["u1"], 0, "x", 1],
        [4, ["u1"], 0],
        [5, ["u1"]],
        [5, ["u1"], "delete", "", [3]],
        [5, ["u1"], "delete", "", [5, 3]],
        [5, ["u1"], "delete", "", ["3", 4]],
        [6, ["u1"], "s", 0],
        [6, ["u1"], "s", 0, "x"],
        [6, ["u1"], "s", 0, [0, 1, 1]],
        [6, ["u1"], "s", 0, [6, ["u1"], "s", 0, [1, ["u1"], 0, "x"]]],
        [7, ["u1"]],
        [7, ["u1"], "yes"],
        [8, ["u1"], -1, 0, "rose", 1, 10, "", 1, 1, 0, 10],
        [8, ["u1"], 1, 0, None, 1, 10, "", 1, 1, 0, 10],
        [8, ["u1"], 1, 0, "rose", 1, 10, "", 1, 1, 0],
        [9, ["u1"], 1, 1, "rose", "", 2],
        [10, ["u1"], 1, 1, "u2", -(2**53), 0],
        [10, ["u1"], 1, 1, "u2", 1.5, 0],
        [11, ["u1"], 1, 0, 10, 1, "random", 0, 0, 1, "", "", ""],
        [11, ["u1"], 1, 0, 10, 1, "random", 0, 0, True, "", ""],
        [12, ["u1"], 1, 1, 1],
        [13, ["u1"], 1, 1, "emptied", 1, -1, ""],
    ],
)
def test_malformed_events_are_caught(event: list[Any]) -> None:
    follower = live()
    with pytest.raises(ProtocolViolation):
        follower.feed(batch(1, 1, events=[event]))
    assert follower.position == (EPOCH, 0)


@pytest.mark.parametrize(
    "page",
    [
        [4, HANDLE, EPOCH, 3, 1, [], []],
        [4, HANDLE, EPOCH, 3, 4, [1, 2], [[99]]],
        [4, HANDLE, EPOCH, 3, 4, [1], [[99]]],
        [4, HANDLE, EPOCH, 3, 4, [1, 2, 3], [[99]] * 3],
        [4, HANDLE, EPOCH, 3, 4, [1], [[0, 1, 3]]],
        [4, HANDLE, EPOCH, 3, 3, [1], ["x"]],
        [4, HANDLE, EPOCH, 3, 3, ["1"], [[99]]],
        [4, HANDLE + 1, EPOCH, 3, 3, [1], [[99]]],
    ],
)
def test_malformed_pages_are_caught(page: list[Any]) -> None:
    with pytest.raises(ProtocolViolation):
        live().feed([40, *page])


WILD = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 2**53) | st.text(max_size=3) | st.floats(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
)


@given(
    st.integers(0, 14), st.lists(WILD, max_size=12), st.sampled_from(["event", "page", "state", "totals", "givers", "gifts"])
)
def test_garbage_is_read_or_refused_and_nothing_else(kind: int, fields: list[Any], where: str) -> None:
    message = {
        "event": batch(1, 1, events=[[kind, ["u1"], *fields]]),
        "page": [40, 1, HANDLE, EPOCH, 1, 1, [1], [[kind, ["u1"], *fields]]],
        "state": [41, 1, HANDLE, EPOCH, 3, {}, [["a", *fields], fields]],
        "totals": batch(
            1, 0, totals=dict(zip(("votes", "receipts", "withheld", "rate", "peak", "givers"), fields, strict=False))
        ),
        "givers": [43, 1, HANDLE, "", 0, [fields, ["u1", *fields]]],
        "gifts": [44, 1, HANDLE, [fields, ["rose", "", *fields]]],
    }[where]
    follower = live()
    try:
        follower.feed(message)
    except ProtocolViolation:
        assert follower.position == (EPOCH, 0)
        assert follower.state.entries == {}
        assert follower.counters == Counters(3, 2)
        assert follower.entries.seen == 0
