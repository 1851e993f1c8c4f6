"""Several runs of the command line at once: they mostly wait.

Owns their processes and records. Asserts what every run must keep: its certificate balances, to the byte.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

__all__ = ["OVERLOAD", "ROOT", "TAPS", "Runs", "started"]

ROOT = Path(__file__).parents[2]
PATIENCE = 110.0
TAPS = ("reactions", "--viewers", "6", "--senders", "6", "--rate", "600", "--seconds", "1")
OVERLOAD = ("overload", "--viewers", "6", "--senders", "4", "--rate", "200", "--seconds", "1", "--notices", "20")


class Runs:
    """See the module's docstring."""

    def __init__(self, directory: Path, runs: Mapping[str, Sequence[str]]) -> None:
        self._started = {}
        for number, (name, options) in enumerate(runs.items()):
            record = directory / f"{number}.json"
            command = [sys.executable, "-m", "bench.cli", "run", *options, "--json", str(record)]
            self._started[name] = (subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True), record)

    def end(self) -> None:
        """Stop what still runs."""
        for process, _ in self._started.values():
            process.terminate()
            process.communicate()

    def outcome(self, name: str, *, silent: bool = False) -> dict[str, Any]:
        """The record of a run, which must be verified.

        :param silent: whether nobody spoke.
        """
        process, path = self._started[name]
        output, _ = process.communicate(timeout=PATIENCE)
        assert process.returncode == 0, output
        record: dict[str, Any] = json.loads(path.read_text())
        certificate = record["certificate"]
        assert record["verified"]
        assert certificate["expected"] == certificate["delivered"] + certificate["in_gaps"]
        assert silent or certificate["expected"] > 0
        assert (certificate["lost"], certificate["doubled"], certificate["reordered"]) == (0, 0, 0)
        assert certificate["connections_closed"] == certificate["connections"] == record["viewers"]
        assert certificate["bytes_read"] == certificate["bytes_written"] > 0
        return record


@contextmanager
def started(directory: Path, runs: Mapping[str, Sequence[str]]) -> Iterator[Runs]:
    """Runs by name, each with the arguments of ``roomcast-bench run``."""
    made = Runs(directory, runs)
    try:
        yield made
    finally:
        made.end()
