"""Notices that must arrive: who was addressed, who has them, who has read them, and who has not when the time is over.

Owns the tally behind each notice that asks for receipts, and what is done at its deadline, once for all nodes. Must not know
links beyond the roll that edges are asked to call.

A user's choice in the tally only grows: 0 addressed, 1 it came, 2 it was read. At the deadline the hub that takes the notice
out of the room's record, which only one can, writes down backstage who has not read it, and tells its product.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import Final, NamedTuple

import trio

from engine.access import SERVER
from engine.brokers.base import Ballot, Broker, Conflict, Keep, Pending, RecordFull, Unavailable
from engine.errors import Code, Refused
from engine.hub.actor import Actor
from engine.hub.ballots import Ballots
from engine.hub.intake import Answer
from engine.hub.publisher import Publisher
from engine.hub.room import HubRoom
from engine.hub.state import field_of, notice_entry
from engine.link.messages import AskRoll
from engine.room.state import NOTICES
from engine.schema import MSGPACK, CustomEvent, Notice, NoticeEvent, StateEvent, backstage_of
from engine.settings import Settings

__all__ = ["ADDRESSED", "CAME", "READ", "Hook", "Notices", "Unread"]

ADDRESSED, CAME, READ = range(3)
_RETRY_SECONDS: Final = 1.0
"""Pause before a broker that was out of reach is asked again."""
_DEADLINE_MS_MAX: Final = 31 * 86_400_000
_UNREAD: Final = "notice.unread"
"""Name of the custom event backstage."""

log = logging.getLogger("roomcast.hub")


class Unread(NamedTuple):
    """What became of a notice at its deadline.

    :ivar users: who were there and have not read it; empty if the audience is larger than ``room.receipts_audience``.
    :ivar came: how many have it; ``read`` how many have read it.
    """

    room: str
    offset: int
    came: int
    read: int
    users: list[str]


Hook = Callable[[Unread], Awaitable[None]]
"""What a product does about those who have not read a notice."""


class Notices:
    """See the module's docstring.

    :param spawn: begins a task that the hub owns.
    :ivar hook: called at deadlines; an exception it raises is logged.
    """

    def __init__(
        self, settings: Settings, broker: Broker, publisher: Publisher, ballots: Ballots, spawn: Callable[..., None]
    ) -> None:
        self._spawn = spawn
        self.adopt(settings)
        self._broker = broker
        self._publisher = publisher
        self._ballots = ballots
        self.hook: Hook | None = None

    def adopt(self, settings: Settings) -> None:
        """Take other settings."""
        self._audience = settings.room.receipts_audience

    async def notice(self, room: HubRoom, actor: Actor, notice: Notice) -> int:
        """Publish it, and note its deadline; returns its offset. Raises `Refused`, and what the broker raises."""
        offset = await self._publisher.publish(room.name, actor.pending(_event(actor, notice)))
        if notice.receipts:
            await self._note(room, actor, notice, offset)
        return offset

    def say(self, room: HubRoom, actor: Actor, notice: Notice, answer: Answer) -> None:
        """As `notice`, in its place among what is published now. Raises `Refused`."""

        def published(code: Code, offset: int, text: str, retry_after_ms: int) -> None:
            if code is Code.OK and notice.receipts:
                self._spawn(self._note_and_answer, room, actor, notice, offset, answer)
            else:
                answer(code, offset, text, retry_after_ms)

        self._publisher.accept(room.name, actor.pending(_event(actor, notice)), published)

    async def _note_and_answer(self, room: HubRoom, actor: Actor, notice: Notice, offset: int, answer: Answer) -> None:
        try:
            await self._note(room, actor, notice, offset)
        except Unavailable as error:
            answer(Code.UNAVAILABLE, 0, str(error), int(_RETRY_SECONDS * 1000))
        except RecordFull as error:
            answer(Code.STATE_FULL, offset, str(error), 0)
        else:
            answer(Code.OK, offset, "", 0)

    async def _note(self, room: HubRoom, actor: Actor, notice: Notice, offset: int) -> None:
        """Let it be part of the state that it asks for receipts, and until when."""
        await self._make_room(room)
        deadline = room.time() + notice.deadline_ms if notice.deadline_ms else 0
        entry = notice_entry(offset, deadline)
        told = StateEvent(actor.shown, 0, entry.kind, entry.key, entry.value, entry.version)
        await self._broker.amend(room.name, field_of(*_named(offset)), entry.encode(), event=actor.pending(told, 1))

    async def _make_room(self, room: HubRoom) -> None:
        """Forget the oldest notices that nobody is told the receipts of any more."""
        entries = sorted(room.rules.entries.of_kind("notice"), key=lambda entry: entry.value["offset"])
        for entry in entries[: max(len(entries) + 1 - NOTICES, 0)]:
            gone = Pending(MSGPACK.encode(StateEvent(SERVER, 0, entry.kind, entry.key, None, entry.version + 1)))
            await self._broker.amend(room.name, field_of(entry.kind, entry.key), None, event=gone)
            await self._broker.discard(room.name, tally_of(entry.value["offset"]))

    def published(self, room: HubRoom, offset: int) -> None:
        """A notice that asks for receipts has come from the broker: find out whom it addresses here, if they are few."""
        if room.state.counters[1] <= self._audience:
            room.send(AskRoll(room.name, offset))

    def receipts(self, room: HubRoom, offset: int, state: int, users: Iterable[str]) -> None:
        """An edge has heard of its viewers."""
        if offset not in room.receipted:
            return
        try:
            for user in users:
                self._ballots.add(room.name, Ballot(tally_of(offset), user, state, Keep.LARGEST))
        except Refused as refused:
            log.warning("receipts_not_counted", extra={"room": room.name, "offset": offset, "error": refused.text})

    async def finish(self, room: HubRoom, offset: int) -> None:
        """The deadline has passed."""
        field = field_of(*_named(offset))
        gone = Pending(MSGPACK.encode(StateEvent(SERVER, 0, *_named(offset), None, 2)))
        while field in room.rules.record.fields:
            try:
                await self._broker.amend(room.name, field, None, 0, room.rules.record.revision, gone)
                await self._tell(room, offset)
                await self._broker.discard(room.name, tally_of(offset))
            except Conflict as conflict:
                with trio.move_on_after(_RETRY_SECONDS):
                    await room.rules.reached(conflict.revision)
            except Unavailable as error:
                log.warning("broker_unavailable", extra={"room": room.name, "error": str(error)})
                await trio.sleep(_RETRY_SECONDS)
            else:
                return

    async def _tell(self, room: HubRoom, offset: int) -> None:
        voters = await self._broker.voters(room.name, tally_of(offset), self._audience)
        came, read = room.state.receipts(offset)
        if voters:
            came, read = (
                sum(1 for choice in voters.values() if choice >= CAME),
                sum(choice == READ for choice in voters.values()),
            )
        unread = Unread(room.name, offset, came, read, sorted(user for user, choice in voters.items() if choice < READ))
        body = json.dumps({"offset": offset, "came": came, "read": read, "unread": unread.users}, ensure_ascii=False)
        event = MSGPACK.encode(CustomEvent(SERVER, 0, _UNREAD, body))
        try:
            await self._publisher.publish(backstage_of(room.name), Pending(event))
        except Refused as refused:
            log.warning("unread_not_written_down", extra={"room": room.name, "offset": offset, "error": refused.text})
        if self.hook is not None:
            try:
                await self.hook(unread)
            except Exception:  # a product's own code: whatever it raises is for its operator to see, not for the room to suffer
                log.exception("hook_failed", extra={"hook": "unread", "room": room.name, "offset": offset})


def _event(actor: Actor, notice: Notice) -> NoticeEvent:
    if notice.deadline_ms > _DEADLINE_MS_MAX:
        raise Refused(Code.INVALID, f"deadline_ms: at most {_DEADLINE_MS_MAX}")
    return NoticeEvent(actor.shown, notice.ref, notice.body, notice.receipts)


def _named(offset: int) -> tuple[str, str]:
    """Kind and key of a notice's entry."""
    return "notice", str(offset)


def tally_of(offset: int) -> str:
    """Name of a notice's tally."""
    return f"notice:{offset}"
