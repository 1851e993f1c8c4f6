"""What is said, announced and liked.

Owns these shapes. Pure. Those of a batch are documentation: it is read by `engine.api.spoken`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from engine.api.models.common import Answer, AuthorBody, Body, RoomField, UserId

__all__ = ["BatchAnswer", "BatchBody", "CommentBody", "CustomBody", "LikesBody", "NoticeBody"]

TEXT_MAX = 16_384
Text = Annotated[
    str,
    Field(
        max_length=TEXT_MAX,
        description="The text; at most limits.comment_bytes and limits.comment_characters. Published in normal form C, without "
        "what controls a screen or reorders text.",
        examples=["欢迎来到直播间 🎉"],
    ),
]
Raw = Annotated[
    str,
    Field(
        max_length=TEXT_MAX,
        description="At most limits.comment_bytes; passed on as it is.",
        examples=['{"sku": "茶-1", "left": 3}'],
    ),
]
EventName = Annotated[
    str, Field(min_length=1, max_length=64, description="Of the product's own choosing.", examples=["cart.add"])
]
ReplyTo = Annotated[int, Field(ge=0, lt=2**53, description="Offset of the comment that this answers; 0: none.")]
Mentions = Annotated[list[UserId], Field(max_length=16, description="Ids of users that it speaks of.")]
Author = Annotated[AuthorBody | None, Field(description="Whom the event names; left out: the caller.")]


class CommentBody(Body):
    """A comment."""

    body: Text
    author: Author = None
    reply_to: ReplyTo = 0
    mentions: Mentions = Field(default_factory=list)
    lifetime_seconds: float = Field(
        0,
        ge=0,
        le=31_536_000,
        allow_inf_nan=False,
        description="It vanishes from screens and history after this time, at most limits.lifetime_seconds; 0: it stays.",
    )


class CustomBody(Body):
    """An event of the product's own making."""

    name: EventName
    body: Raw
    author: Author = None


class NoticeBody(Body):
    """An announcement."""

    body: Text
    receipts: bool = Field(False, description="Clients are to tell that they have it, and that it was read.")
    deadline_seconds: float = Field(
        0,
        ge=0,
        le=2_678_400,
        allow_inf_nan=False,
        description="With receipts: when the product is told who has not read it; 0: never.",
    )


class LikesBody(Body):
    """Likes and reactions that were given elsewhere."""

    count: int = Field(0, ge=0, le=1_000_000, description="Likes.", examples=[25])
    reactions: Annotated[
        dict[Annotated[str, Field(min_length=1, max_length=32)], Annotated[int, Field(ge=1, le=1_000_000)]],
        Field(max_length=16, description="Of those in room.reactions.", examples=[{"🔥": 3}]),
    ] = Field(default_factory=dict)


class BatchEventBody(Body):
    """One event of a batch."""

    room: RoomField
    type: Literal["comment", "custom", "notice"] = Field(description="A notice in a batch asks for no receipts.")
    body: Text
    name: str = Field("", max_length=64, description="Of a custom event; others have none.")
    author: Author = None
    reply_to: ReplyTo = 0
    mentions: Mentions = Field(default_factory=list)


class BatchBody(Body):
    """Events of any number of rooms."""

    events: list[BatchEventBody] = Field(description="At most api.batch_events. Those of one room are published in this order.")


class BatchResult(Answer):
    """What became of one event: either an offset, or a problem."""

    offset: int | None = Field(None, description="Of the event in its room.")
    problem: dict[str, Any] | None = Field(None, description="Why it was not published, as problem details (RFC 9457).")


class BatchAnswer(Answer):
    """What became of each event, in the order of the request."""

    published: int = Field(description="How many have an offset.")
    results: list[BatchResult]
