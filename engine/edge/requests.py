"""What viewers ask for: decodes their messages, checks permission, rate and size, and answers or passes on.

Owns the rules for a viewer's input. Must not know sockets beyond the wire, nor how a room works.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, ClassVar, Final

import msgspec
import trio

from engine.access import Permission, Rate, Role, check_room_name
from engine.edge.bearers import Bearers
from engine.edge.flows import Flows
from engine.edge.glance import is_claim
from engine.edge.rooms import Rooms
from engine.edge.session import Refusal, Session, Wire
from engine.errors import Close, Code, Refused
from engine.link.messages import DirectTo, Request, Say
from engine.room.encoder import DEFLATED, encode_message, variant_of
from engine.schema import (
    Act,
    Ask,
    Change,
    Choose,
    Claim,
    Comment,
    Custom,
    Direct,
    Give,
    Join,
    Leave,
    Like,
    Malformed,
    Moderate,
    Notice,
    Pack,
    Ping,
    Pong,
    Quality,
    ReadGifts,
    ReadGivers,
    ReadHistory,
    ReadState,
    Receipt,
    Renew,
    Reply,
    Vote,
)
from engine.settings import Settings
from engine.text import clean, clean_line, length, visible
from engine.ws import Message, Opcode

__all__ = ["Requests"]

_COMMENTERS: Final = frozenset(role.value for role in Role if Permission.COMMENT in role.permissions)
"""Roles that may. For what comes often: to ask an enumeration takes a microsecond."""
_LIKERS: Final = frozenset(role.value for role in Role if Permission.LIKE in role.permissions)
_GIVERS: Final = frozenset(role.value for role in Role if Permission.GIVE in role.permissions)
_SERVER: Final = Role.SERVER.value
"""The product's own connection: what it may send is bounded by ``limits.pending_events``."""
_FAULTS_MAX: Final = 8
"""Messages that may fail to decode before the connection is closed: a bug in a client shows, a flood does not pay."""
_ATTRIBUTE: Final = "attribute"
"""The kind of state that viewers may change, if their operator lets them (``room.viewer_attributes``)."""


class Requests:
    """See the module's docstring.

    :ivar received: messages decoded so far, or tried to.
    :ivar claims_dropped: claims of red packets that are not open, most of them not decoded.
    :ivar limited: how often a viewer reached a limit, by the path of the setting.
    """

    def __init__(self, settings: Settings, rooms: Rooms, wire: Wire, now_ms: Callable[[], int], bearers: Bearers) -> None:
        limits = settings.limits
        self._rooms = rooms
        self._wire = wire
        self._now_ms = now_ms
        self._bearers = bearers
        self._reads = Flows(limits.reads_per_second, limits.reads_burst)
        self._gifts = Flows(limits.gifts_per_second, limits.gifts_burst)
        self._limit(settings)
        self._feeds = {"": 0} | {name: number for number, name in enumerate(settings.feeds, 1)}
        self.received = self.claims_dropped = 0
        self.limited: dict[str, int] = {}

    def _limit(self, settings: Settings) -> None:
        self._settings = settings
        limits = settings.limits
        self._message_rate = Rate(limits.messages_per_second, limits.messages_burst)
        self._comment_rate = Rate(limits.comments_per_second, limits.comments_burst)
        self._like_rate = Rate(limits.likes_per_second, limits.likes_burst)
        self._comment_bytes, self._comment_characters = limits.comment_bytes, limits.comment_characters
        self._lifetime_ms = int(limits.lifetime_seconds * 1000)

    def adopt(self, settings: Settings, sessions: Iterable[Session]) -> None:
        """Take other settings, of which these connections are to have the benefit as well."""
        old, limits, now = self._settings.limits, settings.limits, trio.current_time()
        self._limit(settings)
        if limits == old:
            return
        self._reads.adopt(limits.reads_per_second, limits.reads_burst, now)
        self._gifts.adopt(limits.gifts_per_second, limits.gifts_burst, now)
        for session in sessions:
            session.message_rate = self._message_rate.settle(session.message_rate, now)
            session.comment_rate = self._comment_rate.settle(session.comment_rate, now)
            session.like_rate = self._like_rate.settle(session.like_rate, now)

    def count(self, session: Session, frames: int) -> None:
        """Count frames of any kind. Raises `Refusal` when a viewer floods."""
        if not frames or session.standing.role == _SERVER:
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
        room = session.room
        if room is not None and not room.packets and is_claim(codec, event.data):
            # Everybody has been told that there is nothing to claim.
            self.claims_dropped += 1
            return
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
            if refused.limit:
                self._reached(refused.limit)
            self._answer(session, getattr(message, "ref", 0), refused.code, refused.text, refused.retry_after_ms)

    def _reached(self, limit: str) -> None:
        self.limited[limit] = self.limited.get(limit, 0) + 1

    def _answer(self, session: Session, ref: int, code: Code, text: str = "", retry_after_ms: int = 0) -> None:
        assert session.codec is not None
        self._wire.push(session, encode_message(session.codec, Reply(ref, code, 0, text, retry_after_ms)))

    # -- one method for each kind -------------------------------------------------------------------------------------

    def _join(self, session: Session, join: Join) -> None:
        if session.room is not None or self._rooms.waits(session):
            raise Refused(Code.ALREADY_JOINED, "this connection is in a room, or asked to be; leave it first")
        check_room_name(join.room)
        grant = self._bearers.admit(session, join)
        variant = self._variant(session, join.feed)
        session.secret, session.author, session.standing = grant.session, grant.author, grant.standing
        session.variant = variant
        self._rooms.join(session, join, grant)

    def _renew(self, session: Session, renew: Renew) -> None:
        room = session.room
        if room is None:
            raise Refused(Code.NOT_JOINED, "this connection has not joined a room; it may join with the token")
        grant = self._bearers.renew(session, room.name, renew.token)
        session.author, session.standing = grant.author, grant.standing
        if session.track is not None:
            room.attendance.renewed(session)
            self._rooms.touch(room)
        self._answer(session, renew.ref, Code.OK)

    def _leave(self, session: Session, leave: Leave) -> None:
        self._in_room(session, leave.handle)
        self._rooms.leave(session)
        self._wire.await_join(session)
        self._answer(session, leave.ref, Code.OK)

    def _choose(self, session: Session, choose: Choose) -> None:
        self._in_room(session, choose.handle)
        self._rooms.choose(session, choose.ref, self._variant(session, choose.feed))

    def _comment(self, session: Session, comment: Comment) -> None:
        room = self._in_room(session, comment.handle)
        if session.standing.role not in _COMMENTERS:
            self._permit(session, Permission.COMMENT)
        body = self._text(comment.body)
        if comment.lifetime_ms > self._lifetime_ms:
            raise Refused(Code.INVALID, f"lifetime_ms is at most {self._lifetime_ms} (limits.lifetime_seconds)")
        if comment.mentions and not all(map(str.isprintable, comment.mentions)):
            raise Refused(Code.INVALID, "mentions are ids of users, which are printable")
        self._take_comment(session)
        assert session.author is not None
        self._rooms.ask(
            Say(
                room,
                session.viewer,
                session.secret,
                comment.ref,
                session.author,
                body,
                standing=session.standing,
                reply_to=comment.reply_to,
                mentions=comment.mentions,
                lifetime_ms=comment.lifetime_ms,
            )
        )

    def _custom(self, session: Session, custom: Custom) -> None:
        room = self._in_room(session, custom.handle)
        self._permit(session, Permission.CUSTOM)
        self._fits(custom.body)
        self._take_comment(session)
        assert session.author is not None
        self._rooms.ask(
            Say(
                room,
                session.viewer,
                session.secret,
                custom.ref,
                session.author,
                custom.body,
                custom.name,
                standing=session.standing,
            )
        )

    def _direct(self, session: Session, direct: Direct) -> None:
        room = self._in_room(session, direct.handle)
        self._permit(session, Permission.DIRECT)
        body = self._cleaned(direct.body)
        self._take_comment(session)
        assert session.author is not None
        self._rooms.direct(DirectTo(room, session.author, direct.user, body, standing=session.standing))
        self._answer(session, direct.ref, Code.OK)

    def _like(self, session: Session, like: Like) -> None:
        self._in_room(session, like.handle)
        if session.standing.role not in _LIKERS:
            self._permit(session, Permission.LIKE)
        room = session.room
        assert room is not None  # it is in
        now = trio.current_time()
        most = self._like_rate.fits(session.like_rate, now)
        count = room.applause.count(session, like, most)
        if count >= most:
            self._reached("limits.likes_per_second")
        if count:
            session.like_rate = self._like_rate.take(session.like_rate, now, count)
            self._rooms.touch(room)

    def _ping(self, session: Session, ping: Ping) -> None:
        assert session.codec is not None
        self._wire.push(session, encode_message(session.codec, Pong(ping.ref, self._now_ms())))

    def _quality(self, session: Session, quality: Quality) -> None:
        self._in_room(session, quality.handle)
        room, track = session.room, session.track
        assert room is not None  # it is in
        assert track is not None
        self._rooms.quality.report(room.meter, session, quality, track.place)

    def _receipt(self, session: Session, receipt: Receipt) -> None:
        self._in_room(session, receipt.handle)
        room, track, author = session.room, session.track, session.author
        assert room is not None  # it is in
        assert track is not None
        assert author is not None
        if 0 < receipt.offset <= track.log.head:
            room.attendance.receipt(author.id, receipt.offset, receipt.read)
            self._rooms.touch(room)

    # -- what the hub decides on --------------------------------------------------------------------------------------

    def _moderate(self, session: Session, act: Moderate) -> None:
        self._act(session, act, Permission.MODERATE)

    def _change(self, session: Session, act: Change) -> None:
        theirs = act.kind == _ATTRIBUTE and self._settings.room.viewer_attributes > 0
        self._act(session, act, Permission.COMMENT if theirs else Permission.LEAD)

    def _notice(self, session: Session, act: Notice) -> None:
        self._act(session, act, Permission.LEAD)

    def _ask(self, session: Session, act: Ask) -> None:
        self._act(session, act, Permission.COMMENT)

    def _vote(self, session: Session, act: Vote) -> None:
        self._act(session, act, Permission.VOTE)

    def _claim(self, session: Session, act: Claim) -> None:
        self._in_room(session, act.handle)
        room = session.room
        assert room is not None  # it is in
        if act.packet in room.packets:
            self._pay(session, act)
        else:
            self.claims_dropped += 1

    def _pack(self, session: Session, act: Pack) -> None:
        phrase, text = clean_line(act.phrase), clean(act.text)
        if act.phrase and not visible(phrase):
            raise Refused(Code.EMPTY, "the phrase shows nothing: nobody could say it")
        self._pay(session, msgspec.structs.replace(act, phrase=phrase, text=text if visible(text) else ""))

    def _pay(self, session: Session, act: Give | Claim | Pack) -> None:
        room = self._in_room(session, act.handle)
        if session.standing.role not in _GIVERS:
            self._permit(session, Permission.GIVE)
        if isinstance(act, Give) and not act.to.isprintable():
            raise Refused(Code.INVALID, "to is the id of a user, which is printable")
        wait_ms = 0 if session.standing.role == _SERVER else self._gifts.take(session.viewer, trio.current_time())
        if wait_ms:
            limit = "limits.gifts_per_second"
            raise Refused(Code.RATE_LIMITED, f"too many gifts ({limit})", wait_ms, limit=limit)
        self._pass_on(session, room, act)

    def _read(self, session: Session, act: ReadHistory | ReadState | ReadGivers | ReadGifts) -> None:
        room = self._in_room(session, act.handle)
        self._take_read(session)
        self._pass_on(session, room, act)

    def _act(self, session: Session, act: Act, permission: Permission) -> None:
        room = self._in_room(session, act.handle)
        self._permit(session, permission)
        if isinstance(act, Notice | Ask):
            act = msgspec.structs.replace(act, body=self._text(act.body))
        elif isinstance(act, Moderate):
            act = msgspec.structs.replace(act, reason=clean_line(act.reason))
        self._take_comment(session)
        if isinstance(act, Change) and act.on_leave and session.room is not None:
            session.room.attendance.mark(session)
        self._pass_on(session, room, act)

    def _pass_on(self, session: Session, room: str, act: Act) -> None:
        assert session.author is not None
        assert session.codec is not None
        self._rooms.ask(
            Request(room, session.viewer, session.secret, session.author, session.standing, session.codec.number, act)
        )

    # -- checks -------------------------------------------------------------------------------------------------------

    def _in_room(self, session: Session, handle: int) -> str:
        room = session.room
        if room is None or session.track is None or room.handle != handle:
            raise Refused(Code.NOT_JOINED, "this connection has not joined a room with this handle")
        return room.name

    def _variant(self, session: Session, feed: str) -> int:
        """Of the frames of a feed, for this connection. Raises `Refused` if there is none of that name."""
        number = self._feeds.get(feed)
        if number is None:
            raise Refused(Code.NOT_FOUND, f"there is no feed {feed!r} (feeds)")
        assert session.codec is not None
        return variant_of(session.codec, bool(session.variant & DEFLATED), number)

    def _permit(self, session: Session, permission: Permission) -> None:
        if permission not in session.role.permissions:
            raise Refused(Code.FORBIDDEN, f"the role {session.role.value} may not {str(permission.name).lower()}")

    def _fits(self, body: str) -> None:
        """Raise `Refused` for a text of too many bytes."""
        # UTF-8 takes at most four bytes for a character: most are short enough to say so without encoding them.
        if len(body) * 4 > self._comment_bytes and len(body.encode()) > self._comment_bytes:
            raise Refused(Code.TOO_LONG, f"a comment has at most {self._comment_bytes} bytes (limits.comment_bytes)")

    def _text(self, body: str) -> str:
        """What is published of a text, its bytes counted as they came. Raises `Refused` as `_fits` and `_cleaned`."""
        self._fits(body)
        return self._cleaned(body)

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
        if session.standing.role == _SERVER:
            return
        state = self._comment_rate.take(session.comment_rate, trio.current_time())
        if state < 0:
            limit = "limits.comments_per_second"
            raise Refused(Code.RATE_LIMITED, f"too many comments ({limit})", int(-state * 1000) + 1, limit=limit)
        session.comment_rate = state

    def _take_read(self, session: Session) -> None:
        if Permission.MODERATE in session.role.permissions:
            return
        wait_ms = self._reads.take(session.viewer, trio.current_time())
        if wait_ms:
            limit = "limits.reads_per_second"
            raise Refused(Code.RATE_LIMITED, f"too many reads ({limit})", wait_ms, limit=limit)

    _handlers: ClassVar[dict[type, Callable[[Requests, Session, Any], None]]] = {
        Join: _join,
        Leave: _leave,
        Renew: _renew,
        Choose: _choose,
        Comment: _comment,
        Custom: _custom,
        Direct: _direct,
        Like: _like,
        Ping: _ping,
        Quality: _quality,
        Receipt: _receipt,
        Moderate: _moderate,
        Change: _change,
        Notice: _notice,
        Vote: _vote,
        Ask: _ask,
        ReadHistory: _read,
        ReadState: _read,
        Give: _pay,
        Claim: _claim,
        Pack: _pack,
        ReadGivers: _read,
        ReadGifts: _read,
    }
