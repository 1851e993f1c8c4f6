"""`roomcast init` and `check`: the config file, written and judged; and `token`, which its secret signs.

Owns no words of the file: `engine.configfile` and `engine.config` do.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from engine.commands.arguments import ConfigOption
from engine.errors import RoomcastError

__all__ = ["check", "init", "token"]


def check(file: Annotated[Path, typer.Argument(metavar="FILE", help="Config file.")]) -> None:
    """Check a config file and the environment: all errors at once, or what deviates from the defaults."""
    from engine.config import report

    status, text = report(file)
    print(text, file=sys.stderr if status else sys.stdout)
    raise typer.Exit(status)


def init(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Where to write it; - for standard output.")] = Path(
        "roomcast.toml"
    ),
    schema: Annotated[bool, typer.Option("--schema", help="Write the JSON Schema instead, for editors.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Overwrite an existing file.")] = False,
) -> None:
    """Write a config file with every setting, its unit, default and effect."""
    from engine.configfile import commented, json_schema

    text = json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n" if schema else commented()
    if str(file) == "-":
        print(text, end="")
        return
    try:
        with file.open("w" if force else "x", encoding="utf-8") as target:
            target.write(text)
    except FileExistsError:
        raise RoomcastError(f"{file} exists; --force overwrites it") from None
    except OSError as error:
        raise RoomcastError(f"cannot write {file}: {error.strerror}") from error
    print(f"wrote {file}")


def token(
    user: Annotated[str, typer.Option("--user", metavar="ID", help="Id under which the user's events appear.")],
    role: Annotated[
        Literal["reader", "viewer", "moderator", "host", "server"], typer.Option("--role", help="What the user may do.")
    ] = "viewer",
    room: Annotated[
        list[str] | None,
        typer.Option("--room", metavar="ROOM", help="A room it is for; * at the end: all that begin so. None: all rooms."),
    ] = None,
    seconds: Annotated[float, typer.Option("--seconds", min=1, help="How long it is valid.")] = 3600,
    name: Annotated[str, typer.Option("--name", help="Name shown with what the user says.", show_default=False)] = "",
    level: Annotated[int, typer.Option("--level", min=0, help="As the product ranks the user.")] = 0,
    follower: Annotated[bool, typer.Option("--follower", help="The user follows the host.")] = False,
    attribute: Annotated[
        list[str] | None,
        typer.Option("--attribute", metavar="NAME=TEXT", help="Shown with what the user says; may be repeated."),
    ] = None,
    jti: Annotated[str, typer.Option("--jti", help="Its id, by which it can be taken back.", show_default=False)] = "",
    kid: Annotated[
        str, typer.Option("--kid", help="Of access.keys the one to sign with. None: access.secret.", show_default=False)
    ] = "",
    key_file: Annotated[
        Path | None,
        typer.Option("--key-file", metavar="FILE", help="The private key (PEM) of --kid, if that is not a secret."),
    ] = None,
    config: ConfigOption = None,
) -> None:
    """Make a token that says who somebody is and what it may do, signed with the node's access.secret or a key of its own.

    For trying out and for operators: a product's servers make their own, with any library for JSON Web Tokens. It has the
    issuer and the audience that the node asks for (access.issuer, access.audience).
    """
    from engine.config import load
    from engine.tokens import issue

    access = load(config).access
    attributes: dict[str, str] = {}
    for each in attribute or ():
        key, equals, text = each.partition("=")
        if not equals:
            raise typer.BadParameter(f"must be NAME=TEXT, not {each!r}", param_hint="--attribute")
        attributes[key] = text
    private = ""
    if key_file is not None:
        try:
            private = key_file.read_text(encoding="ascii")
        except (OSError, UnicodeDecodeError) as error:
            raise RoomcastError(f"cannot read {key_file}: {getattr(error, 'strerror', None) or 'it is no PEM file'}") from None
    try:
        made = issue(
            access,
            user,
            kid=kid,
            private=private,
            name=name,
            role=role,
            level=level,
            follower=follower,
            rooms=room or (),
            seconds=seconds,
            attributes=attributes or None,
            jti=jti,
        )
    except ValueError as error:
        raise RoomcastError(str(error)) from None
    print(made)
