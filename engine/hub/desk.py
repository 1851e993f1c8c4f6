"""What viewers ask of a room: to speak, to vote, to change or moderate it, to read its past. And the answers.

Owns the way from each message of an edge to the part of the hub that carries it out, and back to who asked. Must not know how a
room is kept in line with the broker, nor what the parts decide.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from hashlib import blake2b
from typing import Final

import msgspec
from msgspec import Raw

from engine.brokers.base import FREE, LIMITED, Ballot, Broker, Keep, Pending, RecordFull, Unavailable
from engine.errors import Code, Refused
from engine.hub.actor import Actor
from engine.hub.backfill import expired
from engine.hub.ballots import Ballots
from engine.hub.changes import Changes
from engine.hub.consent import Consent
from engine.hub.intake import Answer
from engine.hub.moderation import EVERYWHERE, Moderation, members
from engine.hub.money import Money
from engine.hub.notices import Notices
from engine.hub.order import Order
from engine.hub.port import Port
from engine.hub.publisher import Publisher
from engine.hub.room import HubRoom
from engine.hub.rules import STAFF, Judgement, kind_of
from engine.hub.sanctions import Sanctions
from engine.hub.state import may_vote
from engine.link.messages import PrivateTo, ReplyTo, Request, Say
from engine.room.encoder import encode_message
from engine.schema import (
    BACKSTAGE,
    CODECS,
    MONEY,
    MSGPACK,
    Act,
    Ask,
    Change,
    CommentEvent,
    CustomEvent,
    EventKind,
    HeldEvent,
    LinkedCommentEvent,
    Moderate,
    ModeratedEvent,
    MoneyAct,
    Notice,
    Page,
    ReadHistory,
    ReadState,
    State,
    Vote,
    backstage_of,
)
from engine.settings import Settings

__all__ = ["Desk"]

_RETRY_MS: Final = 1_000
_BOOKED: Final = "what is paid is published by the ledger only, under its entry's number"
_LOOKING: Final = 256
"""Refused requests of which it is looked up at the same time whether they were carried out before."""
_PAGE_BYTES: Final = 8_192
"""Events in one page of the past: it waits among a viewer's private replies, of which it may have ``edge.private_bytes``."""

log = logging.getLogger("roomcast.hub")

_decode_moderated: Final = msgspec.msgpack.Decoder(ModeratedEvent).decode


class Desk:
    """See the module's docstring.

    :param spawn: begins a task that the hub owns.
    :ivar money: for what is paid; ``consent`` the product's, to what viewers want.
    """

    def __init__(
        self,
        settings: Settings,
        broker: Broker,
        publisher: Publisher,
        ballots: Ballots,
        money: Money,
        spawn: Callable[..., None],
        consent: Consent,
    ) -> None:
        self.money = money
        self.consent = consent
        self._settings = settings
        self._broker = broker
        self._publisher = publisher
        self._ballots = ballots
        self._spawn = spawn
        self._order = Order(spawn)
        self._speech = Order(spawn)
        self._changes = Changes(settings, broker)
        self._looking = 0
        self.moderation = Moderation(broker, publisher, self._changes, settings.broker.record_fields)
        self.notices = Notices(settings, broker, publisher, ballots, spawn)

    def adopt(self, settings: Settings) -> None:
        """Take other settings."""
        self._settings = settings
        self._changes.adopt(settings)
        self.moderation.adopt(settings.broker.record_fields)
        self.notices.adopt(settings)
        self.money.adopt(settings.ledger)
        self.consent.adopt(settings.limits)

    async def idle(self) -> None:
        """Wait until the product has answered what it was asked, and that is on its way."""
        await self._speech.idle()
        await self.money.idle()

    # -- speaking -----------------------------------------------------------------------------------------------------

    def say(self, port: Port, room: HubRoom, say: Say) -> None:
        """A comment or custom event of a viewer."""
        answer = partial(_reply, port, say.viewer, say.ref)
        try:
            self._say(port, room, say, answer)
        except Refused as refused:
            self._refuse(room, say.session, say.ref, refused, answer)

    def _refuse(self, room: HubRoom, session: str, ref: int, refused: Refused, answer: Answer) -> None:
        """Say no, unless the very same request has been carried out and its sender does not know: rules that did not object
        then may object now. Looked up for so many at a time; whoever floods is told no."""
        if session and self._looking < _LOOKING:
            self._looking += 1
            self._spawn(self._look_up, room, session, ref, refused, answer)
        else:
            answer(refused.code, 0, refused.text, refused.retry_after_ms)

    async def _look_up(self, room: HubRoom, session: str, ref: int, refused: Refused, answer: Answer) -> None:
        try:
            offset = await self._broker.published(room.name, session, ref)
        except Unavailable:
            offset = 0
        finally:
            self._looking -= 1
        if offset:
            answer(Code.OK, offset, "", 0)
        else:
            answer(refused.code, 0, refused.text, refused.retry_after_ms)

    def _say(self, port: Port, room: HubRoom, say: Say, answer: Answer) -> None:
        actor = Actor(say.author, say.standing, say.session, say.ref)
        asked = not room.backstage and self.consent.needed("comment", say.standing)
        if asked and len(self._speech) >= self._settings.limits.pending_events:
            raise Refused(Code.OVERLOADED, "too many events wait to be published (limits.pending_events)", _RETRY_MS)
        # What was asked about before comes first, also when nobody is asked any more.
        waits = asked or (len(self._speech) > 0 and (port, say.viewer) in self._speech)
        if not waits and (room.backstage or not room.rules.objects):
            event = _event(actor, say, say.body, room.time() if say.lifetime_ms else 0)
            lane = FREE if say.standing.role in STAFF else LIMITED
            self._publisher.accept(room.name, Pending(MSGPACK.encode(event), say.session, say.ref, lane), answer)
            return
        if room.backstage or not room.rules.objects:
            judged = Judgement(say.body, lane=FREE if say.standing.role in STAFF else LIMITED)
        else:
            judged = room.rules.judge(actor, say.body, room.time(), custom=bool(say.name))
        if judged.shadowed:
            # As if it had been published; the sender's page shows it from its own copy.
            answer(Code.OK, 0, "", 0)
        elif waits:
            self._speech.run((port, say.viewer), self._consult, room, actor, say, judged, asked, answer)
        else:
            self._publish(room, actor, say, judged, answer)

    async def _consult(self, room: HubRoom, actor: Actor, say: Say, judged: Judgement, asked: bool, answer: Answer) -> None:
        """Publish what the product has nothing against."""
        try:
            if asked:
                judged = await self.consent.speech(room.name, actor, say, judged)
            self._publish(room, actor, say, judged, answer)
        except Refused as refused:
            room.rules.withdraw(actor)
            self._refuse(room, say.session, say.ref, refused, answer)

    def _publish(self, room: HubRoom, actor: Actor, say: Say, judged: Judgement, answer: Answer) -> None:
        event = _event(actor, say, judged.body, room.time() if say.lifetime_ms else 0)
        if judged.hold:
            held = HeldEvent(actor.shown, _disguised(say.session), say.ref, Raw(MSGPACK.encode(event)), ", ".join(judged.hold))
            self._publisher.accept(backstage_of(room.name), actor.pending(held), partial(_held, answer))
        else:
            pending = Pending(MSGPACK.encode(event), say.session, say.ref, judged.lane, judged.reserve)
            self._publisher.accept(room.name, pending, partial(_published, room, actor, answer))

    # -- everything else ----------------------------------------------------------------------------------------------

    def request(self, port: Port, room: HubRoom, request: Request) -> None:
        """Another request of a viewer."""
        actor = Actor(request.author, request.standing, request.session, request.ref)
        answer = partial(_reply, port, request.viewer, request.ref)
        act = request.act
        if isinstance(act, MoneyAct):
            self.money.request(port, room, request, act)
        elif isinstance(act, Vote):
            try:
                self.vote(room, actor, act, lambda code, text: answer(code, 0, text, _RETRY_MS if code < Code.INVALID else 0))
            except Refused as refused:
                answer(refused.code, 0, refused.text, refused.retry_after_ms)
        elif isinstance(act, Notice):
            # At once, so that it keeps its place among what its author says.
            try:
                self.notices.say(room, actor, act, answer)
            except Refused as refused:
                self._refuse(room, actor.session, actor.ref, refused, answer)
        elif isinstance(act, ReadHistory | ReadState):
            self._order.run((port, request.viewer), self._read, port, room, request)
        else:
            if isinstance(act, Change) and act.on_leave:
                port.leavers.setdefault(room.name, set()).add(request.session)
            self._order.run((port, request.viewer), self._carry_out, room, actor, act, answer)

    async def _carry_out(self, room: HubRoom, actor: Actor, act: Act, answer: Answer) -> None:
        try:
            offset = await self.act(room, actor, act)
        except Refused as refused:
            self._refuse(room, actor.session, actor.ref, refused, answer)
        else:
            answer(Code.OK, offset, "", 0)

    async def act(self, room: HubRoom, actor: Actor, act: Act) -> int:
        """Carry out what somebody asks for; returns the offset of the event that tells of it, 0 if there is none. Raises
        `Refused`."""
        try:
            match act:
                case Moderate():
                    if offset := await self.moderation.act(room, actor, act):
                        return offset
                case Notice():
                    return await self.notices.notice(room, actor, act)
                case Change():
                    await self._changes.change(room, actor, act)
                case Ask():
                    room.rules.check_part(actor.user, actor.standing, room.time())
                    await self._changes.ask(room, actor, act)
                case _:
                    raise Refused(Code.INVALID, "this is asked for in another way")
            return await self._broker.published(room.name, actor.session, actor.ref) if actor.session else 0
        except Unavailable as error:
            raise Refused(Code.UNAVAILABLE, str(error), _RETRY_MS) from None
        except RecordFull as error:
            raise Refused(Code.STATE_FULL, str(error)) from None

    async def publish(self, room: str, pending: Pending) -> int:
        """Publish an event that is not a viewer's, and do what it tells of; returns its offset. Raises `Refused`."""
        try:
            match kind_of(pending.event):
                case paid if paid in MONEY:
                    raise Refused(Code.INVALID, _BOOKED)
                case EventKind.STATE:
                    return await self._changes.carry_over(room, pending)
                case EventKind.MODERATED:
                    offsets = _decode_moderated(pending.event).offsets
                    if offsets and not room.endswith(BACKSTAGE):
                        return await self._broker.redact(room, list(members(offsets)), pending)
        except Unavailable as error:
            raise Refused(Code.UNAVAILABLE, str(error), _RETRY_MS) from None
        except RecordFull as error:
            raise Refused(Code.STATE_FULL, str(error)) from None
        except msgspec.MsgspecError as error:
            raise Refused(Code.INVALID, str(error)) from None
        return await self._publisher.publish(room, pending)

    def vote(self, room: HubRoom, actor: Actor, vote: Vote, told: Callable[[Code, str], None]) -> None:
        """Count a vote with the next ones. Raises `Refused`."""
        now_ms = room.time()
        room.rules.check_part(actor.user, actor.standing, now_ms)
        entry = room.rules.entries.get(vote.kind, vote.key)
        may_vote(entry, vote.choice, now_ms)
        assert entry is not None
        self._ballots.add(room.name, Ballot(entry.tally, actor.user, vote.choice, Keep.FIRST), told)

    async def left(self, room: HubRoom, session: str) -> None:
        """A session is gone: what it wanted to be deleted then goes."""
        for entry in room.rules.entries.of_session(session):
            try:
                await self._changes.delete(room, entry)
            except (Refused, Unavailable) as error:
                log.warning("entry_not_deleted", extra={"room": room.name, "entry": entry.tally, "error": str(error)})

    async def located(self, room: HubRoom, everywhere: Sanctions | None, user: str, address: str) -> None:
        """An edge has found a user that is banned with its address: ban that where the user is banned."""
        for name, sanctions in ((room.name, room.rules.sanctions), (EVERYWHERE, everywhere)):
            sanction = sanctions.get("locate", user) if sanctions is not None else None
            if sanction is not None:
                try:
                    await self.moderation.ban_address(name, address, sanction, room.time())
                except (RecordFull, Unavailable) as error:
                    log.warning("address_not_banned", extra={"room": name, "user": user, "error": str(error)})

    # -- reading ------------------------------------------------------------------------------------------------------

    async def _read(self, port: Port, room: HubRoom, request: Request) -> None:
        act = request.act
        message: Page | State
        try:
            message = await self._page(room, act) if isinstance(act, ReadHistory) else room.told_state(request.ref)
        except Unavailable as error:
            port.post(ReplyTo(request.viewer, request.ref, Code.UNAVAILABLE, 0, str(error), _RETRY_MS))
        else:
            port.post(PrivateTo(request.viewer, request.ref, encode_message(CODECS[request.codec], message)))

    async def _page(self, room: HubRoom, wanted: ReadHistory) -> Page:
        head = room.position.offset
        before = min(wanted.before or head + 1, head + 1)
        after = max(before - 1 - wanted.limit, 0)
        past = (await self._broker.history(room.name, after, before - 1 - after)).events if before - 1 > after else None
        epoch, handle = room.position.epoch, room.state.handle
        if past is None or past.epoch != epoch or past.first >= before:
            return Page(wanted.ref, handle, epoch, before, before - 1, [], [])
        count = before - past.first
        events, times = expired(past.events[:count], room.time()), past.times[:count]
        start, size = len(events), 0
        while start and (start == len(events) or size + len(events[start - 1]) <= _PAGE_BYTES):
            start -= 1
            size += len(events[start])
        last = past.first + len(events) - 1
        return Page(
            wanted.ref, handle, epoch, past.first + start, last, times[start:], [Raw(event) for event in events[start:]]
        )


def _disguised(session: str) -> str:
    """A session is a secret; this tells it from others, and nobody can take it."""
    return blake2b(session.encode(), digest_size=12, person=b"held").hexdigest()


def _event(actor: Actor, say: Say, body: str, now_ms: int) -> CommentEvent | CustomEvent:
    if say.name:
        return CustomEvent(actor.shown, say.ref, say.name, body)
    if say.reply_to or say.mentions or say.lifetime_ms:
        expires = now_ms + say.lifetime_ms if say.lifetime_ms else 0
        return LinkedCommentEvent(actor.shown, say.ref, body, say.reply_to, say.mentions, expires)
    return CommentEvent(actor.shown, say.ref, body)


def _reply(port: Port, viewer: int, ref: int, code: Code, offset: int, text: str, retry_after_ms: int) -> None:
    port.post(ReplyTo(viewer, ref, code, offset, text, retry_after_ms))


def _published(room: HubRoom, actor: Actor, answer: Answer, code: Code, offset: int, text: str, retry_after_ms: int) -> None:
    if code is not Code.OK:
        room.rules.withdraw(actor)
    answer(code, offset, text, retry_after_ms)


def _held(answer: Answer, code: Code, offset: int, text: str, retry_after_ms: int) -> None:
    """The comment is backstage, or is not."""
    if code is Code.OK:
        answer(Code.HELD, 0, "a moderator will decide", 0)
    else:
        answer(code, 0, text, retry_after_ms)
