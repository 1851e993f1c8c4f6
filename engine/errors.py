"""What can go wrong, in numbers a client can act upon and exceptions a caller can catch.

Owns the reply codes, the close codes and the base of all exceptions. Knows no other module.

Both kinds of code come in bands, so that a client written today does the right thing with a code added tomorrow: the
band says whether to try again, the number says why.
"""

from __future__ import annotations

from enum import IntEnum

__all__ = ["Close", "Code", "Refused", "RoomcastError"]


class Code(IntEnum):
    """Code of a reply. 0 is success, 1..99 *the same request may succeed later*, 100..199 *this request never will*, 200..299
    *taken, but not shown to others yet*."""

    OK = 0

    RATE_LIMITED = 1
    """The viewer sent more than its rate; ``retry_after_ms`` says when the next one fits."""
    OVERLOADED = 2
    """The node holds as much unpublished input as it may."""
    UNAVAILABLE = 3
    """The broker or the room is out of reach at the moment."""
    ROOM_FULL = 4
    """The node serves as many rooms, or the room as many viewers, as its operator allows."""

    SLOW_MODE = 5
    """The room is in slow mode; ``retry_after_ms`` says when this viewer may speak again."""
    WITHHELD = 6
    """The room takes no more at the moment; the text names the budget. The same comment may fit a moment later."""
    LEDGER = 7
    """The ledger cannot be written at the moment. If what was asked for is in it nevertheless, a retry with the same key gets
    the first answer."""
    TOO_EARLY = 8
    """The red packet is not open yet; ``retry_after_ms`` says when it is."""

    INVALID = 100
    """The message does not have the documented shape; the text names the field."""
    UNKNOWN_KIND = 101
    """No message of this kind is accepted from a client."""
    NOT_JOINED = 102
    """The handle names no room that this connection has joined."""
    ALREADY_JOINED = 103
    """This connection is in a room already."""
    FORBIDDEN = 104
    """The viewer's role lacks the permission."""
    TOO_LONG = 105
    """A text is longer than the operator allows."""
    EMPTY = 106
    """A text holds nothing visible."""
    BAD_ROOM = 107
    """The room's name is not allowed."""
    CONFLICT = 108
    """The room's state has changed since the revision on which the request builds; or the key of the request was used for
    something else."""
    STATE_FULL = 109
    """The room's state is as large as its operator allows."""
    DUPLICATE = 110
    """This viewer has just said the same."""
    MUTED = 111
    """This viewer may not speak; ``retry_after_ms`` says until when, 0: until it is taken back."""
    BANNED = 112
    """This viewer, or its address, may not enter; ``retry_after_ms`` as with ``MUTED``."""
    BLOCKED = 113
    """The text holds something that the operator does not allow."""
    ROOM_MODE = 114
    """The room's mode does not let this viewer say this; the text names the mode."""
    NOT_FOUND = 115
    """What the request is about is not there, or not any more."""
    ALREADY_VOTED = 116
    """This user has voted already."""
    BAD_TOKEN = 117
    """The token is forged, expired, not for this room, or not readable."""
    UNPAID = 118
    """The product does not let this viewer spend; the text says why. Nothing was booked."""
    CONDITION = 119
    """The viewer does not meet the red packet's condition; the text names it. It may claim again when it does."""
    PACKET_OVER = 120
    """The red packet is empty, expired or cancelled."""
    DECLINED = 121
    """The product does not allow it; the text says why."""

    HELD = 200
    """A moderator will decide."""

    @property
    def retriable(self) -> bool:
        """Whether the same request may succeed later."""
        return 0 < self < 100


class Close(IntEnum):
    """WebSocket close code (RFC 6455 section 7.4), ours in 4000..4999.

    4000..4199 *come back with your position at once* (within the window of ``bye``, if one came), 4200..4399 *come back
    after backing off*, 4400..4599 *do not come back with the same request*.
    """

    NORMAL = 1000
    GOING_AWAY = 1001
    PROTOCOL_ERROR = 1002
    UNSUPPORTED = 1003
    INVALID_TEXT = 1007
    POLICY = 1008
    TOO_BIG = 1009
    INTERNAL = 1011

    SHUTDOWN = 4000
    """The node stops or restarts."""
    LAG = 4001
    """The viewer fell behind the lag limit and the room's policy is ``close``."""
    LOG_FULL = 4002
    """A frame that this viewer had received by half had to leave the log."""

    FLOOD = 4201
    """The viewer kept sending far above its rate."""
    PRIVATE_FULL = 4202
    """Replies to this viewer were not read."""
    TIMEOUT = 4203
    """The viewer did not join in time."""

    BAD_MESSAGE = 4400
    """The viewer sent too many messages that do not decode."""
    KICKED = 4401
    """A moderator sent the viewer out."""
    BANNED = 4402
    """A moderator sent the viewer out, and it may not return before the ban ends."""
    TOKEN_EXPIRED = 4403
    """The viewer's token has expired, and it brought no other in time."""
    TOKEN_REVOKED = 4404
    """The viewer's token was taken back."""

    @property
    def resumable(self) -> bool:
        """Whether a client should come back with its position."""
        return 4000 <= self < 4400 or self in (Close.GOING_AWAY, Close.INTERNAL)


class RoomcastError(Exception):
    """Base of every exception this project raises on purpose."""


class Refused(RoomcastError):
    """A request was answered with an error code.

    :ivar code: why.
    :ivar text: for people; names the field, the value or the setting.
    :ivar retry_after_ms: milliseconds until the same request may succeed, 0 if unknown or never.
    :ivar limit: path of the setting whose limit was reached; empty if it was none that is worth counting.
    """

    def __init__(self, code: Code, text: str = "", retry_after_ms: int = 0, *, limit: str = "") -> None:
        super().__init__(f"{code.name.lower()} ({int(code)}){': ' if text else ''}{text}")
        self.code = code
        self.text = text
        self.retry_after_ms = retry_after_ms
        self.limit = limit
