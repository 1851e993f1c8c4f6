"""All generator processes of a run, as one.

Owns their processes, pipes and requests. Must not know scenarios. Synchronous: a request goes to every process, then
the answers are read; the master has nothing else to do meanwhile, and stays out of the way of the two that are
measured.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from typing import Any

from bench.engineproc import cpu_ns, wait_ns
from bench.generator.process import Share
from bench.generator.sender import Plan

__all__ = ["Closing", "Fleet", "FleetError", "Heads", "split"]

ANSWER_SECONDS = 60.0
"""A generator that does not answer for so long is broken."""
POLL_SECONDS = 0.05

Heads = dict[str, list[int]]
"""Room → [epoch, offset]; keys are strings, as JSON wants them."""
Status = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Closing:
    """How the connections ended that the viewers closed in order.

    :ivar left_open: that the server did not answer in time.
    """

    left_open: int
    orderly: int
    orderly_bytes: int


class FleetError(Exception):
    """The generator failed, not the engine."""


def split(count: int, parts: int) -> list[range]:
    """``range(count)`` in nearly equal contiguous parts, none empty."""
    parts = max(1, min(parts, count))
    edges = [count * part // parts for part in range(parts + 1)]
    return [range(low, high) for low, high in pairwise(edges)]


class Fleet:
    """Generator processes; a context manager that ends them.

    :param share: what all have in common; ``first`` and ``stop`` span all viewers.
    :param processes: how many.
    :param stall_seconds: no progress for so long ends a wait; what is missing then counts as lost.
    """

    def __init__(self, share: Share, processes: int, stall_seconds: float) -> None:
        self._stall_seconds = stall_seconds
        self.ranges = split(share.stop, processes)
        self._processes: list[subprocess.Popen[bytes]] = []
        self._buffers: list[bytes] = []
        self._asked = 0
        for part in self.ranges:
            process = subprocess.Popen(
                [sys.executable, "-m", "bench.generator.process"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
            )
            self._processes.append(process)
            self._buffers.append(b"")
            self._tell(process, asdict(replace(share, first=part.start, stop=part.stop)))
        self.ask("status")

    def __enter__(self) -> Fleet:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            assert process.stdin is not None
            process.stdin.close()
        for process in self._processes:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            assert process.stdout is not None
            process.stdout.close()

    @property
    def pids(self) -> list[int]:
        """Of all generator processes."""
        return [process.pid for process in self._processes]

    def ask(self, do: str, **more: Any) -> list[Status]:
        """Send one request to all and return their answers. Raises `FleetError`."""
        return self.ask_each([{"do": do} | more] * len(self._processes))

    def ask_each(self, requests: Sequence[dict[str, Any]]) -> list[Status]:
        """Send a request to each and return their answers. Raises `FleetError`."""
        self._asked += 1
        for process, request in zip(self._processes, requests, strict=True):
            self._tell(process, request | {"id": self._asked})
        return [self._hear(number) for number in range(len(self._processes))]

    def _tell(self, process: subprocess.Popen[bytes], request: dict[str, Any]) -> None:
        assert process.stdin is not None
        try:
            process.stdin.write(json.dumps(request).encode() + b"\n")
            process.stdin.flush()
        except BrokenPipeError:
            raise FleetError(f"generator process {process.pid} ended with status {process.wait()}") from None

    def _hear(self, number: int) -> Status:
        process = self._processes[number]
        assert process.stdout is not None
        descriptor = process.stdout.fileno()
        deadline = time.monotonic() + ANSWER_SECONDS
        while True:
            line, end, rest = self._buffers[number].partition(b"\n")
            if end:
                self._buffers[number] = rest
                answer: Status = json.loads(line)
                if answer["id"] == self._asked:
                    return answer
                continue  # belongs to a request that Ctrl-C interrupted
            if not select.select([descriptor], [], [], max(0.0, deadline - time.monotonic()))[0]:
                raise FleetError(f"generator process {process.pid} did not answer within {ANSWER_SECONDS:.0f} s")
            data = os.read(descriptor, 1 << 16)
            if not data:
                raise FleetError(f"generator process {process.pid} ended with status {process.wait()}")
            self._buffers[number] += data

    def join(self, progress: Callable[[int], None], per_second: float = 0.0) -> None:
        """Connect all viewers and wait until they have joined. Raises `FleetError` if not all could.

        :param per_second: how fast; 0: as fast as it goes.
        """
        stop = self.ranges[-1].stop
        self.ask_each(
            [
                {"do": "open", "first": part.start, "stop": part.stop, "per_second": per_second * len(part) / stop}
                for part in self.ranges
            ]
        )
        self._watch(_none("opening"), "joined", progress)
        joined = self.total("joined")
        if joined != stop:
            report = self.ask("report", heads={}, likes={})
            faults = [fault for answer in report for fault in answer["faults"]]
            raise FleetError(f"{joined} of {stop} viewers joined; first fault: {faults[0] if faults else 'none'}")

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

    def wait_liked(self, progress: Callable[[int], None]) -> bool:
        """Wait until every room's counter shows every like. False: it stalled."""
        return self._watch(_none("unliked"), "deliveries", progress, likes=self.likes())

    def likes(self) -> dict[str, int]:
        """Likes sent so far, by room."""
        rooms: Counter[str] = Counter()
        for answer in self.ask("likes"):
            rooms.update(answer["likes_by_room"])
        return dict(rooms)

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
        done: Callable[[list[Status]], bool],
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
                for key in ("joined", "frames", "sent", "accepted", "likes", "likes_sent", "limit_frames", "storms")
            )
            if state != latest or any(status["scheduled"] for status in statuses):
                latest, moved = state, now
            elif now - moved > self._stall_seconds:
                return False
            time.sleep(POLL_SECONDS)


def _none(*names: str) -> Callable[[list[Status]], bool]:
    """Whether no process has any of these left."""
    return lambda statuses: not any(status[name] for status in statuses for name in names)
