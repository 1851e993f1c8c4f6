"""Speaking for the product: comments, custom events, notices and likes, one by one or many at once.

Owns these calls. What becomes of a text is for `engine.api.spoken` to say. Must not know how a room works.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec
import trio
from fastapi import APIRouter, Request, Response

from engine.api.context import Engine, Retry, RoomName, allowed, authorized, room_of, sanctioned
from engine.api.models.common import AuthorBody, Position, inlined
from engine.api.models.speech import BatchAnswer, BatchBody, CommentBody, CustomBody, LikesBody, NoticeBody
from engine.api.paths import Once, caller_of
from engine.api.problems import CODES
from engine.api.routes.rooms import location_of
from engine.api.spoken import Spoken, read_batch
from engine.brokers.base import Pending
from engine.errors import Code, Refused
from engine.schema import Author

__all__ = ["router"]

router = APIRouter(prefix="/v1", tags=["speech"])

_PUBLISH: Any = [authorized("publish")]
_STRETCH: Final = 200
"""Events of a batch that are looked at in one go: about a millisecond."""

_encode = msgspec.json.Encoder().encode


@router.post("/rooms/{room}/comments", dependencies=_PUBLISH, status_code=201)
async def post_comment(
    request: Request, response: Response, engine: Engine, room: RoomName, body: CommentBody, retry: Once
) -> Position:
    """Say something. Returns when it is ordered and kept.

    It is cleaned, and bounded in length, as what viewers say; no rule of the room applies: neither its mode and life nor mutes,
    slow mode or word lists.
    """
    spoken = Spoken(engine.settings.limits)
    here = room_of(request, engine, room, _author(body.author))
    lasts = spoken.lasting(body.lifetime_seconds)
    expires = await here.time() + lasts if lasts else 0
    event = spoken.comment(here.author, body.body, body.reply_to, body.mentions, expires)
    offset = await engine.publish(room, event, session=retry.session, ref=1)
    response.headers["Location"] = location_of(room, "comments", offset)
    return Position(offset=offset)


@router.post("/rooms/{room}/events", dependencies=_PUBLISH, status_code=201)
async def post_event(request: Request, engine: Engine, room: RoomName, body: CustomBody, retry: Once) -> Position:
    """Publish an event of the product's own making. Its body is passed on as it is, of at most limits.comment_bytes."""
    here = room_of(request, engine, room, _author(body.author))
    event = Spoken(engine.settings.limits).custom(here.author, body.name, body.body)
    return Position(offset=await engine.publish(room, event, session=retry.session, ref=1))


@router.post("/rooms/{room}/notices", dependencies=_PUBLISH, status_code=201)
async def post_notice(request: Request, engine: Engine, room: RoomName, body: NoticeBody, retry: Once) -> Position:
    """Announce something. Who has not read it at the deadline is told backstage (`notice.unread`)."""
    here = room_of(request, engine, room)
    text = Spoken(engine.settings.limits).text(body.body)
    offset = await here.notice(
        text, receipts=body.receipts, deadline_seconds=body.deadline_seconds, session=retry.session, ref=1
    )
    return Position(offset=offset)


@router.post("/rooms/{room}/likes", dependencies=_PUBLISH, status_code=204)
async def post_likes(engine: Engine, room: RoomName, body: LikesBody, retry: Retry) -> None:
    """Add likes and reactions that were given elsewhere. Returns when they count at all nodes.

    With an Idempotency-Key a retry adds nothing, as long as the broker remembers it: among the last 1,000 of a room.
    """
    if not body.count and not body.reactions:
        raise Refused(Code.INVALID, "count or reactions: nothing to add")
    await engine.applaud(room, body.count, body.reactions, source=retry.session if retry is not None else "")


@router.post(
    "/batch",
    dependencies=_PUBLISH,
    response_model=BatchAnswer,
    openapi_extra={"requestBody": {"required": True, "content": {"application/json": {"schema": inlined(BatchBody)}}}},
)
async def post_batch(request: Request, engine: Engine, retry: Retry) -> Response:
    """Publish comments, custom events and notices of many rooms at once, those of one room in their order.

    What became of each is told for itself; the answer is 200 also when none was published. Nothing at all is published if the
    body cannot be read, if it holds more than api.batch_events, or a room that the key or token is not for, or if the node is
    stopping (503). With an Idempotency-Key a retry publishes only what was not published before.
    """
    settings = engine.settings
    events = read_batch(await request.body(), settings.api.batch_events)
    caller = caller_of(request)
    for room in {event.room for event in events}:
        allowed(caller, room)
        await sanctioned(request, room, speaks=True)
    spoken, session = Spoken(settings.limits), retry.session if retry is not None else ""
    results: list[dict[str, Any]] = [{}] * len(events)
    places: list[int] = []
    accepted: list[tuple[str, Pending]] = []
    for index, event in enumerate(events):
        if index % _STRETCH == _STRETCH - 1:
            # Nobody in a room waits for a large batch to be looked at.
            await trio.lowlevel.checkpoint()
        try:
            author = caller.author if event.author is None else event.author.author()
            if event.author is not None and not caller.names(author):
                raise Refused(Code.FORBIDDEN, "the token is for another user: only an API key names others")
            accepted.append((event.room, Pending(spoken.event(author, event), session, 1 + index if session else 0)))
            places.append(index)
        except Refused as refused:
            results[index] = _problem(refused.code, refused.text, refused.retry_after_ms)
    published = 0
    for index, (code, offset, text, retry_after_ms) in zip(places, await engine.publish_many(accepted), strict=True):
        if code is Code.OK:
            published += 1
            results[index] = {"offset": offset}
        else:
            results[index] = _problem(code, text, retry_after_ms)
    return Response(_encode({"published": published, "results": results}), media_type="application/json")


def _author(body: AuthorBody | None) -> Author | None:
    return body.author() if body is not None else None


def _problem(code: Code, text: str, retry_after_ms: int) -> dict[str, Any]:
    status, title = CODES[code]
    name = code.name.lower()
    told = {"type": f"/docs#{name}", "title": title, "status": status, "detail": text, "name": name, "code": int(code)}
    return {"problem": told | ({"retry_after_ms": retry_after_ms} if retry_after_ms else {})}
