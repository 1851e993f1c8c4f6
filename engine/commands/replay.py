"""`roomcast replay`: a recording (`engine.recording`), said again in a room.

Owns the pace, and trying again when the node takes nothing at the moment. Events go into the room as they are, with their
authors; what has to change in them is for `engine.recording` to say.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Final, NamedTuple

import msgspec
import trio
import typer

from engine.commands.arguments import ConfigOption, JsonOption
from engine.commands.serve import HostOption, PortOption, run_node
from engine.errors import Refused, RoomcastError

__all__ = ["replay"]

_TRIES: Final = 60
_TRY_SECONDS: Final = 1.0


def replay(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="As `roomcast export` writes it.")],
    room: Annotated[
        str,
        typer.Option(
            "--room",
            metavar="ROOM",
            help="Where to say it; else in the room that was recorded.",
            show_default=False,
        ),
    ] = "",
    speed: Annotated[
        float, typer.Option("--speed", min=0, help="2 is twice as fast as it happened; 0: as fast as it goes.")
    ] = 1.0,
    leave: Annotated[bool, typer.Option("--exit", help="Stop when the file has ended, instead of serving on.")] = False,
    config: ConfigOption = None,
    host: HostOption = None,
    port: PortOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run a node as `serve` does (in one process), and feed a recording into a room at its original pace.

    Comments, notices, custom events, changes of the room's state and what moderators did are told again by whom they were;
    replies, pins and deletions refer to the events as they are numbered now. What was deleted or held is left out.
    """
    from engine import logs
    from engine.config import load

    settings = load(config, overrides={"edge": {"host": host, "port": port}, "node": {"workers": 0}})
    recording = _survey(file)
    logs.configure(settings.log)
    target = room or recording.room

    async def feed(node: Any) -> bool:
        await _feed(node, target, file, recording, speed, as_json)
        return leave

    trio.run(run_node, settings, as_json, feed)


class _Recording(NamedTuple):
    room: str
    entries: int


def _survey(file: Path) -> _Recording:
    """Read the whole file once, so that a fault is told before anybody has seen a part of it."""
    with _opened(file) as (header, things):
        return _Recording(header.room, sum(1 for _ in things))


@contextmanager
def _opened(file: Path) -> Iterator[Any]:
    from engine.recording import Malformed, read

    try:
        with file.open("rb") as lines:
            yield read(lines)
    except Malformed as error:
        raise RoomcastError(f"{file}: {error}") from None
    except OSError as error:
        raise RoomcastError(f"cannot read {file}: {error.strerror}") from error


async def _feed(node: Any, room: str, file: Path, recording: _Recording, speed: float, as_json: bool) -> None:
    from engine.commands.progress import bar
    from engine.greeting import say
    from engine.recording import Entry, Renumbering

    renumbering, session = Renumbering(), f"replay-{secrets.token_urlsafe(12)}"
    begun, origin, told, left_out = trio.current_time(), -1, 0, 0
    with bar(f"replaying into {room}", recording.entries) as progress, _opened(file) as (_, things):
        for number, thing in enumerate(things, 1):
            event = None
            if isinstance(thing, Entry):
                origin = thing.time if origin < 0 else origin
                if speed:
                    await trio.sleep_until(begun + (thing.time - origin) / 1000 / speed)
                event = renumbering.event(thing, int(time.time() * 1000))
            if event is None:
                left_out += 1
            else:
                renumbering.note(thing.offset, await _publish(node, room, msgspec.msgpack.encode(event), session, number))
                told += 1
            progress.at(number)
    if as_json:
        say("replayed", room=room, events=told, left_out=left_out)
    else:
        print(f"replayed {told:,} events into {room}; {left_out:,} lines were nothing to say again", flush=True)


async def _publish(node: Any, room: str, event: bytes, session: str, ref: int) -> int:
    """Publish once, however often it has to be tried."""
    for attempt in range(1, _TRIES + 1):
        try:
            offset: int = await node.publish(room, event, session=session, ref=ref)
            return offset
        except Refused as error:
            if not error.code.retriable or attempt == _TRIES:
                raise
            await trio.sleep(error.retry_after_ms / 1000 or _TRY_SECONDS)
    raise AssertionError("the last attempt returns or raises")
