"""What the server keeps and spreads, as bytes: events, totals, amendments.

Owns their formats; ``library.lua`` writes what this reads, but for the events in it. Pure.

A record of events is a version, some numbers, and a body: each event a MessagePack bin, one after the other. In version 2 the
body is compressed (RFC 1950): by the node that publishes, once, and by each node that has the room it is inflated, once. In
between it is stored and spread as it came.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Final, NamedTuple

import msgspec

from engine.brokers.base import Amended, Events, Pending

__all__ = ["Amendment", "Told", "UnknownRecord", "pack_body", "read_message", "read_record"]

_PLAIN: Final = b"1"
_PACKED: Final = b"2"
_TOTALS: Final = b"t1 "
_AMENDED: Final = b"a1 "
_LEVEL: Final = 1
"""Of compression. Higher ones take several times as long for a few percent."""
_BODY_BYTES: Final = 256 << 20
"""Of an inflated body, above anything that a node can have published."""

_decode_bodies: Final = msgspec.msgpack.Decoder(list[bytes]).decode
_encode: Final = msgspec.msgpack.Encoder().encode


class UnknownRecord(Exception):
    """Something was written by a version that this one cannot read."""


class Amendment(NamedTuple):
    """A change of a room's record as spread."""

    epoch: int
    amended: Amended


class Told(NamedTuple):
    """Totals as spread."""

    epoch: int
    version: int
    likes: int
    viewers: int
    withheld: int = 0


def pack_body(events: Sequence[Pending], compress_bytes: int) -> tuple[bytes, bool]:
    """The body of a record, and whether it is compressed.

    :param compress_bytes: size above which that is tried; 0: never.
    """
    body = b"".join([_encode(pending.event) for pending in events])
    if compress_bytes and len(body) > compress_bytes:
        packed = zlib.compress(body, _LEVEL)
        if len(packed) < len(body):
            return packed, True
    return body, False


def read_message(room: str, payload: bytes) -> Events | Told | Amendment:
    """Read what was spread. Raises `UnknownRecord`."""
    try:
        if payload.startswith(_AMENDED):
            return _read_amendment(room, payload)
        if payload.startswith(_TOTALS):
            epoch, version, likes, viewers, *more = map(int, payload.split()[1:])
            return Told(epoch, version, likes, viewers, *more[:1])
    except ValueError as error:
        raise UnknownRecord(f"unreadable: {error}") from error
    return read_record(room, payload)


def _read_amendment(room: str, payload: bytes) -> Amendment:
    _, epoch, revision, kind, size, rest = payload.split(b" ", 5)
    field, value = rest[: int(size)], rest[int(size) :]
    return Amendment(int(epoch), Amended(room, int(revision), field.decode(), value if kind == b"1" else None))


def read_record(room: str, record: bytes) -> Events:
    """Read a record of events. Raises `UnknownRecord`."""
    try:
        version, *numbers, body = record.split(b" ", 5)
        if version not in (_PLAIN, _PACKED):
            raise UnknownRecord(version[:16].decode("ascii", "replace"))
        epoch, first, count, time = map(int, numbers)
        if version == _PACKED:
            body = _inflate(body)
        events = _decode_bodies(_array(count) + body) if count else []
    except (ValueError, OverflowError, zlib.error, msgspec.DecodeError) as error:
        raise UnknownRecord(f"unreadable: {error}") from error
    return Events(room, epoch, first, events, [time] * count)


def _inflate(body: bytes) -> bytes:
    inflater = zlib.decompressobj()
    plain = inflater.decompress(body, _BODY_BYTES)
    if not inflater.eof:
        raise ValueError("a compressed body is cut off or too large")
    return plain


def _array(count: int) -> bytes:
    """Header of a MessagePack array."""
    return b"\xdd" + count.to_bytes(4, "big")
