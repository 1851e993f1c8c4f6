"""Finished frames without the events that are gone: what a log does to its batches when something in them is deleted.

Owns the way from bytes to bytes. Pure. Must not know who asked, nor which frames there are: whoever holds them says which.
Whatever it does not understand, elements at the end of a message included, it leaves as it is. So it does with money, whoever
asks: what was given and to whom is nothing that somebody said.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgspec
from msgspec import Raw

from engine import ws
from engine.schema import MONEY, MSGPACK, Batch, Codec, EventKind, OmittedEvent, Snapshot

__all__ = ["compress", "redact"]

_BATCH: Final = Batch.__struct_config__.tag
_BATCH_EPOCH, _BATCH_FIRST, _BATCH_EVENTS = 2, 3, 6
_SNAPSHOT: Final = Snapshot.__struct_config__.tag
_SNAPSHOT_EPOCH, _SNAPSHOT_RECENT = 3, 10
_RECENT_OFFSET, _RECENT_EVENT = 0, 2
_LENGTH_16: Final = 126
_LENGTH_64: Final = 127


class _Reader:
    """Takes arrays of one codec apart, and leaves their elements encoded."""

    def __init__(self, module: Any) -> None:
        self.array = module.Decoder(list[Raw]).decode
        self.number = module.Decoder(int).decode


_MSGPACK: Final = _Reader(msgspec.msgpack)
_JSON: Final = _Reader(msgspec.json)


def redact(frames: bytes, codec: Codec, epoch: int, offsets: Sequence[int], reason: int) -> bytes:
    """The same frames, with a tombstone in place of each event at these offsets of an epoch; from snapshots, they vanish. What
    carries no event already stays as it is.

    :param frames: whole, uncompressed server frames (RFC 6455 section 5.2), one after the other.
    :param offsets: first and last of each stretch, ascending, one after the other.
    :param reason: `engine.schema.OmittedReason`.
    """
    reader = _MSGPACK if codec is MSGPACK else _JSON
    tombstone = Raw(codec.encode(OmittedEvent(reason, 1)))
    parts: list[bytes] = []
    for opcode, payload in _messages(frames):
        fields: list[Any] = reader.array(payload)
        kind = reader.number(fields[0])
        if kind == _BATCH and reader.number(fields[_BATCH_EPOCH]) == epoch:
            first = reader.number(fields[_BATCH_FIRST])
            events = _without(reader.array(fields[_BATCH_EVENTS]), first, offsets, tombstone, reader)
            fields[_BATCH_EVENTS] = Raw(codec.encode(events))
        elif kind == _SNAPSHOT and reader.number(fields[_SNAPSHOT_EPOCH]) == epoch and len(fields) > _SNAPSHOT_RECENT:
            recent = [one for one in reader.array(fields[_SNAPSHOT_RECENT]) if not _goes(reader.array(one), offsets, reader)]
            fields[_SNAPSHOT_RECENT] = Raw(codec.encode(recent))
        parts.append(ws.frame(opcode, codec.encode(fields)))
    return b"".join(parts)


def compress(frames: bytes) -> bytes:
    """The same frames, each compressed (RFC 7692) if that makes it smaller."""
    parts: list[bytes] = []
    for opcode, payload in _messages(frames):
        plain, deflated = ws.frame(opcode, payload), ws.frame(opcode, ws.deflate(payload), compressed=True)
        parts.append(min(plain, deflated, key=len))
    packed = b"".join(parts)
    return packed if len(packed) < len(frames) else frames


def _without(events: list[Raw], first: int, offsets: Sequence[int], tombstone: Raw, reader: _Reader) -> list[Raw]:
    """The events of a batch that begins at ``first``, with tombstones."""
    kept: list[Raw] = []
    offset = first
    for event in events:
        fields = reader.array(event)
        kind = reader.number(fields[0])
        if kind == EventKind.OMITTED:
            kept.append(event)
            offset += reader.number(fields[2])
            continue
        kept.append(tombstone if kind not in MONEY and _among(offset, offsets) else event)
        offset += 1
    return kept


def _goes(recent: list[Raw], offsets: Sequence[int], reader: _Reader) -> bool:
    """Whether an event of a snapshot is gone."""
    if not _among(reader.number(recent[_RECENT_OFFSET]), offsets):
        return False
    return reader.number(reader.array(recent[_RECENT_EVENT])[0]) not in MONEY


def _among(offset: int, offsets: Sequence[int]) -> bool:
    return any(offsets[at] <= offset <= offsets[at + 1] for at in range(0, len(offsets), 2))


def _messages(frames: bytes) -> Iterator[tuple[int, bytes]]:
    """Opcode and payload of each frame."""
    at = 0
    while at < len(frames):
        size, start = frames[at + 1], at + 2
        if size >= _LENGTH_16:
            start += 8 if size == _LENGTH_64 else 2
            size = int.from_bytes(frames[at + 2 : start], "big")
        yield frames[at] & 0x0F, frames[start : start + size]
        at = start + size
