"""`roomcast state`: what a room is, shown and changed."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

import trio
import typer

from engine.commands.arguments import URL, JsonOption, RoomArgument, TokenOption, UrlOption

__all__ = ["state"]


def state(
    room: RoomArgument,
    action: Annotated[
        Literal["set", "delete"] | None,
        typer.Argument(
            help="Change instead of show.",
            show_default=False,
        ),
    ] = None,
    kind: Annotated[
        str | None,
        typer.Argument(
            metavar="[KIND]",
            help="attribute, card, poll, question, pin, mode, life.",
            show_default=False,
        ),
    ] = None,
    key: Annotated[
        str | None,
        typer.Argument(
            metavar="[KEY]",
            help='Which one; mode and life have the key "".',
            show_default=False,
        ),
    ] = None,
    value: Annotated[
        str | None,
        typer.Argument(
            metavar="[JSON]",
            help='For set: what changes, such as {"stock": 3}.',
            show_default=False,
        ),
    ] = None,
    expect: Annotated[
        int, typer.Option("--expect", metavar="VERSION", min=-1, help="Refuse if it is at another; 0: if it is there.")
    ] = -1,
    url: UrlOption = URL,
    token: TokenOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what a room is (its mode, cards, polls, questions, pins …), or change it.

    roomcast state 大厅

    roomcast state 大厅 set card tea '{"title": "茶", "price": "¥68"}' --token …

    roomcast state 大厅 delete card tea --token …
    """
    if action is None:
        trio.run(_show, room, url, token, as_json)
        return
    if kind is None or key is None or (value is None) == (action == "set"):
        raise typer.BadParameter("set KIND KEY JSON, or delete KIND KEY", param_hint="state")
    new = _object(value) if value is not None else None

    from engine.commands.speak import told

    async def change(client: Any) -> None:
        await client.change(kind, key, new, expect=expect)

    trio.run(lambda: told(url, room, change, token=token))


def _object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise typer.BadParameter(f"no JSON: {error}", param_hint="JSON") from None
    if not isinstance(value, dict):
        raise typer.BadParameter('an object is needed, such as {"stock": 3}', param_hint="JSON")
    return value


async def _show(room: str, url: str, token: str | None, as_json: bool) -> None:
    from engine.commands.entering import entering
    from engine.commands.lines import entries_as_json

    async with entering(url, room, token=token) as client:
        await client.refresh()
        for entry in entries_as_json(client.state):
            if as_json:
                print(json.dumps(entry, ensure_ascii=False))
            else:
                name = f"{entry['kind']} {entry['key']}".rstrip()
                print(f"{name}  (version {entry['version']})  {json.dumps(entry['value'], ensure_ascii=False)}")
