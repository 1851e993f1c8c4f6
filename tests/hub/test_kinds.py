"""What a value of each kind may be, and what a change makes of the one before."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import WORDS

from engine.errors import Code, Refused
from engine.hub.kinds import KINDS, POLL_MS_MAX, poll_closed, restored, value_after
from engine.schema import JSON, MSGPACK

NOW = 1_700_000_000_000
POLL = {"question": "Which?", "options": ["a", "b"]}
CARD = {"title": "Mug"}
PACKET = {"author": ["ann", "安"], "total": 100, "shares": 5, "split": "random", "opens": NOW, "expires": NOW + 1}


def after(kind: str, given: dict[str, Any], old: dict[str, Any] | None = None, now_ms: int = NOW) -> dict[str, Any]:
    return value_after(KINDS[kind], given, old or {}, now_ms)


def outcome(kind: str, given: dict[str, Any], old: dict[str, Any] | None = None, now_ms: int = NOW) -> dict[str, Any] | Refused:
    try:
        return after(kind, given, old, now_ms)
    except Refused as refusal:
        return refusal


def refused(kind: str, given: dict[str, Any], old: dict[str, Any] | None = None, now_ms: int = NOW) -> Refused:
    made = outcome(kind, given, old, now_ms)
    assert isinstance(made, Refused)
    return made


@pytest.mark.parametrize(
    ("kind", "given", "made"),
    [
        ("attribute", {"value": "a\u202eb\r\nc"}, {"value": "ab\nc"}),
        ("attribute", {"value": True}, {"value": True}),
        ("attribute", {"value": -1.5}, {"value": -1.5}),
        ("attribute", {"value": 1 - 2**53}, {"value": 1 - 2**53}),
        (
            "card",
            {"title": " A \n mug "},
            {"title": "A mug", "price": "", "image": "", "url": "", "on_sale": True, "now": False},
        ),
        (
            "card",
            {"title": "m", "price": "€ 9", "stock": 0, "image": "/m.png", "url": "https://s.example/m", "now": True},
            {
                "title": "m",
                "price": "€ 9",
                "stock": 0,
                "image": "/m.png",
                "url": "https://s.example/m",
                "on_sale": True,
                "now": True,
            },
        ),
        ("poll", POLL, {**POLL, "open": True, "closes": 0}),
        ("poll", {**POLL, "closes_ms": 5_000}, {**POLL, "open": True, "closes": NOW + 5_000}),
        ("poll", {**POLL, "closes": NOW + 1}, {**POLL, "open": True, "closes": NOW + 1}),
        ("mode", {}, {"mode": "open", "slow": {}}),
        ("mode", {"mode": "emotes", "slow": {"viewer": 30}}, {"mode": "emotes", "slow": {"viewer": 30.0}}),
        ("life", {}, {"state": "open", "title": "", "stream": ""}),
        (
            "life",
            {"state": "closed", "title": " T ", "stream": " 2026-11-20\n晚 "},
            {"state": "closed", "title": "T", "stream": "2026-11-20 晚"},
        ),
        (
            "packet",
            PACKET,
            {**PACKET, "followers": False, "phrase": "", "text": "", "commitment": ""},
        ),
        ("pin", {"offset": 7, "event": [1]}, {"offset": 7, "event": [1]}),
        ("notice", {"offset": 7}, {"offset": 7, "deadline": 0, "receipts": True}),
    ],
)
def test_a_new_value_is_clean_and_has_its_defaults(kind: str, given: dict[str, Any], made: dict[str, Any]) -> None:
    value = after(kind, given)
    assert value == made
    assert [type(each) for each in value.values()] == [type(made[name]) for name in value]


@pytest.mark.parametrize(
    ("kind", "given", "code", "field"),
    [
        ("attribute", {}, Code.INVALID, "value"),
        ("attribute", {"value": None}, Code.INVALID, "value"),
        ("attribute", {"value": []}, Code.INVALID, "value"),
        ("attribute", {"value": b"x"}, Code.INVALID, "value"),
        ("attribute", {"value": 2**53}, Code.INVALID, "value"),
        ("attribute", {"value": -(2**53)}, Code.INVALID, "value"),
        ("attribute", {"value": math.inf}, Code.INVALID, "value"),
        ("attribute", {"value": math.nan}, Code.INVALID, "value"),
        ("attribute", {"value": 1, "more": 2}, Code.INVALID, "more"),
        ("card", {}, Code.INVALID, "title"),
        ("card", {"title": "\u3164 \n"}, Code.EMPTY, "title"),
        ("card", {"title": "x" * 257}, Code.INVALID, "title"),
        ("card", {**CARD, "price": "x" * 65}, Code.INVALID, "price"),
        ("card", {**CARD, "price": 5}, Code.INVALID, "price"),
        ("card", {**CARD, "stock": -1}, Code.INVALID, "stock"),
        ("card", {**CARD, "stock": 1.5}, Code.INVALID, "stock"),
        ("card", {**CARD, "stock": 2**53}, Code.INVALID, "stock"),
        ("card", {**CARD, "url": "javascript:alert(1)"}, Code.INVALID, "url"),
        ("card", {**CARD, "url": "https://a b"}, Code.INVALID, "url"),
        ("card", {**CARD, "image": "data:image/png;base64,AA"}, Code.INVALID, "image"),
        ("card", {**CARD, "image": "/" + "x" * 1024}, Code.INVALID, "image"),
        ("card", {**CARD, "on_sale": 1}, Code.INVALID, "on_sale"),
        ("card", {**CARD, "on_sale": False, "now": True}, Code.INVALID, "now"),
        ("poll", {"options": ["a", "b"]}, Code.INVALID, "question"),
        ("poll", {**POLL, "question": " "}, Code.EMPTY, "question"),
        ("poll", {**POLL, "question": "x" * 257}, Code.INVALID, "question"),
        ("poll", {"question": "q"}, Code.INVALID, "options"),
        ("poll", {**POLL, "options": ["a"]}, Code.INVALID, "options"),
        ("poll", {**POLL, "options": [str(each) for each in range(17)]}, Code.INVALID, "options"),
        ("poll", {**POLL, "options": ["a", " a "]}, Code.INVALID, "options"),
        ("poll", {**POLL, "options": ["a", ""]}, Code.EMPTY, "options"),
        ("poll", {**POLL, "options": ["a", "x" * 257]}, Code.INVALID, "options"),
        ("poll", {**POLL, "options": ["a", 1]}, Code.INVALID, "options"),
        ("poll", {**POLL, "open": False}, Code.INVALID, "open"),
        ("poll", {**POLL, "closes": NOW}, Code.INVALID, "closes"),
        ("poll", {**POLL, "closes": NOW + POLL_MS_MAX + 1}, Code.INVALID, "closes"),
        ("poll", {**POLL, "closes_ms": POLL_MS_MAX + 1}, Code.INVALID, "closes_ms"),
        ("poll", {**POLL, "closes_ms": -1}, Code.INVALID, "closes_ms"),
        ("mode", {"mode": "quiet"}, Code.INVALID, "mode"),
        ("mode", {"slow": {"reader": 1}}, Code.INVALID, "slow"),
        ("mode", {"slow": {"viewer": -1}}, Code.INVALID, "slow"),
        ("mode", {"slow": {"viewer": 86_401}}, Code.INVALID, "slow"),
        ("mode", {"slow": {"viewer": math.nan}}, Code.INVALID, "slow"),
        ("life", {"state": "paused"}, Code.INVALID, "state"),
        ("life", {"title": "x" * 257}, Code.INVALID, "title"),
        ("life", {"stream": "x" * 65}, Code.INVALID, "stream"),
        ("packet", {**PACKET, "author": ["ann"]}, Code.INVALID, "author"),
        ("packet", {**PACKET, "total": -1}, Code.INVALID, "total"),
        ("pin", {"offset": 0}, Code.INVALID, "offset"),
        ("notice", {"offset": 1, "deadline": -1}, Code.INVALID, "deadline"),
        ("question", {"body": "b", "time": 1, "author": "me"}, Code.INVALID, "author"),
    ],
)
def test_what_is_out_of_bounds_is_named(kind: str, given: dict[str, Any], code: Code, field: str) -> None:
    refusal = refused(kind, given)
    assert refusal.code is code
    assert field in refusal.text


def test_a_change_keeps_what_it_does_not_name() -> None:
    card = after("card", {"title": "Mug", "stock": 5, "price": "$1", "now": True})
    assert after("card", {"stock": 4}, card) == {**card, "stock": 4}
    mode = after("mode", {"mode": "staff", "slow": {"viewer": 3}})
    assert after("mode", {"mode": "open"}, mode) == {**mode, "mode": "open"}
    assert after("mode", {"slow": {}}, mode) == {"mode": "staff", "slow": {}}


def test_a_card_that_is_sold_out_of_sale_is_not_shown_now() -> None:
    card = after("card", {"title": "Mug", "now": True})
    assert after("card", {"on_sale": False}, card) == {**card, "on_sale": False, "now": False}


def test_the_options_of_a_poll_stay() -> None:
    poll = after("poll", POLL)
    assert after("poll", {"options": ["a ", "b"], "question": "Which one?"}, poll) == {**poll, "question": "Which one?"}
    assert "options" in refused("poll", {"options": ["b", "a"]}, poll).text


def test_the_end_of_a_poll_moves_while_it_is_open() -> None:
    poll = after("poll", {**POLL, "closes_ms": 1_000})
    assert after("poll", {"closes_ms": 5_000}, poll, NOW + 999)["closes"] == NOW + 5_999
    assert after("poll", {"closes_ms": 0}, poll, NOW + 999)["closes"] == 0
    assert "closes" in refused("poll", {"closes": NOW + 500}, poll, NOW + 500).text


@pytest.mark.parametrize("end", ["closed", "deadline"])
def test_a_closed_poll_stays_closed(end: str) -> None:
    poll = after("poll", {**POLL, "closes_ms": 1_000})
    closed, later = (after("poll", {"open": False}, poll), NOW) if end == "closed" else (poll, NOW + 1_000)
    assert poll_closed(closed, later)
    assert "open" in refused("poll", {"open": True}, closed, later).text
    assert "closes" in refused("poll", {"closes_ms": 9_000}, closed, later).text
    assert after("poll", {"open": False}, closed, later) == {**poll, "open": False}
    assert after("poll", {"question": "Typo?"}, closed, later) == {**poll, "question": "Typo?", "open": False}


def test_of_a_question_only_the_answer_changes() -> None:
    old = {"body": "Why?", "author": {"id": "u", "name": "U"}, "time": NOW, "answered": False}
    assert after("question", {"answered": True}, old) == {**old, "answered": True}
    assert after("question", {**old, "answered": True}, old) == {**old, "answered": True}
    assert "body" in refused("question", {"body": "How?"}, old).text
    assert "author" in refused("question", {"author": {"id": "v", "name": "U"}}, old).text
    assert "time" in refused("question", {"time": NOW + 1}, old).text


def test_what_another_version_stored_is_understood() -> None:
    assert restored(KINDS["poll"], {**POLL, "later": 1}) == {**POLL, "open": True, "closes": 0, "later": 1}
    kept = after("card", {"stock": 1}, {**after("card", CARD), "later": 1})
    assert (kept["stock"], kept["later"]) == (1, 1)
    with pytest.raises(msgspec.ValidationError):
        restored(KINDS["poll"], {"question": 5})


FIELDS = sorted({name for shape in KINDS.values() for name in shape.__struct_fields__})
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | WORDS | st.binary(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS | st.integers(), inner, max_size=3),
    max_leaves=8,
)
LIKELY = st.fixed_dictionaries(
    {},
    optional={
        "value": WORDS | st.integers() | st.floats() | st.booleans(),
        "title": WORDS,
        "price": WORDS,
        "question": WORDS,
        "options": st.lists(WORDS, max_size=4),
        "closes_ms": st.integers(0, POLL_MS_MAX),
        "stock": st.integers(-1),
        "now": st.booleans(),
        "on_sale": st.booleans(),
        "slow": st.dictionaries(st.sampled_from(["viewer", "host"]), st.floats(0, 100)),
        "answered": st.booleans(),
        "deadline": st.integers(0),
    },
)
NEEDED: dict[str, dict[str, Any]] = {
    "attribute": {"value": ""},
    "card": CARD,
    "poll": POLL,
    "question": {"body": "Why?", "author": {"id": "u", "name": ""}, "time": 0},
    "pin": {"offset": 1},
    "notice": {"offset": 1},
    "packet": PACKET,
}


@st.composite
def values(draw: st.DrawFn) -> tuple[str, dict[str, Any]]:
    """A kind, and what may or may not be a value of it."""
    kind = draw(st.sampled_from(sorted(KINDS)))
    if draw(st.booleans()):
        return kind, draw(st.dictionaries(st.sampled_from(FIELDS) | WORDS, ANYTHING, max_size=4))
    likely = draw(LIKELY)
    return kind, NEEDED.get(kind, {}) | {name: likely[name] for name in likely if name in KINDS[kind].__struct_fields__}


@given(values(), st.integers(0, POLL_MS_MAX))
def test_whatever_comes_is_refused_or_made_a_value_that_all_codecs_carry(
    drawn: tuple[str, dict[str, Any]], passed_ms: int
) -> None:
    kind, given = drawn
    given.pop("event", None)
    made = outcome(kind, given)
    if isinstance(made, Refused):
        assert made.code in (Code.INVALID, Code.EMPTY)
        assert made.text
    else:
        check_carried(kind, made, NOW + passed_ms)


def check_carried(kind: str, value: dict[str, Any], later: int) -> None:
    assert msgspec.json.decode(JSON.encode(value)) == value
    assert restored(KINDS[kind], msgspec.msgpack.decode(MSGPACK.encode(value))) == value
    # As it was told it may come back, at any time.
    if kind == "poll" and poll_closed(value, later):
        assert after(kind, {**value, "open": False}, value, later) == {**value, "open": False}
    else:
        assert after(kind, value, value, later) == value
        assert after(kind, {}, value, later) == value
