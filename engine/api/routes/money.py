"""Gifts, red packets and leaderboards.

Owns these calls. What is booked, and how, is for the ledger. Every write that books something on its own needs an
Idempotency-Key: it is the key of the ledger, for good, so that neither a retry nor a node that dies in between books twice.
"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from engine.api.context import Engine, RoomName, authorized, room_of
from engine.api.models.money import (
    BookedAnswer,
    CatalogueAnswer,
    ClaimBody,
    CorrectionBody,
    GiftAnswer,
    GiftBody,
    GiverAnswer,
    GiversAnswer,
    OfferBody,
    PacketAnswer,
    PacketBody,
    PacketsAnswer,
    RefundBody,
    author_of,
)
from engine.api.openapi import KEY_NEEDED
from engine.api.paths import After, EntryNumber, GiftId, KeyRetry, Limit, PacketId, global_only
from engine.errors import Code, Refused
from engine.ledger.values import Booked, Gift

__all__ = ["router"]

router = APIRouter(prefix="/v1", tags=["money"])

_READ: Any = [authorized("money:read")]
_WRITE: Any = [authorized("money:write")]
_KEYED: Any = {KEY_NEEDED: True}
_CATALOGUE: Any = [authorized("money:write"), global_only]


# -- the catalogue ----------------------------------------------------------------------------------------------------


@router.get("/gifts", dependencies=_READ)
async def list_gifts(engine: Engine) -> CatalogueAnswer:
    """What can be given, cheapest first."""
    return CatalogueAnswer(gifts=[_gift(gift) for gift in engine.gifts()])


@router.put(
    "/gifts/{gift}",
    dependencies=_CATALOGUE,
    responses={201: {"model": GiftAnswer, "description": "Could not be given before."}},
)
async def put_gift(response: Response, engine: Engine, gift: GiftId, body: OfferBody) -> GiftAnswer:
    """Let a gift be given in all rooms, at other nodes within seconds, or replace it, also one of the config file."""
    if all(each.id != gift for each in engine.gifts()):
        response.status_code = 201
        response.headers["Location"] = "/v1/gifts"
    offered = Gift(gift, body.name, body.price, body.effect, int(body.combo_seconds * 1000))
    await engine.offer_gift(offered)
    return _gift(offered)


@router.delete("/gifts/{gift}", dependencies=_CATALOGUE, status_code=204)
async def delete_gift(engine: Engine, gift: GiftId) -> None:
    """Let a gift that was offered here not be given any more; those of the config file stay."""
    await engine.withdraw_gift(gift)


def _gift(gift: Gift) -> GiftAnswer:
    return GiftAnswer(id=gift.id, name=gift.name, price=gift.price, effect=gift.effect, combo_seconds=gift.combo_ms / 1000)


# -- gifts ------------------------------------------------------------------------------------------------------------


@router.post("/rooms/{room}/gifts", dependencies=_WRITE, status_code=201, openapi_extra=_KEYED)
async def give(request: Request, engine: Engine, room: RoomName, body: GiftBody, retry: KeyRetry) -> BookedAnswer:
    """Let a user give something that is paid. Returns when it is in the ledger and in the room."""
    here = room_of(request, engine, room)
    return _booked(await here.gift(author_of(body.user), body.gift, body.count, to=body.to, key=retry.key))


@router.post("/rooms/{room}/gifts/{entry}/refunds", dependencies=_WRITE, status_code=201, openapi_extra=_KEYED)
async def refund_gift(
    request: Request, engine: Engine, room: RoomName, entry: EntryNumber, body: RefundBody, retry: KeyRetry
) -> BookedAnswer:
    """Give back a gift, or a part of it, as an entry of its own."""
    here = room_of(request, engine, room)
    return _booked(await here.refund(entry, body.amount, reason=body.reason, key=retry.key))


@router.post("/rooms/{room}/gifts/{entry}/corrections", dependencies=_WRITE, status_code=201, openapi_extra=_KEYED)
async def correct_gift(
    request: Request, engine: Engine, room: RoomName, entry: EntryNumber, body: CorrectionBody, retry: KeyRetry
) -> BookedAnswer:
    """Change what a gift was worth by an entry of its own."""
    if not body.amount:
        raise Refused(Code.INVALID, "amount: 0 changes nothing")
    here = room_of(request, engine, room)
    return _booked(await here.correct(entry, body.amount, reason=body.reason, key=retry.key))


# -- red packets ------------------------------------------------------------------------------------------------------


@router.post("/rooms/{room}/red-packets", dependencies=_WRITE, status_code=201, openapi_extra=_KEYED)
async def make_packet(request: Request, engine: Engine, room: RoomName, body: PacketBody, retry: KeyRetry) -> BookedAnswer:
    """A red packet that is paid; its `entry` names it from now on."""
    booked = await room_of(request, engine, room).red_packet(
        author_of(body.user),
        body.total,
        body.shares,
        split=body.split,
        opens_seconds=body.opens_seconds,
        lasts_seconds=body.lasts_seconds,
        followers=body.followers,
        phrase=body.phrase,
        text=body.text,
        key=retry.key,
    )
    return _booked(booked)


@router.get("/rooms/{room}/red-packets", dependencies=_READ)
async def list_packets(request: Request, engine: Engine, room: RoomName) -> PacketsAnswer:
    """Red packets that are open, oldest first."""
    state = await room_of(request, engine, room).state()
    packets = sorted((int(key), value) for (kind, key), value in state.items() if kind == "packet")
    return PacketsAnswer(packets=[_packet(number, value) for number, value in packets])


def _packet(number: int, value: dict[str, Any]) -> PacketAnswer:
    user, name = value["author"]
    return PacketAnswer.model_validate({**value, "packet": number, "user": user, "name": name})


@router.post("/rooms/{room}/red-packets/{packet}/claims", dependencies=_WRITE)
async def claim_share(request: Request, engine: Engine, room: RoomName, packet: PacketId, body: ClaimBody) -> BookedAnswer:
    """A share of a red packet for a user. A user has one: another claim gets the first answer, with `repeated`."""
    here = room_of(request, engine, room)
    return _booked(await here.claim(author_of(body.user), packet, follower=body.follower))


@router.delete("/rooms/{room}/red-packets/{packet}", dependencies=_WRITE)
async def cancel_packet(request: Request, engine: Engine, room: RoomName, packet: PacketId) -> BookedAnswer:
    """End a red packet before its time; the `amount` goes back to who made it. One that has ended gets the first answer."""
    return _booked(await room_of(request, engine, room).cancel_packet(packet))


def _booked(booked: Booked) -> BookedAnswer:
    entry = booked.entry
    return BookedAnswer(
        entry=entry.number, epoch=entry.epoch, offset=entry.offset, amount=booked.amount, repeated=booked.repeated
    )


# -- leaderboards -----------------------------------------------------------------------------------------------------


@router.get("/rooms/{room}/givers", dependencies=_READ)
async def list_givers(
    request: Request,
    engine: Engine,
    room: RoomName,
    stream: Annotated[
        str | None, Query(max_length=64, description="Name of a broadcast; left out: the present one; empty: of all time.")
    ] = None,
    after: After = 0,
    limit: Limit = 100,
) -> GiversAnswer:
    """Who gave most, most first."""
    found = await room_of(request, engine, room).givers(stream, after=after, limit=limit + 1)
    givers = [GiverAnswer(user=each.user, name=each.name, given=each.given) for each in found[:limit]]
    return GiversAnswer(givers=givers, next=after + limit if len(found) > limit else None)
