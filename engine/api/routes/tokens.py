"""Tokens of users: made, for development and small teams, and taken back.

Owns what a caller may make: nobody gives what it has not got. A product's servers make tokens themselves, with any library for
JSON Web Tokens.
"""

from __future__ import annotations

import time
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from engine.access import check_room_name
from engine.api.callers import ROLE_SCOPES
from engine.api.context import Caller, Engine, authorized
from engine.api.problems import Problem
from engine.errors import Code, Refused
from engine.tokens import issue

__all__ = ["Minted", "NewToken", "Revocation", "router"]

router = APIRouter(prefix="/v1/tokens", tags=["tokens"])

_Id = Annotated[str, StringConstraints(min_length=1, max_length=128)]
_Room = Annotated[str, StringConstraints(min_length=1, max_length=128)]
_Small = Annotated[str, StringConstraints(max_length=256)]


class NewToken(BaseModel):
    """What a token is to say."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"user": "anna", "name": "安娜", "rooms": ["大厅"], "seconds": 3600}]}
    )

    user: Annotated[_Id, Field(description="Id under which the user's events appear.")]
    name: Annotated[str, Field(max_length=64, description="Shown with what the user says.")] = ""
    role: Annotated[
        Literal["reader", "viewer", "moderator", "host", "server"],
        Field(description="What the user may do; what the caller itself may not do here it cannot give."),
    ] = "viewer"
    level: Annotated[int, Field(ge=0, le=1_000_000, description="As the product ranks the user.")] = 0
    follower: Annotated[bool, Field(description="The user follows the host.")] = False
    rooms: Annotated[
        list[_Room], Field(max_length=256, description="Where; one that ends in * stands for all that begin so. None: all.")
    ] = []
    seconds: Annotated[float, Field(ge=1, le=31_536_000, description="How long it is valid.")] = 3600
    attributes: Annotated[
        dict[_Id, _Small] | None,
        Field(max_length=8, description="Shown with what the user says; null: what the viewer brings."),
    ] = None
    jti: Annotated[str, Field(max_length=128, description="Id of the token, by which it can be taken back.")] = ""


class Minted(BaseModel):
    """A token."""

    token: str
    expires: Annotated[int, Field(description="Unix milliseconds.")]


class Revocation(BaseModel):
    """Which tokens hold no more: one, or all that a user has."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"user": "anna"}]})

    token: Annotated[str, Field(max_length=256, description="The jti of a token.")] = ""
    user: Annotated[str, Field(max_length=128, description="All tokens of this user that were issued before now.")] = ""
    seconds: Annotated[
        float, Field(ge=1, le=31_536_000, description="How long it is remembered: as long as such tokens are valid.")
    ] = 86_400


@router.post("", status_code=201, dependencies=[authorized("tokens")])
async def mint_token(request: Request, engine: Engine, wanted: NewToken) -> Minted:
    """Make a token, signed with access.secret, for development and small teams."""
    caller: Caller = request.state.caller
    if not caller.scopes.issuperset(ROLE_SCOPES[wanted.role]) and "*" not in caller.scopes:
        raise Refused(Code.FORBIDDEN, f"role: this key or token may do less than a {wanted.role} over HTTP")
    if not wanted.rooms and not caller.everywhere:
        raise Refused(Code.FORBIDDEN, "rooms: this key or token is for some rooms only, so name them")
    for room in wanted.rooms:
        check_room_name(room)
        if not caller.covers(room):
            raise Refused(Code.FORBIDDEN, "rooms: this key or token is not for all of them")
    given: dict[str, Any] = wanted.model_dump(exclude={"user"})
    now = time.time()
    try:
        token = issue(engine.settings.access, wanted.user, **given)
    except ValueError as error:
        raise Problem(str(error), code=Code.INVALID) from None
    return Minted(token=token, expires=int((now + wanted.seconds) * 1000))


@router.post("/revocations", status_code=204, dependencies=[authorized("tokens")])
async def revoke_tokens(request: Request, engine: Engine, revocation: Revocation) -> None:
    """Take tokens back, at all nodes. Who is connected with one is closed (4404)."""
    caller: Caller = request.state.caller
    if bool(revocation.token) == bool(revocation.user):
        raise Refused(Code.INVALID, "either token or user must be given")
    if not caller.everywhere:
        raise Refused(Code.FORBIDDEN, "this key or token is for some rooms only, and tokens may be for others")
    await engine.revoke(token=revocation.token, user=revocation.user, seconds=revocation.seconds)
