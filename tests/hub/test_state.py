"""Who may change what in a room's state, what becomes of it, and that all hubs have the same."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from strategies import plainly

from engine.access import Standing
from engine.errors import Code, Refused
from engine.hub.actor import Actor
from engine.hub.state import (
    PINS,
    QUESTION_CHARACTERS,
    QUESTIONS,
    Entries,
    Entry,
    Plan,
    field_of,
    key_of,
    may_vote,
    notice_entry,
    plan,
    question,
)
from engine.schema import MSGPACK, Ask, Author, Change, LinkedCommentEvent
from engine.settings import RoomSettings

NOW = 1_700_000_000_000
COMMENT = [1, ["u", "U", {}], 5, "hello"]


def actor(user: str, role: str = "viewer", session: str = "") -> Actor:
    return Actor(Author(user, user.title()), Standing(role), session or f"{user}-session-00000", 1)


HOST, MODERATOR, ANN, BOB = actor("host", "host"), actor("mod", "moderator"), actor("ann"), actor("bob")
READER = actor("rea", "reader")
SERVER = Actor(Author("server"), Standing("server"))


class Room:
    """A record, and entries that follow it, as a hub has them."""

    def __init__(self, **settings: Any) -> None:
        self.settings = RoomSettings(**settings)
        self.entries = Entries()
        self.fields: dict[str, bytes] = {}
        self.revision = 0
        self.now = NOW
        self._versions: dict[tuple[str, str], int] = {}

    def amend(self, field: str, value: bytes | None) -> None:
        if value is None:
            self.fields.pop(field, None)
        else:
            self.fields[field] = value
        self.revision += 1
        self.entries.apply(field, value)

    def change(
        self,
        who: Actor,
        kind: str,
        key: str,
        value: dict[str, Any] | None,
        expect: int = -1,
        *,
        on_leave: bool = False,
        event: list[Any] | None = None,
    ) -> Entry:
        change = Change(1, 0, kind, key, value, expect, on_leave)
        return self.carry_out(plan(self.entries, change, who, self.settings, self.now, self.revision, event))

    def ask(self, who: Actor, ref: int, body: str) -> list[Plan]:
        plans = question(self.entries, Ask(ref, 0, body), who, self.settings, self.now, self.revision)
        if plans:
            self.carry_out(plans)
        return plans

    def carry_out(self, plans: list[Plan]) -> Entry:
        for entry, deletes in plans:
            name = (entry.kind, entry.key)
            assert entry.version > self._versions.get(name, 0), "versions rise, also over deletions"
            self._versions[name] = entry.version
            self.amend(field_of(*name), None if deletes else entry.encode())
            assert entry.version <= self.revision
            assert self.entries.get(*name) == (None if deletes else entry)
        return plans[0].entry

    def refuses(self, code: Code, *args: Any, **kwargs: Any) -> str:
        before = dict(self.fields)
        with pytest.raises(Refused) as caught:
            self.change(*args, **kwargs)
        assert caught.value.code is code
        assert self.fields == before
        return caught.value.text


# -- entries ----------------------------------------------------------------------------------------------------------


@given(st.text(min_size=1).filter(lambda kind: ":" not in kind), st.text())
def test_a_field_names_one_entry(kind: str, key: str) -> None:
    assert key_of(field_of(kind, key)) == (kind, key)


@pytest.mark.parametrize("field", ["", "s:", "s::", "s::a", "s:poll", "title", "x:mute:ann"])
def test_other_fields_hold_no_entry(field: str) -> None:
    assert key_of(field) is None
    entries = Entries()
    entries.apply(field, b"\xc0")
    assert not entries.snapshot()


def test_what_cannot_be_read_is_not_there() -> None:
    room = Room()
    room.change(HOST, "card", "c", {"title": "Mug"})
    for value in (b"", b"\xc1", MSGPACK.encode([1]), MSGPACK.encode([1, "", "", 1, {"title": 5}])):
        room.amend(field_of("card", "c"), value)
        assert room.entries.get("card", "c") is None
    assert len(room.entries) == 0
    assert room.change(HOST, "card", "c", {"title": "Mug"}).version == room.revision


def test_a_snapshot_is_the_same_until_something_changes_and_the_last_change_is_last() -> None:
    room = Room()
    first = room.change(HOST, "attribute", "b", {"value": 1})
    second = room.change(HOST, "attribute", "a", {"value": 2})
    snapshot = room.entries.snapshot()
    assert snapshot == [("attribute", "b", first.value, first.version), ("attribute", "a", second.value, second.version)]
    room.amend("title", b"x")
    room.amend("x:mute:ann", b"x")
    assert room.entries.snapshot() is snapshot
    third = room.change(HOST, "attribute", "b", {"value": 3})
    assert [each[3] for each in room.entries.snapshot()] == [second.version, third.version]
    assert Entries.from_fields(dict(reversed(room.fields.items()))).snapshot() == room.entries.snapshot()


def test_kinds_of_another_version_count_and_are_not_shown() -> None:
    entries = Entries.from_fields({field_of("banner", "b"): Entry("banner", "b", {"x": 1}, 3).encode()})
    assert (len(entries), entries.limited, entries.snapshot()) == (1, 1, [])
    entries.apply(field_of("banner", "b"), None)
    assert (len(entries), entries.limited) == (0, 0)


# -- what was asked for -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["", " a", "a ", "a\nb", "a\u202eb", "x" * 65, "e\u0301", "\ud800"])
def test_keys_look_like_what_they_are(key: str) -> None:
    assert "key" in Room().refuses(Code.INVALID, HOST, "attribute", key, {"value": 1})


@pytest.mark.parametrize("kind", ["mode", "life"])
def test_there_is_one_mode_and_one_life(kind: str) -> None:
    room = Room()
    assert "key" in room.refuses(Code.INVALID, HOST, kind, "a", {})
    room.change(HOST, kind, "", {})
    assert room.entries.limited == 0


def test_an_unknown_kind_is_refused() -> None:
    assert "kind" in Room().refuses(Code.INVALID, HOST, "banner", "a", {})


@pytest.mark.parametrize("kind", ["card", "poll", "pin", "mode", "life", "question", "notice", "packet"])
def test_what_the_room_is_is_not_for_viewers(kind: str) -> None:
    key = "" if kind in ("mode", "life") else "1"
    for who in (ANN, READER):
        Room().refuses(Code.FORBIDDEN, who, kind, key, {})
        Room().refuses(Code.FORBIDDEN, who, kind, key, None)


def test_notices_are_the_servers_own() -> None:
    room = Room()
    entry = notice_entry(12, NOW + 5)
    room.amend(field_of("notice", "12"), entry.encode())
    assert room.entries.snapshot() == [("notice", "12", {"offset": 12, "deadline": NOW + 5, "receipts": True}, 1)]
    assert room.entries.limited == 0
    room.refuses(Code.FORBIDDEN, HOST, "notice", "12", None)


@pytest.mark.parametrize("who", [ANN, MODERATOR, HOST, SERVER], ids=lambda who: who.user)
def test_red_packets_are_the_ledgers_own(who: Actor) -> None:
    room = Room()
    value = {
        "author": ["ann", "Ann"],
        "total": 100,
        "shares": 5,
        "split": "equal",
        "opens": NOW,
        "expires": NOW + 5,
        "followers": True,
        "phrase": "恭喜发财",
        "text": "红包来了",
        "commitment": "c0ffee",
    }
    room.amend(field_of("packet", "12"), Entry("packet", "12", value, 7, "ann", "", 7).encode())
    assert room.entries.snapshot() == [("packet", "12", value, 7)]
    assert room.entries.limited == 0
    for key in ("12", "13"):
        for given_ in (None, {}, value):
            assert "ledger" in room.refuses(Code.FORBIDDEN, who, "packet", key, given_)


def test_the_room_tells_its_present_broadcast() -> None:
    room = Room()
    assert room.entries.stream == ""
    room.change(HOST, "life", "", {"stream": " 开播 7 "})
    assert (room.entries.life, room.entries.stream) == ("open", "开播 7")
    room.change(HOST, "life", "", {"state": "closed"})
    assert (room.entries.life, room.entries.stream) == ("closed", "开播 7")
    # As an older version has written it.
    room.amend(field_of("life", ""), Entry("life", "", {"state": "open", "title": "t"}, 9).encode())
    assert room.entries.stream == ""


def test_a_change_builds_on_a_version() -> None:
    room = Room()
    room.refuses(Code.CONFLICT, HOST, "card", "c", {"title": "a"}, 1)
    first = room.change(HOST, "card", "c", {"title": "a"}, 0)
    room.refuses(Code.CONFLICT, HOST, "card", "c", {"title": "b"}, 0)
    second = room.change(HOST, "card", "c", {"title": "b"}, first.version)
    room.refuses(Code.CONFLICT, HOST, "card", "c", None, first.version)
    gone = room.change(HOST, "card", "c", None, second.version)
    assert gone.version > second.version
    room.refuses(Code.CONFLICT, HOST, "card", "c", None, gone.version)
    assert room.change(HOST, "card", "c", {"title": "c"}, 0).version > gone.version


@pytest.mark.parametrize("kind", ["attribute", "card", "poll", "question", "pin", "mode", "life"])
def test_nothing_is_not_deleted(kind: str) -> None:
    room = Room()
    key = "" if kind in ("mode", "life") else "1"
    room.refuses(Code.NOT_FOUND, HOST, kind, key, None)
    room.refuses(Code.NOT_FOUND, HOST, kind, key, None, 0)


def test_values_are_bounded_in_bytes() -> None:
    room = Room(state_bytes=64)
    room.change(HOST, "attribute", "a", {"value": "x" * 55})
    assert "room.state_bytes" in room.refuses(Code.TOO_LONG, HOST, "attribute", "a", {"value": "x" * 56})
    assert "value" in room.refuses(Code.INVALID, HOST, "attribute", "a", {"value": "\ud800"})


def test_the_room_is_bounded_in_entries_and_half_is_for_its_staff() -> None:
    room = Room(state_entries=5, viewer_attributes=4)
    for key in "abc":
        room.change(ANN, "attribute", key, {"value": 1})
    assert "room.state_entries" in room.refuses(Code.STATE_FULL, ANN, "attribute", "d", {"value": 1})
    with pytest.raises(Refused) as caught:
        room.ask(BOB, 1, "Why?")
    assert caught.value.code is Code.STATE_FULL
    room.change(HOST, "card", "c", {"title": "Mug"})
    room.change(MODERATOR, "poll", "p", {"question": "q", "options": ["a", "b"]})
    for kind, value in (("attribute", {"value": 1}), ("card", {"title": "t"})):
        room.refuses(Code.STATE_FULL, HOST, kind, "more", value)
    # What is there may change, and what is single has its place.
    room.change(ANN, "attribute", "a", {"value": 2})
    room.change(HOST, "mode", "", {"mode": "staff"})
    room.change(HOST, "card", "c", None)
    room.change(HOST, "card", "more", {"title": "t"})


# -- attributes -------------------------------------------------------------------------------------------------------


def test_viewers_have_as_many_attributes_as_they_may() -> None:
    room = Room()
    assert "room.viewer_attributes" in room.refuses(Code.FORBIDDEN, ANN, "attribute", "a", {"value": 1})
    room = Room(viewer_attributes=2)
    room.refuses(Code.FORBIDDEN, READER, "attribute", "a", {"value": 1})
    room.change(ANN, "attribute", "a", {"value": 1})
    room.change(ANN, "attribute", "b", {"value": 1})
    assert "room.viewer_attributes" in room.refuses(Code.STATE_FULL, ANN, "attribute", "c", {"value": 1})
    room.change(BOB, "attribute", "c", {"value": 1})
    room.change(MODERATOR, "attribute", "d", {"value": 1})
    room.change(ANN, "attribute", "a", None)
    room.change(ANN, "attribute", "e", {"value": 1})


def test_an_attribute_is_its_owners_and_the_leads() -> None:
    room = Room(viewer_attributes=2)
    room.change(ANN, "attribute", "a", {"value": 1})
    room.refuses(Code.FORBIDDEN, BOB, "attribute", "a", {"value": 2})
    room.refuses(Code.FORBIDDEN, BOB, "attribute", "a", None)
    assert room.change(HOST, "attribute", "a", {"value": 2}).owner == "ann"
    room.change(ANN, "attribute", "a", {"value": 3})
    room.change(HOST, "attribute", "h", {"value": 1})
    room.refuses(Code.FORBIDDEN, ANN, "attribute", "h", {"value": 3})
    room.change(MODERATOR, "attribute", "h", {"value": 2})
    assert [entry.key for entry in room.entries.of_kind("attribute") if entry.owner == "ann"] == ["a"]


def test_what_goes_with_a_viewer_is_its_own() -> None:
    room = Room(viewer_attributes=2)
    entry = room.change(ANN, "attribute", "a", {"value": 1}, on_leave=True)
    assert room.entries.of_session(ANN.session) == [entry]
    assert "on_leave" in room.refuses(Code.INVALID, HOST, "attribute", "a", {"value": 1}, on_leave=True)
    assert "on_leave" in room.refuses(Code.INVALID, HOST, "card", "c", {"title": "a"}, on_leave=True)
    # Others leave that as it is; the owner may let it stay.
    room.change(HOST, "attribute", "a", {"value": 2})
    assert [each.key for each in room.entries.of_session(ANN.session)] == ["a"]
    room.change(ANN, "attribute", "a", {"value": 3})
    assert room.entries.of_session(ANN.session) == []
    room.change(HOST, "attribute", "mine", {"value": 3}, on_leave=True)
    assert [each.key for each in room.entries.of_session(HOST.session)] == ["mine"]
    assert room.entries.of_session("") == []


# -- cards ------------------------------------------------------------------------------------------------------------


def test_one_card_is_shown_now() -> None:
    room = Room()
    room.change(HOST, "card", "a", {"title": "A", "now": True})
    room.change(HOST, "card", "b", {"title": "B"})
    change = Change(1, 0, "card", "b", {"now": True})
    plans = plan(room.entries, change, HOST, room.settings, NOW, room.revision)
    assert [(each.entry.key, each.entry.value["now"]) for each in plans] == [("b", True), ("a", False)]
    room.carry_out(plans)
    # Again: nothing else is to be done.
    assert len(plan(room.entries, change, HOST, room.settings, NOW, room.revision)) == 1
    assert [entry.key for entry in room.entries.of_kind("card") if entry.value["now"]] == ["b"]


# -- polls ------------------------------------------------------------------------------------------------------------


def code_of_vote(entry: Entry | None, choice: int = 0, now_ms: int = NOW) -> Code:
    try:
        may_vote(entry, choice, now_ms)
    except Refused as refusal:
        return refusal.code
    return Code.OK


def test_votes_are_for_what_is_there_and_open() -> None:
    room = Room()
    poll = room.change(HOST, "poll", "p", {"question": "q", "options": ["a", "b"], "closes_ms": 1_000})
    assert code_of_vote(poll, 1) is Code.OK
    assert code_of_vote(poll, 2) is Code.INVALID
    assert code_of_vote(poll, -1) is Code.INVALID
    assert code_of_vote(poll, 1, NOW + 999) is Code.OK
    assert code_of_vote(poll, 1, NOW + 1_000) is Code.ROOM_MODE
    assert code_of_vote(room.change(HOST, "poll", "p", {"open": False})) is Code.ROOM_MODE
    assert code_of_vote(None) is Code.NOT_FOUND
    assert code_of_vote(room.change(HOST, "card", "c", {"title": "t"})) is Code.NOT_FOUND


def test_a_poll_that_takes_the_key_of_another_has_votes_of_its_own() -> None:
    room = Room()
    poll = {"question": "q", "options": ["a", "b"]}
    key = "k" * 62 + ":1"
    first = room.change(HOST, "poll", key, poll)
    assert room.change(HOST, "poll", key, {"question": "r"}).tally == first.tally
    assert room.entries.of_tally(first.tally) == room.entries.get("poll", key)
    room.change(HOST, "poll", key, None)
    assert room.entries.of_tally(first.tally) is None
    second = room.change(HOST, "poll", key, poll)
    assert room.entries.of_tally(first.tally) is None
    assert room.entries.of_tally(second.tally) == second
    assert len(Entry("question", "k" * 64, {}, 1, "", "", 2**53).tally) <= 96
    for name in ("", "poll", "poll:p", "notice:5", "poll:p:x"):
        assert room.entries.of_tally(name) is None


# -- questions --------------------------------------------------------------------------------------------------------


def code_of_question(room: Room, who: Actor, ref: int, body: str) -> Code:
    try:
        room.ask(who, ref, body)
    except Refused as refusal:
        return refusal.code
    return Code.OK


def test_a_question_asked_again_is_the_same() -> None:
    room = Room()
    room.ask(ANN, 1, " Why\u202e? ")
    [entry] = room.entries.of_kind("question")
    assert entry.value == {"body": "Why?", "author": {"id": "ann", "name": "Ann"}, "time": NOW, "answered": False}
    assert (entry.owner, len(entry.key)) == ("ann", 18)
    assert room.ask(ANN, 1, "Why?") == []
    room.ask(ANN, 2, "Why?")
    room.ask(BOB, 1, "Why?")
    assert len(room.entries.of_kind("question")) == 3


def test_who_has_no_session_asks_anew_each_time() -> None:
    room = Room()
    room.ask(SERVER, 1, "Why?")
    room.ask(SERVER, 1, "Why?")
    assert len(room.entries.of_kind("question")) == 2


def test_questions_are_bounded() -> None:
    room = Room()
    assert code_of_question(room, READER, 1, "Why?") is Code.FORBIDDEN
    assert code_of_question(room, ANN, 1, " \u3164") is Code.EMPTY
    assert code_of_question(room, ANN, 1, "x" * (QUESTION_CHARACTERS + 1)) is Code.TOO_LONG
    assert code_of_question(Room(state_bytes=64), ANN, 1, "x" * 64) is Code.TOO_LONG
    for ref in range(QUESTIONS):
        assert code_of_question(room, ANN, ref, "x" * QUESTION_CHARACTERS) is Code.OK
    assert code_of_question(room, ANN, 9, "Why?") is Code.STATE_FULL
    assert code_of_question(room, ANN, 0, "Why?") is Code.OK, "it is there already"
    first = room.entries.of_kind("question")[0]
    room.change(MODERATOR, "question", first.key, {"answered": True})
    assert code_of_question(room, ANN, 9, "Why?") is Code.OK


def test_questions_are_answered_and_deleted_by_those_who_lead() -> None:
    room = Room()
    entry = room.ask(ANN, 1, "Why?")[0].entry
    assert code_of_vote(entry) is Code.OK
    assert code_of_vote(entry, 1) is Code.INVALID
    room.refuses(Code.FORBIDDEN, ANN, "question", entry.key, {"answered": True})
    room.refuses(Code.NOT_FOUND, HOST, "question", "other", {"answered": True})
    answered = room.change(HOST, "question", entry.key, {"answered": True})
    assert (answered.owner, answered.value["answered"]) == ("ann", True)
    assert code_of_vote(answered) is Code.ROOM_MODE
    room.change(MODERATOR, "question", entry.key, None)
    assert room.entries.of_kind("question") == []


# -- pins -------------------------------------------------------------------------------------------------------------


def test_what_is_pinned_is_the_event() -> None:
    room = Room(state_bytes=64)
    event = [*COMMENT[:3], "x" * 200]
    entry = room.change(HOST, "pin", "7", {"offset": 7, "event": ["forged"]}, event=event)
    assert entry.value == {"offset": 7, "event": event}
    assert room.change(HOST, "pin", "7", {"offset": 7}, event=event).version > entry.version
    room.change(HOST, "pin", "7", None)


def test_only_what_is_there_and_stays_is_pinned() -> None:
    room = Room()
    room.refuses(Code.NOT_FOUND, HOST, "pin", "7", {"offset": 7})
    room.refuses(Code.NOT_FOUND, HOST, "pin", "7", {"offset": 7}, event=[0, 1, 1])
    vanishing = plainly(LinkedCommentEvent(Author("u"), 1, "b", expires=NOW))
    assert "offset" in room.refuses(Code.INVALID, HOST, "pin", "7", {"offset": 7}, event=vanishing)
    for value in ({"offset": 8}, {}, {"offset": "7"}, {"offset": True}, {"offset": 7, "x": 1}):
        room.refuses(Code.INVALID, HOST, "pin", "7", value, event=COMMENT)
    room.refuses(Code.INVALID, HOST, "pin", "07", {"offset": 7}, event=COMMENT)
    room.change(HOST, "pin", "7", {"offset": 7}, event=plainly(LinkedCommentEvent(Author("u"), 1, "b", 3)))
    room.change(HOST, "pin", "8", {"offset": 8}, event=[4, ["h", "", {}], 1, "notice"])


def test_few_are_pinned() -> None:
    room = Room()
    for offset in range(1, PINS + 1):
        room.change(HOST, "pin", str(offset), {"offset": offset}, event=COMMENT)
    room.refuses(Code.STATE_FULL, HOST, "pin", "9", {"offset": 9}, event=COMMENT)
    room.change(HOST, "pin", "1", None)
    room.change(HOST, "pin", "9", {"offset": 9}, event=COMMENT)


# -- life -------------------------------------------------------------------------------------------------------------


def test_in_a_closed_room_only_staff_changes_anything() -> None:
    room = Room(viewer_attributes=3)
    room.change(ANN, "attribute", "a", {"value": 1}, on_leave=True)
    room.change(HOST, "life", "", {"state": "closed"})
    assert "closed" in room.refuses(Code.ROOM_MODE, ANN, "attribute", "a", {"value": 2})
    assert code_of_question(room, ANN, 1, "Why?") is Code.ROOM_MODE
    assert code_of_question(room, HOST, 1, "Why?") is Code.OK
    room.change(MODERATOR, "card", "c", {"title": "t"})
    room.change(ANN, "attribute", "a", None)


def test_in_an_archived_room_nothing_changes_but_its_life() -> None:
    room = Room(viewer_attributes=3)
    room.change(ANN, "attribute", "a", {"value": 1}, on_leave=True)
    room.change(ANN, "attribute", "c", {"value": 1}, on_leave=True)
    room.change(HOST, "attribute", "b", {"value": 1})
    room.change(HOST, "life", "", {"state": "archived"})
    for who in (ANN, HOST):
        assert code_of_question(room, who, 1, "Why?") is Code.ROOM_MODE
    assert "archived" in room.refuses(Code.ROOM_MODE, HOST, "attribute", "b", {"value": 2})
    room.refuses(Code.ROOM_MODE, HOST, "attribute", "b", None)
    room.refuses(Code.ROOM_MODE, HOST, "mode", "", {})
    room.refuses(Code.FORBIDDEN, ANN, "life", "", {"state": "open"})
    # What goes with a viewer still goes.
    room.change(ANN, "attribute", "a", None)
    room.change(SERVER, "attribute", "c", None)
    room.refuses(Code.ROOM_MODE, SERVER, "attribute", "b", None)
    assert room.entries.life == "archived"
    room.change(HOST, "life", "", {"state": "open"})
    room.change(HOST, "attribute", "b", {"value": 2})
    room.change(HOST, "life", "", None)
    assert room.entries.life == "open"


# -- attributes against a map -----------------------------------------------------------------------------------------

KEYS = st.sampled_from(["a", "b", "c", "d", "e", "f", "g"])
ACTORS = st.sampled_from([ANN, actor("ann", session="ann-elsewhere-000"), BOB, HOST, MODERATOR])
ENTRIES, MINE = 6, 2


class Attributes(RuleBasedStateMachine):
    """Attributes as a plain map from key to (value, version, owner, session)."""

    @initialize()
    def begin(self) -> None:
        self.room = Room(state_entries=ENTRIES, viewer_attributes=MINE)
        self.model: dict[str, tuple[Any, int, str, str]] = {}
        self.last: dict[str, int] = {}

    def _expected(self, who: Actor, key: str, deletes: bool, expect: int, on_leave: bool) -> Code:
        old = self.model.get(key)
        leads = who in (HOST, MODERATOR)
        if old is not None and old[2] != who.user:
            if not leads:
                return Code.FORBIDDEN
            if on_leave:
                return Code.INVALID
        if expect not in (-1, old[1] if old is not None else 0):
            return Code.CONFLICT
        if deletes:
            return Code.OK if old is not None else Code.NOT_FOUND
        if old is None:
            if not leads and sum(1 for each in self.model.values() if each[2] == who.user) >= MINE:
                return Code.STATE_FULL
            if len(self.model) >= (ENTRIES if leads else ENTRIES // 2):
                return Code.STATE_FULL
        return Code.OK

    @rule(
        who=ACTORS,
        key=KEYS,
        value=st.none() | st.integers(0, 9) | st.sampled_from(["x", "y"]),
        expect=st.sampled_from(["any", "any", "current", "last", "none", "other"]),
        on_leave=st.booleans(),
    )
    def change(self, who: Actor, key: str, value: Any, expect: str, on_leave: bool) -> None:
        old = self.model.get(key)
        current, last = old[1] if old is not None else 0, self.last.get(key, 0)
        version = {"any": -1, "current": current, "last": last, "none": 0, "other": last + 1}[expect]
        expected = self._expected(who, key, value is None, version, on_leave)
        fields = None if value is None else {"value": value}
        if expected is not Code.OK:
            self.room.refuses(expected, who, "attribute", key, fields, version, on_leave=on_leave)
            return
        entry = self.room.change(who, "attribute", key, fields, version, on_leave=on_leave)
        assert entry.version > last
        self.last[key] = entry.version
        if value is None:
            del self.model[key]
        elif old is not None and old[2] != who.user:
            self.model[key] = (value, entry.version, old[2], old[3])
        else:
            self.model[key] = (value, entry.version, who.user, who.session if on_leave else "")

    @rule(who=ACTORS)
    def leave(self, who: Actor) -> None:
        mine = [key for key, each in self.model.items() if each[3] == who.session]
        assert sorted(entry.key for entry in self.room.entries.of_session(who.session)) == sorted(mine)
        for entry in self.room.entries.of_session(who.session):
            self.last[entry.key] = self.room.change(who, "attribute", entry.key, None).version
            del self.model[entry.key]

    @rule(times=st.integers(1, 3))
    def something_else_is_in_the_record(self, times: int) -> None:
        for _ in range(times):
            self.room.amend("x:mute:ann", b"x")

    @rule()
    def another_hub_opens_the_room(self) -> None:
        self.room.entries = Entries.from_fields(self.room.fields)

    @invariant()
    def it_is_the_map(self) -> None:
        entries = self.room.entries
        shown = {key: (value["value"], version) for _, key, value, version in entries.snapshot()}
        assert shown == {key: each[:2] for key, each in self.model.items()}
        assert len(entries) == entries.limited == len(self.model)
        for user in ("ann", "bob", "host", "mod"):
            assert {each.key for each in entries.of_kind("attribute") if each.owner == user} == {
                key for key, each in self.model.items() if each[2] == user
            }


test_attributes_are_a_map = Attributes.TestCase
