"""One room as the product behind it has it: what a host or moderator could do in it, and looking in.

Owns the names of these calls. What they do is for the hub, where the same requests come from viewers (`engine.schema.Act`).
Nobody needs to be there: a room is open for as long as a call takes. Must not know in which loop it is called: whatever
touches the hub goes through `engine.backend.carry.Carry`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from itertools import count
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import msgspec

from engine.access import PRODUCT, SERVER, VIEWER, Standing, attributes_of
from engine.backend.carry import Carry, directly
from engine.backend.values import Past, PastEvent, RoomStatistics, StateEntry
from engine.errors import Code, Refused
from engine.hub.actor import Actor
from engine.hub.backfill import PAGE, expired
from engine.hub.entries import Entry
from engine.ledger.values import Booked, Giver
from engine.schema import BACKSTAGE, Act, Author, Change, Give, Moderate, Notice, Pack

if TYPE_CHECKING:
    from engine.hub import Hub

__all__ = ["Room"]

_decode = msgspec.msgpack.Decoder().decode


class Room:
    """See the module's docstring; made by `engine.node.Node.room`. Methods that change something raise
    `engine.errors.Refused`, with the reason and whether to try again; all that wait raise `engine.brokers.base.Unavailable`
    while the broker is out of reach.

    :param author: whom events name.
    :param carry: the way to the hub.
    :param standing: in which it is done; that of the server unless somebody else's is lent.
    """

    def __init__(
        self, hub: Hub, name: str, author: Author = SERVER, carry: Carry = directly, standing: Standing = PRODUCT
    ) -> None:
        self._hub = hub
        self._carry = carry
        self._standing = standing
        self._refs = count(1)
        self.name = name
        self.author = _author(author)

    async def act(self, act: Act, *, session: str = "", ref: int = 0) -> int:
        """Do what a host or moderator could ask for; returns the offset of the event that tells of it, 0 if there is none.

        :param session: with ``ref`` a key that makes a retry harmless.
        """
        actor = Actor(self.author, self._standing, session, ref)
        return await self._carry(self._hub.act, self.name, act, actor)

    async def check(self, *, speaks: bool = False) -> None:
        """Raise `Refused` (``BANNED``, ``MUTED``) if the author, a user of the room, may not be there, or not speak."""
        await self._carry(self._check, speaks)

    async def _check(self, speaks: bool) -> None:
        async with self._hub.opened(self.name.removesuffix(BACKSTAGE)) as room:
            room.rules.check_banned(self.author.id, room.time())
            if speaks:
                room.rules.check_muted(self.author.id, room.time())

    # -- speaking -----------------------------------------------------------------------------------------------------

    async def comment(self, body: str, *, session: str = "", ref: int = 0) -> int:
        """Say something and return its offset, once it is ordered and kept."""
        return await self._carry(self._hub.say, self.name, body, author=self.author, session=session, ref=ref)

    async def custom(self, name: str, body: str, *, session: str = "", ref: int = 0) -> int:
        """Publish an event of the product's own making; returns its offset."""
        return await self._carry(self._hub.say, self.name, body, name=name, author=self.author, session=session, ref=ref)

    async def notice(
        self, body: str, *, receipts: bool = False, deadline_seconds: float = 0, session: str = "", ref: int = 0
    ) -> int:
        """Announce something; returns its offset. At the deadline the node's ``on_unread`` is told who has not read it."""
        act = Notice(1, 0, body, receipts, int(deadline_seconds * 1000))
        return await self.act(act, session=session, ref=ref)

    # -- moderation ---------------------------------------------------------------------------------------------------

    async def moderate(
        self,
        action: str,
        user: str = "",
        *,
        offset: int = 0,
        seconds: int = 0,
        reason: str = "",
        everywhere: bool = False,
        session: str = "",
        ref: int = 0,
    ) -> int:
        """Any action of `engine.schema.Moderate`. See `act`."""
        act = Moderate(1, 0, action, user, offset, seconds, reason, everywhere)
        return await self.act(act, session=session, ref=ref)

    async def mute(self, user: str, seconds: int = 0, *, reason: str = "", everywhere: bool = False) -> None:
        """Let a user not speak for so long; 0: until `unmute`."""
        await self.moderate("mute", user, seconds=seconds, reason=reason, everywhere=everywhere)

    async def unmute(self, user: str, *, everywhere: bool = False) -> None:
        """Let a user speak again."""
        await self.moderate("unmute", user, everywhere=everywhere)

    async def ban(
        self, user: str, seconds: int = 0, *, reason: str = "", everywhere: bool = False, address: bool = False
    ) -> None:
        """Send a user away and let it not come back for so long; 0: until `unban`.

        :param address: everybody at the user's address, too.
        """
        action = "ban_address" if address else "ban"
        await self.moderate(action, user, seconds=seconds, reason=reason, everywhere=everywhere)

    async def unban(self, user: str, *, everywhere: bool = False) -> None:
        """Let a user come back."""
        await self.moderate("unban", user, everywhere=everywhere)

    async def kick(self, user: str, *, reason: str = "") -> None:
        """Send a user away; it may come back."""
        await self.moderate("kick", user, reason=reason)

    async def delete(self, offset: int, *, reason: str = "") -> int:
        """Delete one comment, custom event or notice."""
        return await self.moderate("delete", offset=offset, reason=reason)

    async def delete_user(self, user: str, *, reason: str = "") -> int:
        """Delete all that a user has said, as far as it is kept."""
        return await self.moderate("delete_user", user, reason=reason)

    async def clear(self, *, reason: str = "") -> int:
        """Delete all that was said, as far as it is kept."""
        return await self.moderate("clear", reason=reason)

    # -- what the room is -----------------------------------------------------------------------------------------------

    async def set(
        self, kind: str, key: str, value: dict[str, Any] | None, *, expect: int = -1, session: str = "", ref: int = 0
    ) -> StateEntry | None:
        """Change an entry of the room's state (`engine.hub.kinds`); None deletes it. Returns it as it is then.

        :param expect: version on which this builds; -1: any.
        :param session: see `act`.
        """
        return await self._carry(self._set, Change(1, 0, kind, key, value, expect), session, ref)

    async def _set(self, change: Change, session: str, ref: int) -> StateEntry | None:
        async with self._hub.opened(self.name) as room:
            await self._hub.act(self.name, change, Actor(self.author, self._standing, session, ref))
            return _shown(room.rules.entries.get(change.kind, change.key))

    async def pin(self, offset: int) -> None:
        """Keep an event in sight."""
        await self.set("pin", str(offset), {"offset": offset})

    async def unpin(self, offset: int) -> None:
        """Keep it in sight no longer."""
        await self.set("pin", str(offset), None)

    async def poll(self, key: str, question: str, options: Sequence[str], *, seconds: float = 0) -> None:
        """Let viewers choose.

        :param seconds: until it closes by itself; 0: it does not.
        """
        await self.set("poll", key, {"question": question, "options": list(options), "closes_ms": int(seconds * 1000)})

    async def close_poll(self, key: str) -> None:
        """Take no more votes."""
        await self.set("poll", key, {"open": False})

    async def mode(self, mode: str = "open", *, slow: dict[str, float] | None = None) -> None:
        """How people may speak.

        :param slow: seconds between two comments of a viewer, by role.
        """
        await self.set("mode", "", {"mode": mode, **({"slow": slow} if slow is not None else {})})

    async def life(self, state: str = "open", *, title: str | None = None, stream: str | None = None) -> None:
        """Create the room, open, close or archive it.

        :param stream: name of the broadcast that is on from now; another one begins a new leaderboard.
        """
        given = {"state": state, "title": title, "stream": stream}
        await self.set("life", "", {name: value for name, value in given.items() if value is not None})

    # -- money ----------------------------------------------------------------------------------------------------------

    async def gift(self, user: str | Author, gift: str, count: int = 1, *, to: str = "", key: str) -> Booked:
        """Let a user give something that is paid. Returns when it is in the ledger and in the room.

        :param to: id of who gets it; empty: the host.
        :param key: of the payment, at most 96 characters: the same again, after whatever went wrong, books nothing twice and
            returns the first answer (``repeated``); something else with it is refused (``CONFLICT``).
        """
        return await self._carry(self._give, _author(user), _checked(Give(1, 0, gift, count, to)), key)

    async def _give(self, author: Author, act: Give, key: str) -> Booked:
        async with self._hub.opened(self.name) as room:
            return await self._hub.money.give(room, Actor(author, VIEWER), act, key)

    async def refund(self, entry: int, amount: int | None = None, *, reason: str = "", key: str) -> Booked:
        """Give back a gift, or a part of it, as an entry of its own.

        :param entry: of the gift.
        :param amount: None: all that remains of it.
        """
        if amount is not None and amount < 1:
            raise Refused(Code.INVALID, "a refund is at least 1")
        return await self.correct(entry, -amount if amount is not None else None, reason=reason, key=key)

    async def correct(self, entry: int, amount: int | None, *, reason: str = "", key: str) -> Booked:
        """Change what a gift was worth by an entry of its own.

        :param amount: what is added; negative: what is taken away, at most all that remains.
        """
        return await self._carry(self._hub.money.correct, self.name, self.author, entry, amount, reason, key)

    async def red_packet(
        self,
        user: str | Author,
        total: int,
        shares: int,
        *,
        split: Literal["random", "equal"] = "random",
        opens_seconds: float = 0,
        lasts_seconds: float = 0,
        followers: bool = False,
        phrase: str = "",
        text: str = "",
        key: str,
    ) -> Booked:
        """A red packet that is paid (`engine.schema.Pack`); its entry's number names it."""
        act = Pack(1, 0, total, shares, split, int(opens_seconds * 1000), int(lasts_seconds * 1000), followers, phrase, text)
        return await self._carry(self._pack, _author(user), _checked(act), key)

    async def _pack(self, author: Author, act: Pack, key: str) -> Booked:
        async with self._hub.opened(self.name) as room:
            return await self._hub.money.pack(room, Actor(author, VIEWER), act, key)

    async def claim(self, user: str | Author, packet: int, *, follower: bool = False) -> Booked:
        """Claim a share of a red packet for a user; ``PACKET_OVER`` if there is none left."""
        return await self._carry(self._claim, _author(user), packet, follower)

    async def _claim(self, author: Author, packet: int, follower: bool) -> Booked:
        async with self._hub.opened(self.name) as room:
            return await self._hub.money.claim(room, author, packet, follower=follower)

    async def cancel_packet(self, packet: int) -> Booked:
        """End a red packet; the amount of what this returns goes back to who made it."""
        return await self._carry(self._hub.money.cancel, self.name, packet)

    async def givers(self, stream: str | None = None, *, after: int = 0, limit: int = 100) -> list[Giver]:
        """Who gave most.

        :param stream: name of a broadcast; None: the present one; empty: of all time.
        """
        return await self._carry(self._givers, stream, after, limit)

    async def _givers(self, stream: str | None, after: int, limit: int) -> list[Giver]:
        if stream is None:
            async with self._hub.opened(self.name) as room:
                stream = room.rules.entries.stream
        return await self._hub.money.givers(self.name, stream, after, limit)

    # -- looking in ---------------------------------------------------------------------------------------------------

    async def state(self) -> dict[tuple[str, str], dict[str, Any]]:
        """The entries of the room's state, by kind and key."""
        return await self._carry(self._state)

    async def _state(self) -> dict[tuple[str, str], dict[str, Any]]:
        async with self._hub.opened(self.name) as room:
            return {(kind, key): value for kind, key, value, _ in room.rules.entries.snapshot()}

    async def entry(self, kind: str, key: str = "") -> StateEntry | None:
        """One of them, None if it is not there."""
        return await self._carry(self._entry, kind, key)

    async def _entry(self, kind: str, key: str) -> StateEntry | None:
        async with self._hub.opened(self.name) as room:
            return _shown(room.rules.entries.get(kind, key))

    async def entries(self) -> list[StateEntry]:
        """All of them, what was changed last comes last."""
        return await self._carry(self._entries)

    async def _entries(self) -> list[StateEntry]:
        async with self._hub.opened(self.name) as room:
            entries = room.rules.entries
            found = (_shown(entries.get(kind, key)) for kind, key, _, _ in entries.snapshot())
            return [entry for entry in found if entry is not None]

    async def time(self) -> int:
        """The time in the room, Unix milliseconds of the broker's clock."""
        return await self._carry(self._time)

    async def _time(self) -> int:
        async with self._hub.opened(self.name) as room:
            return room.time()

    async def statistics(self) -> RoomStatistics:
        """How the room stands."""
        return await self._carry(self._statistics)

    async def _statistics(self) -> RoomStatistics:
        async with self._hub.opened(self.name) as room:
            likes, viewers = room.state.counters[:2]
            refused = {code.name.lower(): times for code, times in room.rules.refused.items()}
            return RoomStatistics(
                self.name, room.position.epoch, room.head, likes, viewers, room.state.all_totals(), refused, room.state.builds
            )

    async def history(self, after: int = 0) -> AsyncIterator[PastEvent]:
        """What is kept of the room, oldest first, from the first offset above ``after`` to the last when it was asked for."""
        page = await self.page(after, PAGE)
        last = page.head
        while page.events:
            for past in page.events:
                if past.offset > last:
                    return
                yield past
            page = await self.page(page.events[-1].offset, PAGE)

    async def page(self, after: int = 0, limit: int = 100) -> Past:
        """What is kept of the room at the first offsets above ``after``.

        :param limit: at most so many of them; if there is nothing kept above ``after`` there are none.
        """
        return await self._carry(self._page, after, limit)

    async def _page(self, after: int, limit: int) -> Past:
        async with self._hub.opened(self.name) as room:
            head = room.head
            if after >= head:
                return Past(room.position.epoch, head, [])
            past = (await self._hub.broker.history(self.name, after, min(limit, head - after))).events
            live = expired(past.events, self._hub.broker.now_ms(self.name))
        offsets = range(past.first, past.last + 1)
        events = [
            PastEvent(offset, time, _decode(event)) for offset, time, event in zip(offsets, past.times, live, strict=True)
        ]
        return Past(past.epoch, head, events)


_Act = TypeVar("_Act", Give, Pack)


def _shown(entry: Entry | None) -> StateEntry | None:
    """Without the secret of the viewer with whom it goes."""
    return StateEntry(entry.kind, entry.key, entry.value, entry.version, entry.born) if entry is not None else None


def _author(user: str | Author) -> Author:
    if isinstance(user, str):
        return Author(user)
    attributes_of(user.attributes)
    return user


def _checked(act: _Act) -> _Act:
    """Raise `Refused` for what could not have come over the wire."""
    try:
        return msgspec.convert(msgspec.to_builtins(act), type(act))
    except msgspec.ValidationError as error:
        raise Refused(Code.INVALID, str(error)) from None
