"""Questions to one address over HTTP, several in one request.

Owns what waits, and the tasks that send it. Must not know what becomes of a verdict.

A request::

    {"questions": [{"id": "…", "kind": "comment", "room": "…", "user": "…", "body": "…", …}, …]}

has the fields of `engine.hooks.values.Question`, and is answered with 200 and verdicts by the ids of the questions::

    {"verdicts": {"…": {"verdict": "allow"}, "…": {"verdict": "change", "body": "…"},
                  "…": {"verdict": "hold", "reason": "…"}, "…": {"verdict": "refuse", "reason": "…"}}}

By ids, because a list in a wrong order would go unnoticed. A question whose verdict is missing or none of these has no answer;
an answer without a verdict for any question is none.

There is no timer: what comes while as many requests are under way as may be leaves with the next one. The time for an answer
begins when the question is asked, so it does not wait longer than it would anyway.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec
import trio
from msgspec import Raw, Struct

from engine.hooks.call import Address, NoAnswer
from engine.hooks.values import Question, Verdict
from engine.settings import HookSettings

__all__ = ["Batches"]

_ANSWER_BYTES: Final = 65_536
"""That any answer may have: one for the longest comment, with characters escaped, fits."""
_EACH_BYTES: Final = 8_192
"""That it may have more for each question."""


class _Verdicts(Struct):
    verdicts: dict[str, Raw]


_encode: Final = msgspec.json.Encoder().encode
_verdicts: Final = msgspec.json.Decoder(_Verdicts).decode
_verdict: Final[Callable[[Raw], Verdict]] = msgspec.json.Decoder(Verdict).decode
_UNREADABLE: Final = (msgspec.MsgspecError, RecursionError, UnicodeError)


class _Waiting:
    """A question and who waits for its verdict."""

    __slots__ = ("deadline", "done", "question", "verdict")

    def __init__(self, question: Question, deadline: float) -> None:
        self.question = question
        self.deadline = deadline
        self.done = trio.Event()
        self.verdict: Verdict | None = None


class Batches:
    """See the module's docstring.

    :param spawn: begins a task.
    :ivar address: where they go.
    """

    def __init__(self, address: Address, settings: HookSettings, spawn: Callable[..., None]) -> None:
        self.address = address
        self._settings = settings
        self._spawn = spawn
        self._waiting: OrderedDict[str, _Waiting] = OrderedDict()
        self._senders = 0
        self._starting = 0

    def adopt(self, settings: HookSettings) -> None:
        """Take other settings."""
        self._settings = settings
        self.address.adopt(settings)

    def __len__(self) -> int:
        """Questions that wait for a request to leave with."""
        return len(self._waiting)

    async def ask(self, question: Question) -> Verdict | None:
        """The product's verdict; None if there is none in time."""
        settings = self._settings
        if not self.address.allows:
            return None
        if len(self._waiting) >= settings.pending:
            self.address.complain("too many questions wait (hooks.pending)")
            return None
        waiting = _Waiting(question, trio.current_time() + settings.answer_seconds)
        self._waiting[question.id] = waiting
        self._hurry()
        try:
            with trio.CancelScope(deadline=waiting.deadline):
                await waiting.done.wait()
        finally:
            self._waiting.pop(question.id, None)
        return waiting.verdict

    def _hurry(self) -> None:
        """Let somebody send what waits, unless those who have yet to begin will."""
        settings = self._settings
        if self._senders < settings.in_flight and len(self._waiting) > self._starting * settings.batch:
            self._senders += 1
            self._starting += 1
            self._spawn(self._send)

    async def _send(self) -> None:
        self._starting -= 1
        try:
            while self._waiting and self._senders <= self._settings.in_flight:
                count = min(len(self._waiting), self._settings.batch)
                await self._send_some([self._waiting.popitem(last=False)[1] for _ in range(count)])
        finally:
            self._senders -= 1

    async def _send_some(self, batch: Sequence[_Waiting]) -> None:
        body = _encode({"questions": [waiting.question for waiting in batch]})
        most, deadline = _ANSWER_BYTES + _EACH_BYTES * len(batch), max(waiting.deadline for waiting in batch)
        try:
            await self.address.post(body, most, deadline, understand=lambda answer: _read(answer, batch))
            if any(waiting.verdict is None for waiting in batch):
                self.address.complain("a verdict is missing or not as documented")
        except NoAnswer:
            # Told where it was found out; the fallback holds.
            pass
        finally:
            for waiting in batch:
                waiting.done.set()


def _read(answer: bytes, batch: Sequence[_Waiting]) -> bool:
    """Give every question its verdict; returns whether there was any."""
    try:
        verdicts = _verdicts(answer).verdicts
    except _UNREADABLE:
        return False
    for waiting in batch:
        given: Any = verdicts.get(waiting.question.id)
        if given is not None:
            try:
                waiting.verdict = _verdict(given)
            except _UNREADABLE:
                continue
    return any(waiting.verdict is not None for waiting in batch)
