"""One generator process: up to about 18,000 viewers on one event loop, told what to do by JSON lines.

Owns the process: its loop, its answers. Must not know scenarios: it gets a range of viewers and a plan, and answers with
counts. Each request is one line on standard input, each answer one line on standard output. It never speaks unasked, so
that an idle generator costs nothing. End of input ends it, so that it does not outlive its master.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import resource
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import uvloop

from bench.audience import Audience
from bench.generator.body import Bodies
from bench.generator.cashier import Cashier
from bench.generator.crowd import Crowd
from bench.generator.passes import Passes
from bench.generator.receiver import Viewer, ViewerState
from bench.generator.reports import Reports
from bench.generator.sender import Desk, Plan
from bench.generator.swarm import Swarm
from bench.generator.tally import Clock
from bench.generator.totals import LIKES
from bench.generator.verify import Fault, Log
from bench.generator.visits import Visits
from bench.histogram import Histogram
from bench.load import Load

__all__ = ["WINDOWS_MAX", "Generator", "Share", "raise_descriptor_limit", "room_name"]

DELAY_SECONDS = 0.05
"""How often the loop's own lateness is sampled."""
WINDOWS_MAX = 120
"""Windows of latency over time in a run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """The part of a run that one process plays.

    :ivar addresses: (host, port) of each node; viewers take turns.
    :ivar load: the whole run's.
    :ivar first: number of its first viewer; ``stop`` is one past its last.
    :ivar epoch_ns: ``time.monotonic_ns()`` at the run's beginning.
    :ivar prices: of each gift in the catalogue.
    :ivar number: of this process, of so many ``processes``.
    """

    addresses: Sequence[tuple[str, int]]
    path: str
    load: dict[str, Any]
    first: int
    stop: int
    epoch_ns: int
    prices: dict[str, int] = field(default_factory=dict)
    number: int = 0
    processes: int = 1


def room_name(seed: int, room: int) -> str:
    """Name of a benchmark room; differs between seeds, so that runs against one server do not meet."""
    return f"bench-{seed}-{room}"


def raise_descriptor_limit() -> int:
    """Raise the soft limit on descriptors to the hard one, for this process and its children; returns it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


class Generator:
    """All state of the process.

    :param share: which viewers are its own.
    """

    def __init__(self, share: Share) -> None:
        load = Load(**share.load)
        self.audience = audience = Audience(load)
        self.swarm = Swarm(
            json_codec=load.codec == "json",
            compression=load.compression,
            bodies=Bodies(load.seed, load.body_bytes, load.text),
            room_name=lambda room: room_name(load.seed, room),
            clock=Clock(share.epoch_ns, int(load.late_seconds * 1e6), max(1.0, load.seconds / WINDOWS_MAX)),
        )
        self.swarm.host, self.swarm.path = "{}:{}".format(*share.addresses[0]), share.path
        self.swarm.may_gap = {"nobody": (), "slow": audience.slow, "everybody": range(audience.everybody)}[load.gaps]
        self._calm = not (load.storm_share or load.slow_share or load.faults)
        self.swarm.token_of = Passes(load, audience).token_of
        self.crowd = Crowd(self.swarm, audience, load, share.addresses, range(share.first, share.stop))
        self.viewers = self.crowd.viewers
        self.visits = Visits(self.crowd, self.swarm, audience, share.number, share.processes)
        self.reports = Reports(self.swarm, self.crowd, self.viewers, share.processes)
        self.desk = Desk(self.swarm, self.viewers, load.seed)
        self.cashier: Cashier | None = None
        if load.money:
            cashier = self.cashier = Cashier(self.swarm, self.desk, self.viewers, load, audience)
            self.swarm.account_of = lambda _: cashier.account(share.prices)
        self.loop_delay = Histogram()
        self._tasks: set[asyncio.Task[None]] = set()

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """Do what one request says and return the answer. Raises KeyError for a request that does not exist."""
        match request["do"]:
            case "open":
                self.crowd.opening += 1
                self._spawn(self.crowd.open(request["first"], request["stop"], request["per_second"]))
            case "go":
                plan = Plan(**request["plan"])
                self._spawn(self.desk.speak(plan))
                self._spawn(self.crowd.suffer(plan))
                if self.cashier is not None:
                    self._spawn(self.cashier.play(plan))
                if plan.speech == "visits":
                    self._spawn(self.visits.play(plan))
                if plan.reports:
                    self._spawn(self.reports.play(plan))
            case "status":
                return self.status(request.get("heads"), request.get("totals"))
            case "totals":
                return {"totals": self.desk.totals()}
            case "mark":
                self.swarm.mark()
                self.desk.mark()
                if self.cashier is not None:
                    self.cashier.mark()
                self.loop_delay = Histogram()
            case "phase":
                return self.phase()
            case "allow":
                self.swarm.may_gap = range(self.audience.everybody) if request["gaps"] else ()
            case "listen":
                self.desk.listen()
            case "hush":
                self.desk.hush()
            case "read":
                self.crowd.read_on()
            case "return":
                self.crowd.opening += 1
                self._spawn(self.crowd.bring_back())
            case "entries":
                return {"entries": self.cashier.entries(request["room"]) if self.cashier is not None else {}}
            case "report":
                return self.report(request["heads"], request["totals"])
            case "close":
                self.crowd.close()
            case "closed":
                return {
                    "open": sum(viewer.transport is not None for viewer in self.viewers.values()),
                    "orderly": self.swarm.orderly,
                    "orderly_bytes": self.swarm.orderly_bytes,
                }
            case unknown:
                raise KeyError(unknown)
        return {}

    def _spawn(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.result()

    def status(self, heads: dict[str, list[int]] | None, totals: dict[str, dict[str, int]] | None = None) -> dict[str, Any]:
        """Counts so far.

        :param heads: room → [epoch, offset]; the answer then says how many reading viewers are behind them, and to how many
            offsets this process's viewers are entitled.
        :param totals: room → what it is to tell; the answer then says how many of them not all viewers have heard.
        """
        tally = self.swarm.settle()
        status = {
            "opening": self.crowd.opening > 0,
            "joined": self.swarm.live,
            "failed": self.crowd.failed,
            "deliveries": tally.deliveries,
            "frames": tally.frames,
            "last_frame_bytes": max((log.latest_bytes for log in self.swarm.logs.values()), default=0),
            "limit_frames": self.swarm.limit_received,
            "cpu_ns": time.process_time_ns(),
            "heads": {room: [log.epoch, log.head] for room, log in self.swarm.logs.items()},
            "likes": sum(log.likes for log in self.swarm.logs.values()),
            "counted": sum(max(log.counted.values(), default=0) for log in self.swarm.logs.values()),
            "visits": self.visits.done,
            "reports": self.reports.sent,
            "reported": self.reports.entitled,
            "met_policy": sum(index in self.swarm.gapped or index in self.swarm.closed for index in self.crowd.slow),
            "closures": len(self.swarm.closed),
            "storms": self.crowd.storms,
            "cut": self.crowd.cut,
            "faults": self.swarm.faults.counts,
            "lost_connections": self.crowd.lost_connections,
            "paid": 0,
            "unsettled": 0,
        } | self.desk.statistics()
        if self.cashier is not None:
            for name, count in self.cashier.statistics().items():
                status[name] += count
        if heads is not None:
            status["behind"] = self._missing(heads)
            status["entitled"] = self.swarm.entitled
        if totals is not None:
            status["untold"] = sum(self._untold(log, name, count) for log, name, count in self._expected(totals))
        return status

    def _expected(self, totals: dict[str, dict[str, int]]) -> Iterator[tuple[Log, str, int]]:
        """What each room that is watched here is to tell, and what it has told beyond that."""
        for room, expected in totals.items():
            log = self.swarm.logs.get(int(room))
            if log is not None:
                yield from ((log, name, count) for name, count in expected.items())
        for number, log in self.swarm.logs.items():
            expected = totals.get(str(number), {})
            yield from ((log, name, 0) for name in log.totals.values if name not in expected)

    def _untold(self, log: Log, name: str, count: int) -> bool:
        """Whether some viewer does not know it yet."""
        value = log.totals.values.get(name, 0)
        return value < count or (self._calm and value == count > 0 and log.totals.viewers(name) < log.viewers)

    def _missing(self, heads: dict[str, list[int]]) -> int:
        """0 once every viewer who is connected and reads has everything."""
        swarm = self.swarm
        if swarm.live == len(self.viewers) and not self.crowd.paused and not swarm.past_logs:
            # Asked many times a second while the engine works: a sum, not a look at every viewer.
            self._learn(heads)
            return swarm.entitled - swarm.past.accounted - swarm.tally.accounted
        return sum(1 for _ in self._behind(heads))

    def _learn(self, heads: dict[str, list[int]]) -> dict[int, tuple[int, int]]:
        """Take in what other processes know of rooms' heads; returns what is known of those that are watched here."""
        known: dict[int, tuple[int, int]] = {}
        for room, (epoch, head) in heads.items():
            log = self.swarm.logs.get(int(room))
            if log is not None and log.epoch == epoch:
                log.head = max(log.head, head)
                known[int(room)] = epoch, log.head
        return known

    def _behind(self, heads: dict[str, list[int]]) -> Iterator[tuple[Viewer, int]]:
        """Viewers that are connected, read, and have not everything: (viewer, head)."""
        known = self._learn(heads)
        for viewer in self.viewers.values():
            log = viewer.log
            if log is None or viewer.room not in known:
                continue
            epoch, head = known[viewer.room]
            waiting = viewer.state is ViewerState.CLOSED or viewer.index in self.crowd.paused
            if not waiting and (log.epoch != epoch or viewer.cursor < head):
                yield viewer, head

    def report(self, heads: dict[str, list[int]], totals: dict[str, dict[str, int]]) -> dict[str, Any]:
        """Final checks, then the counts and faults of the whole run, as `bench.certificate` reads them."""
        swarm = self.swarm
        swarm.mark()
        for viewer, head in self._behind(heads):
            assert viewer.log is not None
            if viewer.log is swarm.logs[viewer.room]:
                swarm.tally.lost += head - viewer.cursor
                swarm.fault(viewer, "behind", viewer.cursor + 1, head, "never arrived")
            else:
                swarm.fault(viewer, "behind", viewer.cursor + 1, 0, f"still in epoch {viewer.log.epoch}")
        for viewer in self.viewers.values():
            if viewer.state is ViewerState.CLOSED and viewer.log is not None:
                viewer.log.leave(viewer.cursor)
        self.desk.verify()
        money = self.cashier.report() if self.cashier is not None else None
        swarm.tally.reordered += sum(log.check_order() for log in swarm.every_log())
        likes_lost: dict[str, int] = {}
        for log, name, count in self._expected(totals):
            told = log.totals.values.get(name, 0)
            if swarm.steadfast and name == LIKES and told < count:
                likes_lost[str(log.room)] = count - told
            elif told != count:
                swarm.faults.add(Fault(name.partition(" ")[0], -1, log.room, detail=f"{told} told, {count} sent: {name}"))
            elif self._untold(log, name, count):
                heard = f"{log.totals.viewers(name)} of {log.viewers} viewers heard"
                swarm.faults.add(Fault("untold", -1, log.room, detail=f"{heard}: {name} {count}"))
        swarm.mark()
        entitled, accounted = swarm.entitled, swarm.past.accounted
        if entitled != accounted:
            swarm.faults.add(Fault("balance", -1, detail=f"entitled to {entitled} offsets, {accounted} accounted for"))
        return self.status(None) | {
            "entitled": entitled,
            "total": swarm.past.dump(),
            "faults": [asdict(fault) for fault in swarm.faults.kept],
            "fault_counts": swarm.faults.counts,
            "rooms": {room: [log.epoch, log.base, len(log.what), log.digest()] for room, log in swarm.logs.items()},
            "found": {room: [len(log.where), log.viewers] for room, log in swarm.logs.items()},
            "heard": self.desk.accepted(),
            "shares": self.desk.shares(),
            "apart_ms": [log.apart_ms for log in swarm.logs.values() if log.apart_ms is not None],
            "calm": self._calm,
            "money": money,
            "covered": self.desk.covered,
            "likes_lost": likes_lost,
            "join_times": self.crowd.join_times.dump(),
            "return_times": self.crowd.return_times.dump(),
            "busy": swarm.busy,
            "gapped": Counter(swarm.gapped.values()),
            "closed": Counter(swarm.closed.values()),
        }

    def phase(self) -> dict[str, Any]:
        """What was counted since the last mark."""
        return {
            "tally": self.swarm.settle().dump(),
            "acknowledged": self.desk.acknowledged.dump(),
            "paid": (self.cashier.acknowledged if self.cashier is not None else Histogram()).dump(),
            "late": self.desk.late.dump(),
            "loop_delay": self.loop_delay.dump(),
        }

    async def measure_delay(self) -> None:
        """Sample how late this loop's timers fire."""
        while True:
            before = time.monotonic_ns()
            await asyncio.sleep(DELAY_SECONDS)
            self.loop_delay.add((time.monotonic_ns() - before) // 1000 - int(DELAY_SECONDS * 1e6))


async def serve() -> None:
    """Read requests until the input ends."""
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(_give_up)
    reader = asyncio.StreamReader(limit=1 << 24)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    generator = Generator(Share(**json.loads(await reader.readline())))
    delay = loop.create_task(generator.measure_delay())
    while line := await reader.readline():
        request = json.loads(line)
        answer = generator.answer(request) | {"id": request["id"]}
        _write_all(json.dumps(answer).encode() + b"\n")
    delay.cancel()
    generator.swarm.stopping = True
    for viewer in generator.viewers.values():
        if viewer.transport is not None:
            viewer.transport.abort()


def _give_up(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """A fault of the generator itself: say it and end, rather than measure nonsense."""
    loop.default_exception_handler(context)
    loop.stop()


def _write_all(data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(1, view) :]


def main() -> None:
    """Entry of ``python -m bench.generator.process``."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    raise_descriptor_limit()
    gc.disable()
    uvloop.run(serve())


if __name__ == "__main__":
    main()
