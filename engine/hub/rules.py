"""What holds in one room at present, and what becomes of what somebody wants to say there.

Owns the room's entries, sanctions and mode, read from its record, and who said what lately, heard from its stream: both are the
same at every hub, so that a rule holds wherever its viewer is. Time is an argument. Must not know edges or the broker's
operations.

A comment is looked at in this order: sanctions, the room's life and mode, slow mode, repetition, words; the first that objects
decides. What passes carries the reserve by which the broker withholds it when the room is beyond its budget.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any, Final, NamedTuple

import msgspec
import trio

from engine.brokers.base import FREE, LIMITED, Amended, Events, Record
from engine.errors import Code, Refused
from engine.hub.actor import Actor
from engine.hub.mode import Mode
from engine.hub.recent import SHARE_MS, Recent
from engine.hub.sanctions import Sanctions
from engine.hub.state import Entries
from engine.hub.withholding import reserve
from engine.hub.words import Words
from engine.link.messages import Barred, Standing
from engine.schema import EventKind
from engine.settings import Settings

__all__ = ["STAFF", "Judgement", "Rules", "kind_of"]

STAFF: Final = ("moderator", "host", "server")
"""Roles that answer for the room: what they say is neither slowed, nor searched for words, nor withheld."""

_COMMENT: Final = int(EventKind.COMMENT)
_decode: Final[Callable[[bytes], Any]] = msgspec.msgpack.Decoder(list[Any]).decode


def kind_of(event: bytes) -> int:
    """`engine.schema.EventKind` of an event, as a number: it is the second byte of its MessagePack."""
    return event[1] if len(event) > 1 else EventKind.OMITTED


class Judgement(NamedTuple):
    """What is to become of a comment that was not refused.

    :ivar body: as it may be shown.
    :ivar hold: words for which a moderator is to decide; empty: it is published.
    :ivar shadowed: nobody is to see it, and its sender is not to be told.
    :ivar lane: as ``reserve`` in `engine.brokers.base.Pending`.
    """

    body: str
    hold: tuple[str, ...] = ()
    shadowed: bool = False
    lane: int = FREE
    reserve: int = 0


class Rules:
    """See the module's docstring.

    :param words: the lists as they are now.
    :param everywhere: sanctions that hold in all rooms.
    :ivar record: the broker's, of this room; it follows it.
    :ivar refused: how often something was refused, by code.
    """

    __slots__ = (
        "_everywhere",
        "_exempt",
        "_limits",
        "_listed",
        "_name",
        "_random",
        "_reached",
        "_recent",
        "_strict",
        "_words",
        "entries",
        "mode",
        "record",
        "refused",
        "sanctions",
    )

    def __init__(
        self,
        name: str,
        settings: Settings,
        words: Callable[[], Words],
        everywhere: Callable[[], Sanctions | None],
        random: Random,
    ) -> None:
        self._name = name
        self._limits = settings.limits
        self._exempt = frozenset(settings.limits.exempt_users)
        self._words = words
        self._listed = bool(settings.moderation.lists)
        self._everywhere = everywhere
        self._random = random
        self._recent: Recent | None = None
        self.entries = Entries()
        self.sanctions = Sanctions()
        self.mode = Mode(self.entries, settings.limits)
        self._strict = self._has_rules()
        self.refused: dict[Code, int] = {}
        self.record = Record(name, 0, {})
        self._reached: trio.Event | None = None

    def adopt(self, settings: Settings) -> None:
        """Take other settings."""
        if bool(settings.limits.duplicate_seconds) != bool(self._limits.duplicate_seconds):
            # One that is made for texts remembers them, another does not.
            self._recent = None
        self._limits = settings.limits
        self._exempt = frozenset(settings.limits.exempt_users)
        self._listed = bool(settings.moderation.lists)
        self.mode = Mode(self.entries, settings.limits)
        self._strict = self._has_rules()

    # -- from the broker ----------------------------------------------------------------------------------------------

    def amend(self, delivery: Record | Amended) -> bool:
        """The room's record, or a change of it. Returns whether it is about sanctions."""
        if isinstance(delivery, Record):
            self.record = Record(self._name, delivery.revision, dict(delivery.fields))
            self.entries = Entries.from_fields(delivery.fields)
            self.sanctions = Sanctions.from_fields(delivery.fields)
            barring = True
        else:
            if delivery.value is None:
                self.record.fields.pop(delivery.field, None)
            else:
                self.record.fields[delivery.field] = delivery.value
            self.record = Record(self._name, delivery.revision, self.record.fields)
            self.entries.apply(delivery.field, delivery.value)
            barring = self.sanctions.apply(delivery.field, delivery.value)
        self.mode = Mode(self.entries, self._limits)
        self._strict = self._has_rules()
        if self._reached is not None:
            self._reached.set()
            self._reached = None
        return barring

    def _has_rules(self) -> bool:
        """Whether the room, or the settings for all rooms, make any rule."""
        mode, limits = self.mode, self._limits
        budget = limits.room_events_per_second or limits.room_bytes_per_second or limits.duplicate_seconds
        return bool(self.sanctions.any or mode.mode != "open" or mode.life != "open" or mode.longest_slow_ms or budget)

    async def reached(self, revision: int) -> None:
        """Wait until the record is at this revision."""
        while self.record.revision < revision:
            if self._reached is None:
                self._reached = trio.Event()
            await self._reached.wait()

    def hear(self, events: Events) -> None:
        """What was said in the room, at whatever node."""
        recent = self._listening()
        if recent is None:
            return
        for event, time in zip(events.events, events.times, strict=True):
            if kind_of(event) == _COMMENT:
                fields = _decode(event)
                recent.note(fields[1][0], fields[2], fields[3], time)

    def _listening(self) -> Recent | None:
        """Who said what lately, if any rule asks for it."""
        limits = self._limits
        budget = limits.room_events_per_second or limits.room_bytes_per_second
        shares = budget and limits.withhold == "authors"
        longest_ms = max(self.mode.longest_slow_ms, int(limits.duplicate_seconds * 1000), SHARE_MS if shares else 0)
        if not longest_ms:
            self._recent = None
        elif self._recent is None:
            self._recent = Recent(longest_ms) if limits.duplicate_seconds else Recent(longest_ms, texts=0)
        else:
            self._recent.window_ms = longest_ms
        return self._recent

    # -- what somebody wants to say -----------------------------------------------------------------------------------

    @property
    def objects(self) -> bool:
        """Whether there is any rule that could object to a comment now. In most rooms there is none, most of the time, and
        `judge` need not be asked."""
        everywhere = self._everywhere()
        return self._strict or self._listed or (everywhere is not None and everywhere.any)

    def judge(self, actor: Actor, body: str, now_ms: int, *, custom: bool = False) -> Judgement:
        """Decide on a comment, or a custom event. Raises `Refused`."""
        try:
            return self._judge(actor, body, now_ms, custom)
        except Refused as refused:
            self.refused[refused.code] = self.refused.get(refused.code, 0) + 1
            raise

    def _judge(self, actor: Actor, body: str, now_ms: int, custom: bool) -> Judgement:
        user, standing = actor.user, actor.standing
        self.check_muted(user, now_ms)
        self.mode.check(standing, body, custom=custom)
        if user in self._exempt:
            return Judgement(body)
        recent = self._listening()
        if recent is not None and not recent.tried(user, actor.session, actor.ref):
            self._check_pace(recent, actor, body, now_ms)
        if standing.role in STAFF:
            return Judgement(body)
        if self.sanctions.shadowed(user, now_ms, self._everywhere()):
            return Judgement(body, shadowed=True)
        verdict = self._words().check(body)
        if verdict.action == "block":
            raise Refused(Code.BLOCKED, "the comment holds something that is not allowed here")
        share = recent.share(user, now_ms) if recent is not None else 0.0
        kept = reserve(self._limits.withhold, share, standing.level, self._random.random())
        if recent is not None:
            recent.accept(user, actor.session, actor.ref, body, now_ms)
        return Judgement(verdict.text, verdict.words if verdict.action == "hold" else (), False, LIMITED, kept)

    def _check_pace(self, recent: Recent, actor: Actor, body: str, now_ms: int) -> None:
        wait_ms = recent.wait_ms(actor.user, self.mode.slow_ms(actor.standing), now_ms)
        if wait_ms > 0:
            raise Refused(Code.SLOW_MODE, "the room is in slow mode", wait_ms)
        window_ms = int(self._limits.duplicate_seconds * 1000)
        if window_ms and actor.standing.role not in STAFF and recent.repeats(actor.user, body, window_ms, now_ms):
            raise Refused(Code.DUPLICATE, "you have just said the same (limits.duplicate_seconds)")

    def withdraw(self, actor: Actor) -> None:
        """What was judged was given no offset."""
        if self._recent is not None:
            self._recent.withdraw(actor.user, actor.session, actor.ref)

    def check_part(self, user: str, standing: Standing, now_ms: int) -> None:
        """Raise `Refused` if the user may not take part now: vote, or ask."""
        self.check_muted(user, now_ms)
        self.mode.check_life(standing)

    def check_banned(self, user: str, now_ms: int) -> None:
        """Raise `Refused` if the user may not be in the room."""
        until = self.sanctions.banned(user, now_ms, self._everywhere())
        if until is not None:
            raise Refused(Code.BANNED, "a moderator has banned you", max(until - now_ms, 1) if until else 0)

    def check_muted(self, user: str, now_ms: int) -> None:
        """Raise `Refused` if the user may not speak."""
        until = self.sanctions.muted(user, now_ms, self._everywhere())
        if until is not None:
            raise Refused(Code.MUTED, "a moderator has muted you", max(until - now_ms, 1) if until else 0)

    def barred(self, now_ms: int) -> Barred:
        """Who may not be in the room."""
        everywhere = self._everywhere()
        users, addresses = self.sanctions.barred(now_ms, everywhere)
        return Barred(self._name, users, addresses, self.sanctions.locate(now_ms, everywhere))

    def deadlines(self) -> list[tuple[int, int]]:
        """Offset and deadline of each notice that has one, in Unix milliseconds."""
        notices = (entry.value for entry in self.entries.of_kind("notice"))
        return [(value["offset"], value["deadline"]) for value in notices if value["deadline"]]
