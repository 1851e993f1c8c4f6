"""`roomcast say`, `like`, `react`, `vote`, `ask`, `notice`: what people do in a room.

Owns how it is told what became of it: the offset on standard output, or one line why there is none.
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from typing import Annotated, Any

import trio
import typer

from engine.commands.arguments import URL, NameOption, RoomArgument, TokenOption, UrlOption

__all__ = ["ask", "like", "notice", "react", "say", "told", "vote"]

TextArgument = Annotated[str, typer.Argument(metavar="TEXT", help="What to say.")]


async def told(url: str, room: str, what: Callable[[Any], Awaitable[int | None]], **identity: Any) -> None:
    """Enter a room, do something there, and print the offset that it was given, if it is one that has any."""
    from engine.commands.entering import entering

    async with entering(url, room, **identity) as client:
        offset = await what(client)
        if offset:
            print(offset)
        elif offset is not None:
            print("roomcast: a moderator will decide", file=sys.stderr)


def say(
    room: RoomArgument,
    text: TextArgument,
    reply_to: Annotated[
        int, typer.Option("--reply-to", metavar="OFFSET", min=0, help="The comment that this answers.", show_default=False)
    ] = 0,
    mention: Annotated[
        list[str] | None, typer.Option("--mention", metavar="ID", help="Somebody it speaks of; may be repeated.")
    ] = None,
    lifetime: Annotated[
        float, typer.Option("--lifetime", metavar="SECONDS", min=0, help="It vanishes after this.", show_default=False)
    ] = 0.0,
    name: NameOption = None,
    url: UrlOption = URL,
    token: TokenOption = None,
) -> None:
    """Say something in a room and print the offset it was given."""

    async def speak(client: Any) -> int:
        offset: int = await client.comment(text, reply_to=reply_to, mentions=mention or (), lifetime_seconds=lifetime)
        return offset

    trio.run(lambda: told(url, room, speak, name=name, token=token))


def like(
    room: RoomArgument,
    count: Annotated[int, typer.Argument(metavar="N", min=1, help="How many likes.")] = 1,
    url: UrlOption = URL,
    token: TokenOption = None,
) -> None:
    """Like a room. What exceeds the node's rate for one viewer does not count."""

    async def tap(client: Any) -> None:
        client.like(count)

    trio.run(lambda: told(url, room, tap, token=token))


def react(
    room: RoomArgument,
    reaction: Annotated[str, typer.Argument(metavar="REACTION", help="One that the room knows, such as 🔥.")],
    count: Annotated[int, typer.Argument(metavar="N", min=1, help="How many of them.")] = 1,
    url: UrlOption = URL,
    token: TokenOption = None,
) -> None:
    """React in a room. Reactions that it does not know (room.reactions), or above the node's rate, do not count."""
    if not 0 < len(reaction) <= 32:
        raise typer.BadParameter("a reaction has 1 to 32 characters", param_hint="REACTION")

    async def tap(client: Any) -> None:
        client.react(reaction, count)

    trio.run(lambda: told(url, room, tap, token=token))


def vote(
    room: RoomArgument,
    kind: Annotated[str, typer.Argument(metavar="KIND", help="poll or question.")],
    key: Annotated[str, typer.Argument(metavar="KEY", help="Which one; `roomcast state ROOM` shows them.")],
    choice: Annotated[int, typer.Argument(metavar="CHOICE", min=0, max=63, help="Option of a poll, counted from 0.")] = 0,
    url: UrlOption = URL,
    token: TokenOption = None,
) -> None:
    """Vote in a poll, or for a question. Everybody has one vote."""

    async def cast(client: Any) -> None:
        await client.vote(kind, key, choice)

    trio.run(lambda: told(url, room, cast, token=token))


def ask(
    room: RoomArgument, text: TextArgument, name: NameOption = None, url: UrlOption = URL, token: TokenOption = None
) -> None:
    """Ask the host a question that others can vote for. `roomcast state ROOM` shows it, with its key."""

    async def question(client: Any) -> None:
        await client.ask(text)

    trio.run(lambda: told(url, room, question, name=name, token=token))


def notice(
    room: RoomArgument,
    text: TextArgument,
    receipts: Annotated[bool, typer.Option("--receipts", help="Count to whom it came and who read it.")] = False,
    deadline: Annotated[
        float,
        typer.Option("--deadline", metavar="SECONDS", min=0, help="After this the node tells who has not read it."),
    ] = 0.0,
    url: UrlOption = URL,
    token: TokenOption = None,
) -> None:
    """Announce something in a room, as its host or a moderator, and print the offset it was given."""

    async def announce(client: Any) -> int:
        offset: int = await client.notice(text, receipts=receipts or deadline > 0, deadline_seconds=deadline)
        return offset

    trio.run(lambda: told(url, room, announce, token=token))
