"""What the supervisor and one of its processes say to each other, over an inherited pair of sockets.

Owns the messages and their form, one line of JSON each. Must not know what they bring about. The channel is also the lifeline:
its end tells a child that the supervisor is gone, and the supervisor that a child is.
"""

from __future__ import annotations

import logging
import socket
from contextlib import suppress
from typing import Any, Final

import msgspec
import trio
from msgspec import Struct

from engine.settings import Settings

__all__ = [
    "Admit",
    "Adopt",
    "Adopted",
    "AskReload",
    "Beat",
    "Channel",
    "Drain",
    "Ended",
    "Halt",
    "Halted",
    "Leave",
    "Order",
    "Outcome",
    "Quit",
    "Ready",
    "Report",
    "Start",
]

_RECEIVE: Final = 65_536
_LINE_BYTES: Final = 1 << 20

log = logging.getLogger("roomcast.workers")


# -- from the supervisor ----------------------------------------------------------------------------------------------


class Start(Struct, tag="start", frozen=True):
    """What to be.

    :ivar hub: path of the hub's socket.
    :ivar listeners: inherited descriptors of sockets that listen: an edge's for viewers, the hub's for edges.
    :ivar node: incarnation of the node, the same for all its processes.
    :ivar cpu: the core to stay on; -1: any.
    :ivar waits: whether a hub accepts no edges until `Admit`, because another one still does.
    :ivar api: inherited descriptors of sockets that listen for the hub's HTTP API; none: it has none.
    :ivar viewers: host and port where viewers connect.
    """

    settings: Settings
    hub: str
    listeners: list[int]
    node: str = ""
    cpu: int = -1
    waits: bool = False
    api: list[int] = []
    viewers: tuple[str, int] = ("", 0)


class Admit(Struct, tag="admit", frozen=True):
    """To a hub that waits: accept edges from now on."""


class Adopt(Struct, tag="adopt", frozen=True):
    """Take these settings, of which only those differ that can change while viewers stay. Answered by `Adopted`."""

    settings: Settings


class Outcome(Struct, tag="outcome", frozen=True):
    """What came of `AskReload`, as `engine.reload.Reloaded` has it.

    :ivar number: of the question.
    :ivar faults: as in `engine.reload.ReloadRefused`; ``error`` whatever else was in the way. Without any, it is done.
    """

    number: int
    changed: list[str] = []
    restart: list[str] = []
    faults: list[tuple[str, str]] = []
    error: str = ""


class Halt(Struct, tag="halt", frozen=True):
    """To an edge: the node stops. Accept nobody, go on until the hub has said its last, then tell the viewers to leave, and
    end. Answered by `Halted`."""


class Leave(Struct, tag="leave", frozen=True):
    """It is replaced, and the node goes on. To an edge: accept nobody, tell the viewers to leave, and end. To a hub: accept no
    edges, publish and answer what was accepted, and close the links, which is answered by `Halted`; then end."""


class Drain(Struct, tag="drain", frozen=True):
    """To the hub, when all edges have halted: publish and hand over what was accepted, and tell the edges that it was the
    last."""


class Quit(Struct, tag="quit", frozen=True):
    """End now, whatever is left."""


Order = Start | Admit | Adopt | Outcome | Halt | Leave | Drain | Quit

# -- to the supervisor ------------------------------------------------------------------------------------------------


class Ready(Struct, tag="ready", frozen=True):
    """The process does its work.

    :ivar viewers_max: how many an edge serves at once.
    :ivar link: version of the link that it speaks.
    """

    viewers_max: int = 0
    link: int = 0


class Beat(Struct, tag="beat", frozen=True):
    """The process's loop turns. Sent several times within ``node.hang_seconds``."""


class Adopted(Struct, tag="adopted", frozen=True):
    """The settings hold here.

    :ivar fault: why they do not, and nothing has changed; empty: they do.
    """

    fault: str = ""


class AskReload(Struct, tag="ask_reload", frozen=True):
    """Somebody who has reached this process wants the settings to be read again. Answered by `Outcome`."""

    number: int


class Halted(Struct, tag="halted", frozen=True):
    """An edge accepts nobody any more; a hub spreads nothing any more, either."""


class Ended(Struct, tag="ended", frozen=True):
    """The last message: statistics of the whole life."""

    statistics: dict[str, Any]


Report = Ready | Beat | Adopted | AskReload | Halted | Ended


class Channel:
    """One side.

    :param kind: union of the messages that come.
    """

    def __init__(self, sock: socket.socket, kind: Any) -> None:
        sock.setblocking(False)
        self._stream = trio.SocketStream(trio.socket.from_stdlib_socket(sock))
        self._decode = msgspec.json.Decoder(kind).decode
        self._buffer = b""
        self._lock = trio.Lock()

    async def send(self, message: Order | Report) -> None:
        """Send one message; to somebody who is gone, nothing happens."""
        async with self._lock:
            with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                await self._stream.send_all(msgspec.json.encode(message) + b"\n")

    async def receive(self) -> Any:
        """Return the next message, None when the other side is gone."""
        while b"\n" not in self._buffer:
            try:
                data = await self._stream.receive_some(_RECEIVE)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                return None
            if not data or len(self._buffer) > _LINE_BYTES:
                return None
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        try:
            return self._decode(line)
        except msgspec.MsgspecError as error:
            log.error("channel_broken", extra={"error": str(error)})
            return None

    def close(self) -> None:
        """Let the other side see the end."""
        self._stream.socket.close()
