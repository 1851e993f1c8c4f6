"""Requests to the product's addresses, each of them answered in time, in full and with a status of 200, or not at all.

Owns what is known of each address: its breaker and its counts. Must not know what is asked, nor how it is sent
(`engine.hooks.posting`), for which nothing is loaded before a URL is set.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Mapping
from typing import Final

import trio

from engine.hooks.breaker import Breaker, State
from engine.hooks.posting import Poster, Unsent, poster, shown
from engine.hooks.signing import keys_of
from engine.settings import HookSettings

__all__ = ["Address", "Caller", "NoAnswer"]

_QUIET_SECONDS: Final = 1.0
"""Least time between two log lines about failures of one address."""

log = logging.getLogger("roomcast.hooks")


class NoAnswer(Exception):
    """There was none in time, or none that can be used. The text says why, without anything that the product has written."""


class Caller:
    """See the module's docstring.

    :param now_ms: Unix milliseconds.
    """

    def __init__(self, settings: HookSettings, now_ms: Callable[[], int]) -> None:
        self._now_ms = now_ms
        self._keys = keys_of(settings.secret)
        self._needed = trio.Event()
        self._ready = trio.Event()
        self._poster: Poster

    def adopt(self, settings: HookSettings) -> None:
        """Take other settings."""
        self._keys = keys_of(settings.secret)

    def need(self) -> None:
        """There is a URL."""
        self._needed.set()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Have connections, from the start or as soon as somebody needs one, until cancelled."""
        if not self._needed.is_set():
            task_status.started()
            task_status = trio.TASK_STATUS_IGNORED
        await self._needed.wait()
        async with poster() as self._poster:
            self._ready.set()
            task_status.started()
            await trio.sleep_forever()

    async def post(self, url: str, body: bytes, most: int, headers: Mapping[str, str]) -> bytes:
        """Send JSON and return the answer's body.

        :param most: bytes that the answer may have.
        :raises NoAnswer: see there; the caller sets the time.
        """
        await self._ready.wait()
        message = f"q_{secrets.token_hex(12)}"
        try:
            posted = await self._poster.post(
                url, body, keys=self._keys, message=message, now=self._now_ms() // 1000, most=most, headers=headers
            )
        except Unsent as error:
            raise NoAnswer(str(error)) from None
        if posted.status != 200:
            raise NoAnswer(f"status {posted.status}")
        if posted.body is None:
            raise NoAnswer(f"more than {most} bytes, or compressed, which was not asked for")
        return posted.body


class Address:
    """What is known of one URL.

    :ivar url: where it is.
    :ivar requests: sent so far; ``failed`` those without an answer.
    """

    def __init__(self, url: str, settings: HookSettings, caller: Caller) -> None:
        self.url = url
        self._caller = caller
        self._breaker = Breaker(settings.breaker_failures, settings.breaker_seconds)
        self._quiet_until = -1.0
        self.requests = self.failed = 0
        caller.need()

    def adopt(self, settings: HookSettings) -> None:
        """Take other settings."""
        self._breaker.adopt(settings.breaker_failures, settings.breaker_seconds)

    @property
    def open(self) -> bool:
        """Whether nobody is asked at the moment."""
        return self._breaker.state is not State.CLOSED

    @property
    def allows(self) -> bool:
        """Whether a request could go out now."""
        return self._breaker.allows(trio.current_time())

    async def post(
        self,
        body: bytes,
        most: int,
        deadline: float,
        *,
        understand: Callable[[bytes], bool],
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Send one request. Raises `NoAnswer`, which counts against the address if it was asked.

        :param most: see `Caller.post`.
        :param deadline: by trio's clock.
        :param understand: takes the answer; returns whether it is one.
        """
        request = self._breaker.begin(trio.current_time())
        if request is None:
            raise NoAnswer("the product does not answer, and is given time to recover (hooks.breaker_seconds)")
        self.requests += 1
        reason = "late"
        ended = False
        try:
            with trio.CancelScope(deadline=deadline):
                try:
                    answer = await self._caller.post(self.url, body, most, headers or {})
                    reason = "" if understand(answer) else "not as documented"
                except NoAnswer as error:
                    reason = str(error)
            ended = True
        finally:
            if not ended:
                self._breaker.dropped(request)
        if self._breaker.ended(request, not reason, trio.current_time()):
            state = self._breaker.state.value
            log.warning("hook_breaker", extra={"url": shown(self.url), "state": state, "reason": reason})
        if reason:
            self.failed += 1
            self.complain(reason)
            raise NoAnswer(reason)

    def complain(self, reason: str) -> None:
        """Log a failure, unless one was logged just now."""
        if trio.current_time() >= self._quiet_until:
            self._quiet_until = trio.current_time() + _QUIET_SECONDS
            log.warning("hook_failed", extra={"url": shown(self.url), "reason": reason, "failed": self.failed})
