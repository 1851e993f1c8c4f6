"""A progress bar on standard error, where somebody watches.

Owns how often it is drawn: by whoever makes progress, so that no thread is needed.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

__all__ = ["Bar", "bar"]

_SECONDS = 0.1
"""Between two drawings."""


class Bar:
    """See the module's docstring."""

    def __init__(self, progress: Progress, words: str, total: int) -> None:
        self._progress = progress
        self._task = progress.add_task(words, total=total)
        self._drawn = 0.0

    def at(self, done: int) -> None:
        """So much of the total is done."""
        self._progress.update(self._task, completed=done)
        now = time.monotonic()
        if now - self._drawn >= _SECONDS:
            self._drawn = now
            self._progress.refresh()


@contextmanager
def bar(words: str, total: int) -> Iterator[Bar]:
    """Show a bar while the block runs; not where standard error is no terminal."""
    console = Console(stderr=True)
    columns = TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=console, auto_refresh=False, transient=True, disable=not console.is_terminal) as progress:
        yield Bar(progress, words, total)
