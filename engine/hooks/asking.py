"""What the product is asked before something happens: by a hook in Python, else over HTTP, else not at all.

Owns who is asked about what, how long the answer may take, and what holds without one. Must not know what becomes of a verdict.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from inspect import isawaitable
from typing import Any, Final, get_args

import msgspec
import trio
from msgspec import Struct

from engine.durations import Durations
from engine.hooks.batches import Batches
from engine.hooks.call import Address, Caller, NoAnswer
from engine.hooks.values import ALLOW, Allow, Change, Hold, Hook, Kind, Question, Refuse, Verdict
from engine.settings import HookSettings

__all__ = ["UNANSWERED", "Asking", "AskingStatistics"]

UNANSWERED: Final = Refuse("the product cannot be asked at the moment (hooks.fallback)")
"""What holds without an answer where ``hooks.fallback`` is ``refuse``: this very object, which no verdict is."""
_KINDS: Final[tuple[Kind, ...]] = get_args(Kind)
_QUIET_SECONDS: Final = 1.0
"""Least time between two log lines about failures of hooks in Python."""
_PAID_BYTES: Final = 65_536
"""That the answer to one payment may have."""

log = logging.getLogger("roomcast.hooks")


class _Paid(Struct):
    paid: bool
    reason: str = ""


_encode: Final = msgspec.json.Encoder().encode
_paid: Final = msgspec.json.Decoder(_Paid).decode


@dataclass(frozen=True, slots=True)
class AskingStatistics:
    """A frozen picture of what the product was asked.

    :ivar asked: questions, by kind; ``verdicts`` what was answered, by its name; ``fallbacks`` those without an answer.
    :ivar waiting: questions that wait for a request to leave with.
    :ivar requests: over HTTP, payments included; ``requests_failed`` those without an answer.
    :ivar breakers: addresses that may be asked over HTTP; ``breakers_open`` those of them that are not at the moment.
    :ivar delays: `engine.durations.Durations.table` of the times from question to verdict, or to its fallback.
    """

    asked: dict[str, int]
    verdicts: dict[str, int]
    fallbacks: int
    waiting: int
    requests: int
    requests_failed: int
    breakers: int
    breakers_open: int
    delays: dict[str, Any]


class Asking:
    """See the module's docstring.

    :param now_ms: Unix milliseconds.
    :param changed: called when something is asked about that was not, or the other way round.
    """

    def __init__(self, settings: HookSettings, now_ms: Callable[[], int], changed: Callable[[], None] = lambda: None) -> None:
        self._settings = settings
        self._changed = changed
        self._caller = Caller(settings, now_ms)
        self._limiter = trio.CapacityLimiter(settings.in_flight)
        self._nursery: trio.Nursery | None = None
        self._hooks: dict[Kind, Hook] = {}
        self._batches: dict[str, Batches] = {}
        self._by_kind: dict[Kind, Batches] = {}
        self._till: Address | None = None
        self._counts: dict[str, int] = {}
        self._verdicts: dict[str, int] = {}
        self._fallbacks = 0
        self._past_requests = [0, 0]
        self._delays = Durations()
        self._quiet_until = -1.0
        self._find()
        self._asked = self._kinds()

    # -- who is asked ---------------------------------------------------------------------------------------------------

    def use(self, kind: Kind, hook: Hook | None) -> None:
        """Have a hook in Python decide, in place of the address of this kind; None: not any more."""
        if kind not in _KINDS:
            raise ValueError(f"a hook is for one of {', '.join(_KINDS)}, not {kind!r}")
        if hook is None:
            self._hooks.pop(kind, None)
        else:
            self._hooks[kind] = hook
        self._tell()

    def adopt(self, settings: HookSettings) -> None:
        """Take other settings. Of an address that stays it is known how it fares."""
        self._settings = settings
        self._caller.adopt(settings)
        self._limiter.total_tokens = settings.in_flight
        for batches in self._batches.values():
            batches.adopt(settings)
        if self._till is not None:
            self._till.adopt(settings)
        self._find()
        self._tell()

    def _find(self) -> None:
        """Have the addresses that the settings name."""
        settings = self._settings
        urls: dict[Kind, str] = {
            "comment": settings.comment_url,
            "gift": settings.gift_url,
            "red_packet": settings.red_packet_url,
            "join": settings.join_url,
        }
        old, self._batches = self._batches, {}
        for url in dict.fromkeys(filter(None, urls.values())):
            self._batches[url] = old.pop(url) if url in old else self._open(url)
        self._by_kind = {kind: self._batches[url] for kind, url in urls.items() if url}
        gone = [batches.address for batches in old.values()]
        if self._till is None or self._till.url != settings.spend_url:
            gone += [self._till] if self._till is not None else []
            self._till = Address(settings.spend_url, settings, self._caller) if settings.spend_url else None
        for address in gone:
            self._past_requests[0] += address.requests
            self._past_requests[1] += address.failed

    def _open(self, url: str) -> Batches:
        return Batches(Address(url, self._settings, self._caller), self._settings, self._spawn)

    def _kinds(self) -> frozenset[Kind]:
        return frozenset((*self._hooks, *self._by_kind))

    def _tell(self) -> None:
        asked = self._kinds()
        if asked != self._asked:
            self._asked = asked
            self._changed()

    def asks(self, kind: Kind) -> bool:
        """Whether somebody is to be asked. Costs next to nothing."""
        return kind in self._asked

    # -- asking ---------------------------------------------------------------------------------------------------------

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Send requests until cancelled."""
        try:
            async with trio.open_nursery() as self._nursery:
                await self._nursery.start(self._caller.run)
                task_status.started()
        finally:
            # Whoever asks now would wait for nobody.
            self._nursery = None

    def _spawn(self, do: Callable[..., Any], *args: Any) -> None:
        if self._nursery is not None:
            self._nursery.start_soon(do, *args)

    async def ask(self, question: Question) -> Verdict:
        """What is to become of it: the product's verdict, or the fallback. Raises nothing."""
        since = trio.current_time()
        kind = question.kind
        self._counts[kind] = self._counts.get(kind, 0) + 1
        hook, batches = self._hooks.get(kind), self._by_kind.get(kind)
        verdict: Verdict | None
        if hook is not None:
            verdict = await self._call(hook, question)
        elif batches is not None:
            verdict = await batches.ask(question)
        else:
            # Nobody is asked about this any more.
            verdict = ALLOW
        self._delays.add(trio.current_time() - since)
        if verdict is None:
            self._fallbacks += 1
            return ALLOW if self._settings.fallback == "allow" else UNANSWERED
        name = type(verdict).__name__.lower()
        self._verdicts[name] = self._verdicts.get(name, 0) + 1
        return verdict

    async def _call(self, hook: Hook, question: Question) -> Verdict | None:
        answer: Any = None
        try:
            answer = hook(question)
            if isawaitable(answer):
                with trio.CancelScope(deadline=trio.current_time() + self._settings.answer_seconds) as scope:
                    answer = await answer
                if scope.cancelled_caught:
                    self._complain("late (hooks.answer_seconds)", question)
                    return None
        except Exception as error:
            # The product's code: whatever is wrong there, the room goes on.
            self._complain(f"raised {type(error).__name__}", question, error)
            return None
        if answer is None:
            return ALLOW
        if not _sound(answer):
            self._complain("its verdict is none", question)
            return None
        verdict: Verdict = answer
        return verdict

    def _complain(self, reason: str, question: Question, error: Exception | None = None) -> None:
        """Log a failure, unless one was logged just now."""
        if trio.current_time() >= self._quiet_until:
            self._quiet_until = trio.current_time() + _QUIET_SECONDS
            extra = {"kind": question.kind, "room": question.room, "reason": reason}
            log.warning("hook_failed", extra=extra, exc_info=error)

    # -- charging -------------------------------------------------------------------------------------------------------

    @property
    def charges(self) -> bool:
        """Whether viewers can be charged over HTTP."""
        return self._till is not None

    async def charge(self, spend: Mapping[str, Any], key: str, seconds: float) -> str | None:
        """Have a viewer charged: ``{"spend": {…}}`` with the fields of `engine.hub.spending.Spend`, and the key again in the
        header ``idempotency-key``. The answer is ``{"paid": true}``, or ``{"paid": false, "reason": "…"}``.

        :returns: None when that is done, else why not.
        :raises NoAnswer: it is not known whether it is; the same may be asked again.
        """
        till = self._till
        if till is None:
            raise NoAnswer("there is no hooks.spend_url any more")
        deadline = trio.current_time() + seconds
        with trio.CancelScope(deadline=deadline) as waiting:
            await self._limiter.acquire()
        if waiting.cancelled_caught:
            raise NoAnswer("too many wait to pay (hooks.in_flight)")
        answers: list[_Paid] = []

        def understand(answer: bytes) -> bool:
            try:
                answers.append(_paid(answer))
            except (msgspec.MsgspecError, RecursionError, UnicodeError):
                return False
            return True

        try:
            body = _encode({"spend": spend})
            await till.post(body, _PAID_BYTES, deadline, understand=understand, headers={"idempotency-key": key})
        finally:
            self._limiter.release()
        (paid,) = answers
        return None if paid.paid else paid.reason

    # -- looking in -----------------------------------------------------------------------------------------------------

    def statistics(self) -> AskingStatistics:
        """A frozen picture."""
        addresses = [batches.address for batches in self._batches.values()]
        addresses += [self._till] if self._till is not None else []
        return AskingStatistics(
            asked=dict(self._counts),
            verdicts=dict(self._verdicts),
            fallbacks=self._fallbacks,
            waiting=sum(map(len, self._batches.values())),
            requests=self._past_requests[0] + sum(address.requests for address in addresses),
            requests_failed=self._past_requests[1] + sum(address.failed for address in addresses),
            breakers=len(addresses),
            breakers_open=sum(address.open for address in addresses),
            delays=self._delays.table(),
        )


def _sound(verdict: object) -> bool:
    """Whether a hook in Python has answered with what can go over the wire."""
    match verdict:
        case Allow():
            return True
        case Change(body=text) | Hold(reason=text) | Refuse(reason=text):
            # As whatever a product's code puts there: lone surrogates cannot be encoded.
            return isinstance(text, str) and not any("\ud800" <= each <= "\udfff" for each in text)
        case _:
            return False
