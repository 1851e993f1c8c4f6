"""Changes of a room's state: from what somebody wants to the record and the event that tells of it.

Owns the way to the broker, and trying again when somebody else was faster. What may be changed, by whom and into what is for
`engine.hub.state` to say. Must not know links.
"""

from __future__ import annotations

import secrets
from typing import Any, Final

import msgspec
import trio

from engine.access import SERVER, Role, Standing
from engine.brokers.base import Broker, Conflict, Pending
from engine.errors import Code, Refused
from engine.hub.actor import Actor
from engine.hub.room import HubRoom
from engine.hub.rules import kind_of
from engine.hub.state import Entry, Plan, field_of, plan, question
from engine.schema import Ask, Change, EventKind, StateEvent
from engine.settings import Settings

__all__ = ["Changes"]

_ATTEMPTS: Final = 20
_BEHIND_SECONDS: Final = 2.0
"""How long a change waits to learn of the one that was faster."""

_VOTED: Final = ("poll", "question")
"""Kinds that have a tally."""

_decode_any: Final = msgspec.msgpack.Decoder().decode
_decode_state: Final = msgspec.msgpack.Decoder(StateEvent).decode


class Changes:
    """See the module's docstring. Methods raise `Refused`, and what the broker raises."""

    def __init__(self, settings: Settings, broker: Broker) -> None:
        self._settings = settings
        self._broker = broker

    def adopt(self, settings: Settings) -> None:
        """Take other settings."""
        self._settings = settings

    async def change(self, room: HubRoom, actor: Actor, change: Change) -> None:
        """Change an entry."""
        pinned = await self._pinned(room, change) if change.kind == "pin" and change.value is not None else None
        rules, settings = room.rules, self._settings.room
        for _ in range(_ATTEMPTS):
            plans = plan(rules.entries, change, actor, settings, room.time(), rules.record.revision, pinned)
            done = await self._apply(room, actor, plans)
            if done == len(plans):
                return
            if done:
                # What was asked for is done, and recognised by its key; what must follow is planned anew.
                change = msgspec.structs.replace(change, expect=-1)
        raise Refused(Code.CONFLICT, "the room's state changes too fast")

    async def ask(self, room: HubRoom, actor: Actor, ask: Ask) -> None:
        """Let a question be part of the state."""
        rules, settings = room.rules, self._settings.room
        for _ in range(_ATTEMPTS):
            plans = question(rules.entries, ask, actor, settings, room.time(), rules.record.revision)
            if await self._apply(room, actor, plans) == len(plans):
                return
        raise Refused(Code.CONFLICT, "the room's state changes too fast")

    async def carry_over(self, room: str, pending: Pending) -> int:
        """Change an entry as an event from another stream tells, whatever stands there now; returns the event's offset."""
        event = _decode_state(pending.event)
        if not pending.session:
            pending = Pending(pending.event, f"carried-{secrets.token_hex(8)}", 1)
        value = None
        if event.value is not None:
            value = Entry(event.kind, event.key, event.value, event.version, event.author.id, "", event.version).encode()
        await self._broker.amend(room, field_of(event.kind, event.key), value, event=pending)
        offset = await self._broker.published(room, pending.session, pending.ref)
        # What is not there is not deleted, and nobody told; but this stream is to be as the other.
        return offset or (await self._broker.publish(room, [pending])).offsets[0]

    async def delete(self, room: HubRoom, entry: Entry) -> None:
        """Let an entry go, unless it has changed."""
        actor = Actor(SERVER, Standing(Role.SERVER.value))
        await self.change(room, actor, Change(1, 0, entry.kind, entry.key, None, entry.version))

    async def _apply(self, room: HubRoom, actor: Actor, plans: list[Plan]) -> int:
        """Carry out what was planned, up to where the record turns out to have changed; returns how much was done."""
        for part, each in enumerate(plans):
            entry = each.entry
            value = None if each.deletes else entry.value
            event = actor.pending(StateEvent(actor.shown, actor.ref, entry.kind, entry.key, value, entry.version), part)
            field = field_of(entry.kind, entry.key)
            try:
                revision = await self._broker.amend(room.name, field, each.encoded, 0, room.rules.record.revision, event)
            except Conflict as conflict:
                await _behind(room, conflict.revision)
                return part
            await _behind(room, revision)
            if each.deletes and entry.kind in _VOTED:
                await self._broker.discard(room.name, entry.tally)
        return len(plans)

    async def _pinned(self, room: HubRoom, change: Change) -> list[Any]:
        """The event that is to be pinned."""
        offset = change.value.get("offset") if change.value is not None else None
        if isinstance(offset, int) and not isinstance(offset, bool) and 0 < offset <= room.head:
            events = (await self._broker.history(room.name, offset - 1, 1)).events
            if events.events and events.first == offset and kind_of(events.events[0]) in (EventKind.COMMENT, EventKind.NOTICE):
                found: list[Any] = _decode_any(events.events[0])
                return found
        raise Refused(Code.NOT_FOUND, "no comment or notice that can be pinned is at this offset")


async def _behind(room: HubRoom, revision: int) -> None:
    """Wait until the room has learned of this revision, within bounds."""
    with trio.move_on_after(_BEHIND_SECONDS):
        await room.rules.reached(revision)
