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

__all__ = ["as_json", "as_text", "clean", "entries_as_json"]

_GIVERS = 3
"""Named whenever one of them changes."""
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
    if isinstance(value, items.Giver):
        return value._asdict()
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
            reason = {1: "deleted", 2: "expired", 3: "not in this feed", 4: "known already"}.get(
                item.reason, f"reason {item.reason}"
            )
            yield f"    -- {_range(item.first, item.last)} {reason}"
        case items.Gap():
            yield f"    -- missing {item.first}..{item.last or '?'} ({clean(item.reason)})"
        case items.Counters():
            yield f"    -- {_counters(item, before)}"
        case items.Direct():
            yield f"  direct  {_who(item.author)}: {clean(item.body)}"
        case items.Disconnected():
            yield f"    -- connection lost ({item.code}), trying again in {item.delay_seconds:.1f} s"
        case items.Reconnected():
            yield f"    -- back, {'continued' if item.resumed else 'from the present state'}"
        case items.Refusal():
            yield f"    -- refused ({item.code}): {clean(item.text)}"
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
            mentioned = f"  (to {', '.join(map(clean, event.mentions))})" if event.mentions else ""
            vanishes = f"  (vanishes {_moment(event.expires)})" if event.expires else ""
            return f"{_who(event.author)}{answered}: {clean(event.body)}{mentioned}{vanishes}"
        case items.Custom():
            return f"{_who(event.author)} [{clean(event.name)}] {clean(event.body)}"
        case items.Notice():
            return f"** {_who(event.author)}: {clean(event.body)}{'  (receipts are counted)' if event.receipts else ''}"
        case items.State():
            return f"-- {_entry(event.kind, event.key, event.value)}"
        case items.Moderated():
            whom = f" {clean(event.user)}" if event.user else ""
            where = f" ({', '.join(_range(*stretch) for stretch in event.offsets)})" if event.offsets else ""
            until = f" until {_moment(event.until)}" if event.until else ""
            reason = f": {clean(event.reason)}" if event.reason else ""
            return f"-- {_who(event.author)}: {clean(event.action)}{whom}{where}{until}{reason}"
        case items.Held():
            why = f"  ({clean(event.reason)})" if event.reason else ""
            return f"held  {_event(event.event)}{why}"
        case items.Presence():
            return f"-- {_who(event.author)} {'is here' if event.present else 'has left'}"
        case items.Gift() | items.Combo() | items.Correction() | items.Packet() | items.Share() | items.PacketEnd():
            return _money(event)
        case items.Unknown():
            return f"-- an event of kind {event.kind}, which this version does not know"
    return f"-- {type(event).__name__.lower()}"


def _money(event: items.Gift | items.Combo | items.Correction | items.Packet | items.Share | items.PacketEnd) -> str:
    """Only signs that every Chinese encoding has: terminals are not all of Unicode."""
    who, entry = _who(event.author), f"entry {event.entry}"
    match event:
        case items.Gift():
            combo = f", combo ×{event.combo_count:,}" if event.combo != event.entry else ""
            return f"$$ {who} gives {_things(event)} = {event.amount:,}{combo}  ({entry})"
        case items.Combo():
            return f"$$ {who} gave {_things(event)} = {event.amount:,} in a combo  ({entry})"
        case items.Correction():
            reason = f": {clean(event.reason)}" if event.reason else ""
            return f"$$ {who} corrects entry {event.corrected} of {clean(event.user)} by {event.amount:+,}  ({entry}){reason}"
        case items.Packet():
            text = f": {clean(event.text)}" if event.text else ""
            alike = ", alike" if event.split == "equal" else ""
            opens = f", opens {_moment(event.opens)}" if event.opens > event.time else ""
            followers = ", for followers" if event.followers else ""
            phrase = f", for who says {clean(event.phrase)}" if event.phrase else ""
            what = f"{event.total:,} in {event.shares:,} shares{alike}{opens}{followers}{phrase}"
            return f"$$ {who} gives a red packet, {what}  ({entry}){text}"
        case items.Share():
            return f"$$ {who} gets {event.amount:,}, share {event.number:,} of red packet {event.packet}  ({entry})"
        case items.PacketEnd():
            rest = f", {event.rest:,} go back" if event.rest else ""
            what = f"{clean(event.reason)} after {event.claimed:,} shares{rest}"
            return f"$$ red packet {event.packet} of {who} is over: {what}  ({entry})"


def _things(event: items.Gift | items.Combo) -> str:
    receiver = f" to {clean(event.to)}" if event.to else ""
    return f"{clean(event.gift)} ×{event.count:,}{receiver}"


def _who(author: items.Author) -> str:
    name = clean(author.name or author.id)
    return f"{name} ({clean(author.role)})" if author.role and author.role not in ("viewer", name) else name


def _entries(state: Mapping[tuple[str, str], items.Entry]) -> Iterator[str]:
    for (kind, key), entry in state.items():
        yield f"    -- {_entry(kind, key, entry.value)}"


def _entry(kind: str, key: str, value: dict[str, Any] | None) -> str:
    name = clean(f"{kind} {key}".rstrip())
    return f"{name} is gone" if value is None else f"{name} = {clean(json.dumps(value, ensure_ascii=False))}"


def _counters(now: items.Counters, before: items.Counters) -> str:
    parts = [f"{now.likes:,} likes", f"{now.viewers:,} viewers"]
    if now.rate:
        parts.insert(1, f"{now.rate:,.0f} a second")
    if now.reactions != before.reactions:
        parts += [f"{clean(name)} {count:,}" for name, count in now.reactions.items()]
    if now.withheld != before.withheld:
        parts += [f"{count:,} withheld for want of {clean(reason)}" for reason, count in now.withheld.items()]
    if now.givers and now.givers != before.givers:
        most = ", ".join(f"{clean(each.name or each.user)} {each.given:,}" for each in now.givers[:_GIVERS])
        parts.append(f"most given by {most}")
    for name, counts in now.votes.items():
        if counts != before.votes.get(name):
            parts.append(f"{clean(name)} {' / '.join(map(str, counts))}")
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


def clean(text: str) -> str:
    """Without what could control the terminal."""
    return _CONTROL.sub(" ", text)
