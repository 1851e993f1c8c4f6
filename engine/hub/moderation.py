"""What moderators do: mutes, bans, kicks, deletions, decisions on what is held.

Owns the way from each action to the broker: a field of the room's record, an event, a redaction. Every hub learns of them as of
any other change, so they hold everywhere within a tick. Must not know links, nor what hubs and edges do about them.

Everything is written down backstage first, with actor and reason: an action that then fails has at worst been tried.
"""

from __future__ import annotations

import ipaddress
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator, Sequence
from typing import Any, ClassVar, Final

import msgspec
import trio

from engine.brokers.base import Broker
from engine.errors import Code, Refused
from engine.hub.actor import Actor
from engine.hub.backfill import PAGE
from engine.hub.changes import Changes
from engine.hub.publisher import Publisher
from engine.hub.room import HubRoom
from engine.hub.rules import kind_of
from engine.hub.sanctions import Sanction, encode, field
from engine.schema import EVERYWHERE, EventKind, HeldEvent, Moderate, ModeratedEvent, backstage_of

__all__ = ["EVERYWHERE", "Moderation", "members", "stretches"]

_SANCTIONS: Final = {"mute": "mute", "shadow": "shadow", "ban": "ban", "unmute": "mute", "unshadow": "shadow", "unban": "ban"}
_SECONDS_MAX: Final = 10 * 365 * 86_400
"""Longest time for which somebody is muted or banned; for good is for longer."""
_LOCATING_MS: Final = 60_000
"""How long edges look for the address of a user that is banned with it."""
_CHUNK: Final = 1_000
"""Offsets redacted in one step of the broker."""
_SPARE: Final = 64
"""Fields of a room's record that sanctions leave to what the room is: it must be possible to close it."""
_STRETCH: Final = 1_000_000
"""Longest stretch: an event from elsewhere may say anything."""
_DELETABLE: Final = (EventKind.COMMENT, EventKind.CUSTOM, EventKind.NOTICE)
_SAID: Final = (EventKind.COMMENT, EventKind.CUSTOM)

audit = logging.getLogger("roomcast.audit")

_decode_any: Final[Callable[[bytes], Any]] = msgspec.msgpack.Decoder().decode
_decode_held: Final = msgspec.msgpack.Decoder(HeldEvent).decode


class Moderation:
    """See the module's docstring. Methods raise `Refused`, and what the broker raises.

    :param record_fields: that a room's record may have.
    :ivar told: waited for before an action, with the room, who acts, what is written backstage, and whether it holds
        everywhere.
    """

    def __init__(self, broker: Broker, publisher: Publisher, changes: Changes, record_fields: int) -> None:
        self._broker = broker
        self.adopt(record_fields)
        self._publisher = publisher
        self._changes = changes
        self.told: Callable[[HubRoom, Actor, ModeratedEvent, bool], Awaitable[None]] | None = None

    def adopt(self, record_fields: int) -> None:
        """Let a room's record have so many fields."""
        self._fields_max = record_fields - _SPARE

    async def act(self, room: HubRoom, actor: Actor, act: Moderate) -> int:
        """Do what a moderator asks for; returns the offset of the event that tells of it, 0 if none does."""
        do = self._actions.get(act.action)
        if do is None:
            raise Refused(Code.INVALID, f"action must be one of {', '.join(sorted(self._actions))}, not {act.action!r}")
        if act.action not in ("delete", "clear", "approve", "reject") and not act.user:
            raise Refused(Code.INVALID, f"{act.action} needs a user")
        if act.everywhere and act.action not in (*_SANCTIONS, "ban_address", "unban_address"):
            raise Refused(Code.INVALID, f"{act.action} is not possible everywhere")
        if act.everywhere and actor.standing.confined:
            raise Refused(Code.FORBIDDEN, "your role is for some rooms only")
        if act.seconds > _SECONDS_MAX:
            raise Refused(Code.INVALID, f"seconds: at most {_SECONDS_MAX}; 0 is for good")
        until = room.time() + act.seconds * 1000 if act.seconds else 0
        offsets = [act.offset, act.offset] if act.offset else []
        written = ModeratedEvent(actor.shown, act.action, act.user, offsets, until, act.reason)
        details = {"room": room.name, "action": act.action, "actor": actor.user, "user": act.user, "offset": act.offset}
        audit.info("moderated", extra={**details, "seconds": act.seconds, "everywhere": act.everywhere, "reason": act.reason})
        await self._publisher.publish(backstage_of(room.name), actor.pending(written))
        if self.told is not None:
            await self.told(room, actor, written, act.everywhere)
        return await do(self, room, actor, act, until)

    # -- users --------------------------------------------------------------------------------------------------------

    async def _sanction(self, room: HubRoom, actor: Actor, act: Moderate, until: int) -> int:
        value = encode(until, actor.user, act.reason) if not act.action.startswith("un") else None
        event = ModeratedEvent(actor.shown, act.action, act.user, [], until)
        # A shadow mute is not told: its user would learn of it.
        pending = actor.pending(event) if "shadow" not in act.action else None
        name = EVERYWHERE if act.everywhere else room.name
        fields, mine = room.rules.record.fields, field(_SANCTIONS[act.action], act.user)
        if value is not None and name == room.name and mine not in fields and len(fields) >= self._fields_max:
            raise Refused(Code.STATE_FULL, "too many are muted or banned in this room (broker.record_fields)")
        if act.action == "unban":
            # Who comes back is not to be found, and banned with its address, once more.
            await self._broker.amend(name, field("locate", act.user), None)
        await self._broker.amend(name, mine, value, act.seconds * 1000, None, pending)
        return 0

    async def _ban_address(self, room: HubRoom, actor: Actor, act: Moderate, until: int) -> int:
        name = EVERYWHERE if act.everywhere else room.name
        value = encode(until, actor.user, act.reason)
        address = _address(act.user)
        if address is not None:
            await self._broker.amend(name, field("address", address), value, act.seconds * 1000)
            return 0
        # First who is looked for, then the ban: whoever is sent away cannot be found any more.
        await self._broker.amend(name, field("locate", act.user), value, _LOCATING_MS)
        ban = Moderate(act.ref, act.handle, "ban", act.user, 0, act.seconds, act.reason, act.everywhere)
        return await self._sanction(room, actor, ban, until)

    async def _unban_address(self, room: HubRoom, actor: Actor, act: Moderate, until: int) -> int:
        name = EVERYWHERE if act.everywhere else room.name
        await self._broker.amend(name, field("address", _address(act.user) or act.user), None)
        return 0

    async def ban_address(self, name: str, address: str, sanction: Sanction, now_ms: int) -> None:
        """Ban an address as its user is banned: whoever is there was found by an edge."""
        expires_ms = max(sanction.until - now_ms, 1) if sanction.until else 0
        value = encode(sanction.until, sanction.actor, sanction.reason)
        await self._broker.amend(name, field("address", address), value, expires_ms)

    async def _kick(self, room: HubRoom, actor: Actor, act: Moderate, until: int) -> int:
        return await self._publisher.publish(room.name, actor.pending(ModeratedEvent(actor.shown, "kick", act.user)))

    # -- what was said ------------------------------------------------------------------------------------------------

    async def _delete(self, room: HubRoom, actor: Actor, act: Moderate, until: int) -> int:
        if not 0 < act.offset <= room.head:
            raise Refused(Code.NOT_FOUND, f"the room has no offset {act.offset}")
        events = (await self._broker.history(room.name, act.offset - 1, 1)).events
        if events.events and events.first == act.offset and kind_of(events.events[0]) not in (*_DELETABLE, EventKind.OMITTED):
            raise Refused(Code.INVALID, "only comments, custom events and notices can be deleted")
        return await self._redact(room, actor, "delete", act.user, [act.offset])

    async def _delete_user(self, room: HubRoom, actor: Actor, act: Moderate, until: int) -> int:
        return await self._redact(room, actor, act.action, act.user, await self._said(room, act.user))

    async def _clear(self, room: HubRoom, actor: Actor, act: Moderate, until: int) -> int:
        return await self._redact(room, actor, act.action, "", await self._said(room, ""))

    async def _said(self, room: HubRoom, user: str) -> list[int]:
        """Offsets of what a user has said, or everybody, as far as it is kept."""
        return [
            offset
            async for offset, event in self._past(room, 0)
            if kind_of(event) in _SAID and (not user or _decode_any(event)[1][0] == user)
        ]

    async def _past(self, room: HubRoom, after: int) -> AsyncIterator[tuple[int, bytes]]:
        """Offset and event of what is kept above ``after``."""
        head = room.head
        while after < head:
            events = (await self._broker.history(room.name, after, PAGE)).events
            if not events.events:
                break
            for offset, event in enumerate(events.events, events.first):
                yield offset, event
            after = events.last
            await trio.lowlevel.checkpoint()

    async def _redact(self, room: HubRoom, actor: Actor, action: str, user: str, offsets: Sequence[int]) -> int:
        gone = set(offsets)
        # First what repeats it, so that it is nowhere once it is told that it is gone.
        for pin in [pin for pin in room.rules.entries.of_kind("pin") if pin.value["offset"] in gone]:
            await self._changes.delete(room, pin)
        offsets = sorted(gone | await self._repeating(room, gone))
        last = 0
        for part in range(0, max(len(offsets), 1), _CHUNK):
            chunk = offsets[part : part + _CHUNK]
            event = ModeratedEvent(actor.shown, action, user, list(stretches(chunk)))
            last = await self._broker.redact(room.name, chunk, actor.pending(event, part // _CHUNK))
        return last

    async def _repeating(self, room: HubRoom, gone: Collection[int]) -> set[int]:
        """Offsets of the changes by which events at these offsets were pinned: they hold what was said."""
        return {
            offset
            async for offset, event in self._past(room, min(gone, default=room.head))
            if kind_of(event) == EventKind.STATE and _pinned(event) in gone
        }

    # -- what is held -------------------------------------------------------------------------------------------------

    async def _approve(self, room: HubRoom, actor: Actor, act: Moderate, until: int) -> int:
        held = await self._held(room, act.offset)
        # With the sender's own key: however often this is approved, and whatever its sender tries again, it is published once.
        pending = Actor(held.author, actor.standing, held.session, held.ref).pending(held.event)
        return await self._publisher.publish(room.name, pending)

    async def _reject(self, room: HubRoom, actor: Actor, act: Moderate, until: int) -> int:
        await self._held(room, act.offset)
        return 0

    async def _held(self, room: HubRoom, offset: int) -> HeldEvent:
        if offset > 0:
            events = (await self._broker.history(backstage_of(room.name), offset - 1, 1)).events
            if events.events and events.first == offset and kind_of(events.events[0]) == EventKind.HELD:
                return _decode_held(events.events[0])
        raise Refused(Code.NOT_FOUND, f"no comment is held at offset {offset} backstage")

    _actions: ClassVar[dict[str, Callable[[Moderation, HubRoom, Actor, Moderate, int], Awaitable[int]]]] = {
        **dict.fromkeys(_SANCTIONS, _sanction),
        "ban_address": _ban_address,
        "unban_address": _unban_address,
        "kick": _kick,
        "delete": _delete,
        "delete_user": _delete_user,
        "clear": _clear,
        "approve": _approve,
        "reject": _reject,
    }


def stretches(offsets: Sequence[int]) -> Iterator[int]:
    """First and last of each stretch of consecutive offsets, one after the other."""
    for index, offset in enumerate(offsets):
        if not index or offsets[index - 1] != offset - 1:
            yield offset
        if index + 1 == len(offsets) or offsets[index + 1] != offset + 1:
            yield offset


def members(stretches: Sequence[int]) -> Iterator[int]:
    """The offsets in stretches."""
    for first, last in zip(stretches[::2], stretches[1::2], strict=False):
        yield from range(first, min(last, first + _STRETCH) + 1)


def _pinned(event: bytes) -> int:
    """Offset of what a change of the state pins; 0: nothing."""
    kind, value = _decode_any(event)[3:6:2]
    return value["offset"] if kind == "pin" and value is not None else 0


def _address(text: str) -> str | None:
    """An address as edges write it: an IPv4 address, or the /64 that an IPv6 address is in; None for what is none. Raises
    `Refused` for a network of more."""
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None
    if isinstance(network, ipaddress.IPv6Network) and (mapped := network.network_address.ipv4_mapped) is not None:
        network = ipaddress.ip_network(mapped)
    if network.num_addresses > (1 if network.version == 4 else 1 << 64):
        raise Refused(Code.INVALID, "user: an address is that of one place: IPv4, or IPv6 up to a /64")
    if isinstance(network, ipaddress.IPv6Network):
        return str(network.supernet(new_prefix=64))
    return str(network.network_address)
