"""What the server keeps and spreads, as bytes: events, totals, tallies, amendments.

Owns their formats; ``library.lua`` writes what this reads, but for the events in it. Pure.

A record of events is a version, some numbers, and a body: each event a MessagePack bin, one after the other. In version 2 the
body is compressed (RFC 1950): by the node that publishes, once, and by each node that has the room it is inflated, once. In
between it is stored and spread as it came.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

import msgspec

from engine.brokers.base import Amended, Events, Pending, Totals

__all__ = [
    "Amendment",
    "Counted",
    "Told",
    "UnknownRecord",
    "pack_body",
    "read_counts",
    "read_message",
    "read_record",
    "read_told",
]

_PLAIN: Final = b"1"
_PACKED: Final = b"2"
_TOTALS: Final = b"t2 "
_TALLIES: Final = b"y1 "
_AMENDED: Final = b"a1 "
_LEVEL: Final = 1
"""Of compression. Higher ones take several times as long for a few percent."""
_BODY_BYTES: Final = 256 << 20
"""Of an inflated body, above anything that a node can have published."""

_decode_bodies: Final = msgspec.msgpack.Decoder(list[bytes]).decode
_decode_sums: Final = msgspec.msgpack.Decoder(dict[str, int]).decode
_decode_texts: Final = msgspec.msgpack.Decoder(list[str]).decode
_encode: Final = msgspec.msgpack.Encoder().encode


class UnknownRecord(Exception):
    """Something was written by a version that this one cannot read."""


class Amendment(NamedTuple):
    """A change of a room's record as spread."""

    epoch: int
    amended: Amended


class Told(NamedTuple):
    """Totals as spread.

    :ivar version: larger is newer within an epoch.
    """

    epoch: int
    version: int
    totals: Totals


class Counted(NamedTuple):
    """Tallies as spread: those that have changed after one version, as they are in another.

    :ivar counts: by tally.
    """

    epoch: int
    since: int
    version: int
    counts: dict[str, tuple[int, ...]]


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


def read_message(room: str, payload: bytes) -> Events | Told | Counted | Amendment:
    """Read what was spread. Raises `UnknownRecord`."""
    try:
        if payload.startswith(_AMENDED):
            return _read_amendment(room, payload)
        if payload.startswith(_TOTALS):
            return read_told(room, payload)
        if payload.startswith(_TALLIES):
            return _read_tallies(payload)
    except (ValueError, msgspec.DecodeError) as error:
        raise UnknownRecord(f"unreadable: {error}") from error
    return read_record(room, payload)


def read_told(room: str, payload: bytes) -> Told:
    """Read totals. Raises `ValueError`."""
    _, *numbers, reactions = payload.split(b" ", 9)
    epoch, version, likes, viewers, withheld, withheld_bytes, peak, unique = map(int, numbers)
    sums = _decode_sums(reactions) if reactions else {}
    return Told(epoch, version, Totals(room, likes, viewers, (withheld, withheld_bytes), peak, unique, sums))


def read_counts(texts: Iterable[str]) -> dict[str, tuple[int, ...]]:
    """Read tallies: name, counts, name, counts, and so on. Raises `ValueError`."""
    each = iter(texts)
    return {name: tuple(map(int, counts.split())) for name, counts in zip(each, each, strict=True)}


def _read_tallies(payload: bytes) -> Counted:
    _, epoch, since, version, texts = payload.split(b" ", 4)
    return Counted(int(epoch), int(since), int(version), read_counts(_decode_texts(texts)))


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
