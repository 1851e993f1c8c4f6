"""The requests of one client that wait for their answer, across connections.

Owns who waits for which ref, and what has to be sent again after a return. Knows no socket: a connection takes messages
from the channel that `connected` returns, and hands in what is answered.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import trio

from engine.client.control import Answer, Reply
from engine.client.items import ProtocolViolation
from engine.errors import Code, Refused, RoomcastError

__all__ = ["Request", "Requests", "Uncertain", "refused"]


class Uncertain(RoomcastError):
    """A request was sent, the connection was lost, and the server gave a new session: whether the request was carried
    out is not known, and a retry would not be recognised as one."""


@dataclass(slots=True, eq=False)
class Request:
    """One request. ``sent`` and ``answered`` are in seconds of trio's clock.

    :ivar answerable: else it is done as soon as it is sent.
    """

    message: str | bytes
    answerable: bool = True
    done: trio.Event = field(default_factory=trio.Event)
    answer: Answer | RoomcastError | None = None
    sent: float | None = None
    answered: float = 0.0


class Requests:
    """The requests in flight; as many as there are callers who wait.

    :ivar failure: why there will be no more answers.
    """

    def __init__(self) -> None:
        self.failure: RoomcastError | None = None
        self._waiting: dict[int, Request] = {}
        """By ref, which nothing on the wire has when it is not answered."""
        self._outbox: trio.MemorySendChannel[Request] | None = None

    def connected(self) -> trio.MemoryReceiveChannel[Request]:
        """What to send on a new connection, in order: first what is unanswered, then what comes."""
        # Without a bound of its own: there is one entry for each caller who waits.
        self._outbox, outgoing = trio.open_memory_channel[Request](math.inf)
        for request in self._waiting.values():
            self._outbox.send_nowait(request)
        return outgoing

    def disconnected(self) -> None:
        """Keep what comes until the next connection."""
        self._outbox = None

    def session_lost(self) -> None:
        """The server does not know this viewer any more, and would not recognise a retry."""
        for ref, request in list(self._waiting.items()):
            if request.sent is not None and request.answerable:
                self.answer(ref, Uncertain("the connection was lost before the answer, and the session with it"))

    async def ask(self, ref: int, message: str | bytes, *, answerable: bool = True) -> Request:
        """Send and wait for the answer, or for the sending if there will be none. Raises what ended the wait instead."""
        if self.failure is not None:
            raise self.failure
        request = self._waiting[ref] = Request(message, answerable)
        if self._outbox is not None:
            self._outbox.send_nowait(request)
        try:
            await request.done.wait()
        finally:
            self._waiting.pop(ref, None)
            request.done.set()
        if isinstance(request.answer, RoomcastError):
            raise request.answer
        return request

    def answer(self, ref: int, answer: Answer | RoomcastError) -> None:
        """Wake who waits for ``ref``, if anybody still does."""
        request = self._waiting.pop(ref, None)
        if request is not None:
            request.answer, request.answered = answer, trio.current_time()
            request.done.set()

    def sent(self, request: Request) -> None:
        """It is on its way."""
        if not request.answerable:
            request.done.set()

    def fail(self, failure: RoomcastError) -> None:
        """No more answers will come."""
        self.failure = failure
        for ref in list(self._waiting):
            self.answer(ref, failure)


def refused(answer: object) -> RoomcastError:
    """The exception for an answer that is not a success."""
    if not isinstance(answer, Reply):
        return ProtocolViolation(f"an answer of the wrong kind: {answer!r:.60}")
    try:
        return Refused(Code(answer.code), answer.text, answer.retry_after_ms)
    except ValueError:
        # A code of tomorrow: the band says whether to try again, the text keeps the number.
        band = Code.UNAVAILABLE if answer.code < Code.INVALID else Code.INVALID
        return Refused(band, f"code {answer.code}{': ' if answer.text else ''}{answer.text}", answer.retry_after_ms)
