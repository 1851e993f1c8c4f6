"""The command line: arguments in, a node or a client running, an exit status out.

Owns which commands there are, and what becomes of errors and of Ctrl-C. Must not know how anything works: the commands are in
`engine.commands`, each a few lines over the Python API.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any, Final

import typer

from engine.commands import (
    configuring,
    dashboard,
    demo,
    doctor,
    export,
    key,
    ledger,
    moderating,
    money,
    quality,
    reload,
    replay,
    serve,
    speak,
    state,
    tail,
    webhooks,
)
from engine.errors import RoomcastError

__all__ = ["main"]

_SETTINGS: Final = {"help_option_names": ["-h", "--help"]}

app = typer.Typer(
    name="roomcast",
    help="Large-room live-chat broadcast engine: one huge room, everybody gets everything, in order, once.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings=_SETTINGS,
)

_PANELS: dict[str, list[Callable[..., None]]] = {
    "Run a node": [
        *(demo.demo, serve.serve, reload.reload, serve.restart, doctor.doctor),
        *(configuring.init, configuring.check, configuring.token, key.key, dashboard.dashboard),
    ],
    "Be in a room": [tail.tail, speak.say, speak.like, speak.react, speak.vote, speak.ask],
    "Give and get": [money.gift, money.redpacket, money.givers],
    "Lead a room": [speak.notice, moderating.moderate, state.state],
    "Keep a room": [quality.quality, export.export, replay.replay, ledger.erase],
}


def _help(command: Callable[..., None]) -> str:
    """What a command says of itself, by paragraphs: where lines end is for the terminal to say."""
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in (command.__doc__ or "").split("\n\n"))


for _panel, _commands in _PANELS.items():
    for _command in _commands:
        app.command(rich_help_panel=_panel, help=_help(_command))(_command)

_books = typer.Typer(no_args_is_help=True, context_settings=_SETTINGS)
for _command in ledger.COMMANDS:
    _books.command(help=_help(_command))(_command)
app.add_typer(_books, name="ledger", help=ledger.HELP, rich_help_panel="Keep a room")

_webhooks = typer.Typer(no_args_is_help=True, context_settings=_SETTINGS)
for _name, _command in webhooks.COMMANDS.items():
    _webhooks.command(_name, help=_help(_command))(_command)
app.add_typer(_webhooks, name="webhooks", help=webhooks.HELP, rich_help_panel="Keep a room")


def main() -> None:
    """Console script. Errors that we raise on purpose are one line on standard error and exit status 1."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # What a terminal cannot show must not end what shows it.
            stream.reconfigure(errors="backslashreplace")
    if any(not _is_text(argument) for argument in sys.argv[1:]):
        print("roomcast: an argument is no valid text", file=sys.stderr)
        sys.exit(2)
    status = 0
    try:
        app()
    except* RoomcastError as group:
        # In a group when it comes out of a nursery.
        for error in _leaves(group):
            print(f"roomcast: {error}", file=sys.stderr)
        status = 1
    except* BrokenPipeError:
        # Whoever read has what it wanted. The interpreter would try to flush again as it ends, and complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 1
    except* KeyboardInterrupt:
        status = 130
    sys.exit(status)


def _is_text(argument: str) -> bool:
    try:
        argument.encode()
    except UnicodeEncodeError:
        return False
    return True


def _leaves(group: BaseExceptionGroup[Any]) -> Iterator[BaseException]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error
