"""Gifts, red packets and corrections: from who wants one to the ledger, and the answer.

Owns what is looked at before something is booked: the room, the product's consent, a red packet's conditions. Must not know how
the ledger books it (`engine.ledger`), nor how it gets to the stream (`engine.hub.outbox`).

Whoever is answered `Paid` is in the ledger and in the stream. Who claims a share and gets none is not answered when the packet
is over: everybody learns that from one event.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from hashlib import blake2b
from typing import Final

import trio

from engine.access import is_guest
from engine.errors import Code, Refused
from engine.hub.actor import Actor
from engine.hub.catalogue import Catalogue
from engine.hub.consent import Consent
from engine.hub.givers import KEPT
from engine.hub.order import Order
from engine.hub.port import Port
from engine.hub.room import HubRoom
from engine.hub.spending import Spend, Spending
from engine.ledger import values
from engine.ledger.lane import Lane, LaneStatistics
from engine.ledger.values import Book, Booked, Correct, Giver, Outcome, Rejected
from engine.link.messages import PrivateTo, ReplyTo, Request
from engine.room.encoder import encode_message
from engine.schema import CODECS, Author, Claim, Gifts, Give, Givers, MoneyAct, Pack, Paid, ReadGivers
from engine.settings import LedgerSettings

__all__ = ["Money", "MoneyStatistics"]

_EXACT: Final = 2**53
_RANK_SECONDS: Final = 0.25
"""Pause before a leaderboard that does not hold any more is read again."""

log = logging.getLogger("roomcast.hub")


@dataclass(frozen=True, slots=True)
class MoneyStatistics:
    """A frozen picture of a hub's money lane.

    :ivar claims_late: claims that came when their red packet was over.
    """

    lane: LaneStatistics
    claims_late: int


class Money:
    """See the module's docstring.

    :param now_ms: Unix milliseconds.
    :param ranked: called when a room's leaderboard was read again.
    :param spawn: begins a task that the hub owns.
    :param consent: the product's, to what viewers want.
    :ivar catalogue: what can be given.
    :ivar spending: whether viewers may.
    """

    def __init__(
        self,
        settings: LedgerSettings,
        catalogue: Catalogue,
        lane: Lane,
        now_ms: Callable[[], int],
        ranked: Callable[[HubRoom], None],
        spawn: Callable[..., None],
        consent: Consent,
    ) -> None:
        self._settings = settings
        self._lane = lane
        self._now_ms = now_ms
        self._ranked = ranked
        self._spawn = spawn
        self._consent = consent
        self._order = Order(spawn)
        self._ranking: set[str] = set()
        self._late = 0
        self.catalogue = catalogue
        self.spending = Spending(settings, consent.asking)

    def adopt(self, settings: LedgerSettings) -> None:
        """Take other settings."""
        self._settings = settings
        self.spending.adopt(settings)

    def statistics(self) -> MoneyStatistics:
        """A frozen picture."""
        return MoneyStatistics(self._lane.statistics(), self._late)

    async def idle(self) -> None:
        """Wait until the product has answered what it was asked, and that is with the ledger."""
        await self._order.idle()

    # -- what viewers ask for -----------------------------------------------------------------------------------------

    def request(self, port: Port, room: HubRoom, request: Request, act: MoneyAct) -> None:
        """A viewer wants to give, to claim, or to know."""
        try:
            if isinstance(act, Claim):
                self._claim(port, room, request, act)
            elif isinstance(act, Give | Pack):
                self._spend(port, room, request, act)
            elif isinstance(act, ReadGivers):
                self._order.run((port, request.viewer), self._read, port, room, request, act)
            else:
                gifts = [(each.id, each.name, each.price, each.effect, each.combo_ms) for each in self.catalogue.all()]
                self._private(port, request, Gifts(act.ref, room.state.handle, gifts))
        except Refused as refused:
            self._refuse(port, request, refused)

    def _spend(self, port: Port, room: HubRoom, request: Request, act: Give | Pack) -> None:
        actor = Actor(request.author, request.standing, request.session, request.ref)
        room.rules.mode.check_life(actor.standing)
        book = self._gift(room, actor, act) if isinstance(act, Give) else self._packet(room, actor, act)
        answered = partial(self._answered, port, room, request)
        charged = self.spending.asks
        asked = self._consent.needed("gift" if isinstance(act, Give) else "red_packet", request.standing)
        if asked or charged:
            self._order.run((port, request.viewer), self._charge, port, request, actor, book, asked, charged, answered)
        else:
            self._lane.accept(book, answered)

    async def _charge(
        self,
        port: Port,
        request: Request,
        actor: Actor,
        book: values.Give | values.Pack,
        asked: bool,
        charged: bool,
        answered: Callable[[Outcome], None],
    ) -> None:
        """Ask the product whether it may be, have it charge the viewer, and book it.

        What the product declines and is in the ledger already is answered as it was then: a retry does no harm, whatever the
        product thinks of it by now.

        :param asked: whether to ask; ``charged`` whether to charge.
        """
        if isinstance(book, values.Give):
            spend = Spend(book.room, actor.user, book.key, book.gift, book.count, book.price * book.count, book.receiver)
            ask = partial(self._consent.gift, actor, book)
        else:
            spend = Spend(book.room, actor.user, book.key, "", 1, book.total, "")
            ask = partial(self._consent.packet, actor, book)
        try:
            try:
                if asked:
                    await ask()
                if charged:
                    await self.spending.ask(spend)
            except Refused as refused:
                if refused.code.retriable or not await self._booked(book.key):
                    raise
            self._lane.accept(book, answered)
        except Refused as refused:
            self._refuse(port, request, refused)

    async def _booked(self, key: str) -> bool:
        """Whether it is in the ledger. Raises `Refused` while nobody knows."""
        return self._lane.opened and await self._lane.read(lambda store: store.known(key))

    def _claim(self, port: Port, room: HubRoom, request: Request, claim: Claim) -> None:
        if claim.packet not in room.till.packets or claim.packet in room.till.over:
            self._late += 1
            return
        if not self._settings.guests and is_guest(request.author.id):
            raise Refused(Code.FORBIDDEN, "red packets are for users with a token (ledger.guests)")
        self._check_claim(room, request.author.id, claim.packet, follower=request.standing.follower)
        actor = Actor(request.author, request.standing)
        book = values.Claim(room=room.name, packet=claim.packet, author=actor.shown)
        self._lane.accept(book, partial(self._answered, port, room, request))

    def _check_claim(self, room: HubRoom, user: str, packet: int, *, follower: bool) -> None:
        """Raise `Refused` for who does not meet the conditions."""
        entry = room.rules.entries.get("packet", str(packet))
        assert entry is not None  # it is open
        wait_ms = entry.value["opens"] - self._now_ms()
        if wait_ms > 0:
            raise Refused(Code.TOO_EARLY, "the red packet is not open yet", wait_ms)
        if entry.value["followers"] and not follower:
            raise Refused(Code.CONDITION, "this red packet is for who follows the host")
        phrase = entry.value["phrase"]
        if phrase and not room.till.phrases.said(packet, user):
            raise Refused(Code.CONDITION, f"this red packet is for who says: {phrase}")

    async def _read(self, port: Port, room: HubRoom, request: Request, wanted: ReadGivers) -> None:
        stream = room.rules.entries.stream if wanted.stream is None else wanted.stream
        try:
            givers = await self.givers(room.name, stream, wanted.after, wanted.limit)
        except Refused as refused:
            self._refuse(port, request, refused)
        else:
            ranked = [(each.user, each.name, each.given) for each in givers]
            self._private(port, request, Givers(wanted.ref, room.state.handle, stream, wanted.after, ranked))

    # -- answers ------------------------------------------------------------------------------------------------------

    def _answered(self, port: Port, room: HubRoom, request: Request, outcome: Outcome) -> None:
        if isinstance(outcome, Booked):
            entry = outcome.entry
            self._private(port, request, Paid(request.ref, room.state.handle, entry.number, entry.offset, outcome.amount))
        elif outcome.code is Code.PACKET_OVER and isinstance(request.act, Claim):
            if request.act.packet in room.till.packets:
                room.till.over.add(request.act.packet)
            self._late += 1
        else:
            self._refuse(port, request, refusal(outcome))

    def _refuse(self, port: Port, request: Request, refused: Refused) -> None:
        port.post(ReplyTo(request.viewer, request.ref, refused.code, 0, refused.text, refused.retry_after_ms))

    def _private(self, port: Port, request: Request, message: Paid | Givers | Gifts) -> None:
        port.post(PrivateTo(request.viewer, request.ref, encode_message(CODECS[request.codec], message)))

    # -- what the product asks for ------------------------------------------------------------------------------------

    async def give(self, room: HubRoom, actor: Actor, act: Give, key: str) -> Booked:
        """Book a gift that is paid. Raises `Refused`."""
        return await self._lane.book(self._gift(room, actor, act, key))

    async def pack(self, room: HubRoom, actor: Actor, act: Pack, key: str) -> Booked:
        """Book a red packet that is paid. Raises `Refused`."""
        return await self._lane.book(self._packet(room, actor, act, key))

    async def claim(self, room: HubRoom, author: Author, packet: int, *, follower: bool) -> Booked:
        """Claim a share for a user. Raises `Refused`."""
        if packet in room.till.packets:
            self._check_claim(room, author.id, packet, follower=follower)
        elif not await self._over(room.name, packet):
            # Open, and not shown here yet: what it asks for is not known.
            raise Refused(Code.PACKET_OVER, "no such red packet is open in this room")
        # Of one that is over only who has a share gets an answer: the first one once more.
        return await self._lane.book(values.Claim(room=room.name, packet=packet, author=author))

    async def _over(self, room: str, packet: int) -> bool:
        """Whether a red packet is not open any more, if it ever was. Raises `Refused` while nobody knows."""
        if not self._lane.opened:
            return False
        return packet not in [entry.number for entry in await self._lane.read(lambda store: store.packets(room))]

    async def cancel(self, room: str, packet: int) -> Booked:
        """End a red packet before its time; what is left goes back. Raises `Refused`."""
        return await self._lane.book(values.End(room=room, packet=packet, reason="cancelled"))

    async def correct(self, room: str, author: Author, entry: int, amount: int | None, reason: str, key: str) -> Booked:
        """Give back what was given, all of it or a part, or add to it. Raises `Refused`."""
        book = Correct(room=room, key=_product_key(key), author=author, entry=entry, amount=amount, reason=reason)
        return await self._lane.book(book)

    async def givers(self, room: str, stream: str, after: int, limit: int) -> list[Giver]:
        """Who gave most, most first. Raises `Refused`."""
        if not self._lane.opened:
            return []
        return await self._lane.read(lambda store: store.givers(room, stream, after, limit))

    # -- requests as the ledger has them ------------------------------------------------------------------------------

    def _gift(self, room: HubRoom, actor: Actor, act: Give, key: str = "") -> Book:
        gift = self.catalogue.get(act.gift)
        if gift.price * act.count >= _EXACT:
            raise Refused(Code.INVALID, "the amount is too large")
        return values.Give(
            room=room.name,
            key=_product_key(key) if key else _viewer_key(actor),
            stream=room.rules.entries.stream,
            author=actor.shown,
            ref=act.ref,
            gift=gift.id,
            price=gift.price,
            count=act.count,
            receiver=act.to,
            combo_ms=gift.combo_ms,
        )

    def _packet(self, room: HubRoom, actor: Actor, act: Pack, key: str = "") -> Book:
        settings = self._settings
        if act.shares > settings.packet_shares:
            raise Refused(Code.INVALID, f"a red packet has at most {settings.packet_shares} shares (ledger.packet_shares)")
        if act.total < act.shares:
            raise Refused(Code.INVALID, "every share of a red packet is at least 1")
        longest_ms = int(settings.packet_seconds * 1000)
        if act.lasts_ms > longest_ms or act.opens_ms > longest_ms:
            raise Refused(Code.INVALID, f"a red packet opens and expires within {longest_ms} ms (ledger.packet_seconds)")
        opens = self._now_ms() + act.opens_ms
        return values.Pack(
            room=room.name,
            key=_product_key(key) if key else _viewer_key(actor),
            author=actor.shown,
            ref=act.ref,
            total=act.total,
            shares=act.shares,
            split=act.split,
            opens=opens,
            expires=opens + (act.lasts_ms or longest_ms),
            followers=act.followers,
            phrase=act.phrase,
            text=act.text,
            seed=secrets.token_bytes(32),
            most=settings.packets_open,
        )

    # -- leaderboards -------------------------------------------------------------------------------------------------

    def stale(self, room: HubRoom) -> None:
        """What is known of a room's leaderboard does not hold any more: read it again."""
        if room.name not in self._ranking and self._lane.opened:
            self._ranking.add(room.name)
            self._spawn(self._rank, room)

    async def _rank(self, room: HubRoom) -> None:
        try:
            # Whatever else makes it stale meanwhile is part of the same look.
            await trio.sleep(_RANK_SECONDS)
            reading = room.till.board.reading()
            room.till.board.begin(reading, await self.givers(room.name, reading.stream, 0, KEPT))
        except Refused as refused:
            log.warning("leaderboard_unknown", extra={"room": room.name, "error": str(refused)})
        finally:
            self._ranking.discard(room.name)
        self._ranked(room)


def refusal(rejected: Rejected) -> Refused:
    """As whoever asked is told."""
    return Refused(rejected.code, rejected.text, rejected.retry_after_ms)


def _viewer_key(actor: Actor) -> str:
    """A session is a secret; this stands for it in the ledger for good."""
    if not actor.session:
        return f"n/{secrets.token_hex(16)}"
    return f"v/{blake2b(actor.session.encode(), digest_size=16, person=b'ledger').hexdigest()}/{actor.ref}"


def _product_key(key: str) -> str:
    if len(key) > 96:
        raise Refused(Code.INVALID, "a key has at most 96 characters")
    return f"p/{key}"
