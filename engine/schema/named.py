"""Events by the names of their fields, for who does not count elements: the HTTP API and webhooks.

Owns the way from an event's array to a table. Pure. The names are those of the classes in `engine.schema.events` and
`engine.schema.money`; a field that an event leaves out has its default there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec
from msgspec import NODEFAULT, Struct
from msgspec.structs import fields

from engine.schema.events import (
    CustomEvent,
    EventKind,
    HeldEvent,
    LinkedCommentEvent,
    ModeratedEvent,
    NoticeEvent,
    OmittedEvent,
    PresenceEvent,
    RankedAuthor,
    StateEvent,
)
from engine.schema.money import ComboEvent, CorrectionEvent, GiftEvent, PacketEndEvent, PacketEvent, ShareEvent

__all__ = ["named", "named_array", "type_of"]

_TYPES: Final[tuple[type[Struct], ...]] = (
    OmittedEvent,
    LinkedCommentEvent,
    CustomEvent,
    StateEvent,
    NoticeEvent,
    ModeratedEvent,
    HeldEvent,
    PresenceEvent,
    GiftEvent,
    ComboEvent,
    CorrectionEvent,
    PacketEvent,
    ShareEvent,
    PacketEndEvent,
)
"""By their kind (`EventKind`); each with all fields that an event of the kind may have."""

_Names = tuple[tuple[str, Any], ...]


def _names_of(kind: type[Struct]) -> _Names:
    """A class's fields in their order, each with its default, None if there is none."""
    return tuple(
        (each.name, each.default if each.default is not NODEFAULT else _made(each.default_factory)) for each in fields(kind)
    )


def _made(factory: Any) -> Any:
    return None if factory is NODEFAULT else factory()


_NAMES: Final = tuple(map(_names_of, _TYPES))
_AUTHOR: Final = _names_of(RankedAuthor)

_decode: Final = msgspec.msgpack.Decoder().decode


def type_of(kind: int) -> str:
    """What an event of this kind is called: ``comment``, ``gift``, ``packet_end`` …"""
    return EventKind(kind).name.lower()


def named(event: bytes) -> dict[str, Any]:
    """An event by the names of its fields, after ``type`` (`type_of`).

    An author is ``{"id", "name", "attributes", "role", "level"}``, where role and level are empty unless the event tells them.
    An event within an event (what is held, what is pinned) is such a table, too.

    :param event: MessagePack of an `engine.schema.Event`.
    :raises msgspec.DecodeError: it is none.
    :raises ValueError: it is of a kind that there is not.
    """
    return named_array(_decode(event))


def named_array(event: Sequence[Any]) -> dict[str, Any]:
    """As `named`, of an event that is decoded already, its kind first."""
    kind = EventKind(event[0])
    table = {"type": kind.name.lower(), **_zipped(_NAMES[kind], event[1:])}
    if "author" in table:
        table["author"] = _zipped(_AUTHOR, table["author"])
    if kind is EventKind.HELD:
        table["event"] = named_array(table["event"])
    elif kind is EventKind.STATE and table["kind"] == "pin" and table["value"] is not None and "event" in table["value"]:
        table["value"] = {**table["value"], "event": named_array(table["value"]["event"])}
    return table


def _zipped(names: _Names, values: Sequence[Any]) -> dict[str, Any]:
    """What is left out has its default; what a later release has added is left out."""
    table = {name: value for (name, _), value in zip(names, values, strict=False)}
    for name, default in names[len(values) :]:
        table[name] = default.copy() if isinstance(default, list | dict) else default
    return table
