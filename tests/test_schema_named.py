"""Events by the names of their fields: every kind, with what it leaves out."""

from __future__ import annotations

import typing
from typing import Any

import msgpack
import pytest
from msgspec import Raw
from msgspec.structs import fields

from engine.schema import (
    MSGPACK,
    Author,
    CommentEvent,
    Event,
    EventKind,
    GiftEvent,
    HeldEvent,
    LinkedCommentEvent,
    ModeratedEvent,
    RankedAuthor,
    StateEvent,
)
from engine.schema.named import named, named_array, type_of

ANN = {"id": "ann", "name": "安", "attributes": {"team": "红"}, "role": "", "level": 0}


def test_a_gift_has_the_names_of_its_fields() -> None:
    gift = GiftEvent(Author("ann", "安", {"team": "红"}), 7, 1, "rose", 2, 20, "", 7, 1, 5_000, 20)
    assert named(MSGPACK.encode(gift)) == {
        "type": "gift",
        "author": ANN,
        "entry": 7,
        "ref": 1,
        "gift": "rose",
        "count": 2,
        "amount": 20,
        "to": "",
        "combo": 7,
        "combo_count": 1,
        "combo_ms": 5_000,
        "given": 20,
        "stream": "",
    }


def test_what_is_left_out_has_its_default_and_is_nobody_elses() -> None:
    comment = MSGPACK.encode(CommentEvent(RankedAuthor("ann", "安", {}, "host", 3), 1, "hi"))
    table = named(comment)
    assert table["author"]["role"] == "host"
    assert (table["reply_to"], table["mentions"], table["expires"]) == (0, [], 0)
    table["mentions"].append("bob")
    assert named(comment)["mentions"] == []
    linked = LinkedCommentEvent(Author("ann"), 1, "hi", 5, ["bob"], 9)
    assert named(MSGPACK.encode(linked))["mentions"] == ["bob"]
    assert named(msgpack.packb([5, ["mod"], "kick"])) == {
        "type": "moderated",
        "author": {"id": "mod", "name": "", "attributes": {}, "role": "", "level": 0},
        "action": "kick",
        "user": "",
        "offsets": [],
        "until": 0,
        "reason": "",
    }


def test_what_a_later_release_adds_is_left_out() -> None:
    event = [*msgpack.unpackb(MSGPACK.encode(ModeratedEvent(Author("mod"), "kick", "ann"))), "more", 1]
    assert set(named_array(event)) == {"type", "author", "action", "user", "offsets", "until", "reason"}


def test_an_event_within_an_event_has_names_too() -> None:
    comment = CommentEvent(Author("ann", "安", {"team": "红"}), 1, "hi")
    plain: list[Any] = msgpack.unpackb(MSGPACK.encode(comment))
    held = HeldEvent(Author("ann"), "s", 1, Raw(MSGPACK.encode(comment)), "words")
    assert named(MSGPACK.encode(held))["event"] == named(MSGPACK.encode(comment))
    pin = StateEvent(Author("host"), 1, "pin", "3", {"offset": 3, "event": plain}, 1)
    assert named(MSGPACK.encode(pin))["value"] == {"offset": 3, "event": named_array(plain)}
    unpinned = StateEvent(Author("host"), 1, "pin", "3", None, 2)
    assert named(MSGPACK.encode(unpinned))["value"] is None


def test_every_kind_of_event_has_all_its_names() -> None:
    for kind in typing.get_args(Event):
        names = {each.name for each in fields(kind)}
        values: list[Any] = [None if name != "author" else ["a"] for name in (each.name for each in fields(kind))]
        if kind is HeldEvent:
            values[3] = [0, 1, 1]
        table = named_array([kind.__struct_config__.tag, *values])
        assert names <= table.keys()
        assert table["type"] == type_of(kind.__struct_config__.tag)
    assert {type_of(kind) for kind in EventKind} >= {"comment", "gift", "packet", "share", "packet_end", "correction"}


@pytest.mark.parametrize("event", [b"\x91\x63", b"\x91\xa1x"])
def test_what_is_of_no_kind_is_refused(event: bytes) -> None:
    with pytest.raises(ValueError, match="is not a valid EventKind"):
        named(event)
