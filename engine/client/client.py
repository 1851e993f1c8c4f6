"""A viewer in Python: follows one room, speaks in it, and comes back by itself when the connection is lost.

Owns the connection (trio-websocket), the requests in flight and the way back. What may follow what is for the follower to
judge, when to come back for the back-off. Runs wherever trio runs; decodes with the `msgpack` and `json` packages, never with
the engine's own codec.

One supervisor task per client holds one connection at a time. Only tasks of that connection send, so that a caller who
gives up on a request never leaves half a message in the stream. Everything lives in one nursery, which the context
manager of `open_client` owns.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from itertools import count
from typing import Final, Literal, NamedTuple, Self

import trio
from trio_websocket import ConnectionClosed, WebSocketConnection

from engine.client.backoff import ABNORMAL, Backoff, Loss, judge
from engine.client.dial import Endpoint, Unreachable, connect, endpoint_of, unwrapped
from engine.client.follower import Follower, Statistics
from engine.client.items import (
    Bye,
    Counters,
    Disconnected,
    Event,
    Gap,
    Item,
    Joined,
    Omitted,
    Pong,
    Position,
    ProtocolViolation,
    Reconnected,
    Refusal,
    Reply,
    Snapshot,
)
from engine.client.options import Identity, Options
from engine.client.plaincodec import CODECS, PlainCodec
from engine.client.requests import Request, Requests, refused
from engine.errors import Close, Code, Refused, RoomcastError

__all__ = ["Client", "Closed", "RoundTrip", "open_client"]

_JOIN, _LEAVE, _COMMENT, _LIKE, _PING, _CUSTOM, _DIRECT = 1, 2, 3, 4, 5, 7, 8
_MISSES: Final = 2
"""Heartbeats that may be missed before the connection counts as dead (`engine.schema.Joined`)."""


class Closed(RoomcastError):
    """The server closed the connection. ``code``: see `engine.errors.Close`, 1006 without a close frame."""

    def __init__(self, code: int, reason: str = "") -> None:
        super().__init__(f"closed with {code}{': ' if reason else ''}{reason}")
        self.code = code
        self.reason = reason


class RoundTrip(NamedTuple):
    """Answer to a ping: its duration, and the server's clock in Unix milliseconds."""

    seconds: float
    server_time: int


class _Lost(Exception):
    def __init__(self, error: RoomcastError, loss: Loss) -> None:
        super().__init__(str(error))
        self.error = error
        self.loss = loss


class Client:
    """One viewer in one room; made by `open_client`. An asynchronous iterator over what happens in the room, in order:
    the items of `engine.client.items` (`Comment`, `Custom`, `Unknown`, `Omitted`, `Gap`, `Counters`, `Direct`, `Snapshot`),
    `Disconnected`, `Reconnected` and `Refusal`.

    Iteration continues across lost connections. It ends by raising, after everything that came before was handed out:
    `Closed` (the server wants no return), `Refused` (it does not let this viewer back in), `Unreachable` (given up),
    `ProtocolViolation` (the order was broken; ``position`` is still good). Requests then raise the same.

    Items that are not iterated over are held, up to ``Options.undelivered``. At that bound the client stops reading:
    replies stop, too, and in the end the server sees a slow viewer, with all consequences (a `Gap`, or a close and a
    resume). Whoever only speaks and never iterates in a busy room must expect that.

    Requests wait for their answer. One that was under way when the connection was lost is sent again after the return
    with the same ref, which the server recognises, so an event is published once; a direct message may arrive twice.
    Cancelling a request does not take it back.
    """

    def __init__(self, endpoint: Endpoint, codec: PlainCodec, identity: Identity, options: Options) -> None:
        self._endpoint = endpoint
        self._codec = codec
        self._identity = identity
        self._options = options
        self._session = identity.session
        # A session used before may have spent the small refs already.
        self._refs = count(1 if identity.session is None else options.random.randrange(1, 2**52))
        self._follower = Follower(identity.position)
        self._position = identity.position
        self._backoff = Backoff(options.random, options.backoff_base_seconds, options.backoff_cap_seconds)
        self._inbox, self._outcome = trio.open_memory_channel[Item](options.undelivered)
        self._requests = Requests()
        self._websocket: WebSocketConnection | None = None
        self._settled = False
        self._joined: Joined | None = None
        self._bye: Bye | None = None
        self._leaving = False
        self._scope = trio.CancelScope()
        self._likes = self._likes_sent = 0
        self._liked = trio.Event()
        self._reconnects = 0

    # -- what is known ---------------------------------------------------------------------------------------------

    @property
    def user(self) -> str:
        """Id under which this viewer's events appear."""
        return self._now.user

    @property
    def role(self) -> str:
        """What this viewer may do, as the server names it."""
        return self._now.role

    @property
    def session(self) -> str:
        """Secret that makes a later client the same viewer. Keep it, show it to nobody."""
        return self._now.session

    @property
    def position(self) -> Position | None:
        """After the last item handed out: pass it to a later client to continue there. None while it is lost."""
        return self._position

    @property
    def counters(self) -> Counters | None:
        """The newest totals received; None before the first."""
        return self._follower.counters

    @property
    def reconnects(self) -> int:
        """How often the client came back."""
        return self._reconnects

    def statistics(self) -> Statistics:
        """What came so far."""
        return self._follower.statistics()

    # -- what can be done ------------------------------------------------------------------------------------------

    async def comment(self, body: str) -> int:
        """Say something; return the offset it was given.

        :raises Refused: with code, text and ``retry_after_ms``.
        :raises Uncertain: sent, but not known whether published.
        """
        return await self._ask(_COMMENT, body)

    async def custom(self, name: str, body: str) -> int:
        """Publish an event of the product's own; return its offset. Raises as `comment` does."""
        return await self._ask(_CUSTOM, name, body)

    async def direct(self, user: str, body: str) -> None:
        """Send to one user of the room, by id. Raises as `comment` does."""
        await self._ask(_DIRECT, user, body)

    async def ping(self) -> RoundTrip:
        """Ask for a sign of life."""
        ref = next(self._refs)
        request = await self._requests.ask(ref, self._codec.encode([_PING, ref]))
        answer, sent = request.answer, request.sent
        if not isinstance(answer, Pong) or sent is None:
            raise refused(answer)
        return RoundTrip(request.answered - sent, answer.time)

    def like(self, likes: int = 1) -> None:
        """Add likes. Their sum goes out every ``Options.like_seconds`` and when the client leaves; a refusal is an
        item.

        :raises ValueError: ``likes`` is negative.
        """
        if likes < 0:
            raise ValueError(f"likes must not be negative, not {likes}")
        if self._requests.failure is not None:
            raise self._requests.failure
        self._likes += likes
        self._liked.set()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Item:
        try:
            item = await self._outcome.receive()
        except trio.EndOfChannel:
            assert self._requests.failure is not None
            raise self._requests.failure from None
        self._position = _after(item, self._position)
        return item

    # -- requests --------------------------------------------------------------------------------------------------

    @property
    def _now(self) -> Joined:
        assert self._joined is not None  # `open_client` hands nothing out before
        return self._joined

    async def _ask(self, kind: int, *fields: str) -> int:
        ref = next(self._refs)
        answer = (await self._requests.ask(ref, self._codec.encode([kind, ref, self._now.handle, *fields]))).answer
        if not isinstance(answer, Reply) or answer.code != Code.OK:
            raise refused(answer)
        return answer.offset

    # -- connection ------------------------------------------------------------------------------------------------

    async def run(self, *, task_status: trio.TaskStatus[None]) -> None:
        """Connect, follow, come back, until `leave`. Only the first connection raises its failure."""
        # Once in the room this is shielded, so that the goodbye of a cancelled viewer finds its connection alive.
        with self._scope:
            await self._supervise(task_status)

    async def _supervise(self, task_status: trio.TaskStatus[None]) -> None:
        lost_at = 0.0
        while True:
            failure: RoomcastError
            try:
                await self._connected(task_status)
            except _Lost as lost:
                failure, loss = lost.error, lost.loss
            except Unreachable as error:
                failure, loss = error, Loss(not error.retriable, after_seconds=error.retry_after_seconds)
            except Refused as error:
                failure, loss = error, Loss(not error.code.retriable, True, error.retry_after_ms / 1000)
            except ProtocolViolation as error:
                failure, loss = error, Loss(final=True)
            if not self._settled:
                raise failure
            self._follower.lost()
            failed, now = self._backoff.attempts, trio.current_time()
            if failed == 0:
                lost_at = now
            delay = self._backoff.delay(loss)
            limit = self._options.attempts
            late = now + delay > lost_at + self._options.deadline_seconds
            if loss.final or late or (limit is not None and failed >= limit):
                self._requests.fail(failure)
                self._inbox.close()
                return
            code, reason = (failure.code, failure.reason) if isinstance(failure, Closed) else (ABNORMAL, str(failure))
            await self._deliver(Disconnected(code, reason, delay))
            await trio.sleep(delay)

    async def leave(self) -> None:
        """Say goodbye, within ``Options.close_seconds`` and even when cancelled; then end `run`."""
        self._leaving = True
        try:
            if self._websocket is not None:
                await self._say_goodbye(self._websocket)
        finally:
            self._scope.cancel()

    async def _say_goodbye(self, websocket: WebSocketConnection) -> None:
        with trio.move_on_after(self._options.close_seconds, shield=True):
            try:
                if self._likes > self._likes_sent:
                    await self._send_likes(websocket)
                await websocket.send_message(self._codec.encode([_LEAVE, next(self._refs), self._now.handle]))
                await websocket.aclose()
            except ConnectionClosed:
                return

    async def _connected(self, task_status: trio.TaskStatus[None]) -> None:
        """One connection, from dialling to its loss; never returns."""
        limit = self._options.connect_seconds
        self._bye = None
        with trio.CancelScope(deadline=trio.current_time() + limit) as opening:
            async with connect(
                self._endpoint, self._codec.subprotocol, self._options.message_bytes, self._options.ssl_context
            ) as (websocket, nursery):
                try:
                    joined = await self._join(websocket)
                    opening.deadline = math.inf
                    await self._enter(joined, websocket, nursery)
                    await self._follow(websocket, task_status)
                except ProtocolViolation:
                    with trio.move_on_after(self._options.close_seconds):
                        await websocket.aclose(Close.PROTOCOL_ERROR)
                    raise
                finally:
                    self._websocket = None
                    self._requests.disconnected()
        raise _Lost(Unreachable(f"{self._endpoint.host}: not in the room after {limit} s"), Loss())

    async def _join(self, websocket: WebSocketConnection) -> Joined:
        ref, who = next(self._refs), self._identity
        epoch, offset = self._follower.position or (0, 0)
        join = [_JOIN, ref, who.room, epoch, offset, self._session, who.name, dict(who.attributes)]
        try:
            await websocket.send_message(self._codec.encode(join))
        except ConnectionClosed as closed:
            raise self._lost(closed) from None
        while True:
            for thing in self._follower.feed(await self._receive(websocket)):
                match thing:
                    case Joined():
                        return thing
                    case Reply():
                        raise refused(thing)
                    case Bye():
                        self._bye = thing

    async def _enter(self, joined: Joined, websocket: WebSocketConnection, nursery: trio.Nursery) -> None:
        if self._session is not None and joined.session != self._session:
            self._requests.session_lost()
            self._likes, self._likes_sent = self._likes - self._likes_sent, 0
        self._session = joined.session
        self._joined = joined
        self._websocket = websocket
        self._backoff.reset()
        if self._likes:
            self._liked.set()
        nursery.start_soon(self._write, websocket, self._requests.connected())
        nursery.start_soon(self._report_likes, websocket)
        if self._settled:
            self._reconnects += 1
            await self._deliver(Reconnected(joined.resumed))

    async def _follow(self, websocket: WebSocketConnection, task_status: trio.TaskStatus[None]) -> None:
        while True:
            if not self._settled and self._follower.position is not None:
                self._settled = self._scope.shield = True
                self._position = self._follower.position
                task_status.started()
            for thing in self._follower.feed(await self._receive(websocket)):
                match thing:
                    case Reply(ref=0):
                        await self._deliver(Refusal(thing.code, thing.text, thing.retry_after_ms))
                    case Reply() | Pong():
                        self._requests.answer(thing.ref, thing)
                    case Bye():
                        self._bye = thing
                    case Joined():
                        pass  # the follower takes one per connection, and `_join` had it
                    case _:
                        await self._deliver(thing)

    async def _receive(self, websocket: WebSocketConnection) -> object:
        """The next message, decoded. A connection that is silent for too long counts as lost."""
        seconds = _MISSES * self._follower.heartbeat_ms / 1000 or math.inf
        data: object = None
        with trio.move_on_after(seconds) as silence:
            try:
                data = await websocket.get_message()
            except ConnectionClosed as closed:
                if self._leaving:
                    await trio.sleep_forever()  # the goodbye is under way; its end cancels this task
                raise self._lost(closed) from None
        if silence.cancelled_caught:
            raise _Lost(Closed(ABNORMAL, f"silent for {seconds} s"), judge(ABNORMAL))
        return self._codec.decode(data)

    async def _write(self, websocket: WebSocketConnection, requests: trio.MemoryReceiveChannel[Request]) -> None:
        async for request in requests:
            if request.done.is_set():
                continue
            request.sent = trio.current_time()
            try:
                await websocket.send_message(request.message)
            except ConnectionClosed:
                return  # the reader learns it, too, and knows what to do

    async def _report_likes(self, websocket: WebSocketConnection) -> None:
        while True:
            await self._liked.wait()
            self._liked = trio.Event()
            try:
                await self._send_likes(websocket)
            except ConnectionClosed:
                return
            await trio.sleep(self._options.like_seconds)

    async def _send_likes(self, websocket: WebSocketConnection) -> None:
        total = self._likes
        await websocket.send_message(self._codec.encode([_LIKE, self._now.handle, total]))
        self._likes_sent = total

    async def _deliver(self, item: Item) -> None:
        try:
            self._inbox.send_nowait(item)
        except trio.WouldBlock:
            await self._inbox.send(item)

    def _lost(self, closed: ConnectionClosed) -> _Lost:
        if self._bye is not None:
            code, reason = self._bye.code, self._bye.text
            loss = judge(code, self._bye.return_after_ms / 1000, self._bye.return_window_ms / 1000)
        else:
            known = closed.reason
            code, reason = (int(known.code), known.reason or "") if known else (ABNORMAL, "")
            loss = judge(code)
        return _Lost(Closed(code, reason), loss)


@asynccontextmanager
async def open_client(
    url: str,
    *,
    room: str,
    name: str | None = None,
    attributes: Mapping[str, str] | None = None,
    position: Position | tuple[int, int] | None = None,
    session: str | None = None,
    codec: Literal["msgpack", "json"] = "msgpack",
    options: Options | None = None,
) -> AsyncIterator[Client]:
    """Enter ``room`` as a viewer; leave it, and the server, at the end of the block.

    The block begins when the viewer is in the room and knows its position. What it raises comes out as it is.

    :param url: such as ``ws://127.0.0.1:8765/ws``.
    :param name: shown with what this viewer says; None for a guest.
    :param attributes: up to 8 small strings, shown likewise.
    :param position: continue after this event (``Client.position`` of an earlier client); None: at the end.
    :param session: be the viewer of an earlier client (``Client.session``).
    :raises Unreachable: no connection.
    :raises Refused: the server does not let this viewer in.
    :raises Closed: the server hung up before.
    :raises ProtocolViolation: the server's answer is not one.
    """
    place = None if position is None else Position(*position)
    who = Identity(room, name, attributes or {}, session, place)
    client = Client(endpoint_of(url), CODECS[codec], who, options or Options())
    try:
        async with trio.open_nursery() as nursery:
            try:
                await nursery.start(client.run)
                yield client
            finally:
                await client.leave()
    except BaseExceptionGroup as group:
        error = unwrapped(group)
        raise error from error.__cause__


def _after(item: Item, position: Position | None) -> Position | None:
    if isinstance(item, (Event, Omitted, Gap)):
        return item.position
    if isinstance(item, Snapshot):
        # During a resume a snapshot may lie below what was seen already.
        return max(item.position, position) if position and position.epoch == item.epoch else item.position
    return position
