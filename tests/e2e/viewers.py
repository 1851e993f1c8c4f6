"""A viewer for tests, over any transport: speaks the protocol from its description alone, and judges what it is told.

Owns an independent reading of wire protocol v1: nothing of `engine` but the numbers of codes is used. Every batch is checked
against what came before; a hole, an overlap, a repetition, a total that goes down, or an event that this viewer was told is
deleted, fails the test at once, wherever it happens; so does an entry of the ledger that comes twice in one epoch, or again
with other content.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import msgpack
import trio

from .transports import Gone, RawTransport, Transport, open_transport

__all__ = [
    "ASK",
    "CHANGE",
    "CHOOSE",
    "CLAIM",
    "COMMENT",
    "CUSTOM",
    "DIRECT",
    "GIVE",
    "JOIN",
    "JSON",
    "LEAVE",
    "LIKE",
    "MODERATE",
    "MSGPACK",
    "NOTICE",
    "PACK",
    "PATIENCE",
    "PING",
    "QUALITY",
    "READ_GIFTS",
    "READ_GIVERS",
    "READ_HISTORY",
    "READ_STATE",
    "RECEIPT",
    "Paid",
    "Reply",
    "VOTE",
    "Viewer",
    "open_viewer",
]

PATIENCE = 30
"""Seconds that anything may take before a test gives up. Nothing is measured by it."""

_CONNECTIONS = count(1)

MSGPACK, JSON = "roomcast.v1.msgpack", "roomcast.v1.json"
JOIN, LEAVE, COMMENT, LIKE, PING, QUALITY, CUSTOM, DIRECT = range(1, 9)
MODERATE, CHANGE, NOTICE, RECEIPT, VOTE, ASK, READ_HISTORY, READ_STATE, CHOOSE = range(9, 18)
GIVE, CLAIM, PACK, READ_GIVERS, READ_GIFTS = range(18, 23)
_OMITTED, _COMMENT, _CUSTOM, _STATE, _NOTICE, _MODERATED = range(6)
_MONEY = range(8, 14)
_PACKET, _PACKET_END = 11, 13
_PACKET_FIELDS = ("total", "shares", "split", "opens", "expires", "followers", "phrase", "text", "commitment")
_BODY = {_COMMENT: 3, _CUSTOM: 4, _NOTICE: 3}
_GROWING = ("peak", "reactions", "withheld", "receipts")
"""Totals that never go down."""


class Reply(NamedTuple):
    """What became of a request."""

    ref: int
    code: int
    offset: int
    text: str
    retry_after_ms: int


class Paid(NamedTuple):
    """Something is in the ledger and in the room."""

    ref: int
    entry: int
    offset: int
    amount: int


class Viewer:
    """One connection.

    :ivar events: by offset, in order of arrival, of the epoch it is in; ``position`` is (epoch, offset).
    :ivar told: kinds of server messages in order of arrival.
    :ivar overlap: events that came again because a resume began with a whole frame.
    :ivar omitted: offsets that carried no event, with the reason; ``gone`` those that moderators
        deleted, as this viewer was told or a test knows: nothing may come at these any more.
    :ivar state: entries by kind and key, each with its version; ``totals`` as told so far.
    :ivar recent: what the snapshot showed, by offset.
    :ivar money: entries of the ledger that came as events, by number in order of arrival; ``again`` those that came once more,
        in another epoch, as they may when the history was lost.
    """

    def __init__(self, transport: Transport, subprotocol: str) -> None:
        self.transport = transport
        self.subprotocol = subprotocol
        # A session that comes back must not use a ref again, or what it says is taken for a retry.
        self.refs = next(_CONNECTIONS) * 1_000_000
        self.joined: list[Any] = []
        self.position: tuple[int, int] | None = None
        self.events: dict[int, list[Any]] = {}
        self.times: dict[int, int] = {}
        self.gaps: list[tuple[int, int, int, str]] = []
        self.snapshots: list[list[Any]] = []
        self.replies: dict[int, Reply] = {}
        self.faults: list[Reply] = []
        self.pongs: dict[int, int] = {}
        self.directs: list[list[Any]] = []
        self.bye: list[Any] | None = None
        self.counters: tuple[int, int] = (0, 0)
        self.told: list[int] = []
        self.heartbeats = 0
        self.overlap = 0
        self.omitted: dict[int, int] = {}
        self.gone: set[int] = set()
        self.state: dict[tuple[str, str], tuple[Any, int]] = {}
        self.totals: dict[str, Any] = {}
        self.recent: dict[int, list[Any]] = {}
        self.answers: dict[int, list[Any]] = {}
        self.paid: dict[int, Paid] = {}
        self.money: dict[int, list[Any]] = {}
        self.again: list[int] = []
        self._shown_in: dict[int, int] = {}
        self._catching_up = False
        self._asked: tuple[int, int] | None = None

    # -- out -------------------------------------------------------------------------------------------------------

    @property
    def handle(self) -> int:
        handle: int = self.joined[2]
        return handle

    @property
    def session(self) -> str:
        session: str = self.joined[3]
        return session

    @property
    def user(self) -> str:
        user: str = self.joined[4]
        return user

    @property
    def raw(self) -> RawTransport:
        """The bare socket below."""
        assert isinstance(self.transport, RawTransport)
        return self.transport

    @property
    def bodies(self) -> list[str]:
        """What was said, in order."""
        return [event[_BODY[event[0]]] for event in self.events.values() if event[0] in _BODY]

    @property
    def shown(self) -> dict[int, str]:
        """What is on this viewer's screen: what was said and not deleted, by offset."""
        known = {**self.recent, **self.events}
        return {offset: event[_BODY[event[0]]] for offset, event in sorted(known.items()) if event[0] in _BODY}

    def of_kind(self, kind: int) -> list[list[Any]]:
        """The events of one kind that came, in order."""
        return [event for event in self.events.values() if event[0] == kind]

    def value(self, kind: str, key: str = "") -> Any:
        """The value of an entry of the room's state; None if there is none."""
        return self.state.get((kind, key), (None, 0))[0]

    def encode(self, *message: Any) -> str | bytes:
        """A message in this viewer's codec."""
        if self.subprotocol == JSON:
            return json.dumps(message, ensure_ascii=False)
        packed: bytes = msgpack.packb(message)
        return packed

    async def send(self, *message: Any) -> None:
        """Send one message."""
        with trio.fail_after(PATIENCE):
            await self.transport.send(self.encode(*message))

    async def ask(self, kind: int, *fields: Any, ref: int = 0) -> Reply:
        """Send a request and wait for the reply to it."""
        if not ref:
            self.refs += 1
            ref = self.refs
        self.replies.pop(ref, None)
        await self.send(kind, ref, *fields)
        await self.until(lambda: ref in self.replies)
        return self.replies[ref]

    async def pay(self, kind: int, *fields: Any, ref: int = 0) -> Paid | Reply:
        """Give, claim or pack, and wait for the answer."""
        if not ref:
            self.refs += 1
            ref = self.refs
        self.replies.pop(ref, None)
        self.paid.pop(ref, None)
        await self.send(kind, ref, self.handle, *fields)
        await self.until(lambda: ref in self.paid or ref in self.replies)
        return self.paid[ref] if ref in self.paid else self.replies[ref]

    async def spend(self, kind: int, *fields: Any, ref: int = 0) -> Paid:
        """As `pay`, which must succeed."""
        paid = await self.pay(kind, *fields, ref=ref)
        assert isinstance(paid, Paid), paid
        return paid

    async def refused(self, kind: int, *fields: Any, ref: int = 0) -> Reply:
        """As `pay`, which must not succeed."""
        reply = await self.pay(kind, *fields, ref=ref)
        assert isinstance(reply, Reply), reply
        assert reply.text
        return reply

    async def comment(self, body: str, *, ref: int = 0) -> int:
        """Say something and return its offset."""
        reply = await self.ask(COMMENT, self.handle, body, ref=ref)
        assert reply.code == 0, reply
        return reply.offset

    async def knock(
        self,
        room: str,
        position: tuple[int, int] | None = None,
        *,
        session: str | None = None,
        name: str | None = None,
        attributes: Mapping[str, str] | None = None,
        token: str | None = None,
        feed: str = "",
    ) -> Reply | None:
        """Ask to enter a room and return the refusal, None if there is none."""
        self.refs += 1
        self._asked = position
        self.joined = []
        epoch, offset = position or (0, 0)
        more: list[Any] = [token, feed] if token is not None or feed else []
        ref = self.refs
        await self.send(JOIN, ref, room, epoch, offset, session, name, dict(attributes or {}), *more)
        await self.until(lambda: bool(self.joined) or ref in self.replies)
        if not self.joined:
            return self.replies[ref]
        assert self.joined[1] == ref
        return None

    async def join(self, room: str, position: tuple[int, int] | None = None, **more: Any) -> list[Any]:
        """As `knock`, which must succeed; return the answer. The viewer has a position when this returns."""
        refusal = await self.knock(room, position, **more)
        assert refusal is None, (refusal, self.faults)
        if not self.joined[6]:
            await self.until(lambda: self.position is not None and self._asked is None)
        return self.joined

    async def act(self, kind: int, *fields: Any) -> Reply:
        """Send a request about the room that must succeed."""
        reply = await self.ask(kind, self.handle, *fields)
        assert reply.code == 0, reply
        return reply

    async def change(self, kind: str, key: str, value: Any, *more: Any) -> None:
        """Change the room's state, and see it."""
        known = self.state.get((kind, key), (None, 0))[1]
        await self.act(CHANGE, kind, key, value, *more)
        if value is None:
            await self.until(lambda: (kind, key) not in self.state)
        else:
            await self.until(lambda: self.state.get((kind, key), (None, 0))[1] > known)

    async def read(self, kind: int, *fields: Any) -> list[Any]:
        """Send a request whose answer is a message of its own, and return that."""
        self.refs += 1
        ref = self.refs
        await self.send(kind, ref, self.handle, *fields)
        await self.until(lambda: ref in self.answers or ref in self.replies)
        assert ref in self.answers, self.replies[ref]
        return self.answers.pop(ref)

    async def past(self, limit: int = 100) -> dict[int, list[Any]]:
        """All of the room's history, page by page from its end, by offset; tombstones by each of their offsets."""
        found: dict[int, list[Any]] = {}
        before = 0
        while True:
            _, _, handle, _, first, last, times, events = await self.read(READ_HISTORY, before, limit)
            assert handle == self.handle
            assert len(times) == len(events)
            assert times == sorted(times)
            assert not before or last == before - 1, "pages join"
            assert last - first < limit
            if last < first:
                return dict(sorted(found.items()))
            offset = first
            for event in events:
                for _ in range(event[2] if event[0] == _OMITTED else 1):
                    found[offset] = event
                    offset += 1
            assert offset == last + 1, "a page accounts for all of its offsets"
            before = first
            if first == 1:
                return dict(sorted(found.items()))

    # -- in --------------------------------------------------------------------------------------------------------

    async def take(self) -> list[Any]:
        """Receive one message and take it in."""
        with trio.fail_after(PATIENCE):
            data = await self.transport.receive()
        assert isinstance(data, str) is (self.subprotocol == JSON), "the wrong kind of frame"
        message: list[Any] = json.loads(data) if isinstance(data, str) else msgpack.unpackb(data)
        self._take_in(message)
        return message

    async def until(self, condition: Callable[[], bool]) -> None:
        """Receive until ``condition`` holds."""
        with trio.fail_after(PATIENCE):
            while not condition():
                await self.take()

    async def until_offset(self, offset: int) -> None:
        """Receive until everything up to ``offset`` is there."""
        await self.until(lambda: self.position is not None and self.position[1] >= offset)

    async def until_gone(self) -> Gone:
        """Receive until the server closes, and return how it did."""
        with trio.fail_after(PATIENCE):
            while True:
                try:
                    await self.take()
                except Gone as gone:
                    return gone

    async def settle(self) -> None:
        """Receive everything that was sent before now."""
        self.refs += 1
        ref = self.refs
        await self.send(PING, ref)
        await self.until(lambda: ref in self.pongs)

    def _take_in(self, message: list[Any]) -> None:
        kind, *fields = message
        self.told.append(kind)
        match kind:
            case 32:
                self.joined = message
                if message[6]:
                    assert self._asked is not None, "resumed without having asked for it"
                    self.position, self._asked = self._asked, None
                    self._catching_up = True
            case 33:
                handle, _, epoch, offset, _, counters, _, totals, state, recent = fields
                assert handle == self.handle
                self.snapshots.append(message)
                self.position, self._asked = (epoch, offset), None
                self.counters = (counters[0], counters[1])
                self.totals = dict(totals)
                self.state = {(kind, key): (value, version) for kind, key, value, version in state}
                self.recent = {at: event for at, _, event in recent}
                assert all(at <= offset and event[0] != _OMITTED for at, event in self.recent.items())
            case 34:
                self._batch(*fields)
            case 35:
                reply = Reply(*fields)
                if reply.ref:
                    assert reply.ref not in self.replies, f"a second reply to {reply.ref}"
                    assert reply.ref not in self.paid, f"{reply.ref} was answered: {reply}"
                    self.replies[reply.ref] = reply
                else:
                    self.faults.append(reply)
            case 36:
                self._gap(*fields)
            case 37:
                self.bye = message
            case 38:
                self.pongs[fields[0]] = fields[1]
            case 39:
                self.directs.append(message)
            case 40:
                self.answers[fields[0]] = message
                for offset, event in zip(_offsets(fields[3], fields[6]), fields[6], strict=True):
                    assert offset not in self.gone or event[0] == _OMITTED, f"{offset} is deleted: {event}"
            case 41:
                self.answers[fields[0]] = message
                self.totals |= fields[4]
                self.state = {(kind, key): (value, version) for kind, key, value, version in fields[5]}
            case 42:
                ref, handle, *paid = fields
                assert handle == self.handle
                assert ref not in self.paid, f"a second answer to {ref}"
                assert ref not in self.replies, f"{ref} was answered: {self.replies[ref]}"
                self.paid[ref] = Paid(ref, *paid)
            case 43 | 44:
                assert fields[1] == self.handle
                self.answers[fields[0]] = message
            case _:
                raise AssertionError(f"a kind that the protocol does not have: {message}")

    def _gap(self, handle: int, epoch: int, first: int, last: int, reason: str) -> None:
        assert handle == self.handle
        here = self.position if self._asked is None else self._asked
        assert here is not None
        assert (epoch, first) == (here[0], here[1] + 1), f"a gap from {epoch, first} at {here}"
        self.gaps.append((epoch, first, last, reason))
        if last and self._asked is None:
            assert last >= first
            self.position = (epoch, last)

    def _batch(
        self,
        handle: int,
        epoch: int,
        first: int,
        last: int,
        time: int,
        events: list[Any],
        delays: list[int],
        counters: list[int],
        totals: dict[str, Any],
    ) -> None:
        assert handle == self.handle, "a batch of another room"
        assert self.position is not None, "a batch before a snapshot"
        known, head = self.position
        assert epoch == known, f"epoch {epoch} in {known}"
        if self._catching_up:
            assert first <= head + 1, f"resumed after {head} with {first}"
            self._catching_up = last < head + 1
        else:
            assert first == head + 1, f"batch {first}..{last} after {head}"
        assert not delays or len(delays) == len(events)
        offset = first
        for index, event in enumerate(events):
            count = event[2] if event[0] == 0 else 1
            assert offset not in self.gone or event[0] == _OMITTED, f"{offset} is deleted: {event}"
            if event[0] == _OMITTED:
                self.omitted |= dict.fromkeys(range(max(offset, head + 1), offset + count), event[1])
            elif offset <= head:
                self.overlap += 1
            else:
                self.events[offset] = event
                self.times[offset] = time + (delays[index] if delays else 0)
                self._happen(event)
            offset += count
        assert offset == last + 1, "a batch accounts for all of its offsets"
        if not events:
            self.heartbeats += 1
        self.position = (epoch, max(last, head))
        if counters:
            assert counters[0] >= self.counters[0], "likes go up only"
            self.counters = (counters[0], counters[1])
        for name in _GROWING:
            assert _grows(self.totals.get(name), totals.get(name)), f"{name}: {self.totals} then {totals}"
        self.totals |= totals

    def _happen(self, event: list[Any]) -> None:
        """What an event means for the screen."""
        if event[0] in _MONEY:
            self._book(event)
        if event[0] == _STATE:
            _, _, _, kind, key, value, version = event[:7]
            # A snapshot may know already what this tells.
            if version > self.state.get((kind, key), (None, 0))[1]:
                self.state[kind, key] = (value, version)
                if value is None:
                    del self.state[kind, key]
        elif event[0] == _MODERATED:
            stretches = event[4]
            for first, last in zip(stretches[::2], stretches[1::2], strict=True):
                # Tombstones that come from now on are told by their offsets.
                self.gone |= set(range(first, last + 1))
            for offset in self.gone & self.events.keys():
                self.omitted[offset] = 1
                del self.events[offset]
            for offset in self.gone & self.recent.keys():
                del self.recent[offset]

    def _book(self, event: list[Any]) -> None:
        """An event that carries an entry of the ledger."""
        assert self.position is not None
        entry, epoch = event[2], self.position[0]
        if entry in self.money:
            assert self._shown_in[entry] != epoch, f"entry {entry} came twice: {event}"
            assert self.money[entry] == event, f"entry {entry} has changed"
            self.again.append(entry)
        else:
            self.money[entry] = event
        self._shown_in[entry] = epoch
        if event[0] == _PACKET:
            value = dict(zip(_PACKET_FIELDS, event[4:], strict=True)) | {"author": event[1][:2]}
            self.state.setdefault(("packet", str(entry)), (value, 0))
        elif event[0] == _PACKET_END:
            self.state.pop(("packet", str(event[3])), None)


def _offsets(first: int, events: list[Any]) -> Iterator[int]:
    """Of each event the first offset for which it stands."""
    for event in events:
        yield first
        first += event[2] if event[0] == _OMITTED else 1


def _grows(old: Any, new: Any) -> bool:
    if new is None or old is None:
        return True
    if isinstance(old, dict):
        # Of reactions only the most given are told.
        return all(_grows(old[name], value) for name, value in new.items() if name in old)
    if isinstance(old, list):
        return all(a <= b for a, b in zip(old, new, strict=True))
    return bool(old <= new)


@asynccontextmanager
async def open_viewer(
    make: str,
    url: str,
    subprotocol: str = MSGPACK,
    *,
    deflate: bool = True,
    home: Path | None = None,
    headers: Mapping[str, str] | None = None,
    receive_buffer: int | None = None,
    offers: Sequence[str] = (),
) -> AsyncIterator[Viewer]:
    """Connect a viewer; see `open_transport`."""
    with trio.CancelScope() as opening:
        opening.deadline = trio.current_time() + PATIENCE
        async with open_transport(
            make,
            url,
            subprotocol,
            deflate=deflate,
            home=home,
            headers=headers,
            receive_buffer=receive_buffer,
            offers=offers,
        ) as transport:
            opening.deadline = float("inf")
            yield Viewer(transport, subprotocol)
        return
    raise AssertionError(f"{make} did not connect within {PATIENCE} s")
