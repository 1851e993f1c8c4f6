"""One Redis server, kept within reach: connecting, greeting, asking, and doing all of it again when the connection is lost.

Owns the two connections (requests; subscriptions) and the rule how long anybody waits for them. Must not know rooms.

The two share a fate: when one ends both are made anew, so that there is one moment from which everything must be verified.
"""

from __future__ import annotations

import logging
import ssl
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final

import trio
from coredis.exceptions import (
    AskError,
    BusyLoadingError,
    ClusterDownError,
    MovedError,
    ReadOnlyError,
    RedisError,
    TryAgainError,
)

from engine.brokers.base import Unavailable
from engine.brokers.redis.address import Address, Place
from engine.brokers.redis.functions import Request, library
from engine.brokers.redis.wire import Lost, Part, Reply, Traffic, Wire
from engine.settings import RedisSettings

__all__ = ["Call", "Server", "greeting"]

_BACKOFF_SECONDS: Final = 0.05
_BACKOFF_MAX_SECONDS: Final = 2.0
_WATCH_SECONDS: Final = 1.0
"""Between two questions where a server is that may move."""
_PAUSE_SECONDS: Final = 0.05
"""Before a server that said "not now" is asked again."""

log = logging.getLogger("roomcast.broker")


class _Unfit(Exception):
    """The server was reached and cannot be used; the text says why."""


def greeting(place: Place) -> tuple[Part, ...]:
    """The first command on a connection: RESP3, and who we are."""
    if place.password:
        return (b"HELLO", 3, b"AUTH", place.user or "default", place.password)
    return (b"HELLO", 3)


class Call:
    """A request under way, and until when anybody waits for its answer."""

    __slots__ = ("deadline", "key", "replicas", "reply", "request", "server", "wire")

    def __init__(self, key: str, request: Request, deadline: float) -> None:
        self.key = key
        self.request = request
        self.deadline = deadline
        self.server: Server | None = None
        self.wire: Wire | None = None
        self.reply: Reply | None = None
        self.replicas: Reply | None = None


class Server:
    """See the module's docstring.

    :param resolve: where the server is; asked before each attempt. May raise `OSError`.
    :param moves: whether ``resolve`` may answer otherwise while a connection lasts; it is asked again and again then. A primary
        that was thought dead, and is not, would go on to accept what will be thrown away when its successor's word reaches it.
    :param push: called with each push message.
    :param restore: run whenever a connection has been made; what was subscribed and believed must be looked at again.
    :param random: a float below 1.
    :param traffic: is added to.
    :param lost: called when the server turns out to be out of reach.
    """

    def __init__(
        self,
        place: Place,
        settings: RedisSettings,
        resolve: Callable[[], Awaitable[Address]],
        push: Callable[[list[Any]], None],
        restore: Callable[[Server], Awaitable[None]],
        random: Callable[[], float],
        traffic: Traffic,
        lost: Callable[[], None] = lambda: None,
        moves: bool = False,
    ) -> None:
        self._place = place
        self._settings = settings
        self._resolve = resolve
        self._push = push
        self._restore = restore
        self._random = random
        self._traffic = traffic
        self._lost = lost
        self._moves = moves
        self._tls = ssl.create_default_context() if place.tls else None
        self._requests: Wire | None = None
        self._subscriptions: Wire | None = None
        self._lossless = False
        self._changed = trio.Event()
        self._why = ""
        self.connections = 0

    # -- life ---------------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Keep the connection up until cancelled."""
        try:
            await self._keep_up()
        finally:
            self._tell("nobody connects to it any more")

    async def _keep_up(self) -> None:
        failures = 0
        while True:
            before = self.connections
            try:
                await self._session()
                why = "the connection was lost"
            except (OSError, trio.BrokenResourceError, Lost, RedisError, _Unfit) as error:
                why = str(error) or type(error).__name__
            self._lost()
            failures = 0 if self.connections > before else failures + 1
            log.warning("redis_connection", extra={"error": why, "failures": failures})
            if failures:
                if failures > 1:
                    # Those who wait are told now, not at the end of their patience. Once may have been bad luck.
                    self._tell(why)
                backoff = min(_BACKOFF_SECONDS * 2 ** min(failures, 10), _BACKOFF_MAX_SECONDS)
                await trio.sleep(backoff * (0.5 + self._random() / 2))
            else:
                await trio.sleep(_BACKOFF_SECONDS * self._random())

    @property
    def connected(self) -> bool:
        """Whether requests can be sent at this moment."""
        return self._requests is not None

    def _tell(self, why: str = "") -> None:
        self._why = why
        self._changed.set()
        self._changed = trio.Event()

    async def _session(self) -> None:
        """Connect and serve until the connection ends."""
        ended = trio.Event()
        requests = subscriptions = None
        with trio.move_on_after(self._settings.connect_seconds) as patience:
            address = await self._resolve()
            requests = await Wire.connect(address, self._tls, self._push, ended, self._traffic)
            try:
                subscriptions = await Wire.connect(address, self._tls, self._push, ended, self._traffic)
            finally:
                if subscriptions is None:
                    await requests.abort()
        if requests is None or subscriptions is None:
            raise _Unfit(f"no connection within {self._settings.connect_seconds} s (redis.connect_seconds)")
        error: Exception | None = None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(requests.run)
            nursery.start_soon(subscriptions.run)
            try:
                with trio.move_on_after(self._settings.connect_seconds) as patience:
                    await self._greet(requests, subscriptions)
                if patience.cancelled_caught:
                    raise _Unfit(f"no answer within {self._settings.connect_seconds} s (redis.connect_seconds)")
            except (Lost, RedisError, _Unfit) as failed:
                error = failed
            else:
                self._requests, self._subscriptions = requests, subscriptions
                self.connections += 1
                self._tell()
                nursery.start_soon(self._restore, self)
                if self._moves:
                    nursery.start_soon(self._watch, address, requests)
                try:
                    await ended.wait()
                finally:
                    self._requests = self._subscriptions = None
            nursery.cancel_scope.cancel()
        if error is not None:
            raise error

    async def _watch(self, address: Address, requests: Wire) -> None:
        """End the session when the server is elsewhere."""
        while True:
            await trio.sleep(_WATCH_SECONDS)
            try:
                elsewhere = await self._resolve()
            except OSError:
                # Whoever knows is out of reach; the server may be well.
                continue
            if elsewhere != address:
                log.warning("redis_primary_moved", extra={"old": str(address), "new": str(elsewhere)})
                requests.close()
                return

    async def _greet(self, requests: Wire, subscriptions: Wire) -> None:
        answers = [wire.request(*greeting(self._place)) for wire in (requests, subscriptions)]
        if self._place.database:
            answers.append(requests.request(b"SELECT", self._place.database))
        for answer in answers:
            await answer.wait()
        if b"role:master" not in await requests.request(b"INFO", b"replication").wait():
            raise _Unfit("the server is a replica")
        self._lossless = await self._keeps_everything(requests)
        await self._load(requests)

    async def _keeps_everything(self, wire: Wire) -> bool:
        try:
            found = await wire.request(b"CONFIG", b"GET", b"append*").wait()
        except RedisError:
            # Hosted servers hide their configuration.
            return False
        return bool(found.get(b"appendonly") == b"yes" and found.get(b"appendfsync") == b"always")

    async def _load(self, wire: Wire) -> None:
        try:
            await wire.request(b"FUNCTION", b"LOAD", library()[1]).wait()
        except RedisError as error:
            if "already exists" not in str(error):
                raise

    # -- asking -------------------------------------------------------------------------------------------------------

    def send(self, call: Call) -> None:
        """Send a request, if there is a connection. `finish` waits for the answer; send many first to have them in one
        write. Raises `Unavailable`."""
        call.server = self
        wire = self._requests
        if wire is None:
            if self._why:
                raise Unavailable(f"Redis is out of reach: {self._why}")
            return
        try:
            call.reply = wire.request(*call.request.parts(self._lossless))
            call.wire = wire
            if call.request.replicas:
                # Half of the time that anybody waits for the answer: a replica that is late must not look like a lost primary.
                patience_ms = int(self._settings.answer_seconds * 500)
                call.replicas = wire.request(b"WAIT", call.request.replicas, patience_ms)
        except Lost:
            call.reply = None

    async def finish(self, call: Call) -> Any:
        """The answer to a request. A request may be sent again, so it must be one that does no harm twice.

        Raises `Unavailable`, also if it was perhaps carried out. Raises coredis's ``MovedError``.
        """
        if call.reply is not None and call.reply.fine and call.replicas is None:
            return call.reply.value
        with trio.move_on_at(call.deadline):
            while True:
                if call.reply is None:
                    await self._changed.wait()
                else:
                    reply, call.reply = call.reply, None
                    try:
                        value = await reply.wait()
                        await self._replicated(call)
                        return value
                    except Lost:
                        pass
                    except RedisError as error:
                        await self._mind(call, error)
                self.send(call)
        if call.wire is not None and call.wire is self._requests:
            self._doubt(call.wire)
        raise Unavailable(f"Redis did not answer within {self._settings.answer_seconds} s (redis.answer_seconds)")

    def _doubt(self, wire: Wire) -> None:
        """Somebody has waited in vain. A server that says nothing at all may hang for longer than anybody waits; whether it is
        well again shows on a new connection. One that is merely behind would only fall further behind: to restore everything
        that a connection has costs more than to keep it."""
        if trio.current_time() - wire.heard_at >= self._settings.answer_seconds:
            wire.close()

    async def _replicated(self, call: Call) -> None:
        if call.replicas is not None and (found := await call.replicas.wait()) < call.request.replicas:
            raise Unavailable(f"stored, but on {found} replicas instead of {call.request.replicas} (redis.wait_replicas)")

    async def _mind(self, call: Call, error: RedisError) -> None:
        """Do what makes the request worth sending again, or raise."""
        if isinstance(error, ReadOnlyError) and call.wire is not None:
            call.wire.close()
        elif isinstance(error, MovedError):
            raise error
        elif isinstance(error, BusyLoadingError | ClusterDownError | TryAgainError | AskError):
            await trio.sleep(_PAUSE_SECONDS)
        elif "unction not found" in str(error) and call.wire is not None:
            try:
                await self._load(call.wire)
            except Lost:
                return
            except RedisError as refused:
                raise Unavailable(f"Redis refused the function library: {refused}") from refused
        else:
            raise Unavailable(f"Redis refused: {error}") from error

    # -- subscriptions ------------------------------------------------------------------------------------------------

    async def subscribe(self, channels: Iterable[str]) -> None:
        """Have these channels pushed when this returns. The owner subscribes again after a connection was lost.

        Raises `Unavailable`, and coredis's ``MovedError`` if one of them is another server's.
        """
        await self._barrier([(b"SSUBSCRIBE", channel) for channel in channels])

    async def unsubscribe(self, channel: str) -> None:
        """Have a channel pushed no more."""
        await self._barrier([(b"SUNSUBSCRIBE", channel)])

    async def check(self) -> None:
        """Find out whether the subscriptions' connection is alive; the requests' shows it by itself."""
        await self._barrier([])

    async def _barrier(self, commands: list[tuple[Part, ...]]) -> None:
        wire = None
        with trio.move_on_after(self._settings.answer_seconds):
            while True:
                wire = self._subscriptions
                if wire is None:
                    if self._why:
                        raise Unavailable(f"Redis is out of reach: {self._why}")
                    await self._changed.wait()
                    continue
                try:
                    await wire.barrier(commands).wait()
                    return
                except Lost:
                    await trio.lowlevel.checkpoint()
                except MovedError:
                    raise
                except RedisError as error:
                    raise Unavailable(f"Redis refused: {error}") from error
        if wire is not None and wire is self._subscriptions:
            self._doubt(wire)
        raise Unavailable(f"Redis did not answer within {self._settings.answer_seconds} s (redis.answer_seconds)")
