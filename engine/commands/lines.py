"""What happens in a room, as lines of text for people and as JSON for programs.

Owns the words and the members. Pure: items in, text out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from datetime import datetime
from typing import Any

from engine import client as items

__all__ = ["as_json", "as_text", "entries_as_json"]

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


# -- for programs -----------------------------------------------------------------------------------------------------


def as_json(item: items.Item) -> str:
    """One object: its ``type`` and its members. A room's state is an array of objects, everything else as it is."""
    return json.dumps(_plain(item), ensure_ascii=False)


def entries_as_json(state: Mapping[tuple[str, str], items.Entry]) -> list[dict[str, Any]]:
    """A room's state, one object an entry."""
    return [{"kind": kind, "key": key, "value": entry.value, "version": entry.version} for (kind, key), entry in state.items()]


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        members = {each.name: _plain(getattr(value, each.name)) for each in fields(value) if each.name != "raw"}
        if isinstance(value, (items.Snapshot, items.Present)):
            members["state"] = entries_as_json(value.state)
        # An author is no item.
        return members if isinstance(value, items.Author) else {"type": type(value).__name__.lower(), **members}
    if isinstance(value, tuple):
        return [_plain(each) for each in value]
    return value


# -- for people -------------------------------------------------------------------------------------------------------


def as_text(item: items.Item, before: items.Counters | None = None) -> str:
    """Lines for a terminal, empty if there is nothing to say. What could control the terminal is not let through.

    :param before: the counters that were told last: what has not changed since need not be told again.
    """
    return "\n".join(_lines(item, before or items.Counters(0, 0)))


def _lines(item: items.Item, before: items.Counters) -> Iterator[str]:
    match item:
        case items.Event():
            yield f"{item.offset:>8}  {_event(item)}"
        case items.Omitted():
            reason = {1: "deleted", 2: "expired", 3: "not in this feed"}.get(item.reason, f"reason {item.reason}")
            yield f"    -- {_range(item.first, item.last)} {reason}"
        case items.Gap():
            yield f"    -- missing {item.first}..{item.last or '?'} ({_clean(item.reason)})"
        case items.Counters():
            yield f"    -- {_counters(item, before)}"
        case items.Direct():
            yield f"  direct  {_who(item.author)}: {_clean(item.body)}"
        case items.Disconnected():
            yield f"    -- connection lost ({item.code}), trying again in {item.delay_seconds:.1f} s"
        case items.Reconnected():
            yield f"    -- back, {'continued' if item.resumed else 'from the present state'}"
        case items.Refusal():
            yield f"    -- refused ({item.code}): {_clean(item.text)}"
        case items.Snapshot():
            for event in item.recent:
                yield from _lines(event, before)  # type: ignore[arg-type]  # events are items
            yield from _entries(item.state)
        case items.Present():
            yield "    -- changes were missed; this is what the room is now:"
            yield from _entries(item.state)


def _event(event: items.Event) -> str:
    match event:
        case items.Comment():
            answered = f" → {event.reply_to}" if event.reply_to else ""
            mentioned = f"  (to {', '.join(map(_clean, event.mentions))})" if event.mentions else ""
            vanishes = f"  (vanishes {_moment(event.expires)})" if event.expires else ""
            return f"{_who(event.author)}{answered}: {_clean(event.body)}{mentioned}{vanishes}"
        case items.Custom():
            return f"{_who(event.author)} [{_clean(event.name)}] {_clean(event.body)}"
        case items.Notice():
            return f"** {_who(event.author)}: {_clean(event.body)}{'  (receipts are counted)' if event.receipts else ''}"
        case items.State():
            return f"-- {_entry(event.kind, event.key, event.value)}"
        case items.Moderated():
            whom = f" {_clean(event.user)}" if event.user else ""
            where = f" ({', '.join(_range(*stretch) for stretch in event.offsets)})" if event.offsets else ""
            until = f" until {_moment(event.until)}" if event.until else ""
            reason = f": {_clean(event.reason)}" if event.reason else ""
            return f"-- {_who(event.author)}: {_clean(event.action)}{whom}{where}{until}{reason}"
        case items.Held():
            why = f"  ({_clean(event.reason)})" if event.reason else ""
            return f"held  {_event(event.event)}{why}"
        case items.Presence():
            return f"-- {_who(event.author)} {'is here' if event.present else 'has left'}"
        case items.Unknown():
            return f"-- an event of kind {event.kind}, which this version does not know"
    return f"-- {type(event).__name__.lower()}"


def _who(author: items.Author) -> str:
    name = _clean(author.name or author.id)
    return f"{name} ({_clean(author.role)})" if author.role and author.role not in ("viewer", name) else name


def _entries(state: Mapping[tuple[str, str], items.Entry]) -> Iterator[str]:
    for (kind, key), entry in state.items():
        yield f"    -- {_entry(kind, key, entry.value)}"


def _entry(kind: str, key: str, value: dict[str, Any] | None) -> str:
    name = _clean(f"{kind} {key}".rstrip())
    return f"{name} is gone" if value is None else f"{name} = {_clean(json.dumps(value, ensure_ascii=False))}"


def _counters(now: items.Counters, before: items.Counters) -> str:
    parts = [f"{now.likes:,} likes", f"{now.viewers:,} viewers"]
    if now.rate:
        parts.insert(1, f"{now.rate:,.0f} a second")
    if now.reactions != before.reactions:
        parts += [f"{_clean(name)} {count:,}" for name, count in now.reactions.items()]
    if now.withheld != before.withheld:
        parts += [f"{count:,} withheld for want of {_clean(reason)}" for reason, count in now.withheld.items()]
    for name, counts in now.votes.items():
        if counts != before.votes.get(name):
            parts.append(f"{_clean(name)} {' / '.join(map(str, counts))}")
    for offset, (came, read) in now.receipts.items():
        if (came, read) != before.receipts.get(offset):
            parts.append(f"notice {offset} came to {came:,}, read by {read:,}")
    return ", ".join(parts)


def _range(first: int, last: int) -> str:
    return str(first) if first == last else f"{first}..{last}"


def _moment(milliseconds: int) -> str:
    try:
        return f"{datetime.fromtimestamp(milliseconds / 1000).astimezone():%Y-%m-%d %H:%M:%S}"
    except (ValueError, OverflowError, OSError):
        return f"at {milliseconds}"


def _clean(text: str) -> str:
    return _CONTROL.sub(" ", text)
