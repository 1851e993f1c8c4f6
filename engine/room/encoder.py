"""Batches and snapshots as finished WebSocket frames, each variant at most once.

Owns the key of a shared frame and the way from events to bytes. A frame depends on the codec and on compression, never on
the viewer.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

import msgspec
from msgspec import Raw

from engine import ws
from engine.room.batcher import Collected
from engine.schema import CODECS, MSGPACK, Batch, Codec, ServerMessage

__all__ = [
    "DEFLATED",
    "PLAIN_VARIANTS",
    "encode_batch",
    "encode_message",
    "encode_shared",
    "frame_of",
    "plain",
    "variant_of",
]

DEFLATED: Final = 2
"""Bit of a variant's number: the payload is compressed (RFC 7692). The bit below is the codec's number."""
PLAIN_VARIANTS: Final = tuple(codec.number for codec in CODECS)
_WORTH_DEFLATING: Final = 128
"""Payloads below this many bytes grow or hardly shrink; the plain frame serves the compressed variant too."""

_decode_any = msgspec.msgpack.Decoder().decode
_encode_json = msgspec.json.Encoder().encode


def variant_of(codec: Codec, deflate: bool) -> int:
    """Number of the variant for viewers of a codec, with or without permessage-deflate."""
    return codec.number | (DEFLATED if deflate else 0)


def plain(variant: int) -> int:
    """The same variant without compression; a viewer of the compressed one can read it too."""
    return variant & ~DEFLATED


def frame_of(codec: Codec, payload: bytes) -> bytes:
    """A finished, uncompressed frame of a codec's payload."""
    return ws.frame(ws.Opcode.TEXT if codec.text else ws.Opcode.BINARY, payload)


def encode_message(codec: Codec, message: ServerMessage) -> bytes:
    """A finished, uncompressed frame of one message, for a single viewer."""
    return frame_of(codec, codec.encode(message))


def _frames(payloads: dict[int, bytes], variants: Collection[int]) -> dict[int, bytes]:
    frames: dict[int, bytes] = {}
    for number, payload in payloads.items():
        codec = CODECS[number]
        frames[number] = finished = frame_of(codec, payload)
        if number | DEFLATED in variants:
            if len(payload) >= _WORTH_DEFLATING:
                opcode = ws.Opcode.TEXT if codec.text else ws.Opcode.BINARY
                deflated = ws.frame(opcode, ws.deflate(payload), compressed=True)
                if len(deflated) < len(finished):
                    finished = deflated
            frames[number | DEFLATED] = finished
    return {variant: frames[variant] for variant in variants}


def encode_batch(
    handle: int, epoch: int, batch: Collected, counters: tuple[int, ...], now_ms: int, variants: Collection[int]
) -> dict[int, bytes]:
    """Encode a batch once for each variant wanted.

    :param now_ms: the time of a batch without events.
    :returns: complete frames by variant.
    """
    start = batch.times[0] if batch.times else now_ms
    delays = [time - start for time in batch.times] if batch.times and batch.times[-1] != start else []
    payloads: dict[int, bytes] = {}
    for number in {plain(variant) for variant in variants}:
        codec = CODECS[number]
        # Events are stored as MessagePack; every other codec pays for translating them, once.
        events = batch.events if codec is MSGPACK else [_encode_json(_decode_any(event)) for event in batch.events]
        message = Batch(handle, epoch, batch.first, batch.last, start, [Raw(event) for event in events], delays, counters)
        payloads[number] = codec.encode(message)
    return _frames(payloads, variants)


def encode_shared(message: ServerMessage, variants: Collection[int]) -> dict[int, bytes]:
    """Encode a message without events once for each variant wanted."""
    payloads = {number: CODECS[number].encode(message) for number in {plain(variant) for variant in variants}}
    return _frames(payloads, variants)
