"""What products say through the API, made an event: the same bounds and the same cleaning as for viewers.

Owns what becomes of a text, and how a batch is read: at tens of thousands of events a second it is decoded by msgspec, once.
Must not know who calls, nor how events are published.

No rule of a room applies to what a product says: mutes, slow mode, word lists, mode and life are for viewers. What could not be
shown is refused nevertheless.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta, Struct

from engine.access import attributes_of
from engine.errors import Code, Refused
from engine.schema import MSGPACK, Author, CommentEvent, CustomEvent, LinkedCommentEvent, NoticeEvent
from engine.schema.fields import Int, Key, Room, Text, User
from engine.settings import LimitSettings
from engine.text import clean, clean_line, length, visible

__all__ = ["BatchEvent", "Spoken", "read_batch"]


class BatchAuthor(Struct, frozen=True, forbid_unknown_fields=True):
    """Whom an event names; as `engine.api.models.common.AuthorBody`."""

    id: User
    name: Key = ""
    attributes: Annotated[
        dict[Annotated[str, Meta(min_length=1, max_length=32)], Annotated[str, Meta(max_length=128)]], Meta(max_length=8)
    ] = {}

    def author(self) -> Author:
        """As events carry it. Raises `Refused`."""
        return Author(
            _identity(self.id),
            _named(self.name) if self.name else "",
            attributes_of(self.attributes),
        )


class BatchEvent(Struct, frozen=True, forbid_unknown_fields=True):
    """As `engine.api.models.speech.BatchEventBody`."""

    room: Room
    type: Literal["comment", "custom", "notice"]
    body: Text
    name: Key = ""
    author: BatchAuthor | None = None
    reply_to: Int = 0
    mentions: Annotated[list[User], Meta(max_length=16)] = []


class _Batch(Struct, frozen=True, forbid_unknown_fields=True):
    events: list[BatchEvent]


_decode: Final = msgspec.json.Decoder(_Batch).decode
_encode: Final = MSGPACK.encode


def read_batch(body: bytes, most: int) -> list[BatchEvent]:
    """The events in the body of a batch. Raises `Refused`.

    :param most: ``api.batch_events``.
    """
    try:
        events = _decode(body).events
    except (ValueError, RecursionError) as error:
        raise Refused(Code.INVALID, str(error)) from None
    if len(events) > most:
        raise Refused(Code.INVALID, f"events: at most {most} (api.batch_events)")
    return events


class Spoken:
    """See the module's docstring. Methods return MessagePack of an event, and raise `Refused`.

    :param limits: of texts.
    """

    __slots__ = ("_bytes", "_characters", "_lifetime_seconds")

    def __init__(self, limits: LimitSettings) -> None:
        self._bytes = limits.comment_bytes
        self._characters = limits.comment_characters
        self._lifetime_seconds = limits.lifetime_seconds

    def lasting(self, seconds: float) -> int:
        """Milliseconds that a comment may be there."""
        if seconds > self._lifetime_seconds:
            raise Refused(Code.INVALID, f"lifetime_seconds: at most {self._lifetime_seconds:g} (limits.lifetime_seconds)")
        return int(seconds * 1000)

    def comment(self, author: Author, body: str, reply_to: int = 0, mentions: Sequence[str] = (), expires: int = 0) -> bytes:
        """A comment.

        :param expires: Unix milliseconds; 0: it stays.
        """
        body = self.text(body)
        # Without a ref: what a user's page has said itself must not be taken for this.
        if reply_to or mentions or expires:
            if not all(map(str.isprintable, mentions)):
                raise Refused(Code.INVALID, "mentions: ids of users are printable")
            return _encode(LinkedCommentEvent(author, 0, body, reply_to, list(mentions), expires))
        return _encode(CommentEvent(author, 0, body))

    def custom(self, author: Author, name: str, body: str) -> bytes:
        """An event of the product's own making."""
        if not name:
            raise Refused(Code.INVALID, "name: a custom event needs one")
        self._fits(body)
        return _encode(CustomEvent(author, 0, name, body))

    def event(self, author: Author, event: BatchEvent) -> bytes:
        """One of a batch."""
        if event.type == "custom":
            if event.reply_to or event.mentions:
                raise Refused(Code.INVALID, "reply_to, mentions: only of a comment")
            return self.custom(author, event.name, event.body)
        if event.name:
            raise Refused(Code.INVALID, "name: only of a custom event")
        if event.type == "comment":
            return self.comment(author, event.body, event.reply_to, event.mentions)
        if event.reply_to or event.mentions:
            raise Refused(Code.INVALID, "reply_to, mentions: only of a comment")
        return _encode(NoticeEvent(author, 0, self.text(event.body)))

    def text(self, body: str) -> str:
        """What is published of a text."""
        self._fits(body)
        body = clean(body)
        if not visible(body):
            raise Refused(Code.EMPTY, "body: shows nothing")
        if length(body, self._characters) > self._characters:
            raise Refused(Code.TOO_LONG, f"body: at most {self._characters} characters (limits.comment_characters)")
        return body

    def _fits(self, body: str) -> None:
        # UTF-8 takes at most four bytes for a character: most are short enough to say so without encoding them.
        if len(body) * 4 > self._bytes and len(body.encode()) > self._bytes:
            raise Refused(Code.TOO_LONG, f"body: at most {self._bytes} bytes (limits.comment_bytes)")


@lru_cache(maxsize=1024)
def _identity(user: str) -> str:
    if not user.isprintable() or clean_line(user) != user or not visible(user):
        raise Refused(Code.INVALID, "author.id: must be printable, without white space around it")
    return user


@lru_cache(maxsize=1024)
def _named(name: str) -> str:
    name = clean_line(name)
    if not visible(name):
        raise Refused(Code.EMPTY, "author.name: shows nothing")
    return name
