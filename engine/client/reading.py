"""Decoded messages, as any MessagePack or JSON reader returns them, to typed values (`engine.schema` names the fields).

Owns the reading of messages and events, but for those about money (`engine.client.paying`). Pure; knows nothing of order:
whether a message fits what came before is the follower's to judge. Readers accept elements they do not know at the end, and
raise `ProtocolViolation`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from engine.client.control import Bye, Joined, Reply
from engine.client.fields import array, boolean, integer, mapping, read_author, string, violate
from engine.client.items import (
    Comment,
    Custom,
    Entry,
    Event,
    Held,
    Moderated,
    Notice,
    Omitted,
    Page,
    Presence,
    State,
    Unknown,
)
from engine.client.money import MoneyEvent
from engine.client.paying import MONEY, read_givers
from engine.schema import EventKind

__all__ = [
    "read_bye",
    "read_event",
    "read_joined",
    "read_omission",
    "read_page",
    "read_recent",
    "read_reply",
    "read_state",
    "read_totals",
]

Entries = dict[tuple[str, str], Entry]
AnyEvent = Comment | Custom | State | Notice | Moderated | Held | Presence | MoneyEvent | Unknown


# -- events -----------------------------------------------------------------------------------------------------------


def read_event(epoch: int, offset: int, time: int, fields: Sequence[Any]) -> AnyEvent:
    """One event that has an offset; its kind is known to be an integer."""
    reader = _READERS.get(fields[0])
    if reader is None:
        return Unknown(epoch, offset, time, fields[0], tuple(fields[1:]), raw=fields)
    event: AnyEvent = reader(epoch, offset, time, fields)
    return event


def _comment(epoch: int, offset: int, time: int, fields: Sequence[Any]) -> Comment:
    author, ref, body = read_author(fields, 1), integer(fields, 2, "ref"), string(fields, 3, "body")
    reply_to, mentions = integer(fields, 4, "reply to", 0), _strings(fields, 5, "mentions")
    return Comment(epoch, offset, time, author, body, ref, reply_to, mentions, integer(fields, 6, "expires", 0), raw=fields)


def _custom(epoch: int, offset: int, time: int, fields: Sequence[Any]) -> Custom:
    author, ref, body = read_author(fields, 1), integer(fields, 2, "ref"), string(fields, 4, "body")
    return Custom(epoch, offset, time, author, string(fields, 3, "name"), body, ref, raw=fields)


def _state(epoch: int, offset: int, time: int, fields: Sequence[Any]) -> State:
    author, ref, version = read_author(fields, 1), integer(fields, 2, "ref"), integer(fields, 6, "version")
    kind, key = string(fields, 3, "a state's kind"), string(fields, 4, "a state's key")
    value = None if len(fields) > 5 and fields[5] is None else mapping(fields, 5, "a state's value")
    return State(epoch, offset, time, author, ref, kind, key, value, version, raw=fields)


def _notice(epoch: int, offset: int, time: int, fields: Sequence[Any]) -> Notice:
    author, ref, body = read_author(fields, 1), integer(fields, 2, "ref"), string(fields, 3, "body")
    return Notice(epoch, offset, time, author, ref, body, boolean(fields, 4, "receipts", False), raw=fields)


def _moderated(epoch: int, offset: int, time: int, fields: Sequence[Any]) -> Moderated:
    author, action, user = read_author(fields, 1), string(fields, 2, "action"), string(fields, 3, "user", "")
    bounds = array(fields, 4, "deleted offsets", ())
    numbers = [integer(bounds, index, "a deleted offset") for index in range(len(bounds))]
    stretches = tuple(zip(numbers[::2], numbers[1::2], strict=False))
    if len(numbers) % 2 or any(first > last for first, last in stretches):
        violate(f"deleted offsets must be pairs of first and last, not {numbers!r:.60}")
    until, reason = integer(fields, 5, "until", 0), string(fields, 6, "reason", "")
    return Moderated(epoch, offset, time, author, action, user, stretches, until, reason, raw=fields)


def _held(epoch: int, offset: int, time: int, fields: Sequence[Any]) -> Held:
    author, session, ref = read_author(fields, 1), string(fields, 2, "session"), integer(fields, 3, "ref")
    inner = array(fields, 4, "a held event")
    if integer(inner, 0, "event kind") in (EventKind.HELD, EventKind.OMITTED):
        violate("a held event must be one that can be published")
    event = read_event(epoch, offset, time, inner)
    return Held(epoch, offset, time, author, session, ref, event, string(fields, 5, "reason", ""), raw=fields)


def _presence(epoch: int, offset: int, time: int, fields: Sequence[Any]) -> Presence:
    return Presence(epoch, offset, time, read_author(fields, 1), boolean(fields, 2, "present"), raw=fields)


_READERS: dict[int, Any] = {
    EventKind.COMMENT: _comment,
    EventKind.CUSTOM: _custom,
    EventKind.STATE: _state,
    EventKind.NOTICE: _notice,
    EventKind.MODERATED: _moderated,
    EventKind.HELD: _held,
    EventKind.PRESENCE: _presence,
} | MONEY


def _strings(message: Sequence[Any], index: int, what: str) -> tuple[str, ...]:
    values = array(message, index, what, ())
    return tuple(string(values, at, what) for at in range(len(values)))


def read_omission(fields: Sequence[Any], offset: int, last: int) -> tuple[int, int]:
    """``[0, reason, count]`` at ``offset`` of a range that ends with ``last``: its reason, and the last offset it covers."""
    reason, count = integer(fields, 1, "omitted reason"), integer(fields, 2, "omitted count")
    end = offset + count - 1
    if count == 0 or end > last:
        violate(f"{count} offsets omitted at {offset} of a range that ends with {last}")
    return reason, end


def read_recent(message: Sequence[Any], index: int, epoch: int) -> tuple[Event, ...]:
    """``[offset, time, event]`` of each event; what is omitted is of no use for the screen."""
    events: list[Event] = []
    for line in array(message, index, "recent events", ()):
        offset, time = (integer(array([line], 0, "a recent event"), at, "recent offset or time") for at in (0, 1))
        fields = array(line, 2, "a recent event")
        if integer(fields, 0, "event kind") != EventKind.OMITTED:
            events.append(read_event(epoch, offset, time, fields))
    return tuple(events)


def read_page(message: Sequence[Any]) -> Page:
    """``[40, ref, handle, epoch, first, last, times, events]``."""
    epoch, first, last = (integer(message, index, "page") for index in (3, 4, 5))
    times, arrays = array(message, 6, "times"), array(message, 7, "events")
    if last < first - 1 or len(times) != len(arrays):
        violate(f"a page of {first}..{last} with {len(times)} times for {len(arrays)} events")
    events: list[Event | Omitted] = []
    offset = first
    for index, fields in enumerate(arrays):
        time = integer(times, index, "time")
        if integer(array([fields], 0, "event"), 0, "event kind") == EventKind.OMITTED:
            reason, end = read_omission(fields, offset, last)
            events.append(Omitted(epoch, offset, end, reason, time))
        else:
            end = offset
            events.append(read_event(epoch, offset, time, fields))
        offset = end + 1
    if offset != last + 1:
        violate(f"events for {first}..{offset - 1} in a page of {first}..{last}")
    return Page(epoch, first, last, tuple(events))


# -- state and totals -------------------------------------------------------------------------------------------------


def read_state(message: Sequence[Any], index: int, default: Sequence[Any] | None = None) -> Entries:
    """``[kind, key, value, version]`` of each entry; ``default`` if the message ends before."""
    entries: Entries = {}
    for line in array(message, index, "state", default):
        fields = array([line], 0, "an entry")
        kind, key = string(fields, 0, "an entry's kind"), string(fields, 1, "an entry's key")
        entries[kind, key] = Entry(mapping(fields, 2, "an entry's value"), integer(fields, 3, "an entry's version"))
    return entries


def read_totals(message: Sequence[Any], counters: int | None, totals: int) -> dict[str, Any]:
    """``[likes, viewers]`` and the map of all other totals, at these indices: values of `engine.client.counters.Counters` by
    name. Names of tomorrow are left out."""
    news: dict[str, Any] = {}
    pair = array(message, counters, "counters", ()) if counters is not None else ()
    if pair:
        news["likes"], news["viewers"] = integer(pair, 0, "likes"), integer(pair, 1, "viewers")
    fields = mapping(message, totals, "totals", {})
    for name in ("peak", "unique"):
        if name in fields:
            news[name] = integer([fields[name]], 0, name)
    if "rate" in fields:
        news["rate"] = _number(fields["rate"], "rate")
    for name in ("withheld", "reactions"):
        if name in fields:
            each = mapping([fields[name]], 0, name)
            news[name] = {string([key], 0, name): integer([value], 0, name) for key, value in each.items()}
    if "givers" in fields:
        news["givers"] = read_givers([fields["givers"]], 0)
    if "votes" in fields:
        each = mapping([fields["votes"]], 0, "votes")
        news["votes"] = {string([key], 0, "votes"): _integers(value, "votes") for key, value in each.items()}
    if "receipts" in fields:
        each = mapping([fields["receipts"]], 0, "receipts")
        pairs = ((key, _integers(value, "receipts")) for key, value in each.items())
        news["receipts"] = {_offset(key): (integer(pair, 0, "came"), integer(pair, 1, "read")) for key, pair in pairs}
    return news


def _integers(value: Any, what: str) -> tuple[int, ...]:
    values = array([value], 0, what)
    return tuple(integer(values, at, what) for at in range(len(values)))


def _number(value: Any, what: str) -> float:
    if type(value) not in (int, float) or not 0 <= value < 2**53:
        violate(f"{what} must be a number from 0 to 2^53 - 1, not {value!r:.60}")
    return float(value)


def _offset(key: Any) -> int:
    """The keys of a JSON object are strings."""
    if isinstance(key, str) and key.isdecimal() and len(key) <= 16:
        key = int(key)
    return integer([key], 0, "offset of a notice")


# -- about the conversation -------------------------------------------------------------------------------------------


def read_joined(message: Sequence[Any]) -> Joined:
    """``[32, ref, handle, session, user, role, resumed, heartbeat_ms]``."""
    return Joined(
        integer(message, 1, "joined ref"),
        integer(message, 2, "joined handle"),
        string(message, 3, "joined session"),
        string(message, 4, "joined user"),
        string(message, 5, "joined role"),
        boolean(message, 6, "joined: resumed"),
        integer(message, 7, "joined heartbeat"),
    )


def read_reply(message: Sequence[Any]) -> Reply:
    """``[35, ref, code, offset?, text?, retry_after_ms?]``."""
    return Reply(
        integer(message, 1, "reply ref"),
        integer(message, 2, "reply code"),
        integer(message, 3, "reply offset", 0),
        string(message, 4, "reply text", ""),
        integer(message, 5, "retry after", 0),
    )


def read_bye(message: Sequence[Any]) -> Bye:
    """``[37, code, text, return_after_ms, return_window_ms]``."""
    return Bye(
        integer(message, 1, "bye code"),
        string(message, 2, "bye text"),
        integer(message, 3, "return after"),
        integer(message, 4, "return window"),
    )
