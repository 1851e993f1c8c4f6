"""Asking Sentinels where the primary is.

Owns one question, and which of several answers is the newest. Must not know what is done with it, nor whether that server
agrees to be the primary.
"""

from __future__ import annotations

import ssl
from itertools import pairwise
from typing import Any, Final

import trio

from engine.brokers.redis.address import Address, Place
from engine.brokers.redis.wire import ask_once

__all__ = ["Sentinels"]

_PATIENCE_SECONDS: Final = 0.5
"""For those that do not answer at once."""


class Sentinels:
    """All of them are asked, and the answer with the highest configuration epoch counts, as it does among themselves: for a
    while after a failover some still name the former primary. An older answer than one that was believed counts only if more
    than half of them are there to give it: they may have been set up anew."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._tls = ssl.create_default_context() if place.tls else None
        self._epoch = -1

    async def find(self) -> Address:
        """Where the primary is. Raises `OSError` if none of them knows."""
        answers: list[tuple[int, Address]] = []

        async def ask(sentinel: Address) -> None:
            found = _read(await ask_once(sentinel, self._tls, (b"SENTINEL", b"MASTER", self._place.primary)))
            if found is not None:
                answers.append(found)

        with trio.move_on_after(_PATIENCE_SECONDS):
            async with trio.open_nursery() as nursery:
                for sentinel in self._place.addresses:
                    nursery.start_soon(ask, sentinel)
        if not answers:
            raise OSError(f"no Sentinel knows a primary named {self._place.primary!r}")
        epoch, address = max(answers, key=lambda answer: answer[0])
        if epoch < self._epoch and 2 * len(answers) <= len(self._place.addresses):
            raise OSError(f"too few Sentinels answer, and they know only a former primary: {address}")
        self._epoch = epoch
        return address


def _read(answer: Any) -> tuple[int, Address] | None:
    """Configuration epoch and address in what a Sentinel says of a primary: names and values in turn."""
    if not isinstance(answer, list):
        return None
    fields = dict(list(pairwise(answer))[::2])
    return int(fields[b"config-epoch"]), Address(fields[b"ip"].decode(), int(fields[b"port"]))
