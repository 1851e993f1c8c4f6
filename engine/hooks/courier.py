"""One signed request with happenings, and what the product makes of it.

Owns how answers are read. Must not know what is sent, nor when it is sent again.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final, NamedTuple

import msgspec
import trio
from msgspec import Struct

from engine.hooks.posting import Posted, Poster, Unsent, poster
from engine.hooks.signing import keys_of
from engine.settings import HookSettings

__all__ = ["Answer", "Courier", "courier"]

_ANSWER_BYTES: Final = 1 << 20
"""Of an answer; one that names happenings is much shorter."""
_SELECTIVE: Final = (410, 422)
"""What tells that some happenings are refused and the others taken."""


class Answer(NamedTuple):
    """What came of a request.

    :ivar reason: why it failed; empty: all is taken, or all but ``failed``.
    :ivar failed: ids that are not taken.
    :ivar gone: they will never be (status 410).
    """

    reason: str = ""
    failed: frozenset[str] = frozenset()
    gone: bool = False


class _Refusal(Struct):
    failed: list[str]


_refusal: Final = msgspec.json.Decoder(_Refusal).decode


class Courier:
    """Made by `courier`."""

    def __init__(self, poster: Poster) -> None:
        self._poster = poster

    async def post(self, settings: HookSettings, message: str, body: bytes, now: float) -> Answer:
        """Send it once; an answer that is late, or none, has failed.

        :param message: id of the request, the same when it is sent again.
        :param now: Unix seconds.
        """
        with trio.move_on_after(settings.events_seconds):
            try:
                posted = await self._poster.post(
                    settings.events_url,
                    body,
                    keys=keys_of(settings.secret),
                    message=message,
                    now=int(now),
                    most=_ANSWER_BYTES,
                )
            except Unsent as error:
                return Answer(str(error))
            return _read(posted)
        return Answer(f"no answer within {settings.events_seconds:g} s (hooks.events_seconds)")


def _read(posted: Posted) -> Answer:
    if 200 <= posted.status < 300:
        # Whatever it says, it was taken.
        return Answer()
    if posted.status in _SELECTIVE:
        try:
            failed = frozenset(_refusal(posted.body or b"").failed)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            failed = frozenset()
        if failed:
            return Answer("", failed, posted.status == 410)
    return Answer(f"status {posted.status}")


@asynccontextmanager
async def courier() -> AsyncIterator[Courier]:
    """Have connections while the block runs."""
    async with poster() as made:
        yield Courier(made)
