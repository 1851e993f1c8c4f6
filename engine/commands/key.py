"""`roomcast key`: an API key, shown once, or a secret for what is sent to the product.

Owns what is printed. The key itself is kept nowhere: the config file has its SHA-256.
"""

from __future__ import annotations

import json
import secrets
import sys
from hashlib import sha256
from typing import Annotated, Any, Final, get_args, get_type_hints

import typer

from engine.commands.arguments import JsonOption
from engine.settings import ApiKey

__all__ = ["key"]

_PREFIX: Final = "rc_"
_BYTES: Final = 32
_SCOPES: Final[tuple[str, ...]] = get_args(get_args(get_type_hints(ApiKey)["scopes"])[0])


def key(
    name: Annotated[str, typer.Option("--name", metavar="NAME", help="Names it in logs and in what it does.")] = "backend",
    scope: Annotated[
        list[str] | None,
        typer.Option("--scope", metavar="SCOPE", help=f"What may be done with it: {', '.join(_SCOPES)}. None: everything."),
    ] = None,
    room: Annotated[
        list[str] | None,
        typer.Option("--room", metavar="ROOM", help="A room it is for; * at the end: all that begin so. None: all rooms."),
    ] = None,
    webhooks: Annotated[
        bool, typer.Option("--webhooks", help="Make a secret that signs what is sent to the product (hooks.secret) instead.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Make a key with which the product's servers call the HTTP API.

    It is shown once, on standard error. Standard output gets the lines for the config file, which hold its SHA-256 only:
    roomcast key --name shop >> roomcast.toml
    """
    if webhooks:
        from engine.hooks.signing import make_secret

        _show(as_json, {"secret": make_secret()}, "[hooks]\nsecret = {secret}")
        return
    if not 0 < len(name) <= 64 or not name.isprintable():
        raise typer.BadParameter("must be 1 to 64 printable characters", param_hint="--name")
    wrong = [each for each in scope or () if each not in _SCOPES]
    if wrong:
        raise typer.BadParameter(f"{wrong[0]!r} is none of {', '.join(_SCOPES)}", param_hint="--scope")
    made = _PREFIX + secrets.token_urlsafe(_BYTES)
    facts = {
        "key": made,
        "name": name,
        "sha256": sha256(made.encode()).hexdigest(),
        "scopes": list(dict.fromkeys(scope or ["*"])),
        "rooms": list(dict.fromkeys(room or ["*"])),
    }
    lines = "[[api.keys]]\nname = {name}\nsha256 = {sha256}\nscopes = {scopes}"
    if not as_json:
        # Apart from what goes to the config file, where it must not be.
        print(f"the key, shown once: {made}", file=sys.stderr)
    _show(as_json, facts, lines + ("\nrooms = {rooms}" if room else ""))


def _show(as_json: bool, facts: dict[str, Any], lines: str) -> None:
    from engine.configfile import toml_value

    if as_json:
        print(json.dumps(facts, ensure_ascii=False))
    else:
        print(lines.format(**{each: toml_value(value) for each, value in facts.items()}))
