"""`roomcast gift`, `redpacket`, `givers`: money in a room, as its viewers give and claim it.

Owns how it is told what became of it: one line, or one object for programs.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Literal

import trio
import typer

from engine.commands.arguments import URL, JsonOption, NameOption, RoomArgument, TokenOption, UrlOption

__all__ = ["gift", "givers", "redpacket"]

_MOST = 2**53 - 1
_COUNT_MOST = 1_000_000


def gift(
    room: RoomArgument,
    gift: Annotated[
        str | None, typer.Argument(metavar="[GIFT]", help="Id of the gift; none: show what can be given.", show_default=False)
    ] = None,
    count: Annotated[int, typer.Option("--count", metavar="N", min=1, max=_COUNT_MOST, help="How many of it.")] = 1,
    to: Annotated[str, typer.Option("--to", metavar="ID", help="User who gets it; else the host.", show_default=False)] = "",
    name: NameOption = None,
    url: UrlOption = URL,
    token: TokenOption = None,
    as_json: JsonOption = False,
) -> None:
    """Give something in a room, and print its entry in the ledger, its offset in the room and its price.

    It is printed when it is in the ledger and in the room. Amounts are in the smallest unit of the product's money.

    roomcast gift 大厅

    roomcast gift 大厅 rose --count 9 --token …
    """
    if gift is None:
        trio.run(_catalogue, room, url, token, as_json)
        return
    trio.run(_paid, room, url, name, token, as_json, lambda client: client.give(gift, count, to))


def redpacket(
    room: RoomArgument,
    total: Annotated[
        int | None,
        typer.Argument(metavar="[TOTAL]", min=1, max=_MOST, help="Amount of all shares together.", show_default=False),
    ] = None,
    shares: Annotated[
        int | None,
        typer.Argument(metavar="[SHARES]", min=1, max=_COUNT_MOST, help="How many; each is at least 1.", show_default=False),
    ] = None,
    claim: Annotated[
        int | None,
        typer.Option("--claim", metavar="PACKET", min=1, help="Instead: claim a share of this one.", show_default=False),
    ] = None,
    split: Annotated[
        Literal["random", "equal"], typer.Option("--split", help="By the doubled average (手气红包), or all alike (普通红包).")
    ] = "random",
    opens: Annotated[float, typer.Option("--opens", metavar="SECONDS", min=0, help="From now until it can be claimed.")] = 0.0,
    lasts: Annotated[
        float,
        typer.Option(
            "--lasts", metavar="SECONDS", min=0, help="From then until the rest goes back; 0: as the operator has it."
        ),
    ] = 0.0,
    followers: Annotated[bool, typer.Option("--followers", help="Only who follows the host can claim it.")] = False,
    phrase: Annotated[
        str,
        typer.Option("--phrase", metavar="TEXT", help="Only who has said this in the room can claim it.", show_default=False),
    ] = "",
    text: Annotated[str, typer.Option("--text", metavar="TEXT", help="Shown with it.", show_default=False)] = "",
    name: NameOption = None,
    url: UrlOption = URL,
    token: TokenOption = None,
    as_json: JsonOption = False,
) -> None:
    """Give a red packet (红包) to a room, or claim a share of one, and print its entry in the ledger, its offset in the room
    and its amount.

    The entry of a packet is its number: others claim it by that. How it is divided can be audited when it is over: `roomcast
    ledger verify` recomputes every draw.

    roomcast redpacket 大厅 8888 66 --text 恭喜发财 --token …

    roomcast redpacket 大厅 --claim 12 --token …
    """
    if claim is not None:
        if total is not None:
            raise typer.BadParameter("a packet is given or claimed, not both at once", param_hint="--claim")
        trio.run(_paid, room, url, name, token, as_json, lambda client: client.claim(claim))
        return
    if total is None or shares is None:
        raise typer.BadParameter("TOTAL and SHARES are needed, or --claim PACKET", param_hint="redpacket")
    if shares > total:
        raise typer.BadParameter(f"{total} cannot be divided into {shares} shares of at least 1", param_hint="SHARES")
    conditions: dict[str, Any] = {"followers": followers, "phrase": phrase, "text": text}
    times = {"opens_ms": round(opens * 1000), "lasts_ms": round(lasts * 1000)}
    trio.run(
        _paid, room, url, name, token, as_json, lambda client: client.pack(total, shares, split=split, **times, **conditions)
    )


def givers(
    room: RoomArgument,
    stream: Annotated[
        str | None,
        typer.Option("--stream", metavar="NAME", help="A broadcast of the room; else the present one.", show_default=False),
    ] = None,
    all_time: Annotated[bool, typer.Option("--all-time", help="Of all broadcasts together.")] = False,
    after: Annotated[int, typer.Option("--after", metavar="N", min=0, help="Skip so many.")] = 0,
    limit: Annotated[int, typer.Option("--limit", metavar="N", min=1, max=200, help="At most so many.")] = 20,
    url: UrlOption = URL,
    token: TokenOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show who has given most in a room, corrections included."""
    if all_time and stream is not None:
        raise typer.BadParameter("--stream and --all-time exclude each other", param_hint="--all-time")
    trio.run(_givers, room, url, token, as_json, "" if all_time else stream, after, limit)


async def _paid(
    room: str,
    url: str,
    name: str | None,
    token: str | None,
    as_json: bool,
    what: Callable[[Any], Awaitable[Any]],
) -> None:
    from engine.commands.entering import entering

    async with entering(url, room, name=name, token=token) as client:
        paid = await what(client)
    if as_json:
        print(json.dumps({"entry": paid.entry, "offset": paid.offset, "amount": paid.amount}))
    else:
        print(f"entry {paid.entry}, offset {paid.offset}, amount {paid.amount}")


async def _catalogue(room: str, url: str, token: str | None, as_json: bool) -> None:
    from engine.commands.entering import entering
    from engine.commands.lines import clean

    async with entering(url, room, token=token) as client:
        gifts = await client.gifts()
    for each in gifts:
        if as_json:
            members = {name: getattr(each, name) for name in ("id", "name", "price", "effect", "combo_ms")}
            print(json.dumps(members, ensure_ascii=False))
        else:
            print(f"{each.price:>12,}  {clean(each.id)}  {clean(each.name)}")


async def _givers(room: str, url: str, token: str | None, as_json: bool, stream: str | None, after: int, limit: int) -> None:
    from engine.commands.entering import entering
    from engine.commands.lines import clean

    async with entering(url, room, token=token) as client:
        found = await client.givers(stream, after, limit)
    for place, each in enumerate(found, after + 1):
        if as_json:
            print(json.dumps({"place": place, "user": each.user, "name": each.name, "given": each.given}, ensure_ascii=False))
        else:
            print(f"{place:>4}  {each.given:>12,}  {clean(each.name or each.user)}  ({clean(each.user)})")
