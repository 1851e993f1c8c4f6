"""The operator's word lists: read from their files, and read again when these change, while comments go on.

Owns reading, what a file may be, and when it is looked at. Must not know what a match is.

Nothing here is done in a thread but reading itself: a thread that computes would hold the interpreter lock for 5 ms each time
the loop's thread comes back from a system call, thousands of times in a fan-out. Instead, entries are added on the loop, a
slice at a time, and the old ones are freed in the same way.

Replace a file by renaming another to its name. One that is written in place may be read half, and is then read once more.
"""

from __future__ import annotations

import logging
import math
import stat
from time import perf_counter
from typing import Final

import trio

from engine.errors import RoomcastError
from engine.hub.words import Words
from engine.settings import ModerationSettings
from engine.timing import Bell

__all__ = ["FILE_BYTES_MAX", "WORDS_MAX", "WordListError", "WordLists"]

FILE_BYTES_MAX: Final = 64 << 20
WORDS_MAX: Final = 1_000_000
"""In one file."""
_LINE_BYTES_MAX: Final = 4_096
"""What is longer is no list of words."""
_SLICE_SECONDS: Final = 0.002
"""Work between two checkpoints."""
_SLICE_WORDS: Final = 32
"""Words between two looks at the clock."""
_SLICE_FREED: Final = 512
"""Words freed between two checkpoints."""
_READ_BYTES: Final = 1 << 18

_LOG: Final = logging.getLogger(__name__)

_Version = tuple[int, int, int]
"""Modification time in nanoseconds, size, inode."""


class WordListError(RoomcastError):
    """A word list cannot be used. The text names file and line."""


class WordLists:
    """The lists of the settings, kept up to date.

    :ivar words: the lists as they are now. Ask each time: what was current is emptied once it is replaced.
    """

    def __init__(self, settings: ModerationSettings, *, words_max: int = WORDS_MAX, bytes_max: int = FILE_BYTES_MAX) -> None:
        self._lists = settings.lists
        self._seconds = settings.reload_seconds
        self._words_max = words_max
        self._bytes_max = bytes_max
        self._versions: list[_Version | None] = [None] * len(self._lists)
        self._loading = trio.Lock()
        self._bell = Bell()
        self.words = Words()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Load the lists, tell that it is done, and load what changes until cancelled.

        Raises `WordListError` if one cannot be used at the start. Later on its old words stay, and an error is logged.
        """
        if self._lists:
            await self.load()
        task_status.started()
        looked = trio.current_time()
        while True:
            await self._bell.wait_until(looked + self._seconds if self._lists else math.inf)
            if trio.current_time() >= looked + self._seconds:
                await self.look()
                looked = trio.current_time()

    async def adopt(self, settings: ModerationSettings) -> None:
        """Have these lists instead, and look at those that stay. Raises `WordListError` if one cannot be used; nothing has
        changed then."""
        if settings.lists == self._lists:
            await self.look()
        else:
            async with self._loading:
                lists, self._lists = self._lists, settings.lists
                try:
                    await self._load()
                except BaseException:
                    self._lists = lists
                    raise
        self._seconds = settings.reload_seconds
        self._bell.ring()

    async def load(self) -> None:
        """Load all lists. Raises `WordListError`; nothing has changed then."""
        async with self._loading:
            await self._load()

    async def _load(self) -> None:
        started = perf_counter()
        versions = [await self._version(number) for number in range(len(self._lists))]
        words = self._empty()
        for number in range(len(self._lists)):
            await self._read(number, words)
        self._versions = [*versions]
        await self._replace(words, started)

    async def look(self) -> bool:
        """Load what has changed; whether the words are other ones now."""
        async with self._loading:
            return await self._look()

    async def _look(self) -> bool:
        started = perf_counter()
        changed: set[int] = set()
        for number, known in enumerate(self._versions):
            try:
                version = await self._version(number)
            except WordListError as error:
                if known is not None:
                    self._versions[number] = None
                    _LOG.error("word list not readable, its old words stay", extra={"error": str(error)})
            else:
                if version != known:
                    self._versions[number] = version
                    changed.add(number)
        while changed:
            words = self._empty()
            try:
                for number in sorted(changed):
                    await self._read(number, words)
            except WordListError as error:
                _LOG.error("word list not usable, its old words stay", extra={"error": str(error)})
                changed.discard(number)
                await _free(words)
            else:
                await self._keep(words, changed)
                await self._replace(words, started)
                return True
        return False

    def _empty(self) -> Words:
        return Words([each.action for each in self._lists])

    async def _version(self, number: int) -> _Version:
        file = self._lists[number].file
        try:
            found = await trio.Path(file).stat()
        except (OSError, ValueError) as error:
            raise WordListError(f"{file}: {_reason(error)}") from error
        if not stat.S_ISREG(found.st_mode):
            raise WordListError(f"{file}: not a regular file")
        if found.st_size > self._bytes_max:
            raise WordListError(f"{file}: {found.st_size:,} bytes, more than {self._bytes_max:,}")
        return found.st_mtime_ns, found.st_size, found.st_ino

    async def _read(self, number: int, words: Words) -> None:
        """Add what a list's file says."""
        file = self._lists[number].file
        line = size = 0
        work = _Slices()
        try:
            async with await trio.open_file(file, "rb") as source:
                while lines := await source.readlines(_READ_BYTES):
                    size += sum(map(len, lines))
                    if size > self._bytes_max:
                        raise WordListError(f"{file}, line {line + 1:,}: more than {self._bytes_max:,} bytes")
                    for data in lines:
                        line += 1
                        self._add(words, number, data, line)
                        if work.enough():
                            await work.pause()
        except OSError as error:
            raise WordListError(f"{file}, line {line + 1:,}: {_reason(error)}") from error

    def _add(self, words: Words, number: int, data: bytes, line: int) -> None:
        file = self._lists[number].file
        if len(data) > _LINE_BYTES_MAX:
            raise WordListError(f"{file}, line {line:,}: {len(data):,} bytes, more than {_LINE_BYTES_MAX:,}")
        try:
            entry = data.decode("utf-8-sig" if line == 1 else "utf-8")
            if not entry.startswith("#"):
                words.add(entry, number)
        except UnicodeDecodeError as error:
            raise WordListError(f"{file}, line {line:,}: not UTF-8 at byte {error.start + 1} of the line") from error
        except ValueError as error:
            raise WordListError(f"{file}, line {line:,}: {error}") from error
        if words.counts[number] > self._words_max:
            raise WordListError(f"{file}, line {line:,}: more than {self._words_max:,} words")

    async def _keep(self, words: Words, changed: set[int]) -> None:
        """Add the words of all other lists, as they were."""
        if len(changed) == len(self._lists):
            return
        work = _Slices()
        for number, entry in self.words.entries():
            if number not in changed:
                words.add(entry, number)
            if work.enough():
                await work.pause()

    async def _replace(self, words: Words, started: float) -> None:
        old, self.words = self.words, words
        counts = {each.file: count for each, count in zip(self._lists, words.counts, strict=True)}
        if counts:
            _LOG.info("word lists loaded", extra={"words": counts, "seconds": round(perf_counter() - started, 3)})
        await _free(old)


class _Slices:
    """Work on the loop that makes room for others every so often."""

    __slots__ = ("_left", "_until")

    def __init__(self) -> None:
        self._left = _SLICE_WORDS
        self._until = perf_counter() + _SLICE_SECONDS

    def enough(self) -> bool:
        """Whether it is time for a pause. Ask after each word."""
        self._left -= 1
        if self._left:
            return False
        self._left = _SLICE_WORDS
        return perf_counter() >= self._until

    async def pause(self) -> None:
        await trio.lowlevel.checkpoint()
        self._until = perf_counter() + _SLICE_SECONDS


async def _free(words: Words) -> None:
    while words.shrink(_SLICE_FREED):
        await trio.lowlevel.checkpoint()


def _reason(error: OSError | ValueError) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
