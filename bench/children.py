"""Generator processes as a master sees them: started with a first line, asked by JSON lines, ended by closing their input.

Owns processes, pipes and requests. Must not know what is asked. Synchronous: a request goes to every process, then the
answers are read; the master has nothing else to do meanwhile, and stays out of the way of those who are measured.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any, Final

__all__ = ["Answer", "ChildError", "Children", "split"]

ANSWER_SECONDS: Final = 60.0
"""A process that does not answer for so long is broken."""
END_SECONDS: Final = 10.0
Answer = dict[str, Any]


class ChildError(Exception):
    """A generator failed, not what it measures."""


def split(count: int, parts: int) -> list[range]:
    """``range(count)`` in nearly equal contiguous parts, none empty."""
    parts = max(1, min(parts, count))
    edges = [count * part // parts for part in range(parts + 1)]
    return [range(low, high) for low, high in pairwise(edges)]


class Children:
    """Processes of one Python module; a context manager that ends them.

    :param module: run with ``python -m``.
    :param shares: the first line of each.
    :raises ChildError: one does not answer.
    """

    def __init__(self, module: str, shares: Iterable[Mapping[str, Any]]) -> None:
        self._processes: list[subprocess.Popen[bytes]] = []
        self._buffers: list[bytes] = []
        self._asked = 0
        for share in shares:
            command = [sys.executable, "-m", module]
            process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            self._processes.append(process)
            self._buffers.append(b"")
            self._tell(process, share)
        self.ask("status")

    def close(self) -> None:
        """End all: their input ends, and so do they."""
        for process in self._processes:
            assert process.stdin is not None
            process.stdin.close()
        for process in self._processes:
            try:
                process.wait(END_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            assert process.stdout is not None
            process.stdout.close()

    @property
    def pids(self) -> list[int]:
        """Of all processes."""
        return [process.pid for process in self._processes]

    def ask(self, do: str, **more: Any) -> list[Answer]:
        """Send one request to all and return their answers. Raises `ChildError`."""
        return self.ask_each([{"do": do} | more] * len(self._processes))

    def ask_each(self, requests: Sequence[Mapping[str, Any]]) -> list[Answer]:
        """Send a request to each and return their answers. Raises `ChildError`."""
        self._asked += 1
        for process, request in zip(self._processes, requests, strict=True):
            self._tell(process, {**request, "id": self._asked})
        return [self._hear(number) for number in range(len(self._processes))]

    def _tell(self, process: subprocess.Popen[bytes], request: Mapping[str, Any]) -> None:
        assert process.stdin is not None
        try:
            process.stdin.write(json.dumps(request).encode() + b"\n")
            process.stdin.flush()
        except BrokenPipeError:
            raise ChildError(f"generator process {process.pid} ended with status {process.wait()}") from None

    def _hear(self, number: int) -> Answer:
        process = self._processes[number]
        assert process.stdout is not None
        descriptor = process.stdout.fileno()
        deadline = time.monotonic() + ANSWER_SECONDS
        while True:
            line, end, rest = self._buffers[number].partition(b"\n")
            if end:
                self._buffers[number] = rest
                answer: Answer = json.loads(line)
                if answer["id"] == self._asked:
                    return answer
                continue  # belongs to a request that Ctrl-C interrupted
            if not select.select([descriptor], [], [], max(0.0, deadline - time.monotonic()))[0]:
                raise ChildError(f"generator process {process.pid} did not answer within {ANSWER_SECONDS:.0f} s")
            data = os.read(descriptor, 1 << 16)
            if not data:
                raise ChildError(f"generator process {process.pid} ended with status {process.wait()}")
            self._buffers[number] += data
