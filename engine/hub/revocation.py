"""Tokens that were taken back, known to all nodes: fields of the record that holds in all rooms.

Owns these fields. Time comes from the hub. They go by themselves when their time is over; with Redis they outlive every node,
without it they end with the node.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Final

import msgspec
import trio
from msgspec import Struct

from engine.brokers.base import Broker, Record, RecordFull, Unavailable
from engine.errors import Code, Refused
from engine.hub.passes import CONNECTED_SECONDS
from engine.schema import EVERYWHERE
from engine.timing import Pause
from engine.tokens import TOKEN, USER
from engine.tokens.passes import holder_of

__all__ = ["Revocation", "revoked_in"]

_PREFIX: Final = "t:"
_NAME_MAX: Final = 256
"""Characters of an id."""
_SECONDS_MAX: Final = 10 * 366 * 86_400
_RETRY_MS: Final = 1_000
_PAUSES: Final = (1.0, 30.0)
"""First and longest, in seconds."""

log = logging.getLogger("roomcast.hub")


class _Revoked(Struct, array_like=True, frozen=True, gc=False):
    """What a field says.

    :ivar at_ms: Unix milliseconds; what was issued until then does not hold.
    :ivar until_ms: Unix milliseconds until when it is remembered.
    """

    at_ms: int
    until_ms: int


_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final[Callable[[bytes], _Revoked]] = msgspec.msgpack.Decoder(_Revoked).decode


class Revocation:
    """See the module's docstring.

    :param record: the record that holds in all rooms, as far as it is known here.
    :param now_ms: Unix milliseconds, by the clock that issues tokens.
    """

    def __init__(self, broker: Broker, record: Callable[[], Record | None], now_ms: Callable[[], int]) -> None:
        self._broker = broker
        self._record = record
        self._now_ms = now_ms

    async def revoke(self, *, token: str = "", user: str = "", seconds: float) -> None:
        """Let a token not hold any more, at all nodes; whoever is connected with it is closed.

        :param token: its ``jti``.
        :param user: all tokens of this user that were issued until now, or do not say when.
        :param seconds: how long it is remembered: as long as such tokens are valid, or longer.
        :raises Refused: ``INVALID``; ``STATE_FULL``, too many are remembered; ``UNAVAILABLE``.
        """
        if not token and not user:
            raise Refused(Code.INVALID, "either a token (its jti) or a user is needed")
        if len(token) > _NAME_MAX or len(user) > _NAME_MAX:
            raise Refused(Code.INVALID, f"an id has at most {_NAME_MAX} characters")
        if not 0 < seconds <= _SECONDS_MAX:
            raise Refused(Code.INVALID, f"seconds must be more than 0 and at most {_SECONDS_MAX}")
        for prefix, name in ((TOKEN, token), (USER, user)):
            if name:
                await self._take_back(f"{_PREFIX}{prefix}{name}", math.ceil(seconds * 1000))

    async def withdraw(self, keys: Iterable[str]) -> None:
        """Let nobody stay who came with a pass by one of these API keys, by name: they hold no more, or not as before.

        While the broker is out of reach it is tried again, until nobody can be there any more.
        """
        with trio.move_on_after(CONNECTED_SECONDS):
            for key in keys:
                await self._withdraw(key)

    async def _withdraw(self, key: str) -> None:
        pause = Pause(*_PAUSES)
        while True:
            try:
                await self.revoke(user=holder_of(key), seconds=CONNECTED_SECONDS)
                return
            except Refused as refused:
                log.warning("passes_not_withdrawn", extra={"key": key, "error": str(refused)})
                if not refused.code.retriable:
                    return
            await pause.wait()

    async def _take_back(self, field: str, lasts_ms: int) -> None:
        now_ms = self._now_ms()
        record = self._record()
        known = _read(field, record.fields.get(field)) if record is not None else None
        # What was to be remembered for longer is.
        until_ms = max(now_ms + lasts_ms, known.until_ms if known is not None else 0)
        value = _encode(_Revoked(now_ms, until_ms))
        try:
            await self._broker.amend(EVERYWHERE, field, value, until_ms - now_ms)
        except RecordFull as error:
            raise Refused(Code.STATE_FULL, str(error)) from None
        except Unavailable as error:
            raise Refused(Code.UNAVAILABLE, str(error), _RETRY_MS) from None


def revoked_in(fields: Mapping[str, bytes]) -> dict[str, int]:
    """What a record says was taken back, as in `engine.link.messages.Trust`."""
    found = ((name, _read(name, value)) for name, value in fields.items() if name.startswith(_PREFIX))
    return {name[len(_PREFIX) :]: revoked.at_ms for name, revoked in found if revoked is not None}


def _read(field: str, value: bytes | None) -> _Revoked | None:
    if value is None:
        return None
    try:
        return _decode(value)
    except msgspec.MsgspecError:
        log.warning("revocation_unreadable", extra={"kind": "user" if field.startswith(f"{_PREFIX}sub:") else "token"})
        return None
