"""Certificates on their way into files: one file each, whole or not at all.

Owns the files' names, and what waits to be written. Must not know when a certificate ends. Whatever is wrong with the disk
costs the file that could not be written, and nothing else: a thread writes, and one at a time. It makes the certificates, too:
of thousands of rooms that close together, with their rates and quantiles by network, that takes seconds.
"""

from __future__ import annotations

import json
import logging
import os
from collections import deque
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import trio

from engine.quality import Account, certificate
from engine.schema import handle_of
from engine.timing import Bell

__all__ = ["Shelf", "file_name"]

_KEPT: Final = 10_000
"""Certificates that wait while the disk does not answer; beyond that the newest are lost."""
_GROUP: Final = 100
"""Written at once."""
_NODE_CHARACTERS: Final = 64
_ROOM_CHARACTERS: Final = 120
"""Of the names as they are in a file's: with the time they stay below 255 bytes, which file systems allow."""

log = logging.getLogger("roomcast.quality")


class Shelf:
    """See the module's docstring.

    :param directory: where they are written; empty: nowhere.
    """

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self._waiting: deque[tuple[str, Account]] = deque()
        self._bell = Bell()
        self._writing = trio.Lock()
        self._lost = 0

    def adopt(self, directory: str) -> None:
        """What is added from now on is written there."""
        self._directory = directory

    def add(self, account: Account) -> None:
        """Have its certificate written soon. It does not change any more."""
        if not self._directory:
            return
        if len(self._waiting) >= _KEPT:
            if not self._lost:
                log.error("certificates_lost", extra={"hint": "quality.directory takes nothing, or too slowly"})
            self._lost += 1
            return
        self._lost = 0
        self._waiting.append((self._directory, account))
        self._bell.ring()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Write until cancelled."""
        task_status.started()
        while True:
            await self._bell.wait()
            await self._write()

    async def finish(self) -> None:
        """Write what waits, unless this is cancelled before."""
        try:
            await self._write()
        finally:
            if self._waiting:
                log.error("certificates_lost", extra={"count": len(self._waiting), "hint": "the node has stopped"})

    async def _write(self) -> None:
        async with self._writing:
            while self._waiting:
                group = [self._waiting[index] for index in range(min(_GROUP, len(self._waiting)))]
                for room, error in await trio.to_thread.run_sync(_write_files, group, abandon_on_cancel=True):
                    log.warning("certificate_not_written", extra={"room": room, "error": error})
                for _ in group:
                    self._waiting.popleft()


def file_name(table: Mapping[str, Any]) -> str:
    """``<UTC time>-<node>-<room>.json``: when it began, to the millisecond; the names percent-encoded (RFC 3986 section 2.1).
    One that is too long is cut, and a room's then ends with its number on the wire, so that no other room has the same."""
    since = datetime.fromtimestamp(table["since"] / 1000, UTC)
    time = f"{since:%Y%m%dT%H%M%S}.{since.microsecond // 1000:03}Z"
    node, room = (quote(table[name], safe="") for name in ("node", "room"))
    if len(room) > _ROOM_CHARACTERS:
        room = f"{_cut(room, _ROOM_CHARACTERS)}-{handle_of(table['room']):012x}"
    return f"{time}-{_cut(node, _NODE_CHARACTERS)}-{room}.json"


def _cut(encoded: str, characters: int) -> str:
    """Without half an octet at its end."""
    cut = encoded[:characters]
    return cut if len(encoded) <= characters or "%" not in cut[-2:] else cut[: cut.rindex("%")]


def _write_files(group: Sequence[tuple[str, Account]]) -> list[tuple[str, str]]:
    """In a thread. Returns which rooms' could not be written, and why."""
    failed = []
    for directory, account in group:
        try:
            _write_file(Path(directory), certificate(account))
        except OSError as error:
            failed.append((account.room, error.strerror or str(error)))
    return failed


def _write_file(directory: Path, table: Mapping[str, Any]) -> None:
    name = file_name(table)
    text = json.dumps(table, ensure_ascii=False, indent=2) + "\n"
    # Hidden until it is whole: who collects the files takes none by half.
    unfinished = directory / f".{name}.part"
    try:
        with unfinished.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        target, number = directory / name, 1
        while target.exists():
            # Two within a millisecond; the later one by its name, too.
            number += 1
            target = directory / f"{name.removesuffix('.json')}_{number}.json"
        unfinished.replace(target)
    except OSError:
        unfinished.unlink(missing_ok=True)
        raise
