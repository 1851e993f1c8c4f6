"""What the console needs beside what everybody has: passes into rooms where no token can be signed, and advice.

Owns these calls. A pass is a secret, so that its answer is not remembered for retries: whoever tries again gets another one.
"""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Query, Request

from engine.api.context import Caller, Engine, RoomName, allowed, authorized, sanctioned
from engine.api.models.console import AdviceLanguage, AdvisedAnswer, PassAnswer, PassBody
from engine.api.paths import caller_of
from engine.api.retries import unrepeatable
from engine.backend import Backend
from engine.errors import Code, Refused
from engine.hub.passes import CONNECTED_SECONDS
from engine.schema import BACKSTAGE, CONSOLE
from engine.tokens.passes import holder_of

__all__ = ["router"]

router = APIRouter(tags=["node"])


@router.post("/v1/passes", status_code=201, dependencies=[authorized("node:read")])
async def make_pass(request: Request, engine: Engine, wanted: PassBody) -> PassAnswer:
    """Make a pass into the room of the figures, which nodes tell there every second, or into a room for moderating there.

    It goes where a token does when a viewer joins, at any node. It lets in for a minute; who finds it unknown (the edge has not
    heard of it yet) tries again after a second. 64 can be out at once for one key or user, and
    256 of all nodes together; beyond it the answer is 429.
    """
    caller = caller_of(request)
    if wanted.room is not None:
        return await _moderating(request, engine, wanted.room)
    if not caller.everywhere:
        raise Refused(Code.FORBIDDEN, "this key or token is for some rooms only, and the figures are of all")
    return await _made(request, engine, caller, CONSOLE)


@router.post("/v1/rooms/{room}/passes", status_code=201, dependencies=[authorized("moderate")])
async def make_room_pass(request: Request, engine: Engine, room: RoomName) -> PassAnswer:
    """Make a pass into a room and the one behind it, for moderating there. See `POST /v1/passes`."""
    return await _moderating(request, engine, room)


async def _moderating(request: Request, engine: Backend, room: str) -> PassAnswer:
    caller = caller_of(request)
    if not caller.may("moderate"):
        raise Refused(Code.FORBIDDEN, "a pass into a room needs the scope moderate")
    allowed(caller, room)
    room = room.removesuffix(BACKSTAGE)
    await sanctioned(request, room, speaks=False)
    return await _made(request, engine, caller, room)


async def _made(request: Request, engine: Backend, caller: Caller, room: str) -> PassAnswer:
    unrepeatable(request)
    claims = caller.claims
    if claims is None:
        made = await engine.make_pass(holder_of(caller.name), room, name=caller.name)
    else:
        # It does not outlive the token with which it was asked for, and is taken back with it.
        seconds = min(CONNECTED_SECONDS, max(claims.exp - time.time(), 1.0))
        author, level = caller.author, caller.standing.level
        made = await engine.make_pass(author.id, room, name=author.name, level=level, jti=claims.jti, seconds=seconds)
    return PassAnswer(url=engine.viewers_url(), room=room, token=made.text, expires=made.expires_ms, ends=made.ends_ms)


@router.get("/v1/node/advice", dependencies=[authorized("node:read")])
async def read_advice(
    request: Request,
    engine: Engine,
    seconds: Annotated[
        float, Query(ge=1, le=900, allow_inf_nan=False, description="How far to look back, at most to when the node started.")
    ] = 60,
    room: Annotated[str, Query(max_length=128, description="What limits this room; empty: the node.", examples=["大厅"])] = "",
    language: Annotated[
        AdviceLanguage,
        Query(description="That advice is told in. Rules, paths and what is pasted into the config file have none."),
    ] = "en",
) -> AdvisedAnswer:
    """What limits the node, or a room, by what has happened lately; how that can be seen, and what to change."""
    caller = caller_of(request)
    if room:
        allowed(caller, room)
    # What is said of the node may name rooms in its evidence, and it need not be this caller's to know that there are such.
    advised = await engine.advice(room, seconds, covers=caller.covers, language=language)
    mine = [each for each in advised.advice if caller.everywhere or not each.room or caller.covers(each.room)]
    return AdvisedAnswer.model_validate({"since_seconds": advised.since_seconds, "advice": [asdict(each) for each in mine]})
