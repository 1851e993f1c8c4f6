"""`roomcast moderate`: what moderators do to people and to what they said."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import trio
import typer

from engine.commands.arguments import URL, RoomArgument, TokenOption, UrlOption

__all__ = ["moderate"]

Action = Literal[
    "mute",
    "unmute",
    "shadow",
    "unshadow",
    "ban",
    "unban",
    "ban_address",
    "unban_address",
    "kick",
    "delete",
    "delete_user",
    "clear",
    "approve",
    "reject",
]


def moderate(
    room: RoomArgument,
    action: Annotated[Action, typer.Argument(help="What to do.")],
    user: Annotated[
        str, typer.Option("--user", metavar="ID", help="Whom it is about; for addresses also the address.", show_default=False)
    ] = "",
    offset: Annotated[
        int, typer.Option("--offset", min=0, help="What it is about: an event, or what is held backstage.", show_default=False)
    ] = 0,
    seconds: Annotated[
        float, typer.Option("--seconds", min=0, help="How long; 0: until it is taken back.", show_default=False)
    ] = 0.0,
    reason: Annotated[str, typer.Option("--reason", help="For the audit backstage.", show_default=False)] = "",
    everywhere: Annotated[bool, typer.Option("--everywhere", help="In all rooms; for mutes, shadows and bans.")] = False,
    url: UrlOption = URL,
    token: TokenOption = None,
) -> None:
    """Act as a moderator of a room; needs a token of one. Effective at all nodes within a tick, and audited backstage
    (`roomcast tail ROOM#backstage` shows what is held and what was done).

    mute, shadow (nobody else sees what the user says), ban, kick, delete_user: --user. delete: --offset. clear: all comments.
    approve, reject: --offset of the held comment backstage.
    """
    from engine.commands.speak import told

    async def act(client: Any) -> None:
        await client.moderate(action, user=user, offset=offset, seconds=seconds, reason=reason, everywhere=everywhere)

    trio.run(lambda: told(url, room, act, token=token))
