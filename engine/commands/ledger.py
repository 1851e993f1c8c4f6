"""`roomcast ledger export`, `verify`, `totals`: the books, whether a node is running or not; and `erase`, for who leaves them.

Owns how a ledger is found by its config file, and what is said of it. Must not know how it is audited.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Final

import trio
import typer

from engine.commands.arguments import URL, ConfigOption, JsonOption, TokenOption, UrlOption
from engine.errors import RoomcastError

if TYPE_CHECKING:
    from engine.ledger.books import Books
    from engine.ledger.faults import Report
    from engine.ledger.matching import Recorded

__all__ = ["COMMANDS", "HELP", "erase", "export", "totals", "verify"]

HELP = "Gifts and red packets as they are booked: prove the books, add them up, write them out."

_PATIENCE_SECONDS: Final = 60.0
"""That erasing somebody may take, and wait for nodes that book."""

RoomsOption = Annotated[
    list[str] | None, typer.Option("--room", metavar="ROOM", help="Only this one; may be repeated.", show_default=False)
]
LiveOption = Annotated[
    str | None,
    typer.Option("--url", metavar="URL", help="Compare with what this node has kept of rooms.", show_default=False),
]


# -- verify -----------------------------------------------------------------------------------------------------------


def verify(
    stream: Annotated[
        list[Path] | None,
        typer.Option(
            "--stream",
            metavar="FILE",
            help="Compare with a room's stream, as `roomcast export` writes it; may be repeated.",
            show_default=False,
        ),
    ] = None,
    url: LiveOption = None,
    room: Annotated[
        list[str] | None,
        typer.Option("--room", metavar="ROOM", help="With --url: compare this one only; may be repeated.", show_default=False),
    ] = None,
    token: TokenOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Prove the ledger: that entries have no gaps and no doubles, that every sum adds up, that each red packet was divided as
    its seed says, and that rooms were shown what is booked. Exit status 1 if anything is wrong.

    With --stream it is compared with recordings, with --url with what a running node has kept of every room: what the ledger
    says is in there must be there once, alike, and nothing else.

    Works on the database of the config file (ledger.url), while nodes use it, too. Reads only, and sees one moment.

    roomcast ledger verify --url ws://127.0.0.1:8765/ws
    """
    from engine.commands.progress import bar
    from engine.ledger import audit
    from engine.ledger.books import read_books

    address = _address(config)
    with ExitStack() as opened:
        # Before the books, so that everything in them was booked by then.
        files = [*(stream or ()), *(_recorded(opened, url, token, room or _rooms(address)) if url else ())]
        recordings = [opened.enter_context(_recording(file)) for file in files]

        def prove(books: Books) -> Report:
            with bar("verifying", audit.work(books)) as progress:
                return audit.verify(books, recordings, progress.at)

        report = read_books(address, prove)
    _tell(report, as_json)
    if not report.sound:
        raise typer.Exit(1)


def _tell(report: Report, as_json: bool) -> None:
    import msgspec

    from engine.commands.lines import clean

    if as_json:
        print(msgspec.json.encode(report).decode())
        return
    for fault in report.faults:
        print(clean(str(fault)))
    if report.fault_count > len(report.faults):
        print(f"… and {report.fault_count - len(report.faults):,} more")
    print(
        f"rooms: {report.rooms:,}, entries: {report.entries:,} (gifts: {report.gifts:,}, red packets: {report.packets:,}, "
        f"shares: {report.shares:,}; not known to be published: {report.unpublished:,})"
    )
    if report.streams:
        print(f"compared with streams: {report.streams:,}, in which entries were found: {report.matched:,}")
    print(f"faults: {report.fault_count:,}" if report.fault_count else "no fault")


def _rooms(address: str) -> list[str]:
    from engine.ledger.books import read_books

    return read_books(address, lambda books: [room.name for room in books.rooms])


def _recorded(opened: ExitStack, url: str, token: str | None, rooms: list[str]) -> Iterator[Path]:
    """What a node has kept of rooms, in files that are gone afterwards."""
    from engine.commands.export import record

    directory = Path(opened.enter_context(tempfile.TemporaryDirectory(prefix="roomcast-")))
    for number, room in enumerate(rooms):
        path = directory / f"{number}.ndjson"
        with path.open("wb") as file:
            trio.run(record, room, url, token, file)
        yield path


@contextmanager
def _recording(path: Path) -> Iterator[Recorded]:
    """A recording as it is compared."""
    from engine.ledger.matching import Happening, Recorded
    from engine.recording import Entry, Malformed, read

    try:
        with path.open("rb") as lines:
            header, things = read(lines)

            happenings = (
                Happening(thing.offset, thing.last, thing.event)
                if isinstance(thing, Entry)
                else Happening(thing.first, thing.last, None)
                for thing in things
            )
            yield Recorded(header.room, header.epoch, header.first, happenings)
    except Malformed as error:
        raise RoomcastError(f"{path}: {error}") from None
    except OSError as error:
        raise RoomcastError(f"cannot read {path}: {error.strerror}") from error


# -- totals -----------------------------------------------------------------------------------------------------------


def totals(
    room: RoomsOption = None,
    by_gift: Annotated[bool, typer.Option("--by-gift", help="A line for each gift, too.")] = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Add up what was given in each room and each of its broadcasts, what was corrected, and what became of red packets.

    Amounts are in the smallest unit of the product's money. Works on the database of the config file (ledger.url), while nodes
    use it, too.
    """
    import msgspec

    from engine.commands.lines import clean
    from engine.ledger.books import read_books
    from engine.ledger.totals import totals as add_up

    for line in read_books(_address(config), lambda books: add_up(books, _named(books, room), by_gift=by_gift)):
        if as_json:
            print(msgspec.json.encode(line).decode())
            continue
        of = f" {line.gift}:" if line.gift else f" ({line.stream}):" if line.stream else ":"
        parts = [f"gifts: {line.gifts:,} (things: {line.things:,}) of {line.amount:,}"]
        if line.corrections:
            parts.append(f"corrections: {line.corrections:,} of {line.corrected:,}, so {line.amount + line.corrected:,} remain")
        if line.packets:
            parts.append(
                f"red packets: {line.packets:,} of {line.packet_amount:,}, from which shares: {line.shares:,} of "
                f"{line.share_amount:,}, went back: {line.rest:,}"
            )
        print(f"{'    ' if line.gift else ''}{clean(line.room)}{clean(of)} {'; '.join(parts)}")


# -- export -----------------------------------------------------------------------------------------------------------


def export(
    room: RoomsOption = None,
    first: Annotated[
        int, typer.Option("--from", metavar="ENTRY", min=1, max=2**53 - 1, help="Only entries from this number on.")
    ] = 1,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Where to write it; else standard output.", show_default=False),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite an existing file.")] = False,
    config: ConfigOption = None,
) -> None:
    """Write the ledger as newline-delimited JSON, one entry a line, for accounting.

    {"room", "entry", "kind", "booked", "booked_ms", "user", "name", "receiver", "corrector", "amount", "gift", "count",
    "combo", "corrects", "packet", "shares", "share", "key", "stream", "epoch", "offset"}: every line has all of them, null
    where there is nothing to say. kind is gift, combo, correction, packet, share or packet_end. Add up amounts of one kind: the
    end of a combo repeats those of its gifts, a share is part of its packet.

    The file appears when it is complete. Works on the database of the config file (ledger.url), while nodes use it, too.
    """
    from engine.commands.progress import bar
    from engine.ledger.books import read_books
    from engine.ledger.export import lines

    address = _address(config)
    with _whole(output, force) as file:
        begun = False

        def write(books: Books) -> int:
            nonlocal begun
            if begun:
                # The connection was lost, and what is written cannot be taken back.
                raise RoomcastError("the connection to the database was lost; begin again")
            begun, count = True, 0
            names = _named(books, room)
            entries = sum(max(each.entries - first + 1, 0) for each in books.rooms if names is None or each.name in names)
            with bar("exporting", entries) as progress:
                for line in lines(books, names, first=first):
                    file.write(line)
                    count += 1
                    progress.at(count)
            return count

        count = read_books(address, write)
        file.flush()
    print(f"exported {count:,} entries", file=sys.stderr)


@contextmanager
def _whole(path: Path | None, force: bool) -> Iterator[IO[bytes]]:
    """Where to write. A file is there when all of it is, and nothing of it otherwise."""
    if path is None or str(path) == "-":
        yield sys.stdout.buffer
        return
    if path.exists() and not force:
        raise RoomcastError(f"{path} exists; --force overwrites it")
    try:
        file = tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False)  # noqa: SIM115
    except OSError as error:
        raise RoomcastError(f"cannot write {path}: {error.strerror}") from error
    part = Path(file.name)
    try:
        with file:
            yield file
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        raise RoomcastError(f"cannot write {path}: {error.strerror}") from error
    finally:
        part.unlink(missing_ok=True)


# -- erase ------------------------------------------------------------------------------------------------------------


def erase(
    user: Annotated[str, typer.Argument(metavar="USER", help="Id of the user.")],
    room: Annotated[
        list[str] | None,
        typer.Option(
            "--room",
            metavar="ROOM",
            help="Delete what the user has said in this room, too; may be repeated.",
            show_default=False,
        ),
    ] = None,
    url: UrlOption = URL,
    token: TokenOption = None,
    config: ConfigOption = None,
) -> None:
    """Forget a user: in the ledger a pseudonym stands in its place from now on, which is printed. Amounts and sums stay, so
    that the ledger still proves; audits, exports and leaderboards show the pseudonym. It cannot be taken back, and whoever
    comes with that id later is somebody else.

    With --room, what the user has said in these rooms is deleted from their history, too, by way of a node, which needs the
    token of a moderator (as `roomcast moderate ROOM delete_user`). That is done first.

    Not reached: gifts and shares that were published stay in a room's history, and what moderators held or did stays backstage,
    until they leave it by age (broker.history_seconds); nor recordings and exports that were made before.
    """
    from engine.ledger.store import Store

    address = _address(config)
    for each in room or ():
        trio.run(_delete, each, user, url, token)
        print(f"deleted what the user has said in {each}", file=sys.stderr)
    store = Store(address, answer_seconds=_PATIENCE_SECONDS)
    try:
        # Nothing is made: where no ledger is, nobody can be in it.
        pseudonym = None
        if store.exists():
            store.open()
            pseudonym = store.erase(user)
    finally:
        store.close()
    if pseudonym is not None:
        print(pseudonym)
    elif room:
        print("nothing is booked of the user", file=sys.stderr)
    else:
        raise RoomcastError("nothing is booked of this user")


async def _delete(room: str, user: str, url: str, token: str | None) -> None:
    from engine.commands.entering import entering

    async with entering(url, room, token=token) as client:
        await client.moderate("delete_user", user=user, reason="erased")


# -- where it is ------------------------------------------------------------------------------------------------------


def _named(books: Books, rooms: list[str] | None) -> set[str] | None:
    for each in rooms or ():
        if books.room(each) is None:
            raise RoomcastError(f"nothing was ever booked in the room {each}")
    return set(rooms) if rooms else None


def _address(config: Path | None) -> str:
    from engine.config import load

    address = load(config).ledger.url
    if not address:
        raise RoomcastError("there is no ledger: ledger.url is empty, so there is no money")
    return address


COMMANDS: list[Callable[..., None]] = [verify, totals, export]
