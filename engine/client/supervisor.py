"""The one connection of a client at a time: dialled, followed, lost, and dialled again.

Owns the socket (trio-websocket), the requests in flight and the way back. What may follow what is for the follower to judge,
when to come back for the back-off.

One task per client holds one connection at a time. Only tasks of that connection send, so that a caller who gives up on a
request never leaves half a message in the stream.
"""

from __future__ import annotations

import math
import time
from itertools import count
from typing import Any, Final

import trio
from trio_websocket import ConnectionClosed, WebSocketConnection

from engine.client.backoff import ABNORMAL, Backoff, Loss, judge
from engine.client.bearer import Bearer, renewal_pause
from engine.client.claims import Claims
from engine.client.control import Answer, Bye, Joined, Pong, Reply, StateAnswer
from engine.client.dial import Endpoint, Unreachable, connect
from engine.client.follower import Follower
from engine.client.items import Disconnected, Item, Notice, Position, ProtocolViolation, Reconnected, Refusal, Share
from engine.client.options import Identity, Options
from engine.client.plaincodec import PlainCodec
from engine.client.quality import Meter
from engine.client.requests import Request, Requests, refused
from engine.client.taps import Taps
from engine.errors import Close, Refused, RoomcastError

__all__ = ["Closed", "Supervisor"]

_JOIN, _LEAVE, _LIKE, _PING, _QUALITY, _RECEIPT, _READ_STATE, _CLAIM, _RENEW = 1, 2, 4, 5, 6, 12, 16, 19, 23
_MISSES: Final = 2
"""Heartbeats that may be missed before the connection counts as dead (`engine.schema.Joined`)."""


class Closed(RoomcastError):
    """The server closed the connection. ``code``: see `engine.errors.Close`, 1006 without a close frame."""

    def __init__(self, code: int, reason: str = "") -> None:
        super().__init__(f"closed with {code}{': ' if reason else ''}{reason}")
        self.code = code
        self.reason = reason


class _Lost(Exception):
    def __init__(self, error: RoomcastError, loss: Loss) -> None:
        super().__init__(str(error))
        self.error = error
        self.loss = loss


class Supervisor:
    """Keeps one viewer in one room.

    :ivar inbox: the items, in order; ended with `Requests.failure` when there is no way back.
    :ivar feed: as which the viewer joins again.
    :ivar joined: the newest answer to a join; None before the first.
    :ivar start: position as it was when the viewer had first come in.
    :ivar meter: what came to the viewer.
    """

    def __init__(self, endpoint: Endpoint, codec: PlainCodec, identity: Identity, options: Options) -> None:
        self.follower = Follower(identity.position)
        self.requests = Requests()
        self.claims = Claims(self.requests)
        self.taps = Taps(identity.taps)
        self.meter = Meter(identity.position)
        self.feed = identity.feed
        self.joined: Joined | None = None
        self.start = identity.position
        self.reconnects = 0
        self.inbox: trio.MemoryReceiveChannel[Item]
        self._deliveries, self.inbox = trio.open_memory_channel[Item](options.undelivered)
        self._endpoint = endpoint
        self._codec = codec
        self._identity = identity
        self._options = options
        self._session = identity.session
        self._bearer = Bearer(identity.token)
        self._token: str | None = None
        # A session used before may have spent the small refs already.
        self._refs = count(1 if identity.session is None else options.random.randrange(1, 2**52))
        self._backoff = Backoff(options.random, options.backoff_base_seconds, options.backoff_cap_seconds)
        self._websocket: WebSocketConnection | None = None
        self._reporting = options.random.random() < options.quality
        self._settled = False
        self._stale = trio.Event()
        self._moved = trio.lowlevel.ParkingLot()
        self._owed: set[int] = set()
        """Offsets of notices that came, of which the server does not know it yet."""
        self._owing = trio.Event()
        self._bye: Bye | None = None
        self._leaving = False
        self._scope = trio.CancelScope()

    @property
    def now(self) -> Joined:
        """What the server said when it let the viewer in."""
        assert self.joined is not None  # `run` starts nobody before
        return self.joined

    async def ask(self, kind: int, *fields: Any) -> Request:
        """Send ``[kind, ref, *fields]`` and wait for the answer. Raises what ended the wait instead of one."""
        ref = next(self._refs)
        return await self.requests.ask(ref, self._codec.encode([kind, ref, *fields]))

    async def tell(self, kind: int, *fields: Any) -> None:
        """Send ``[kind, *fields]``, which is not answered; returns when it is on its way."""
        await self.requests.ask(next(self._refs), self._codec.encode([kind, *fields]), answerable=False)

    async def ping(self) -> Request:
        """Ask for a sign of life, and for the time. As `ask`."""
        request = await self.ask(_PING)
        if isinstance(request.answer, Pong) and request.sent is not None:
            self.meter.clock(request.sent, request.answered, request.answer.time)
        return request

    async def claim(self, packet: int) -> Request:
        """Claim a share of a red packet that the room's state holds. As `ask`; what the room is told is an answer, too."""
        ref = next(self._refs)
        with self.claims.waiting(packet, ref):
            return await self.requests.ask(ref, self._codec.encode([_CLAIM, ref, self.now.handle, packet]))

    async def reached(self, position: Position) -> None:
        """Wait until all up to a position has come, or cannot come any more. Raises why nothing more will."""
        while (now := self.follower.position) is not None and now.epoch == position.epoch and now < position:
            if self.requests.failure is not None:
                raise self.requests.failure
            await self._moved.park()

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
            self.follower.lost()
            cause = failure.code if isinstance(failure, (Closed, Refused)) else ABNORMAL
            self.meter.lost(cause, refused=isinstance(failure, Refused))
            failed, now = self._backoff.attempts, trio.current_time()
            if failed == 0:
                lost_at = now
            delay = self._backoff.delay(loss)
            limit = self._options.attempts
            late = now + delay > lost_at + self._options.deadline_seconds
            if loss.final or late or (limit is not None and failed >= limit):
                self.requests.fail(failure)
                self._moved.unpark_all()
                self._deliveries.close()
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
                await self._send_taps(websocket)
                report = self.meter.report() if self._reporting else None
                if report is not None:
                    await websocket.send_message(self._codec.encode([_QUALITY, self.now.handle, *report.fields]))
                await websocket.send_message(self._codec.encode([_LEAVE, next(self._refs), self.now.handle]))
                await websocket.aclose()
            except ConnectionClosed:
                return

    async def _connected(self, task_status: trio.TaskStatus[None]) -> None:
        """One connection, from dialling to its loss; never returns."""
        limit = self._options.connect_seconds
        self._bye = None
        with trio.CancelScope(deadline=trio.current_time() + limit) as opening:
            self._token = await self._bearer.fetch()
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
                    self.requests.disconnected()
        raise _Lost(Unreachable(f"{self._endpoint.host}: not in the room after {limit} s"), Loss())

    async def _join(self, websocket: WebSocketConnection) -> Joined:
        ref, who, token = next(self._refs), self._identity, self._token
        epoch, offset = self.follower.position or (0, 0)
        join = [_JOIN, ref, who.room, epoch, offset, self._session, who.name, dict(who.attributes)]
        if token is not None or self.feed:
            join += [token, self.feed]
        try:
            await websocket.send_message(self._codec.encode(join))
        except ConnectionClosed as closed:
            raise self._lost(closed) from None
        while True:
            for thing in self.follower.feed(await self._receive(websocket)):
                match thing:
                    case Joined():
                        return thing
                    case Reply():
                        raise refused(thing)
                    case Bye():
                        self._bye = thing

    async def _enter(self, joined: Joined, websocket: WebSocketConnection, nursery: trio.Nursery) -> None:
        returning = self._session is not None
        same = not returning or joined.session == self._session
        if not same:
            self.requests.session_lost()
        self.taps.connected(returning=returning, same_session=same)
        self._session = joined.session
        self.joined = joined
        self._websocket = websocket
        self._backoff.reset()
        self.meter.entered(trio.current_time())
        nursery.start_soon(self._write, websocket, self.requests.connected())
        nursery.start_soon(self._report_taps, websocket)
        nursery.start_soon(self._report_receipts)
        nursery.start_soon(self._read_again)
        nursery.start_soon(self._renew)
        if self._reporting:
            nursery.start_soon(self._report_quality)
        if self._settled:
            self.reconnects += 1
            await self._deliver(Reconnected(joined.resumed))

    async def _follow(self, websocket: WebSocketConnection, task_status: trio.TaskStatus[None]) -> None:
        if self.follower.stale:
            self._stale.set()
        while True:
            if not self._settled and self.follower.position is not None:
                self._settled = self._scope.shield = True
                self.start = self.follower.position
                task_status.started()
            things = self.follower.feed(await self._receive(websocket))
            self.meter.moved(self.follower.position)
            now = trio.current_time()
            for thing in things:
                self.meter.came(thing, now)
                match thing:
                    case Reply(ref=0):
                        await self._deliver(Refusal(thing.code, thing.text, thing.retry_after_ms))
                    case _ if isinstance(thing, Answer):
                        self.requests.answer(thing.ref, thing)
                    case Bye():
                        self._bye = thing
                    case Joined():
                        pass  # the follower takes one per connection, and `_join` had it
                    case Share() if thing.author.id == self.now.user:
                        self.claims.won(thing)
                        await self._deliver(thing)
                    case Notice(receipts=True) if self._options.receipts:
                        self._owed.add(thing.offset)
                        self._owing.set()
                        await self._deliver(thing)
                    case _:
                        await self._deliver(thing)
            self.claims.settle(self.follower.state.entries)
            self._moved.unpark_all()
            if self.follower.stale:
                self._stale.set()

    async def _receive(self, websocket: WebSocketConnection) -> object:
        """The next message, decoded. A connection that is silent for too long counts as lost."""
        seconds = _MISSES * self.follower.heartbeat_ms / 1000 or math.inf
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
            self.requests.sent(request)

    async def _report_taps(self, websocket: WebSocketConnection) -> None:
        while True:
            await self.taps.given.wait()
            self.taps.given = trio.Event()
            try:
                await self._send_taps(websocket)
            except ConnectionClosed:
                return
            await trio.sleep(self._options.like_seconds)

    async def _send_taps(self, websocket: WebSocketConnection) -> None:
        # One at a time, and each taken at the last moment: a goodbye that comes between them has the rest to send.
        while (totals := self.taps.report()) is not None:
            await websocket.send_message(self._codec.encode([_LIKE, self.now.handle, *totals]))

    async def _report_receipts(self) -> None:
        while True:
            for offset in sorted(self._owed):
                await self.tell(_RECEIPT, self.now.handle, offset)
                self._owed.discard(offset)
            await self._owing.wait()
            self._owing = trio.Event()

    async def _report_quality(self) -> None:
        """Tell what came, at once when the viewer has come back: those whose connections do not last are to be heard, too."""
        while True:
            report = self.meter.report()
            if report is not None:
                await self.tell(_QUALITY, self.now.handle, *report.fields)
            # Its answer says that what was sent before has arrived, and what time it is.
            ping = await self.ping()
            if report is not None and isinstance(ping.answer, Pong):
                self.meter.told(report)
            await trio.sleep(self._options.quality_seconds * self._options.random.uniform(0.5, 1.5))

    async def _renew(self) -> None:
        """Show another token before the last one expires. If the server does not take it the connection ends with the last one,
        and the client comes back with another."""
        while self._token is not None and self._bearer.renewable:
            await trio.sleep(renewal_pause(self._token, time.time()))
            fresh = await self._bearer.fetch()
            try:
                answer = (await self.ask(_RENEW, fresh)).answer
                if not isinstance(answer, Reply) or answer.code:
                    raise refused(answer)
            except Refused as error:
                if not error.code.retriable:
                    return
                await trio.sleep(max(error.retry_after_ms / 1000, self._options.backoff_base_seconds))
            else:
                self._token = fresh

    async def _read_again(self) -> None:
        """Ask for the room's state whenever it has become uncertain, and again as long as an answer does not settle it."""
        pauses = Backoff(self._options.random, self._options.backoff_base_seconds, self._options.backoff_cap_seconds)
        while True:
            await self._stale.wait()
            self._stale = trio.Event()
            while self.follower.stale:
                after = 0.0
                try:
                    answer = (await self.ask(_READ_STATE, self.now.handle)).answer
                    if not isinstance(answer, StateAnswer):
                        raise refused(answer)
                except Refused as error:
                    if not error.code.retriable:
                        return  # the room's state stays uncertain, and the client says so
                    after = error.retry_after_ms / 1000
                if self.follower.stale:
                    await trio.sleep(pauses.delay(Loss(after_seconds=after)))
            pauses.reset()

    async def _deliver(self, item: Item) -> None:
        try:
            self._deliveries.send_nowait(item)
        except trio.WouldBlock:
            await self._deliveries.send(item)

    def _lost(self, closed: ConnectionClosed) -> _Lost:
        if self._bye is not None:
            code, reason = self._bye.code, self._bye.text
            after, window = self._bye.return_after_ms / 1000, self._bye.return_window_ms / 1000
            loss = judge(code, after, window, renewable=self._bearer.renewable)
        else:
            known = closed.reason
            code, reason = (int(known.code), known.reason or "") if known else (ABNORMAL, "")
            loss = judge(code, renewable=self._bearer.renewable)
        return _Lost(Closed(code, reason), loss)
