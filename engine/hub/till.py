"""What one room's hub knows of the room's money: what its stream has shown, who gave most, which red packets are open.

Owns these, from the room's events and its record. Pure. Must not know the ledger, nor who is told.
"""

from __future__ import annotations

from typing import Final

import msgspec

from engine.hub.entries import Entries
from engine.hub.givers import Board
from engine.hub.known import Known, entry_of
from engine.hub.phrases import Phrases
from engine.hub.rules import kind_of
from engine.room.tail import tombstone
from engine.schema import CorrectionEvent, EventKind, GiftEvent, OmittedReason, PacketEndEvent, PacketEvent

__all__ = ["Till"]

_gift: Final = msgspec.msgpack.Decoder(GiftEvent).decode
_correction: Final = msgspec.msgpack.Decoder(CorrectionEvent).decode
_packet: Final = msgspec.msgpack.Decoder(PacketEvent).decode
_end: Final = msgspec.msgpack.Decoder(PacketEndEvent).decode
_comment: Final = msgspec.msgpack.Decoder().decode
_KNOWN: Final = tombstone(OmittedReason.KNOWN)


class Till:
    """See the module's docstring.

    :ivar known: entries that the stream has shown.
    :ivar packets: entries of the red packets that are open.
    :ivar over: those of them that are known to be over, although everybody has yet to be told.
    :ivar board: who gave most in the present stream.
    :ivar phrases: who has said what red packets ask for.
    """

    __slots__ = ("board", "known", "over", "packets", "phrases")

    def __init__(self) -> None:
        self.known = Known()
        self.packets: frozenset[int] = frozenset()
        self.over: set[int] = set()
        self.board = Board()
        self.phrases = Phrases()

    def hear(self, offset: int, event: bytes) -> bytes:
        """An event of the room's stream; returns what is to be shown in its place: itself, or a tombstone if its entry has been
        shown before."""
        kind = kind_of(event)
        if kind == EventKind.COMMENT:
            if self.phrases:
                self.listen(offset, event)
            return event
        entry = entry_of(event)
        if entry is None:
            return event
        if not self.known.new(entry):
            return _KNOWN
        if kind == EventKind.GIFT:
            gift = _gift(event)
            self.board.gave(entry, gift.author.id, gift.author.name, gift.given, gift.stream)
        elif kind == EventKind.CORRECTION:
            self.board.corrected(entry, _correction(event).stream)
        elif kind == EventKind.PACKET:
            packet = _packet(event)
            if packet.phrase:
                self.phrases.watch(entry, packet.phrase, offset)
        elif kind == EventKind.PACKET_END:
            self.phrases.unwatch(_end(event).packet)
        return event

    def listen(self, offset: int, event: bytes) -> None:
        """Somebody has said something; perhaps what a red packet asks for."""
        if kind_of(event) == EventKind.COMMENT:
            _, author, _, body = _comment(event)[:4]
            self.phrases.hear(offset, author[0], body)

    def amend(self, entries: Entries) -> bool:
        """The room's record may have changed; returns whether other red packets are open."""
        self.board.turn(entries.stream)
        packets = frozenset(int(each.key) for each in entries.of_kind("packet") if each.key.isdecimal())
        if packets == self.packets:
            return False
        self.over &= packets
        self.packets = packets
        return True
