"""What stands in a path or a query, and what of a caller more than one call looks at.

Owns these parameters. A name in a path may hold slashes (`engine.api.target.SLASH`). Must not know what is done with them.
"""

from __future__ import annotations

import secrets
from typing import Annotated, Any

from fastapi import Depends, Path, Query, Request

from engine.api.context import SLASH, Caller, Retry, RetryKey
from engine.api.models.common import AMOUNT_MAX
from engine.api.problems import Problem
from engine.errors import Code, Refused
from engine.text import clean_line, visible

__all__ = [
    "After",
    "EntryNumber",
    "Everywhere",
    "GiftId",
    "HeldOffset",
    "KeyRetry",
    "Limit",
    "OffsetId",
    "Once",
    "PacketId",
    "StateKey",
    "StateKind",
    "UserPath",
    "caller_of",
    "global_only",
]


def _name(what: str, text: str) -> str:
    text = text.replace(SLASH, "/")
    if not text.isprintable() or clean_line(text) != text or not visible(text):
        raise Refused(Code.INVALID, f"{what}: must be printable, without white space around it")
    return text


# Coroutines all of them: FastAPI calls plain functions in threads.


async def _user(
    user: Annotated[str, Path(description="Id of the user.", min_length=1, max_length=64, examples=["anna"])],
) -> str:
    return _name("user", user)


async def _key(
    key: Annotated[str, Path(description="Key of the entry.", min_length=1, max_length=64, examples=["tea"])],
) -> str:
    return _name("key", key)


async def _kind(
    kind: Annotated[str, Path(description="Kind of the entry.", min_length=1, max_length=32, examples=["card"])],
) -> str:
    return _name("kind", kind)


async def _gift(
    gift: Annotated[str, Path(description="Id of the gift.", min_length=1, max_length=64, examples=["rose"])],
) -> str:
    return _name("gift", gift)


UserPath = Annotated[str, Depends(_user)]
StateKey = Annotated[str, Depends(_key)]
StateKind = Annotated[str, Depends(_kind)]
GiftId = Annotated[str, Depends(_gift)]
OffsetId = Annotated[
    int, Path(ge=1, le=AMOUNT_MAX, description="Offset of an event in the room.", alias="offset", examples=[42])
]
HeldOffset = Annotated[int, Path(ge=1, le=AMOUNT_MAX, description="Offset backstage of a held comment.", alias="offset")]
EntryNumber = Annotated[int, Path(ge=1, le=AMOUNT_MAX, description="Entry of the gift in the room's ledger.", alias="entry")]
PacketId = Annotated[
    int, Path(ge=1, le=AMOUNT_MAX, description="Entry of the red packet in the room's ledger.", alias="packet")
]
After = Annotated[int, Query(ge=0, le=AMOUNT_MAX, description="The `next` of the page before; 0: from the first.")]
Limit = Annotated[int, Query(ge=1, le=1_000, description="At most so many.")]
Everywhere = Annotated[bool, Query(description="In all rooms; for a key that is for all rooms.")]


async def _once(retry: Retry) -> RetryKey:
    return retry or RetryKey("", f"once-{secrets.token_hex(12)}")


async def _key_retry(retry: Retry) -> RetryKey:
    if retry is None:
        raise Problem(
            "a write about money needs an Idempotency-Key: it is the key of the ledger, so that a retry books nothing twice",
            code=Code.INVALID,
            status=400,
        )
    return retry


Once = Annotated[RetryKey, Depends(_once)]
"""The retry key; one that nobody knows if the request has none."""
KeyRetry = Annotated[RetryKey, Depends(_key_retry)]
"""The retry key; the answer is 400 if the request has none."""


def caller_of(request: Request) -> Caller:
    """Who calls."""
    caller: Caller = request.state.caller
    return caller


async def _global_only(request: Request) -> None:
    if not caller_of(request).everywhere:
        raise Refused(Code.FORBIDDEN, "this key or token is for some rooms only")


global_only: Any = Depends(_global_only)
"""Declares that a route changes what all rooms share; after `engine.api.context.authorized`."""
