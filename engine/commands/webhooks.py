"""`roomcast webhooks`: happenings that the product did not take: read them, have them sent again, or forget them.

Owns what is said of them. Works on the ledger's database, whether a node is running or not; a node that runs sends again within
a few seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from engine.commands.arguments import ConfigOption, JsonOption
from engine.errors import RoomcastError

if TYPE_CHECKING:
    from engine.hooks.letters import DeadLetter
    from engine.ledger.webhooks import Outbox

__all__ = ["COMMANDS", "HELP", "drop", "list_", "replay", "show"]

HELP = "Webhooks that the product did not take: read them, have them sent again, forget them."

_PATIENCE_SECONDS: Final = 30.0
_PAGE: Final = 500

IdArgument = Annotated[str, typer.Argument(metavar="ID", help="Of the happening.")]
OneArgument = Annotated[str | None, typer.Argument(metavar="[ID]", help="Of the happening.", show_default=False)]
AllOption = Annotated[bool, typer.Option("--all", help="All of them.")]


def list_(
    limit: Annotated[int, typer.Option("--limit", metavar="N", min=1, help="At most so many.")] = 100,
    after: Annotated[
        str, typer.Option("--after", metavar="ID", help="Only those that come after this one.", show_default=False)
    ] = "",
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """List happenings that were put aside after hooks.attempts, each room's in their order.

    Works on the database of the config file (ledger.url), while nodes use it, too.

    roomcast webhooks list --json
    """
    with _outbox(config) as outbox:
        place = _place(after) if after else (0, 0)
        count = 0
        while outbox is not None and count < limit and (letters := outbox.dead(place, min(_PAGE, limit - count))):
            count += len(letters)
            for letter in letters:
                _tell(letter, as_json)
            place = _place(letters[-1].happening.id)
    if not count and not as_json:
        print("none")


def show(happening: IdArgument, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Show one happening that was put aside, with all that the product would be told."""
    import msgspec

    with _outbox(config) as outbox:
        letter = outbox.letter(_place(happening)) if outbox is not None else None
    if letter is None:
        raise RoomcastError("there is no such happening among those that were put aside")
    _tell(letter, as_json)
    if not as_json:
        print(msgspec.json.format(msgspec.json.encode(letter.happening.data), indent=2).decode())


def replay(
    happening: OneArgument = None, every: AllOption = False, config: ConfigOption = None, as_json: JsonOption = False
) -> None:
    """Have the product told once more of a happening that was put aside, or of all. One that fails again is put aside again.

    A node sends them: one that is running soon, else the next one that starts.

    roomcast webhooks replay --all
    """
    place = _chosen(happening, every)
    with _outbox(config) as outbox:
        _done(outbox.replay(place) if outbox is not None else 0, every, "to be sent again", as_json)


def drop(
    happening: OneArgument = None, every: AllOption = False, config: ConfigOption = None, as_json: JsonOption = False
) -> None:
    """Forget a happening that was put aside, or all: the product will not be told of it."""
    place = _chosen(happening, every)
    with _outbox(config) as outbox:
        _done(outbox.drop(place) if outbox is not None else 0, every, "forgotten", as_json)


COMMANDS: Final[dict[str, Callable[..., None]]] = {"list": list_, "show": show, "replay": replay, "drop": drop}


def _tell(letter: DeadLetter, as_json: bool) -> None:
    import msgspec

    from engine.commands.lines import clean

    if as_json:
        print(msgspec.json.encode(letter).decode())
        return
    one = letter.happening
    at = datetime.fromtimestamp(one.time / 1000, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    why = "is to be sent again" if letter.again else f"tried {letter.attempts:,} times: {letter.reason}"
    print(f"{one.id}  {at}  {one.type}  {clean(one.room)} #{one.number}  {clean(why)}")


def _done(count: int, every: bool, what: str, as_json: bool) -> None:
    if not count and not every:
        raise RoomcastError("there is no such happening among those that were put aside")
    print(f'{{"count":{count}}}' if as_json else f"{what}: {count:,}")


def _chosen(happening: str | None, every: bool) -> tuple[int, int] | None:
    if (happening is None) != every:
        raise typer.BadParameter("ID or --all is needed, and not both", param_hint="ID")
    return None if happening is None else _place(happening)


def _place(happening: str) -> tuple[int, int]:
    from engine.hooks.letters import place_of

    try:
        return place_of(happening)
    except ValueError as error:
        raise RoomcastError(f"{happening!r} {error}") from None


@contextmanager
def _outbox(config: Path | None) -> Iterator[Outbox | None]:
    """None: there is no database yet."""
    from engine.config import load
    from engine.ledger.store import Store

    address = load(config).ledger.url
    if not address:
        raise RoomcastError("there are no webhooks: they are kept in the ledger's database, and ledger.url is empty")
    store = Store(address, answer_seconds=_PATIENCE_SECONDS)
    try:
        if not store.exists():
            yield None
            return
        store.open()
        yield store.webhooks
    finally:
        store.close()
