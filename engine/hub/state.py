"""Changes of a room's state: who may make them, and what they make of its entries.

Owns rights, numbers and versions; what each kind of value holds is for `engine.hub.kinds` to say, how entries stand in the
record for `engine.hub.entries`. Pure: time and revision are arguments. Must not know the broker's operations, nor who is told.

Each entry is one field of the room's record. Its **version** is one more than the revision of the record on which the change
builds, or than its old version if that is larger. Every change of a record raises its revision, so a version is never above the
revision with which it was written, and an entry that is deleted and set again goes on above all that it had before, without a
trace of it being kept. That asks of whoever carries out a plan to do so at this revision (``expect`` in `Broker.amend`), and to
plan anew if the record is at another one.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b
from typing import Any, Final, NamedTuple

import msgspec

from engine.access import Permission
from engine.errors import Code, Refused
from engine.hub.actor import Actor
from engine.hub.entries import Entries, Entry, encode, field_of, key_of
from engine.hub.kinds import KINDS, invalid, poll_closed, value_after
from engine.schema import Ask, Change, EventKind
from engine.settings import RoomSettings
from engine.text import clean, clean_line, length, visible

__all__ = [
    "PINS",
    "QUESTIONS",
    "QUESTION_CHARACTERS",
    "Entries",
    "Entry",
    "Plan",
    "field_of",
    "key_of",
    "may_vote",
    "notice_entry",
    "plan",
    "question",
]

PINS: Final = 5
"""Pins in a room: more would not be in sight."""
QUESTIONS: Final = 3
"""Questions of one user that may wait for an answer."""
QUESTION_CHARACTERS: Final = 500
_KEY_CHARACTERS: Final = 64
_CHANGERS: Final = {
    "attribute": Permission.COMMENT | Permission.LEAD | Permission.MODERATE,
    "question": Permission.LEAD | Permission.MODERATE,
    "notice": Permission(0),
}
"""Permissions of which a change needs one; for other kinds to lead."""
_SINGLE: Final = ("mode", "life")
"""Kinds of which there is one entry, with an empty key."""
_STAFF: Final = Permission.LEAD | Permission.MODERATE


class Plan(NamedTuple):
    """One step of a change.

    :ivar entry: as it is to be; if it is to go, as it was, with the version that tells of that.
    """

    entry: Entry
    deletes: bool = False

    @property
    def encoded(self) -> bytes | None:
        """What the field of the record is to hold; None: nothing."""
        return None if self.deletes else self.entry.encode()


def plan(
    entries: Entries,
    change: Change,
    actor: Actor,
    settings: RoomSettings,
    now_ms: int,
    revision: int,
    event: list[Any] | None = None,
) -> list[Plan]:
    """What a change is to do, what was asked for first. The steps after it hold what else must follow: only one card is shown
    now.

    :param revision: of the record that ``entries`` are from.
    :param event: that is to be pinned, as in `engine.schema.Batch`; None if there is none.
    :raises Refused: ``INVALID`` names the field; ``EMPTY``; ``TOO_LONG``: ``room.state_bytes``; ``FORBIDDEN``; ``ROOM_MODE``:
        the room is closed or archived; ``CONFLICT``: the entry has another version than ``change.expect``; ``NOT_FOUND``: what
        is to be deleted, answered or pinned is not there; ``STATE_FULL``: too many of them.
    """
    kind = KINDS.get(change.kind)
    if kind is None:
        raise invalid("kind", f"must be one of {', '.join(KINDS)}")
    _check_key(change.kind, change.key)
    old = entries.get(change.kind, change.key)
    _check_rights(entries, change, old, actor)
    if change.expect not in (-1, old.version if old is not None else 0):
        raise Refused(Code.CONFLICT, f"the entry is at version {old.version if old is not None else 0}, not {change.expect}")
    version = _version_after(old, revision)
    if change.value is None:
        if old is None:
            raise _missing(change.kind)
        return [Plan(msgspec.structs.replace(old, version=version), deletes=True)]
    given = change.value
    if change.kind == "question" and old is None:
        raise _missing(change.kind)
    if change.kind == "pin":
        given = _pinned(change.key, given, event)
    if old is None:
        _check_room(entries, change.kind, actor, settings)
    value = value_after(kind, given, old.value if old is not None else {}, now_ms)
    entry = Entry(
        change.kind,
        change.key,
        value,
        version,
        old.owner if old is not None else actor.user,
        _session(change, old, actor),
        old.born if old is not None else version,
    )
    if change.kind != "pin":
        # What is pinned is bounded by what people may say.
        _check_size(value, settings)
    return [Plan(entry), *_others(entries, entry, revision)]


def question(entries: Entries, ask: Ask, actor: Actor, settings: RoomSettings, now_ms: int, revision: int) -> list[Plan]:
    """As `plan`, for a question. Asking it again with the same ``ref`` is the same question: nothing is to be done.

    :raises Refused: ``FORBIDDEN``; ``ROOM_MODE``; ``EMPTY``; ``TOO_LONG``; ``STATE_FULL``: the user has asked `QUESTIONS` that
        are not answered, or the room is full.
    """
    if not actor.permissions & Permission.COMMENT:
        raise Refused(Code.FORBIDDEN, "you may not ask")
    _check_life(entries, actor)
    # Who has no session does not try again.
    key = blake2b(f"{actor.session or revision}/{ask.ref}".encode(), digest_size=9).hexdigest()
    if entries.get("question", key) is not None:
        return []
    waiting = sum(1 for each in entries.of_kind("question") if each.owner == actor.user and not each.value["answered"])
    if waiting >= QUESTIONS:
        raise Refused(Code.STATE_FULL, f"{QUESTIONS} of your questions wait for an answer")
    body = clean(ask.body).strip()
    if not visible(body):
        raise Refused(Code.EMPTY, "body: shows nothing")
    if length(body, QUESTION_CHARACTERS) > QUESTION_CHARACTERS:
        raise Refused(Code.TOO_LONG, f"body: at most {QUESTION_CHARACTERS} characters")
    _check_room(entries, "question", actor, settings)
    value = {"body": body, "author": {"id": actor.user, "name": actor.author.name}, "time": now_ms, "answered": False}
    _check_size(value, settings)
    version = _version_after(None, revision)
    return [Plan(Entry("question", key, value, version, actor.user, "", version))]


def notice_entry(offset: int, deadline: int) -> Entry:
    """Of a notice that wants receipts.

    :param deadline: Unix milliseconds; 0: never.
    """
    # There is one notice at an offset, and it does not change: it needs no second version.
    return Entry("notice", str(offset), {"offset": offset, "deadline": deadline, "receipts": True}, 1, "", "", 1)


def may_vote(entry: Entry | None, choice: int, now_ms: int) -> None:
    """Whether a vote for ``choice`` counts now.

    :param entry: for which; None: it is not there.
    :raises Refused: ``NOT_FOUND``; ``ROOM_MODE``: it is closed, or answered; ``INVALID``: there is no such choice.
    """
    if entry is None or entry.kind not in ("poll", "question"):
        raise Refused(Code.NOT_FOUND, "there is no such poll or question")
    poll = entry.kind == "poll"
    if poll and poll_closed(entry.value, now_ms):
        raise Refused(Code.ROOM_MODE, "closed: the poll takes no votes any more")
    if not poll and entry.value["answered"]:
        raise Refused(Code.ROOM_MODE, "closed: the question is answered")
    choices = len(entry.value["options"]) if poll else 1
    if not 0 <= choice < choices:
        raise invalid("choice", f"must be below {choices}")


# -- rules ------------------------------------------------------------------------------------------------------------


def _version_after(old: Entry | None, revision: int) -> int:
    return max(revision, old.version if old is not None else 0) + 1


def _check_key(kind: str, key: str) -> None:
    if kind in _SINGLE:
        if key:
            raise invalid("key", f"must be empty: there is one {kind}")
    elif not 0 < len(key) <= _KEY_CHARACTERS or not key.isprintable() or key != clean_line(key):
        raise invalid("key", f"must be 1 to {_KEY_CHARACTERS} printable characters, without white space around it")


def _check_rights(entries: Entries, change: Change, old: Entry | None, actor: Actor) -> None:
    if change.kind == "packet":
        # Whoever could set it could promise money that is not there.
        raise Refused(Code.FORBIDDEN, "only the ledger changes a packet")
    if not actor.permissions & _CHANGERS.get(change.kind, Permission.LEAD):
        raise Refused(Code.FORBIDDEN, f"you may not change a {change.kind}")
    mine = old is None or old.owner == actor.user
    if change.kind == "attribute" and not mine and Permission.LEAD not in actor.permissions:
        raise Refused(Code.FORBIDDEN, "the attribute is somebody else's")
    if change.on_leave and (change.kind != "attribute" or not mine):
        raise invalid("on_leave", "only an attribute of one's own can go with a viewer")
    if change.kind == "life" or (change.value is None and old is not None and old.session):
        # What goes with a viewer goes however the room stands.
        return
    _check_life(entries, actor)


def _check_life(entries: Entries, actor: Actor) -> None:
    if entries.life == "archived":
        raise Refused(Code.ROOM_MODE, "archived: nothing changes any more")
    if entries.life == "closed" and not actor.permissions & _STAFF:
        raise Refused(Code.ROOM_MODE, "closed: the room is closed")


def _check_room(entries: Entries, kind: str, actor: Actor, settings: RoomSettings) -> None:
    """Whether there is room for another entry."""
    if not KINDS[kind].limited:
        return
    staff = bool(actor.permissions & _STAFF)
    if kind == "attribute" and not staff:
        if not settings.viewer_attributes:
            raise Refused(Code.FORBIDDEN, "viewers may set no attributes (room.viewer_attributes)")
        if sum(1 for each in entries.of_kind(kind) if each.owner == actor.user) >= settings.viewer_attributes:
            raise Refused(Code.STATE_FULL, "you have set as many attributes as you may (room.viewer_attributes)")
    if kind == "pin" and len(entries.of_kind(kind)) >= PINS:
        raise Refused(Code.STATE_FULL, f"at most {PINS} pins")
    # Whatever viewers do, half of the room is left for those who lead it.
    if entries.limited >= (settings.state_entries if staff else (settings.state_entries + 1) // 2):
        raise Refused(Code.STATE_FULL, "the room's state is full (room.state_entries)")


def _check_size(value: dict[str, Any], settings: RoomSettings) -> None:
    try:
        size = len(encode(value))
    except UnicodeEncodeError:
        raise invalid("value", "a text is not Unicode") from None
    if size > settings.state_bytes:
        raise Refused(Code.TOO_LONG, f"value: {size} bytes are more than room.state_bytes ({settings.state_bytes})")


def _session(change: Change, old: Entry | None, actor: Actor) -> str:
    """With whom the entry goes: for its owner to say."""
    if old is not None and old.owner != actor.user:
        return old.session
    return actor.session if change.on_leave else ""


def _pinned(key: str, given: dict[str, Any], event: list[Any] | None) -> dict[str, Any]:
    if event is None or event[0] not in (EventKind.COMMENT, EventKind.NOTICE):
        raise Refused(Code.NOT_FOUND, "there is no comment or notice at this offset")
    if event[0] == EventKind.COMMENT and any(event[6:7]):
        raise invalid("offset", "the comment vanishes")
    offset = given.get("offset")
    if str(offset) != key:
        raise invalid("offset", "must be there, and be the key, too")
    return {**given, "event": event}


def _others(entries: Entries, entry: Entry, revision: int) -> Iterable[Plan]:
    """What follows from an entry for others."""
    if entry.kind == "card" and entry.value["now"]:
        for card in entries.of_kind("card"):
            if card.key != entry.key and card.value["now"]:
                value = {**card.value, "now": False}
                yield Plan(msgspec.structs.replace(card, value=value, version=_version_after(card, revision)))


def _missing(kind: str) -> Refused:
    return Refused(Code.NOT_FOUND, f"there is no such {kind}")
