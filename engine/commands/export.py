"""`roomcast export`: what is kept of a room's stream, as a recording (`engine.recording`).

Owns the way back through the history, page by page, and the turning round: pages come newest first and are written oldest
first, so they wait in a temporary file. What comes meanwhile is not waited for; who wants it too gets it afterwards, as a
viewer who continues at a position does.
"""

from __future__ import annotations

import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Annotated, Any, Final

import trio
import typer

from engine.commands.arguments import URL, RoomArgument, TokenOption, UrlOption
from engine.errors import Refused, RoomcastError

__all__ = ["export", "record"]

_LIMIT: Final = 1000
"""Offsets asked for at once; a page has as many as fit."""
_AT_ONCE: Final = 100
_PER_SECOND: Final = 15.0
"""Pages asked for at once, and then a second: below what a node takes by default (``limits.messages_per_second``)."""
_TRIES: Final = 10


def export(
    room: RoomArgument,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="Where to write it; else standard output.",
            show_default=False,
        ),
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what happens, until Ctrl-C.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Overwrite an existing file.")] = False,
    url: UrlOption = URL,
    token: TokenOption = None,
) -> None:
    """Write what is kept of a room as newline-delimited JSON, oldest first: a header, then one event a line.

    {"roomcast": 1, "room", "epoch", "first", "last", "exported_at"}, then {"offset", "time", "event": [...]} with events as on
    the wire. Where something was deleted or has expired stands [0, reason, count]. `roomcast replay` feeds it to a room again.
    """
    with _target(output, force) as file:
        trio.run(_export, room, url, token, file, follow)


@contextmanager
def _target(path: Path | None, force: bool) -> Iterator[IO[bytes]]:
    """Where to write. A file in which nothing was written is not left behind."""
    if path is None or str(path) == "-":
        yield sys.stdout.buffer
        return
    try:
        file = path.open("wb" if force else "xb")
    except FileExistsError:
        raise RoomcastError(f"{path} exists; --force overwrites it") from None
    except OSError as error:
        raise RoomcastError(f"cannot write {path}: {error.strerror}") from error
    with file:
        try:
            yield file
        finally:
            if not file.tell():
                path.unlink(missing_ok=True)


async def _export(room: str, url: str, token: str | None, file: IO[bytes], follow: bool) -> None:
    position, lines = await record(room, url, token, file)

    def write(line: bytes) -> None:
        nonlocal lines
        file.write(line)
        file.flush()
        lines += 1

    try:
        if follow:
            await _go_on(url, room, token, position, write)
    finally:
        print(f"exported {lines:,} lines of {room}", file=sys.stderr)


async def record(room: str, url: str, token: str | None, file: IO[bytes]) -> tuple[tuple[int, int], int]:
    """Write a recording of what is kept of a room; return the position after it, and its lines but for the header."""
    from engine.commands.entering import entering
    from engine.recording import Header, line_of

    with tempfile.TemporaryFile() as spooled:
        pages = _Spool(spooled)
        async with entering(url, room, token=token, codec="json") as client, trio.open_nursery() as nursery:
            assert client.position is not None  # whoever has entered knows where
            epoch, last = client.position
            nursery.start_soon(_let_go, client)
            first = await _read_back(client, epoch, last, pages, room)
            nursery.cancel_scope.cancel()
        file.write(line_of(Header(room=room, epoch=epoch, first=first, last=last, exported_at=int(time.time() * 1000))))
        for chunk in pages.turned_round():
            file.write(chunk)
        file.flush()
    return (epoch, last), pages.lines


class _Spool:
    """Pages on disk, as they come."""

    def __init__(self, file: IO[bytes]) -> None:
        self.lines = 0
        self._file = file
        self._ends = [0]

    def add(self, lines: list[bytes]) -> None:
        self._file.write(b"".join(lines))
        self._ends.append(self._file.tell())
        self.lines += len(lines)

    def turned_round(self) -> Iterator[bytes]:
        """The last page first."""
        for begin, end in zip(reversed(self._ends[:-1]), reversed(self._ends[1:]), strict=True):
            self._file.seek(begin)
            yield self._file.read(end - begin)


async def _read_back(client: Any, epoch: int, last: int, pages: _Spool, room: str) -> int:
    """Collect the pages up to ``last``; return the first offset that is kept."""
    from engine.commands.progress import bar

    first, asked, begun = last + 1, 0, trio.current_time()
    with bar(f"reading {room}", last) as progress:
        while first > 1:
            await trio.sleep_until(begun + max(asked - _AT_ONCE, 0) / _PER_SECOND)
            asked += 1
            page = await _page(client, first)
            if page.epoch != epoch:
                raise RoomcastError(f"the history of {room} was lost while it was read; what there is now begins anew")
            if page.last < page.first:
                break
            if page.last != first - 1:
                raise RoomcastError(f"the node leaves out the offsets {page.last + 1}..{first - 1} of {room}")
            pages.add([_line(event) for event in page.events])
            first = page.first
            progress.at(last + 1 - first)
    return first


async def _page(client: Any, before: int) -> Any:
    for attempt in range(1, _TRIES + 1):
        try:
            return await client.history(before, _LIMIT)
        except Refused as error:
            if not error.code.retriable or attempt == _TRIES:
                raise
            await trio.sleep(error.retry_after_ms / 1000 or 1.0)
    raise AssertionError("the last attempt returns or raises")


async def _let_go(client: Any) -> None:
    """Take what happens, so that answers come through."""
    async for _ in client:
        pass


async def _go_on(url: str, room: str, token: str | None, position: tuple[int, int], write: Callable[[bytes], None]) -> None:
    """Write what happens after a position, until a signal."""
    from engine.client import Event, Gap, Omitted
    from engine.commands.entering import entering
    from engine.recording import Missing, line_of

    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with trio.open_nursery() as nursery:

            async def stop() -> None:
                await anext(signals)
                nursery.cancel_scope.cancel()

            nursery.start_soon(stop)
            async with entering(url, room, patient=True, token=token, codec="json", position=position) as client:
                async for item in client:
                    if isinstance(item, (Event, Omitted)):
                        write(_line(item))
                    elif isinstance(item, Gap):
                        if item.position is None:
                            raise RoomcastError(f"the history of {room} was lost; what comes now would be another recording")
                        write(line_of(Missing(item.first, item.last, item.reason)))


def _line(item: Any) -> bytes:
    from engine.client import Omitted
    from engine.recording import Entry, line_of

    if isinstance(item, Omitted):
        return line_of(Entry(item.first, item.time, [0, item.reason, item.last - item.first + 1]))
    return line_of(Entry(item.offset, item.time, list(item.raw)))
