"""A node that looks at itself: figures for the console while somebody looks, and observations from which advice is made.

Owns when that is done, what one look holds and how much is kept. Must not know what advice there is (`engine.advice`), nor who
asks for it. What advice needs of the machine and of the config file is imported when it is first needed.

What is held in the rooms that figures tell of the hub looks at meanwhile (`engine.hub.undecided`): what a figure has of it is
as old as the one before.

Figures go as events into the room `engine.schema.CONSOLE`, each node's own, once a second while the broker counts somebody
there, at whatever node. Nobody there costs one look into a dictionary a second. The room's history is bounded as any room's,
and newcomers get the last few figures with it, so that what they plot begins a little before they came.

A look is taken in pieces, so that no viewer waits for it: what a node of thousands of rooms has to add up takes milliseconds.
What a certificate has of rates and quantiles is computed when advice is asked for, in a thread.
"""

from __future__ import annotations

import logging
import time
import zlib
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from heapq import nlargest
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Final

import msgspec
import trio

from engine.brokers.base import Unavailable
from engine.errors import Refused
from engine.hub.keeping import keep
from engine.quality import Account, certificate, quantile
from engine.schema import CONSOLE

if TYPE_CHECKING:
    from engine.advice import Advice, Language, Observation
    from engine.backend import Backend
    from engine.hub import Hub
    from engine.hub.room import HubRoom
    from engine.settings import Settings

__all__ = ["FIGURES", "FIGURES_BYTES", "FIGURES_SECONDS", "KEPT_SECONDS", "OBSERVED_SECONDS", "Advised", "Watch"]

FIGURES: Final = "figures"
"""Name of the events."""
FIGURES_SECONDS: Final = 1.0
FIGURES_BYTES: Final = 48 << 10
"""Of one event; beyond it rooms are left out."""
OBSERVED_SECONDS: Final = 5.0
KEPT_SECONDS: Final = 900.0
_ROOMS: Final = 40
"""Rooms in one look, those with most viewers."""
_QUICKLY: Final = 1
"""Level of zlib: an observation of forty rooms with networks of their own is 800 kB and packed 15; 180 are kept."""

log = logging.getLogger("roomcast.watching")


@dataclass(frozen=True, slots=True)
class Advised:
    """Advice, and over how many seconds what it rests on was seen."""

    since_seconds: float
    advice: list[Advice]


class _Seen(msgspec.Struct, array_like=True):
    """What is kept of an observation, beside when it was made and the settings in force."""

    vitals: dict[str, Any]
    accounts: list[Account]
    machine: dict[str, Any]


_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final[Callable[[bytes], _Seen]] = msgspec.msgpack.Decoder(_Seen).decode


@dataclass(frozen=True, slots=True)
class _Look:
    """An observation as it is kept.

    :ivar settings: one object for all observations as long as they are the same.
    """

    at: float
    packed: bytes
    settings: dict[str, Any]

    def observation(self, covers: Callable[[str], bool]) -> Observation:
        """For advice. Takes a millisecond for each room in which networks are told apart.

        :param covers: which rooms may be in it.
        """
        from engine.advice import Observation

        seen = _decode(zlib.decompress(self.packed))
        rooms = {account.room: certificate(account) for account in seen.accounts if covers(account.room)}
        return Observation(self.at, seen.vitals, rooms, seen.machine, self.settings)


class Watch:
    """See the module's docstring.

    :param backend: the node.
    :param now_ms: Unix milliseconds.
    """

    def __init__(self, backend: Backend, hub: Hub, now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000) -> None:
        self._backend = backend
        self._hub = hub
        self._now_ms = now_ms
        self._version = version("roomcast")
        self._kept: deque[_Look] = deque(maxlen=round(KEPT_SECONDS / OBSERVED_SECONDS))
        self._settings: tuple[Settings | None, dict[str, Any]] = (None, {})

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Look until cancelled. What goes wrong here is logged, and no room notices."""
        async with trio.open_nursery() as nursery:
            await nursery.start(keep, self._tell)
            await nursery.start(keep, self._observe)
            task_status.started()

    async def _vitals(self) -> dict[str, Any]:
        vitals: dict[str, Any] = {}
        for part in self._backend.vitals_parts:
            vitals |= part()
            await trio.lowlevel.checkpoint()
        return vitals

    def _largest(self) -> list[HubRoom]:
        return nlargest(_ROOMS, self._hub.shown(), key=lambda room: room.state.counters[1])

    # -- figures --------------------------------------------------------------------------------------------------------

    @property
    def watched(self) -> bool:
        """Whether somebody is in the console's room, at any node."""
        return bool((self._hub.counters(CONSOLE) or (0, 0))[1])

    async def _tell(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        task_status.started()
        while True:
            due = trio.current_time() + FIGURES_SECONDS
            if not self.watched:
                self._hub.undecided.follow(())
            else:
                figures = await self.figures()
                self._hub.undecided.follow([line["room"] for line in figures["rooms"]])
                try:
                    await self._hub.say(CONSOLE, bodied(figures), name=FIGURES)
                except (Refused, Unavailable) as error:
                    # The next ones tell all that these would have told.
                    log.debug("figures_not_told", extra={"error": str(error)})
            await trio.sleep_until(due)

    async def figures(self) -> dict[str, Any]:
        """The node as it is now, and the rooms with most viewers. What counts is cumulative."""
        vitals = await self._vitals()
        largest = self._largest()
        await trio.lowlevel.checkpoint()
        return {
            "node": self._backend.name,
            "version": self._version,
            "time": self._now_ms(),
            "workers": 0 if "node" in vitals["process"] else len(vitals["edges"]),
            "vitals": vitals,
            "rooms": [self._line(room) for room in largest],
        }

    def _line(self, room: HubRoom) -> dict[str, Any]:
        likes, viewers = room.state.counters[:2]
        epoch, offset = room.position
        line = {"room": room.name, "viewers": viewers, "offset": offset, "epoch": epoch, "likes": likes}
        line["held"] = self._hub.undecided.count(room.name)
        found = self._hub.quality.account(room.name)
        if found is None:
            return line | _UNMEASURED
        account, measured = found
        return line | {
            "withheld": sum(account.withheld.values()),
            "refused": sum(account.refused.values()),
            "laggards": account.sent.laggards,
            "lag_max": account.sent.lag_max,
            "skipped": account.sent.skipped,
            "sent_rate": account.sent.rate,
            "arrival_rate": measured.arrival_rate,
            "delay_p50_ms": quantile(measured.delays, 0.5),
            "delay_p99_ms": quantile(measured.delays, 0.99),
            "reports": measured.reports,
        }

    # -- observations ---------------------------------------------------------------------------------------------------

    async def _observe(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        task_status.started()
        while True:
            due = trio.current_time() + OBSERVED_SECONDS
            self._kept.append(await self._look())
            await trio.sleep_until(due)

    async def _look(self, room: str = "") -> _Look:
        """The node as it is now.

        :param room: that is wanted even if it is not one of the largest.
        """
        vitals = await self._vitals()
        names = dict.fromkeys([*(each.name for each in self._largest()), *([room] if room else [])])
        found = [self._hub.quality.account(name) for name in names]
        at, settings = trio.current_time(), self._in_force()
        # Here, because it goes on changing.
        accounts = _encode([each[0] for each in found if each is not None])

        def pack() -> bytes:
            from engine.machine import machine

            seen = _encode((vitals, msgspec.Raw(accounts), machine()))
            return zlib.compress(seen, _QUICKLY)

        return _Look(at, await trio.to_thread.run_sync(pack), settings)

    def _in_force(self) -> dict[str, Any]:
        """Settings by path, without secrets."""
        settings = self._backend.settings
        if self._settings[0] is not settings:
            from engine.advice import plain

            self._settings = settings, plain(settings)
        return self._settings[1]

    async def advice(
        self,
        room: str = "",
        seconds: float = 60.0,
        covers: Callable[[str], bool] = lambda room: True,
        language: Language = "en",
    ) -> Advised:
        """What limits the node, or this room, by what has happened lately.

        :param seconds: how far to look back; not before the node was watched, and 15 minutes at most.
        :param covers: whether a room may be looked at.
        :param language: that it is told in.
        """
        later = await self._look(room)
        earlier = self._before(later.at - seconds) or later

        def compare() -> list[Advice]:
            from engine.advice import advise

            return advise(earlier.observation(covers), later.observation(covers), room, language)

        return Advised(later.at - earlier.at, await trio.to_thread.run_sync(compare))

    def _before(self, moment: float) -> _Look | None:
        """The youngest observation that is at least as old, else the oldest."""
        found: _Look | None = None
        for each in self._kept:
            if found is not None and each.at > moment:
                break
            found = each
        return found


def bodied(figures: dict[str, Any]) -> str:
    """Figures as JSON, of at most `FIGURES_BYTES`: with fewer rooms if need be."""
    text = msgspec.json.encode(figures)
    while len(text) > FIGURES_BYTES and figures["rooms"]:
        figures["rooms"] = figures["rooms"][: len(figures["rooms"]) // 2]
        text = msgspec.json.encode(figures)
    return text.decode()


_UNMEASURED: Final[dict[str, Any]] = {
    "withheld": 0,
    "refused": 0,
    "laggards": 0,
    "lag_max": 0.0,
    "skipped": 0,
    "reports": 0,
    "sent_rate": None,
    "arrival_rate": None,
    "delay_p50_ms": None,
    "delay_p99_ms": None,
}
"""Of a room that has just been opened."""
