"""What viewers ask for: decodes their messages, checks permission, rate and size, and answers or passes on.

Owns the rules for a viewer's input. Must not know sockets beyond the wire, nor how a room works.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Final

import trio

from engine.access import Permission, Rate, admit, check_room_name
from engine.edge.rooms import Rooms
from engine.edge.session import Refusal, Session, Wire
from engine.errors import Close, Code, Refused
from engine.link.messages import DirectTo, Say
from engine.room.encoder import encode_message
from engine.schema import Comment, Custom, Direct, Join, Leave, Like, Malformed, Ping, Pong, Quality, Reply
from engine.settings import Settings
from engine.text import clean, length, visible
from engine.ws import Message, Opcode

__all__ = ["Requests"]

_FAULTS_MAX: Final = 8
"""Messages that may fail to decode before the connection is closed: a bug in a client shows, a flood does not pay."""


class Requests:
    """See the module's docstring.

    :ivar received: messages decoded so far.
    """

    def __init__(self, settings: Settings, rooms: Rooms, wire: Wire, now_ms: Callable[[], int]) -> None:
        limits = settings.limits
        self._settings = settings
        self._rooms = rooms
        self._wire = wire
        self._now_ms = now_ms
        self._message_rate = Rate(limits.messages_per_second, limits.messages_burst)
        self._comment_rate = Rate(limits.comments_per_second, limits.comments_burst)
        self._like_rate = Rate(limits.likes_per_second, limits.likes_burst)
        self._comment_bytes, self._comment_characters = limits.comment_bytes, limits.comment_characters
        self.received = 0

    def count(self, session: Session, frames: int) -> None:
        """Count frames of any kind. Raises `Refusal` when a viewer floods."""
        if not frames:
            return
        state = self._message_rate.take(session.message_rate, trio.current_time(), frames)
        if state < 0:
            raise Refusal(Close.FLOOD, "too many messages (limits.messages_per_second)")
        session.message_rate = state

    def handle(self, session: Session, event: Message) -> None:
        """Answer one message. Raises `Refusal` if the connection is to be closed."""
        codec = session.codec
        assert codec is not None  # agreed on before the first message
        if (event.opcode == Opcode.TEXT) is not codec.text:
            raise Refusal(Close.UNSUPPORTED, f"{codec.subprotocol} uses {'text' if codec.text else 'binary'} frames")
        self.received += 1
        try:
            message: Any = codec.decode(event.data)
        except Malformed as error:
            session.faults += 1
            if session.faults > _FAULTS_MAX:
                raise Refusal(Close.BAD_MESSAGE, "too many messages that do not decode") from None
            code = Code.UNKNOWN_KIND if error.unknown_kind else Code.INVALID
            self._answer(session, 0, code, str(error))
            return
        try:
            self._handlers[type(message)](self, session, message)
        except Refused as refused:
            self._answer(session, getattr(message, "ref", 0), refused.code, refused.text, refused.retry_after_ms)

    def _answer(self, session: Session, ref: int, code: Code, text: str = "", retry_after_ms: int = 0) -> None:
        assert session.codec is not None
        self._wire.push(session, encode_message(session.codec, Reply(ref, code, 0, text, retry_after_ms)))

    # -- one method for each kind -------------------------------------------------------------------------------------

    def _join(self, session: Session, join: Join) -> None:
        if session.room is not None:
            raise Refused(Code.ALREADY_JOINED, "this connection is in a room; leave it first")
        check_room_name(join.room)
        grant = admit(join, self._settings.access)
        session.secret, session.author, session.role = grant.session, grant.author, grant.role
        self._rooms.join(session, join)

    def _leave(self, session: Session, leave: Leave) -> None:
        self._in_room(session, leave.handle)
        self._rooms.leave(session)
        self._wire.await_join(session)
        self._answer(session, leave.ref, Code.OK)

    def _comment(self, session: Session, comment: Comment) -> None:
        self._say(session, comment.handle, comment.ref, comment.body, Permission.COMMENT)

    def _custom(self, session: Session, custom: Custom) -> None:
        self._say(session, custom.handle, custom.ref, custom.body, Permission.CUSTOM, custom.name)

    def _say(self, session: Session, handle: int, ref: int, body: str, permission: Permission, name: str = "") -> None:
        room = self._in_room(session, handle)
        self._permit(session, permission)
        # UTF-8 takes at most four bytes for a character: most comments are short enough to say so without encoding them.
        if len(body) * 4 > self._comment_bytes and len(body.encode()) > self._comment_bytes:
            raise Refused(Code.TOO_LONG, f"a comment has at most {self._comment_bytes} bytes (limits.comment_bytes)")
        if not name:
            body = self._cleaned(body)
        self._take_comment(session)
        assert session.author is not None
        self._rooms.say(Say(room, session.viewer, session.secret, ref, session.author, body, name))

    def _direct(self, session: Session, direct: Direct) -> None:
        room = self._in_room(session, direct.handle)
        self._permit(session, Permission.DIRECT)
        body = self._cleaned(direct.body)
        self._take_comment(session)
        assert session.author is not None
        self._rooms.direct(DirectTo(room, session.author, direct.user, body))
        self._answer(session, direct.ref, Code.OK)

    def _like(self, session: Session, like: Like) -> None:
        self._in_room(session, like.handle)
        self._permit(session, Permission.LIKE)
        before, session.likes = session.likes, max(session.likes, like.total)
        if before < 0 or like.total <= before:
            return
        now = trio.current_time()
        count = min(like.total - before, self._like_rate.fits(session.like_rate, now))
        if count and session.room is not None:
            session.like_rate = self._like_rate.take(session.like_rate, now, count)
            session.room.likes += count
            self._rooms.touch(session.room)

    def _ping(self, session: Session, ping: Ping) -> None:
        assert session.codec is not None
        self._wire.push(session, encode_message(session.codec, Pong(ping.ref, self._now_ms())))

    def _quality(self, session: Session, quality: Quality) -> None:
        self._in_room(session, quality.handle)
        room = session.room
        if room is not None:
            for index, amount in enumerate((1, quality.received, quality.gaps, quality.reconnects)):
                room.quality[index] += amount
            self._rooms.touch(room)

    # -- checks -------------------------------------------------------------------------------------------------------

    def _in_room(self, session: Session, handle: int) -> str:
        room = session.room
        if room is None or session.track is None or room.handle != handle:
            raise Refused(Code.NOT_JOINED, "this connection has not joined a room with this handle")
        return room.name

    def _permit(self, session: Session, permission: Permission) -> None:
        if permission not in session.role.permissions:
            raise Refused(Code.FORBIDDEN, f"the role {session.role.value} may not {str(permission.name).lower()}")

    def _cleaned(self, body: str) -> str:
        """What is published of a text that somebody wrote. Raises `Refused` for one that shows nothing or is too long."""
        body = clean(body)
        if not visible(body):
            raise Refused(Code.EMPTY, "the comment shows nothing")
        if length(body, self._comment_characters) > self._comment_characters:
            raise Refused(
                Code.TOO_LONG, f"a comment has at most {self._comment_characters} characters (limits.comment_characters)"
            )
        return body

    def _take_comment(self, session: Session) -> None:
        state = self._comment_rate.take(session.comment_rate, trio.current_time())
        if state < 0:
            raise Refused(Code.RATE_LIMITED, "too many comments (limits.comments_per_second)", int(-state * 1000) + 1)
        session.comment_rate = state

    _handlers: ClassVar[dict[type, Callable[[Requests, Session, Any], None]]] = {
        Join: _join,
        Leave: _leave,
        Comment: _comment,
        Custom: _custom,
        Direct: _direct,
        Like: _like,
        Ping: _ping,
        Quality: _quality,
    }
