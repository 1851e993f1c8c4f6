"""One viewer's connection: its socket, what is half-sent on it, and who is behind it.

Owns the slots and the rule that frames never interleave: private frames wait until a half-sent frame is complete. Must not
know rooms beyond the place where its cursor belongs, nor what messages mean. One slotted object per viewer and no buffer
while idle: this object times 15,000 is the memory of the process.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from enum import IntEnum
from typing import TYPE_CHECKING, Final, Protocol

from engine.access import Role, Standing
from engine.errors import Close
from engine.schema import Author, Codec
from engine.ws import Parser

if TYPE_CHECKING:
    from engine.edge.room import EdgeRoom
    from engine.edge.track import Track
    from engine.room.log import Entry

__all__ = ["Overflow", "Refusal", "Session", "Stage", "Wire"]


_NOBODY: Final = Standing(Role.READER.value)
"""What somebody is who has not joined."""


class Stage(IntEnum):
    """Where a connection is in its life; it only moves forward."""

    HANDSHAKE = 0
    """Bytes of the PROXY header or the upgrade request are awaited."""
    OPEN = 1
    """The WebSocket is open."""
    CLOSING = 2
    """Our last bytes are written or waiting; the peer's close is awaited, everything else it sends is ignored."""
    CLOSED = 3
    """The socket is closed; the object is only waiting to be forgotten."""


class Overflow(Exception):
    """More private bytes wait for a viewer than it may have."""


class Session:
    """See the module's docstring.

    :ivar viewer: number of this connection, never given again by this edge; its low bits are the descriptor.
    :ivar send: the socket's ``send``, bound once: it is called more often than anything else here.
    :ivar address: key of the viewer's address (`engine.edge.admission`), None if unknown; the proxy's own address, a text,
        until the proxy has told whose connection it is.
    :ivar head: bytes of an incomplete handshake; then the token that came with it, until the viewer has joined with one.
    :ivar variant: of the shared frames that it gets: feed, compression, codec.
    :ivar deadline: time at which the present stage is over; infinity while joined.
    :ivar track: where the cursor belongs; None outside a room.
    :ivar cursor: number of the next entry in the track's log.
    :ivar returned: the log's end when the viewer came in; what is older it may catch up with at leisure.
    :ivar entry: the entry that is half-sent, None at a frame boundary; ``sent`` are its bytes that left.
    :ivar private: private frames that wait, the first possibly half-sent.
    :ivar written: bytes that the socket has taken, handshake included.
    :ivar faults: messages that did not decode; before the upgrade 1 if its address has too many connections.
    :ivar reported: place (`engine.edge.meter`) of the first offset that its reports have not spoken of, by which they are
        bounded; ``report_at`` when the next one counts.
    :ivar message_rate: states of `engine.access.Rate`, as are ``comment_rate`` and ``like_rate``.
    """

    __slots__ = (
        "address",
        "author",
        "codec",
        "comment_rate",
        "cursor",
        "deadline",
        "entry",
        "faults",
        "fd",
        "head",
        "like_rate",
        "likes",
        "message_rate",
        "parser",
        "private",
        "report_at",
        "reported",
        "returned",
        "room",
        "secret",
        "send",
        "sent",
        "sock",
        "stage",
        "standing",
        "track",
        "variant",
        "viewer",
        "written",
    )

    def __init__(self, sock: socket.socket, fd: int, viewer: int, deadline: float) -> None:
        self.sock = sock
        self.fd = fd
        self.send: Callable[[bytes | memoryview], int] = sock.send
        self.viewer = viewer
        self.stage = Stage.HANDSHAKE
        self.deadline = deadline
        self.address: int | str | None = None
        self.head: bytes | None = b""
        self.parser: Parser | None = None
        self.codec: Codec | None = None
        self.variant = 0
        self.room: EdgeRoom | None = None
        self.track: Track | None = None
        self.cursor = self.returned = 0
        self.entry: Entry | None = None
        self.sent = 0
        self.written = 0
        self.private: bytes | None = None
        self.secret = ""
        self.author: Author | None = None
        self.standing = _NOBODY
        self.likes = 0
        self.faults = 0
        self.reported = 0
        self.report_at = 0.0
        self.message_rate = self.comment_rate = self.like_rate = 0.0

    @property
    def role(self) -> Role:
        """What it may do."""
        return Role(self.standing.role)

    @property
    def blocked(self) -> bool:
        """Whether something is half-sent or waits, so that nothing else may be written."""
        return self.entry is not None or self.private is not None

    def push(self, data: bytes, limit: int) -> bool:
        """Write private frames, or queue them behind what is half-sent.

        :param limit: bytes that may wait.
        :returns: whether all was written; if not, the descriptor is to be armed for writing.
        :raises Overflow: too much waits.
        :raises OSError: the connection is broken.
        """
        if self.blocked:
            waiting = data if self.private is None else self.private + data
        else:
            try:
                count = self.send(data)
            except BlockingIOError:
                count = 0
            self.written += count
            if count == len(data):
                return True
            waiting = data[count:]
            if count:
                # Even if it is too much: nobody is to believe that this is a frame boundary.
                self.private = waiting
        if len(waiting) > limit:
            raise Overflow
        self.private = waiting
        return False

    def flush_private(self) -> bool:
        """Write what waits, at a frame boundary; return whether nothing is left. Raises OSError if the connection is broken."""
        if self.private is None:
            return True
        try:
            count = self.send(self.private)
        except BlockingIOError:
            return False
        self.written += count
        if count < len(self.private):
            self.private = self.private[count:]
            return False
        self.private = None
        return True


class Refusal(Exception):
    """The connection is to be closed with a code. Raised by what handles a viewer's input, caught where the socket is."""

    def __init__(self, code: Close | int, reason: str = "") -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class Wire(Protocol):
    """What may be done to a connection by those who do not own its socket."""

    def push(self, session: Session, data: bytes) -> None:
        """Send private frames, at the next frame boundary. A viewer that does not read them is closed."""

    def close(self, session: Session, code: Close, reason: str = "") -> None:
        """Send a close frame and end the connection, at once if half a frame is in its way."""

    def drop(self, session: Session) -> None:
        """End the connection without a word."""

    def arm(self, session: Session, write: bool) -> None:
        """Watch the socket for writability, or not."""

    def await_join(self, session: Session) -> None:
        """Give a viewer who left its room the usual time to join one."""

    def find(self, viewer: int) -> Session | None:
        """The open connection with this number."""
