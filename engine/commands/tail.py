"""`roomcast tail`: a room, as it happens."""

from __future__ import annotations

from typing import Annotated

import trio
import typer

from engine.commands.arguments import URL, JsonOption, RoomArgument, TokenOption, UrlOption

__all__ = ["tail"]


def tail(
    room: RoomArgument,
    url: UrlOption = URL,
    token: TokenOption = None,
    feed: Annotated[
        str,
        typer.Option(
            "--feed",
            metavar="NAME",
            help="One of the operator's feeds instead of everything.",
            show_default=False,
        ),
    ] = "",
    as_json: JsonOption = False,
) -> None:
    """Follow a room: print what happens as it comes, and what is missing if anything is. Ends with Ctrl-C.

    Newcomers are shown the last events and what the room is. Lines about money begin with $$. With --json each line is one
    object with its "type": comment, custom, state, notice, moderated, held, presence, gift, combo, correction, packet, share,
    packetend, omitted, gap, counters, direct, snapshot, present (the state, read again after a gap), disconnected, reconnected,
    refusal, unknown.
    """
    trio.run(_tail, room, url, token, feed, as_json)


async def _tail(room: str, url: str, token: str | None, feed: str, as_json: bool) -> None:
    from engine.client import Counters
    from engine.commands.entering import entering
    from engine.commands.lines import as_json as json_of
    from engine.commands.lines import as_text

    async with entering(url, room, patient=True, token=token, feed=feed) as client:
        counters = None
        async for item in client:
            text = json_of(item) if as_json else as_text(item, counters)
            counters = item if isinstance(item, Counters) else counters
            if text:
                print(text, flush=True)
