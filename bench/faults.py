"""Faults in a row: processes, servers and ways that fail under load, at moments drawn from a seed, and come back.

Owns what can fail, how it is brought about and mended, and when everything is well again. Must not know what viewers check.

``edge``      an edge process is killed                    ``redis``     the Redis that takes writes is killed, and started
``hub``       a hub process is killed                      ``failover``  it is killed until its replica has taken over
``node``      a whole node is killed, and started again    ``cut``       all connections to a Redis end
``pause``     an edge, a hub or Redis stands still a while ``slow``      the way to Redis delays every piece for a while
``hang``      an edge or a hub stands still for good
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from bench.fleet import Fleet
from bench.load import Load
from bench.redisproc import RedisProcess, until
from bench.report.show import Show
from bench.site import Backing, Site

__all__ = ["Faults", "possible"]

CALM_SECONDS: Final = (0.2, 1.0)
"""Between two faults."""
PAUSE_SECONDS: Final = (0.2, 3.0)
SLOW_SECONDS: Final = (0.5, 2.0)
SLOW_MS: Final = (10.0, 150.0)
RECOVERY_SECONDS: Final = 90.0
"""After so long without everybody having everything, the fault was not survived."""


def possible(load: Load) -> list[str]:
    """What can fail in the engine of a load."""
    kinds = ["edge", "hub", "hang"] if load.workers else []
    if load.broker in ("redis", "sentinel"):
        kinds += ["node", "redis", "cut", "slow"]
    if load.broker == "sentinel":
        kinds.append("failover")
    if kinds:
        kinds.append("pause")
    return kinds


class Faults:
    """See the module's docstring.

    :ivar told: each fault, as in `bench.report.record.Record`.
    """

    def __init__(self, load: Load, site: Site, fleet: Fleet, show: Show) -> None:
        self._load = load
        self._site = site
        self._fleet = fleet
        self._show = show
        self._random = random.Random(load.seed)
        self.told: list[dict[str, Any]] = []

    def play(self) -> bool:
        """Bring about all faults; False: one was not survived."""
        began = time.monotonic()
        for number, kind in enumerate(self._kinds(), 1):
            time.sleep(self._random.uniform(*CALM_SECONDS))
            self._fleet.allow(gaps=self._loses(kind))
            failed = time.monotonic()
            what = _WAYS[kind](self)
            survived = self._fleet.settled(RECOVERY_SECONDS)
            seconds = time.monotonic() - failed
            told = {"kind": kind, "what": what, "second": round(failed - began, 3), "recovery_seconds": round(seconds, 3)}
            self.told.append(told)
            outcome = f"everybody had everything after {seconds:.1f} s" if survived else "not survived"
            self._show.line(f"fault {number} of {self._load.faults}: {what}: {outcome}")
            if not (survived and self._whole()):
                return False
            if faults := self._fleet.faults():
                self._show.line(f"  not as it should be: {', '.join(f'{name} {count:,}' for name, count in faults.items())}")
            self._fleet.allow(gaps=False)
        return True

    def _whole(self) -> bool:
        """Wait until Redis is complete again, else the next fault would meet less than what is to survive it; and until
        everybody has everything again, should that have brought about a change of its own."""
        backing = self._site.backing
        if backing is None or backing.kind != "sentinel":
            return True
        until(backing.whole)
        return self._fleet.settled(RECOVERY_SECONDS)

    def _kinds(self) -> list[str]:
        """As many as wanted, each kind as often as its share says, in a random order."""
        shares = self._load.fault_kinds or dict.fromkeys(possible(self._load), 1.0)
        total, whole, kinds = sum(shares.values()), 0.0, list[str]()
        for kind, share in shares.items():
            whole += share
            kinds += [kind] * (round(self._load.faults * whole / total) - len(kinds))
        self._random.shuffle(kinds)
        return kinds

    def _loses(self, kind: str) -> bool:
        """Whether what was accepted may be lost, with a change of the epoch that everybody is told of."""
        if self._load.broker == "memory":
            return kind in ("hub", "hang")
        # A server that seems gone for a while is replaced by its replica, which may not have had everything.
        return self._load.broker == "sentinel" and kind in ("redis", "failover", "pause", "slow")

    # -- what fails ---------------------------------------------------------------------------------------------------

    @property
    def _backing(self) -> Backing:
        assert self._site.backing is not None
        return self._site.backing

    def _process(self, *roles: str) -> tuple[int, str]:
        """One of the nodes' processes."""
        number = self._random.randrange(len(self._site.nodes))
        role = self._random.choice(roles)
        found: list[int] = []

        def is_there() -> bool:
            found[:] = self._site.nodes[number].processes(role)
            return bool(found)

        # The one before it may be about to be replaced.
        until(is_there)
        return self._random.choice(sorted(found)), f"{role} of node {number}"

    def _kill(self, role: str) -> str:
        pid, name = self._process(role)
        os.kill(pid, signal.SIGKILL)
        return f"{name} killed"

    def _kill_node(self) -> str:
        number = self._random.randrange(len(self._site.nodes))
        self._site.kill(number)
        time.sleep(self._random.uniform(*CALM_SECONDS))
        self._site.revive(number)
        return f"node {number} killed and started"

    def _hang(self) -> str:
        pid, name = self._process("edge", "hub")
        os.kill(pid, signal.SIGSTOP)
        # Whoever watches it has to end it.
        until(lambda: not _lives(pid))
        return f"{name} hung until it was replaced"

    def _pause(self) -> str:
        seconds = self._random.uniform(*PAUSE_SECONDS)
        roles = [*(["edge", "hub"] if self._load.workers else []), *(["redis"] if self._site.backing is not None else [])]
        role = self._random.choice(roles)
        if role == "redis":
            server = self._backing.primary
            server.pause()
            time.sleep(seconds)
            server.resume()
            return f"Redis stood still for {seconds:.1f} s"
        pid, name = self._process(role)
        os.kill(pid, signal.SIGSTOP)
        time.sleep(seconds)
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)
        return f"{name} stood still for {seconds:.1f} s"

    def _kill_redis(self) -> str:
        server = self._backing.primary
        server.kill()
        time.sleep(self._random.uniform(0.0, 0.5))
        server.start()
        return "Redis killed and started"

    def _fail_over(self) -> str:
        server = self._backing.primary
        server.kill()
        others = [each for each in self._backing.servers if each is not server]
        until(lambda: any(_is_primary(each) for each in others))
        server.start()
        return "Redis killed, its replica took over"

    def _cut(self) -> str:
        detours = self._backing.detours
        assert detours is not None
        for way in range(detours.count):
            detours.cut(way)
        return "connections to Redis cut"

    def _slow(self) -> str:
        detours = self._backing.detours
        assert detours is not None
        milliseconds, seconds = self._random.uniform(*SLOW_MS), self._random.uniform(*SLOW_SECONDS)
        for way in range(detours.count):
            detours.slow(way, milliseconds)
        time.sleep(seconds)
        for way in range(detours.count):
            detours.slow(way, 0.0)
        return f"way to Redis slow by {milliseconds:.0f} ms for {seconds:.1f} s"


_WAYS: Final[dict[str, Callable[[Faults], str]]] = {
    "edge": lambda faults: faults._kill("edge"),
    "hub": lambda faults: faults._kill("hub"),
    "node": Faults._kill_node,
    "hang": Faults._hang,
    "pause": Faults._pause,
    "redis": Faults._kill_redis,
    "failover": Faults._fail_over,
    "cut": Faults._cut,
    "slow": Faults._slow,
}


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def _is_primary(server: RedisProcess) -> bool:
    with suppress(OSError):
        return server.numbers("replication").get("role") == "master"
    return False
