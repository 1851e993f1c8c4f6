"""The command line, run as a user does: commands to their end, commands that go on, and a node to speak to."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

__all__ = ["PATIENCE", "ROOMCAST", "Running", "assert_calm", "environment", "roomcast", "serving", "typed"]

ROOMCAST = (sys.executable, "-W", "error", "-m", "engine")
PATIENCE = 60


def environment(**more: str) -> dict[str, str]:
    """Without what the user of the machine has set for a node."""
    return {name: value for name, value in os.environ.items() if not name.startswith("ROOMCAST_")} | more


def roomcast(*arguments: str, cwd: Path | None = None, **more: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run(
        [*ROOMCAST, *arguments],
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=PATIENCE,
        check=False,
        cwd=cwd,
        env=environment(**more),
    )


def typed(*arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    """The same without a process of its own, which takes a second to begin: for tests of what many commands say."""
    from engine.cli import main

    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in range(2))
    before, status = (dict(os.environ), sys.argv), 0
    with redirect_stdout(out), redirect_stderr(err):
        try:
            os.environ.clear()
            os.environ.update(environment(**more))
            sys.argv = ["roomcast", *arguments]
            main()
        except SystemExit as ended:
            status = ended.code if isinstance(ended.code, int) else 1
        finally:
            os.environ.clear()
            os.environ.update(before[0])
            sys.argv = before[1]
    said = (stream.buffer.getvalue().decode() for stream in (out, err))
    return subprocess.CompletedProcess(arguments, status, *said)


class Running:
    """A command that goes on."""

    def __init__(self, *arguments: str, **more: str) -> None:
        self.process = subprocess.Popen(
            [*ROOMCAST, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            env=environment(**more),
        )
        self.errors = ""

    def until(self, needle: str) -> str:
        """The first line with ``needle`` in it."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if needle in line:
                return line
        raise AssertionError(f"the output ended without {needle!r}")

    def json(self, needle: str) -> Any:
        """The same line, read."""
        return json.loads(self.until(needle))

    def stop(self, sign: signal.Signals = signal.SIGINT) -> int:
        """Ask it to end; its exit status."""
        self.process.send_signal(sign)
        _, self.errors = self.process.communicate(timeout=PATIENCE)
        assert "Traceback" not in self.errors
        return self.process.returncode


@contextmanager
def serving(*arguments: str, **more: str) -> Iterator[str]:
    """A node on a free port, which ends without a complaint; its URL.

    :param arguments: another command that runs a node; else ``serve``.
    """
    node = Running(*(arguments or ("serve",)), "--port", "0", "--json", ROOMCAST_NODE__SHUTDOWN_SECONDS="5", **more)
    try:
        yield node.json('"listening"')["url"]
    finally:
        status = node.stop(signal.SIGTERM)
    assert status == 0
    assert_calm(node.errors)


def assert_calm(errors: str) -> None:
    """What a node logs when nothing is wrong: one JSON object a line, none of them a warning."""
    assert {json.loads(line)["level"] for line in errors.splitlines()} <= {"info"}
