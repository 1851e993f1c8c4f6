"""The node as the product behind it has it: its rooms, what can be given, tokens, hooks, settings and figures.

Owns the names of these calls. Must not know edges, nor in which loop it is called (`engine.backend.carry`).
"""

from __future__ import annotations

import platform
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from engine.access import PRODUCT, SERVER, Standing, check_room_name
from engine.backend.backstage import Backstage
from engine.backend.carry import Carry, directly
from engine.backend.room import Room
from engine.brokers.base import Pending, Record
from engine.greeting import url_of
from engine.hooks.letters import DeadLetter
from engine.hooks.values import Hook, Kind
from engine.hub.notices import Hook as UnreadHook
from engine.hub.passes import CONNECTED_SECONDS, Pass
from engine.hub.publisher import Outcome
from engine.hub.spending import SpendHook
from engine.ledger.values import Gift
from engine.reload import Reloaded
from engine.schema import BACKSTAGE, CONSOLE, Author
from engine.settings import Settings
from engine.watching import Advised, Watch

if TYPE_CHECKING:
    from engine.advice import Language
    from engine.hub import Hub

__all__ = ["Backend", "RoomLine"]


@dataclass(frozen=True, slots=True)
class RoomLine:
    """An open room in a list of them.

    :ivar offset: of its last event.
    :ivar viewers: at all nodes.
    """

    room: str
    epoch: int
    offset: int
    likes: int
    viewers: int


class Backend:
    """See the module's docstring. What waits raises `engine.errors.Refused`, and `engine.brokers.base.Unavailable` while the
    broker is out of reach. What does not wait (no ``async``) is called in the hub's own thread.

    :param vitals: the node's statistics as a table, ``{"name": …, "hub": {…}, "edge": {…}, "process": {…}, "edges": […]}``, in
        one part or several, so that who takes them often need not take all at one go.
    :param reload: reads the settings again.
    :param listening: host and port where viewers connect; None: as the settings have it.
    :param watch: that of the node, for one who has it at second hand.
    :ivar name: of the node.
    :ivar watch: what looks at the node, if it is run.
    :ivar vitals_parts: see `vitals`.
    """

    def __init__(
        self,
        hub: Hub,
        settings: Callable[[], Settings],
        vitals: Sequence[Callable[[], dict[str, Any]]],
        reload: Callable[[], Awaitable[Reloaded]],
        *,
        carry: Carry = directly,
        listening: Callable[[], tuple[str, int]] | None = None,
        watch: Watch | None = None,
    ) -> None:
        self._hub = hub
        self._settings = settings
        self.vitals_parts = vitals
        self._reload = reload
        self._carry = carry
        self._viewers = listening
        self.name = settings().node.name or platform.node()
        self.watch = watch or Watch(self, hub)

    @property
    def settings(self) -> Settings:
        """In force now."""
        return self._settings()

    async def reload(self) -> Reloaded:
        """Read the settings again and let those hold that can change while viewers stay.

        :raises engine.reload.ReloadRefused: they cannot be used, and nothing has changed.
        :raises engine.errors.RoomcastError: the node was not started from a file.
        """
        return await self._carry(self._reload)

    def vitals(self) -> dict[str, Any]:
        """The node's statistics as a table."""
        return {name: value for part in self.vitals_parts for name, value in part().items()}

    def viewers_url(self) -> str:
        """Where browsers find the viewers' side: ``api.viewers_url``, else the edge's address; with ``edge.host`` 0.0.0.0 that
        is one on which it listens, not one that can be called."""
        settings = self.settings
        if settings.api.viewers_url:
            return settings.api.viewers_url
        return url_of(settings, *(self._viewers() if self._viewers else (settings.edge.host, settings.edge.port)))

    async def figures(self) -> dict[str, Any]:
        """The node as it is now and its rooms with most viewers, as the console is told: ``{"node", "version", "time": Unix ms,
        "workers", "vitals", "rooms": [{"room", "viewers", "offset", …}]}``."""
        return await self._carry(self.watch.figures)

    async def advice(
        self,
        room: str = "",
        seconds: float = 60.0,
        *,
        covers: Callable[[str], bool] = lambda room: True,
        language: Language = "en",
    ) -> Advised:
        """What limits the node, or a room, by what has happened lately.

        :param seconds: how far to look back, 15 minutes at most. Only while the node watches itself (``api.enabled``) it can.
        :param covers: whether a room may be looked at, and named, for who asks.
        :param language: that it is told in, but for paths and for what is pasted into a config file.
        """
        return await self._carry(self.watch.advice, room, seconds, covers, language)

    async def ready(self) -> bool:
        """Whether new viewers are welcome: the node is not stopping, and its broker answers."""
        return await self._carry(self._hub.ready)

    # -- rooms ----------------------------------------------------------------------------------------------------------

    def room(self, name: str, *, author: Author = SERVER, standing: Standing = PRODUCT) -> Room:
        """All that can be done in a room, moderation and state included.

        :param author: whom events name.
        :param standing: in which it is done; that of the server unless somebody else's is lent.
        """
        return Room(self._hub, name, author, self._carry, standing)

    def backstage(self, name: str) -> Backstage:
        """What the moderators of a room see."""
        return Backstage(self._hub, name, self._carry)

    def rooms(self) -> list[RoomLine]:
        """Rooms that have viewers at this node, by name."""
        return [
            RoomLine(room.name, *room.position, *room.state.counters[:2])
            for room in sorted(self._hub.shown(), key=lambda room: room.name)
        ]

    async def comment(self, room: str, body: str, *, author: Author = SERVER, session: str = "", ref: int = 0) -> int:
        """Say something in a room and return its offset, once it is ordered and kept.

        :param session: with ``ref`` a key that makes a retry harmless.
        :raises engine.errors.Refused: with the reason and whether to try again.
        """
        return await self.room(room, author=author).comment(body, session=session, ref=ref)

    async def custom(self, room: str, name: str, body: str, *, author: Author = SERVER, session: str = "", ref: int = 0) -> int:
        """Publish an event of the product's own making. See `comment`."""
        return await self.room(room, author=author).custom(name, body, session=session, ref=ref)

    async def publish(self, room: str, event: bytes, *, session: str = "", ref: int = 0) -> int:
        """Publish any event, MessagePack of an `engine.schema.Event`, and return its offset. See `comment`."""
        return await self._carry(self._hub.publish, room, event, session=session, ref=ref)

    async def publish_many(self, events: Sequence[tuple[str, Pending]]) -> list[Outcome]:
        """Publish comments, custom events and notices of many rooms at once, those of a room in their order; what became of
        each. For those who publish much.

        :raises engine.errors.Refused: one is something else, a room's name is none, or the node is stopping; then nothing is
            published.
        """
        return await self._carry(self._hub.publish_many, events)

    async def applaud(self, room: str, likes: int, reactions: Mapping[str, int] | None = None, *, source: str = "") -> None:
        """Add likes and reactions to any room, and return when the broker has them.

        :param source: a name for just this number of them: telling it again adds nothing, as long as the broker remembers it.
        """
        await self._carry(self._hub.applaud, room, likes, reactions or {}, source)

    def like(self, room: str, count: int) -> None:
        """Add likes to a room that has viewers here."""
        self._hub.like(room, count)

    def counters(self, room: str) -> tuple[int, ...] | None:
        """``(likes, viewers)`` of a room that has viewers here, else None."""
        return self._hub.counters(room)

    async def amend(self, room: str, field: str, value: bytes | None, *, expires_ms: int = 0, expect: int | None = None) -> int:
        """Set a field of a room's record at all nodes, and return the revision that the record has then.

        :param value: None deletes the field.
        :param expires_ms: milliseconds from now after which it goes by itself; 0: it stays.
        :param expect: the revision on which this builds.
        :raises engine.brokers.base.Conflict: the record is at another revision than expected.
        :raises engine.brokers.base.RecordFull: it does not fit.
        :raises engine.brokers.base.Unavailable: the broker is out of reach; the same may be tried again.
        :raises engine.errors.Refused: the room's name is none.
        """
        return await self._carry(self._hub.amend, room, field, value, expires_ms=expires_ms, expect=expect)

    def quality(self, room: str) -> dict[str, Any] | None:
        """How a room that has viewers here reaches them: its certificate (`engine.quality.certificate`), the last one after
        its stream is over; None if it has none."""
        return self._hub.quality.of(room)

    def qualities(self) -> dict[str, dict[str, Any]]:
        """The certificates of all rooms that have one, by room."""
        return self._hub.quality.all()

    def record(self, room: str) -> Record | None:
        """Revision and fields of the record of a room that has viewers here, else None; do not change it."""
        return self._hub.record(room)

    # -- hooks ----------------------------------------------------------------------------------------------------------

    def before(self, kind: Kind, hook: Hook | None) -> None:
        """Have the product decide on each comment, gift, red packet or join of a viewer before it is accepted; takes the place
        of the HTTP hook of that kind. None: not any more."""
        self._hub.asking.use(kind, hook)

    async def dead_letters(self, after: str = "", limit: int = 100) -> list[DeadLetter]:
        """What could not be told to the product by a webhook, each room's in their order.

        :param after: id of the one before the first; empty: from the first.
        """
        return await self._carry(self._hub.webhooks.dead, after, limit)

    async def replay_letters(self, letter: str = "") -> int:
        """Have a dead letter told once more; one that fails is put aside again. Returns how many there are.

        :param letter: its id; empty: all of them.
        """
        return await self._carry(self._hub.webhooks.replay, letter)

    async def drop_letters(self, letter: str = "") -> int:
        """Forget a dead letter, or all of them; as `replay_letters`."""
        return await self._carry(self._hub.webhooks.drop, letter)

    @property
    def on_unread(self) -> UnreadHook | None:
        """Called at the deadline of a notice that asks for receipts (`engine.hub.notices.Unread`)."""
        return self._hub.desk.notices.hook

    @on_unread.setter
    def on_unread(self, hook: UnreadHook | None) -> None:
        self._hub.desk.notices.hook = hook

    @property
    def on_spend(self) -> SpendHook | None:
        """Asked before a viewer's gift or red packet is booked (`engine.hub.spending.Spend`)."""
        return self._hub.money.spending.hook

    @on_spend.setter
    def on_spend(self, hook: SpendHook | None) -> None:
        self._hub.money.spending.hook = hook

    # -- money ----------------------------------------------------------------------------------------------------------

    def gifts(self) -> list[Gift]:
        """What can be given, cheapest first."""
        return self._hub.money.catalogue.all()

    async def offer_gift(self, gift: Gift) -> None:
        """Let a gift be given at all nodes from now on, or replace it; it is kept by the ledger."""
        await self._carry(self._hub.money.catalogue.offer, gift)

    async def withdraw_gift(self, gift_id: str) -> None:
        """Let a gift that was offered not be given any more."""
        await self._carry(self._hub.money.catalogue.withdraw, gift_id)

    # -- tokens ---------------------------------------------------------------------------------------------------------

    async def revoke(self, *, token: str = "", user: str = "", seconds: float = 86_400) -> None:
        """Let a token not hold any more, at all nodes; who is connected with it is closed
        (`engine.errors.Close.TOKEN_REVOKED`).

        :param token: its ``jti``.
        :param user: all tokens of this user that were issued before now.
        :param seconds: how long it is remembered: as long as such tokens are valid, or longer.
        """
        await self._carry(self._hub.revocation.revoke, token=token, user=user, seconds=seconds)

    async def make_pass(
        self,
        user: str,
        room: str = CONSOLE,
        *,
        name: str = "",
        level: int = 0,
        jti: str = "",
        seconds: float = CONNECTED_SECONDS,
    ) -> Pass:
        """Let somebody into one room, at any node and also where no token can be signed: for a minute, with a text that goes
        where a token does (`engine.schema.Join`).

        :param user: its id, by which it can be sent out and the pass be taken back (`revoke`).
        :param room: its viewers may moderate, backstage included; by default the room of the figures, in which they can only
            look.
        :param name: shown; ``level`` as the product ranks it.
        :param jti: id of a token; when that is taken back, so is the pass.
        :param seconds: how long a connection lasts that was made with it.
        :raises engine.errors.Refused: ``RATE_LIMITED``, too many were made in the last minute; ``BAD_ROOM``, also for a name
            that ends in ``*``; ``INVALID``; ``UNAVAILABLE``.
        """
        room = room.removesuffix(BACKSTAGE)
        check_room_name(room)
        role: Literal["reader", "moderator"] = "reader" if room == CONSOLE else "moderator"
        return await self._carry(self._hub.passes.issue, user, room, role, name=name, level=level, jti=jti, seconds=seconds)
