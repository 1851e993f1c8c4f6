"""Batches and snapshots as finished WebSocket frames, each variant at most once.

Owns the key of a shared frame and the way from events to bytes. A frame depends on the codec, on compression and on the feed,
never on the viewer. Inside the engine events are MessagePack, in messages too; here they become what a codec needs.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, Final, TypeVar

import msgspec
from msgspec import Raw

from engine import ws
from engine.room.batcher import Collected
from engine.schema import CODECS, MSGPACK, Batch, Codec, Page, ServerMessage, Snapshot

__all__ = [
    "DEFLATED",
    "Translations",
    "codec_of",
    "encode_batch",
    "encode_message",
    "encode_shared",
    "feed_of",
    "frame_of",
    "plain",
    "plain_variants",
    "translate",
    "variant_of",
]

DEFLATED: Final = 2
"""Bit of a variant's number: the payload is compressed (RFC 7692). The bit below is the codec's number, those above the
feed's."""
_FEED: Final = 2
"""Bits below the feed's number."""
_ENCODING: Final = (1 << _FEED) - 1
_WORTH_DEFLATING: Final = 128
"""Payloads below this many bytes grow or hardly shrink; the plain frame serves the compressed variant too."""

_decode_any = msgspec.msgpack.Decoder().decode
_encode_json = msgspec.json.Encoder().encode

T = TypeVar("T")

Translations = dict[tuple[int, bytes], Raw]
"""By the codec's number and the event."""


def variant_of(codec: Codec, deflate: bool, feed: int = 0) -> int:
    """Number of the variant for viewers of a codec and a feed (`engine.room.feeds`; 0 is everything), with or without
    permessage-deflate."""
    return feed << _FEED | (DEFLATED if deflate else 0) | codec.number


def plain(variant: int) -> int:
    """The same variant without compression; a viewer of the compressed one can read it too."""
    return variant & ~DEFLATED


def feed_of(variant: int) -> int:
    """Number of the feed that a variant shows."""
    return variant >> _FEED


def codec_of(variant: int) -> Codec:
    """The codec of a variant."""
    return CODECS[variant & ~DEFLATED & _ENCODING]


def plain_variants(feeds: Iterable[int]) -> tuple[int, ...]:
    """The variants of these feeds in every codec, without compression."""
    return tuple(variant_of(codec, False, feed) for feed in feeds for codec in CODECS)


def translate(codec: Codec, events: Iterable[bytes], known: Translations | None = None) -> list[Raw]:
    """Events, stored as MessagePack, as a message of a codec holds them.

    :param known: where those translated once are kept, by a caller that needs them again.
    """
    if codec is MSGPACK:
        return [Raw(event) for event in events]
    if known is None:
        return [Raw(_encode_json(_decode_any(event))) for event in events]
    raws = []
    for event in events:
        key = codec.number, event
        raw = known.get(key)
        if raw is None:
            raw = known[key] = Raw(_encode_json(_decode_any(event)))
        raws.append(raw)
    return raws


def frame_of(codec: Codec, payload: bytes) -> bytes:
    """A finished, uncompressed frame of a codec's payload."""
    return ws.frame(ws.Opcode.TEXT if codec.text else ws.Opcode.BINARY, payload)


def encode_message(codec: Codec, message: ServerMessage) -> bytes:
    """A finished, uncompressed frame of one message, for a single viewer. Events in it are MessagePack."""
    return frame_of(codec, _payload(codec, message, None))


def _payload(codec: Codec, message: ServerMessage, known: Translations | None) -> bytes:
    if codec is not MSGPACK:
        if isinstance(message, Snapshot) and message.recent:
            offsets, times, events = zip(*message.recent, strict=True)
            raws = translate(codec, map(bytes, events), known)
            message = msgspec.structs.replace(message, recent=list(zip(offsets, times, raws, strict=True)))
        elif isinstance(message, Page):
            message = msgspec.structs.replace(message, events=translate(codec, map(bytes, message.events), known))
    return codec.encode(message)


def _frames(payloads: Mapping[int, bytes], encodings: Collection[int]) -> dict[int, bytes]:
    """Frames of payloads by codec, plain and compressed as wanted."""
    frames: dict[int, bytes] = {}
    for number, payload in payloads.items():
        codec = CODECS[number]
        frames[number] = finished = frame_of(codec, payload)
        if number | DEFLATED in encodings:
            if len(payload) >= _WORTH_DEFLATING:
                opcode = ws.Opcode.TEXT if codec.text else ws.Opcode.BINARY
                deflated = ws.frame(opcode, ws.deflate(payload), compressed=True)
                if len(deflated) < len(finished):
                    finished = deflated
            frames[number | DEFLATED] = finished
    return frames


def _encode(shown: Mapping[int, T], variants: Collection[int], payload: Callable[[Codec, T], bytes]) -> dict[int, bytes]:
    """Frames by variant of what each feed shows. Feeds that show the same share their frames."""
    groups: list[tuple[T, set[int]]] = []
    group_of: dict[int, int] = {}
    for variant in variants:
        feed = feed_of(variant)
        if feed not in group_of:
            value = shown[feed]
            same = (index for index, (other, _) in enumerate(groups) if other is value or other == value)
            group_of[feed] = next(same, len(groups))
            if group_of[feed] == len(groups):
                groups.append((value, set()))
        groups[group_of[feed]][1].add(variant & _ENCODING)
    frames = []
    for value, encodings in groups:
        payloads = {number: payload(CODECS[number], value) for number in {plain(encoding) for encoding in encodings}}
        frames.append(_frames(payloads, encodings))
    return {variant: frames[group_of[feed_of(variant)]][variant & _ENCODING] for variant in variants}


def encode_batch(
    handle: int,
    epoch: int,
    views: Mapping[int, Collected],
    counters: tuple[int, ...],
    totals: dict[str, Any],
    now_ms: int,
    variants: Collection[int],
) -> dict[int, bytes]:
    """Encode a batch once for each variant wanted.

    :param views: the batch as each feed of the variants shows it, by the feed's number: with fewer elements than offsets where
        an `engine.schema.OmittedEvent` covers several.
    :param totals: as in `engine.schema.Batch`.
    :param now_ms: the time of a batch without events.
    :returns: complete frames by variant.
    """
    # Every codec but the one in which events are stored pays for translating them: once, however many feeds show them.
    known: Translations | None = {} if len(views) > 1 else None

    def payload(codec: Codec, view: Collected) -> bytes:
        times = view.times
        start = times[0] if times else now_ms
        delays = [time - start for time in times] if times and times[-1] != start else []
        events = translate(codec, view.events, known)
        return codec.encode(Batch(handle, epoch, view.first, view.last, start, events, delays, counters, totals))

    return _encode(views, variants, payload)


def encode_shared(
    message: ServerMessage | Mapping[int, ServerMessage], variants: Collection[int], known: Translations | None = None
) -> dict[int, bytes]:
    """Encode a message once for each variant wanted. Events in it are MessagePack.

    :param message: or what each feed of the variants shows of it, by the feed's number.
    :param known: as for `translate`.
    :returns: complete frames by variant.
    """
    shown = message if isinstance(message, Mapping) else dict.fromkeys(map(feed_of, variants), message)
    return _encode(shown, variants, lambda codec, message: _payload(codec, message, known))
