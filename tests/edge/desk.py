"""Everything of an edge between its sockets and its link, over scripted sockets and a link whose hub is the test.

Owns the fakes' wiring. Every message of the link goes through its serialised form. Asserts nothing.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, TypeVar

import msgpack
import trio
import trio.testing

from engine.edge.admission import key_of
from engine.edge.bearers import Bearers
from engine.edge.requests import Requests
from engine.edge.rooms import Rooms
from engine.edge.session import Refusal, Session
from engine.errors import Code
from engine.link.base import End
from engine.link.memory import memory_link
from engine.link.messages import Down, Frames, OpenRoom, SharedSnapshot, Up, Wants
from engine.schema import Codec, handle_of
from engine.settings import FeedSettings, Settings
from engine.tokens import mint
from engine.ws import Message, Opcode, frame, inflate

from .scripted import FakeSocket, FakeWire, frames_in, viewer

__all__ = ["EPOCH", "HANDLE", "SECRET", "Desk", "Guest", "open_desk", "settings_of"]

ROOM = "room"
HANDLE = handle_of(ROOM)
EPOCH = 5
SECRET = "s" * 32

Kind = TypeVar("Kind")


def settings_of(**sections: dict[str, Any]) -> Settings:
    """Settings with two feeds and a secret, changed by section."""
    settings = Settings(feeds={"readable": FeedSettings(comments_per_second=10), "calm": FeedSettings(kinds=("notice",))})
    settings = replace(settings, access=replace(settings.access, secret=SECRET, anonymous="write"))
    return replace(settings, **{name: replace(getattr(settings, name), **changes) for name, changes in sections.items()})


class DeskWire(FakeWire):
    """Tells the rooms who is gone, as connections do."""

    def __init__(self) -> None:
        super().__init__()
        self.rooms: Rooms
        self.bearers: Bearers

    def _left(self, session: Session) -> None:
        self.bearers.leave(session)
        self.rooms.leave(session)


class Guest:
    """One connection and what it has read."""

    def __init__(self, session: Session, sock: FakeSocket, codec: Codec) -> None:
        self.session = session
        self.sock = sock
        self.codec = codec
        self.at = 0
        self.ref = 0
        self.handle = HANDLE

    def read(self) -> list[list[Any]]:
        """The messages that came since the last look."""
        messages, start = [], self.at
        for opcode, compressed, payload, end in frames_in(self.sock.received[start:]):
            self.at = start + end
            if opcode != Opcode.CLOSE:
                messages.append(msgpack.unpackb(inflate(payload, 1 << 20) if compressed else payload))
        return messages

    def replies(self) -> list[tuple[int, Code]]:
        """Ref and code of the replies among them."""
        return [(message[1], Code(message[2])) for message in self.read() if message[0] == 35]


class Desk:
    """See the module's docstring.

    :ivar ups: what the hub was told, in order.
    :ivar now_ms: the clock.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        # Tokens hold the time of their making.
        self.now_ms = int(time.time() * 1000)
        self.wire = DeskWire()
        self.bearers = self.wire.bearers = Bearers(settings.access, self.wire, lambda: self.now_ms)
        self.rooms = self.wire.rooms = Rooms(settings, self.wire, lambda: self.now_ms, self.bearers)
        self.requests = Requests(settings, self.rooms, self.wire, lambda: self.now_ms, self.bearers)
        self.ups: list[Up] = []
        self.hub: End[Down, Up]
        self._serial = 0
        self.head = 0
        self.wants: list[int] = []

    # -- the hub ------------------------------------------------------------------------------------------------------

    async def run(self, *, task_status: trio.TaskStatus[None]) -> None:
        """Have a hub until it is cut off."""
        edge, self.hub = memory_link(encoded=True)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._hear, self.hub)
            await nursery.start(self.rooms.serve, edge)
            task_status.started()

    async def _hear(self, hub: End[Down, Up]) -> None:
        while messages := await hub.receive():
            self.ups += messages

    async def cut(self) -> None:
        """The link ends."""
        self.hub.close()
        await trio.testing.wait_all_tasks_blocked()

    async def turn(self) -> list[Up]:
        """The end of a turn; return what the hub was told since the last one."""
        self.rooms.turn_over()
        await trio.testing.wait_all_tasks_blocked()
        ups, self.ups = self.ups, []
        for up in ups:
            if isinstance(up, OpenRoom | Wants):
                self.wants = up.variants
        return ups

    async def told(self, kind: type[Kind]) -> list[Kind]:
        """The messages of one kind that the hub was told since the last turn."""
        return [up for up in await self.turn() if isinstance(up, kind)]

    async def tell(self, *messages: Down) -> None:
        """The hub says something."""
        self.hub.send(messages)
        await trio.testing.wait_all_tasks_blocked()

    def _packed(self, message: list[Any]) -> dict[int, bytes]:
        """For every variant the same, but for a mark at its end."""
        return {variant: frame(Opcode.BINARY, msgpack.packb([*message, variant])) for variant in self.wants}

    async def snapshot(self, opening: int = 1) -> None:
        """The answer to an opening, or to new wants."""
        message = [33, HANDLE, ROOM, EPOCH, self.head, 1, [0, 0], 25_000, {}, [], []]
        await self.tell(SharedSnapshot(ROOM, opening, EPOCH, self.head, self._packed(message)))

    async def batch(self, *events: list[Any]) -> None:
        """A batch, and its pass."""
        first, self.head = self.head + 1, self.head + len(events)
        message = [34, HANDLE, EPOCH, first, self.head, 1, list(events), [], [0, 0], {}]
        await self.tell(Frames(ROOM, EPOCH, first, self.head, self._packed(message)))
        for track in self.rooms[ROOM].tracks.values():
            while not track.settled:
                if track.begin():
                    track.step(100)

    # -- viewers ------------------------------------------------------------------------------------------------------

    def connect(self, address: str | None = None) -> Guest:
        """A connection with an open WebSocket."""
        self._serial += 1
        session, sock = viewer(self._serial)
        session.address = key_of(address) if address is not None else None
        self.wire.known[session.viewer] = session
        assert session.codec is not None
        return Guest(session, sock, session.codec)

    def send(self, guest: Guest, *message: Any) -> None:
        """A viewer sends a message."""
        try:
            self.requests.handle(guest.session, Message(Opcode.BINARY, msgpack.packb(message)))
        except Refusal as refusal:
            self.wire.close(guest.session, refusal.code, refusal.reason)

    def ask(self, guest: Guest, kind: int, *fields: Any) -> int:
        """A viewer asks for something about its room; return the ref."""
        guest.ref += 1
        self.send(guest, kind, guest.ref, guest.handle, *fields)
        return guest.ref

    def join(
        self,
        guest: Guest,
        *,
        room: str = ROOM,
        session: str | None = None,
        user: str = "",
        feed: str = "",
        position: int | None = None,
        **claims: Any,
    ) -> Guest:
        """A viewer asks to come in, as a guest or with a token."""
        token = mint(SECRET, user, **claims) if user else None
        epoch, offset = (0, 0) if position is None else (EPOCH, position)
        guest.ref += 1
        guest.handle = handle_of(room)
        self.send(guest, 1, guest.ref, room, epoch, offset, session, None, {}, token, feed)
        return guest

    async def enter(self, user: str = "", *, address: str | None = None, **more: Any) -> Guest:
        """A viewer is in."""
        guest = self.join(self.connect(address), user=user, **more)
        if guest.session.track is None:
            await self.turn()
            await self.snapshot()
        assert guest.session.track is not None, guest.read()
        guest.read()
        return guest


@asynccontextmanager
async def open_desk(**sections: dict[str, Any]) -> AsyncIterator[Desk]:
    """A desk that has a hub."""
    desk = Desk(settings_of(**sections))
    async with trio.open_nursery() as nursery:
        await nursery.start(desk.run)
        yield desk
        nursery.cancel_scope.cancel()
