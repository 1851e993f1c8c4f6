"""Events as the API tells them: objects with named fields (`engine.schema.named`), whatever they hold.

Owns what becomes of events that this version does not know, and of what is not there. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from engine.schema import EventKind, OmittedReason
from engine.schema.named import named_array

__all__ = ["EVENT_EXAMPLE", "as_object", "state_value"]

EVENT_EXAMPLE: Final = {
    "type": "comment",
    "author": {"id": "u-17", "name": "小林 🌸", "attributes": {}, "role": "", "level": 0},
    "ref": 0,
    "body": "你好 👋",
    "reply_to": 0,
    "mentions": [],
    "expires": 0,
}

_REASONS: Final = {reason.value: reason.name.lower() for reason in OmittedReason}


def as_object(event: Sequence[Any]) -> dict[str, Any]:
    """An event as an object: ``type`` and the fields of its kind, what it leaves out with its default. One of a kind that is
    unknown here: ``{"type": "unknown", "kind": …, "fields": […]}``. Why an event is omitted is told by a word.

    :param event: as in `engine.schema.Batch`, its kind first.
    """
    try:
        told = named_array(event)
    except (ValueError, IndexError, TypeError, KeyError):
        # Of a newer version, or what a product published as it pleased.
        return {"type": "unknown", "kind": event[0] if event else None, "fields": list(event[1:])}
    if event[0] == EventKind.OMITTED:
        told["reason"] = _REASONS.get(told["reason"], told["reason"])
    return told


def state_value(kind: str, value: dict[str, Any]) -> dict[str, Any]:
    """The value of an entry of a room's state, with the event in it, if it holds one, as an object."""
    return {**value, "event": as_object(value["event"])} if kind == "pin" and value.get("event") else value
