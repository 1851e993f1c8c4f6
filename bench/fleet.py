"""All generator processes of a run, as one.

Owns what they are asked, and when a wait is over. Must not know scenarios.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

from bench.children import Answer, ChildError, Children, split
from bench.engineproc import cpu_ns, wait_ns
from bench.generator.process import Share
from bench.generator.sender import Plan

__all__ = ["Closing", "Fleet", "Heads", "RoomTotals"]

POLL_SECONDS = 0.05

RoomTotals = dict[str, dict[str, int]]
"""Room → total by its name (`bench.generator.totals`)."""
Heads = dict[str, list[int]]
"""Room → [epoch, offset]; keys are strings, as JSON wants them."""


@dataclass(frozen=True, slots=True)
class Closing:
    """How the connections ended that the viewers closed in order.

    :ivar left_open: that the server did not answer in time.
    """

    left_open: int
    orderly: int
    orderly_bytes: int


class Fleet:
    """Generator processes; a context manager that ends them.

    :param share: what all have in common; ``first`` and ``stop`` span all viewers.
    :param processes: how many.
    :param stall_seconds: no progress for so long ends a wait; what is missing then counts as lost.
    """

    def __init__(self, share: Share, processes: int, stall_seconds: float) -> None:
        self._stall_seconds = stall_seconds
        self._ranges = split(share.stop, processes)
        shares = [
            replace(share, first=part.start, stop=part.stop, number=number, processes=processes)
            for number, part in enumerate(self._ranges)
        ]
        self._children = Children("bench.generator.process", map(asdict, shares))
        self.ask = self._children.ask

    def __enter__(self) -> Fleet:
        return self

    def __exit__(self, *_: object) -> None:
        self._children.close()

    @property
    def pids(self) -> list[int]:
        """Of all generator processes."""
        return self._children.pids

    def join(self, progress: Callable[[int], None], per_second: float = 0.0) -> None:
        """Connect all viewers and wait until they have joined. Raises `ChildError` if not all could.

        :param per_second: how fast; 0: as fast as it goes.
        """
        stop = self._ranges[-1].stop
        self._children.ask_each(
            [
                {"do": "open", "first": part.start, "stop": part.stop, "per_second": per_second * len(part) / stop}
                for part in self._ranges
            ]
        )
        self._watch(_none("opening"), "joined", progress)
        joined = self.total("joined")
        if joined != stop:
            report = self.ask("report", heads={}, totals={})
            faults = [fault for answer in report for fault in answer["faults"]]
            raise ChildError(f"{joined} of {stop} viewers joined; first fault: {faults[0] if faults else 'none'}")

    def come_back(self, progress: Callable[[int], None]) -> None:
        """Reconnect closed viewers with their positions and wait for it."""
        self.ask("return")
        self._watch(_none("opening"), "joined", progress)

    def total(self, name: str) -> int:
        """Sum of a number over all processes."""
        return sum(status[name] for status in self.ask("status"))

    def go(self, plan: Plan, start_ns: int) -> None:
        """Start a plan at a moment of ``time.monotonic_ns()``."""
        self.ask("go", plan=asdict(replace(plan, start_ns=start_ns)))

    def wait_answered(self, progress: Callable[[int], None]) -> bool:
        """Wait until everything is sent, every comment answered and every storm over. False: it stalled before."""
        return self._watch(_none("sending", "waiting", "opening"), "deliveries", progress)

    def wait_delivered(self, progress: Callable[[int], None]) -> bool:
        """Wait until every reading viewer has everything that any process knows of. False: it stalled."""
        return self._watch(_none("behind"), "deliveries", progress, heads=self.heads())

    def allow(self, *, gaps: bool) -> None:
        """Say whether viewers may meet gaps from now on."""
        self.ask("allow", gaps=gaps)

    def faults(self) -> dict[str, int]:
        """What viewers found wrong so far: kinds and counts."""
        counts: Counter[str] = Counter()
        for status in self.ask("status"):
            counts.update(status["faults"])
        return dict(counts)

    def settled(self, seconds: float) -> bool:
        """Wait until every sender had a comment accepted, everybody is connected and has all that was said until then, though
        senders speak on. False: not in time."""
        deadline = time.monotonic() + seconds
        heads: Heads | None = None
        everybody = self._ranges[-1].stop
        self.ask("listen")
        while True:
            statuses = self.ask("status") if heads is None else self.ask("status", heads=heads)
            if not _none("opening", "unheard")(statuses) or sum(each["joined"] for each in statuses) < everybody:
                heads = None
            elif heads is None:
                heads = self.heads()
            elif _none("behind")(statuses):
                return True
            if time.monotonic() > deadline:
                return False
            time.sleep(POLL_SECONDS)

    def wait_told(self, progress: Callable[[int], None]) -> bool:
        """Wait until every viewer was told every like, every reaction, and everything withheld. False: it stalled."""
        return self._watch(_none("untold"), "deliveries", progress, totals=self.totals())

    def wait_settled(self, progress: Callable[[int], None]) -> bool:
        """Wait until every combo and every red packet is over, at every viewer. False: it stalled."""
        return self._watch(_none("unsettled"), "deliveries", progress)

    def totals(self) -> RoomTotals:
        """What each room is to tell so far."""
        rooms: dict[str, Counter[str]] = {}
        for answer in self.ask("totals"):
            for room, counts in answer["totals"].items():
                rooms.setdefault(room, Counter()).update(counts)
        return {room: dict(counts) for room, counts in rooms.items()}

    def entitled(self) -> int:
        """Offsets that all viewers together are entitled to so far."""
        return sum(status["entitled"] for status in self.ask("status", heads=self.heads()))

    def close(self, progress: Callable[[int], None]) -> Closing:
        """Close every connection in order and wait for the server's answers."""
        before = self.total("joined")
        self.ask("close")
        moved, latest = time.monotonic(), -1
        while True:
            answers = self.ask("closed")
            left = sum(answer["open"] for answer in answers)
            progress(before - left)
            if left != latest:
                moved, latest = time.monotonic(), left
            if not left or time.monotonic() - moved > self._stall_seconds:
                break
            time.sleep(POLL_SECONDS)
        return Closing(left, *(sum(answer[name] for answer in answers) for name in ("orderly", "orderly_bytes")))

    def cost(self) -> list[tuple[float, float]]:
        """CPU seconds of each process so far, and seconds it was ready but waited for a core."""
        return [(cpu_ns(pid) / 1e9, wait_ns(pid) / 1e9) for pid in self.pids]

    def wait_for(self, name: str, wanted: int, progress: Callable[[int], None]) -> bool:
        """Wait until a number, summed over all processes, has grown to ``wanted``. False: it stalled."""
        return self._watch(lambda statuses: sum(status[name] for status in statuses) >= wanted, name, progress)

    def heads(self) -> Heads:
        """The highest known position of every room."""
        heads: Heads = {}
        for status in self.ask("status"):
            for room, position in status["heads"].items():
                heads[room] = max(heads.get(room, position), position)
        return heads

    def _watch(
        self,
        done: Callable[[list[Answer]], bool],
        name: str,
        progress: Callable[[int], None],
        **more: Any,
    ) -> bool:
        latest: tuple[int, ...] = ()
        moved = time.monotonic()
        while True:
            statuses = self.ask("status", **more)
            progress(sum(status[name] for status in statuses))
            if done(statuses):
                return True
            now = time.monotonic()
            state = tuple(
                status[key]
                for status in statuses
                for key in (
                    "joined",
                    "frames",
                    "sent",
                    "accepted",
                    "likes",
                    "likes_sent",
                    "limit_frames",
                    "storms",
                    "visits",
                    "paid",
                )
            )
            if state != latest or any(status["scheduled"] for status in statuses):
                latest, moved = state, now
            elif now - moved > self._stall_seconds:
                return False
            time.sleep(POLL_SECONDS)


def _none(*names: str) -> Callable[[list[Answer]], bool]:
    """Whether no process has any of these left."""
    return lambda statuses: not any(status[name] for status in statuses for name in names)
