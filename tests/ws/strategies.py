"""What clients send, as hypothesis strategies and as ways to cut bytes into chunks.

Owns the shared inputs of the tests of `engine.ws`. Asserts nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from engine.ws import Closed, Event, Message, Opcode, Parser, Ping, Pong, ProtocolError, client_frame, deflate

__all__ = [
    "KEY",
    "MAX_MESSAGE",
    "bytewise",
    "chunked",
    "conversations",
    "drive",
    "headlike",
    "masks",
    "patiently",
    "request_head",
    "wirelike",
]

MAX_MESSAGE = 1000
KEY = "dGhlIHNhbXBsZSBub25jZQ=="
"""The example of RFC 6455 section 1.3, accepted as ``s3pPLMBiTxaQ9kYGzzhZRbK+xOo=``."""

patiently = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""A busy machine is no reason to fail."""

masks = st.binary(min_size=4, max_size=4)
payloads = st.binary(max_size=300)
texts = st.text(max_size=100)


def request_head(*changes: tuple[str, str | None], start: str = "GET /ws HTTP/1.1") -> bytes:
    """An upgrade request as a browser writes it; a change replaces, adds or drops (None) a field."""
    fields: dict[str, str | None] = {
        "Host": "live.example.com:8765",
        "Connection": "keep-alive, Upgrade",
        "Pragma": "no-cache",
        "Cache-Control": "no-cache",
        "User-Agent": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0",
        "Upgrade": "websocket",
        "Origin": "https://live.example.com",
        "Sec-WebSocket-Version": "13",
        "Accept-Encoding": "gzip, deflate, br, zstd",
        "Accept-Language": "en-US,en;q=0.9",
        "Cookie": "session=abcdef; theme=dark",
        "Sec-WebSocket-Key": KEY,
        "Sec-WebSocket-Extensions": "permessage-deflate; client_max_window_bits",
        "Sec-WebSocket-Protocol": "roomcast.v1.msgpack, roomcast.v1.json",
    }
    fields.update(changes)
    lines = [start, *(f"{name}: {value}" for name, value in fields.items() if value is not None)]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def bytewise(data: bytes) -> Iterator[bytes]:
    """One byte at a time."""
    return (data[at : at + 1] for at in range(len(data)))


@st.composite
def chunked(draw: st.DrawFn, data: bytes) -> list[bytes]:
    """The data cut at random places; chunks may be empty."""
    cuts = sorted(draw(st.lists(st.integers(0, len(data)), max_size=8)))
    return [data[start:end] for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]


def drive(parser: Parser, chunks: Iterator[bytes] | Sequence[bytes]) -> tuple[list[Event], int | None]:
    """All events of a stream, those that came with a fault included, and the fault's close code."""
    events: list[Event] = []
    for chunk in chunks:
        try:
            events += parser.feed(chunk)
        except ProtocolError as error:
            return [*events, *error.events], error.code
    return events, None


@st.composite
def _controls(draw: st.DrawFn) -> tuple[bytes, Event]:
    data = draw(st.binary(max_size=125))
    if draw(st.booleans()):
        return client_frame(Opcode.PING, data, draw(masks)), Ping(data)
    return client_frame(Opcode.PONG, data, draw(masks)), Pong(data)


@st.composite
def _messages(draw: st.DrawFn) -> tuple[bytes, list[Event]]:
    """A message in one frame or in fragments with control frames between them; compressed or not."""
    if draw(st.booleans()):
        opcode, data = Opcode.TEXT, draw(texts).encode()
    else:
        opcode, data = Opcode.BINARY, draw(payloads)
    compressed = draw(st.booleans())
    fragments = draw(chunked(deflate(data) if compressed else data))
    wire = b""
    events: list[Event] = []
    for index, fragment in enumerate(fragments):
        wire += client_frame(
            Opcode.CONTINUATION if index else opcode,
            fragment,
            draw(masks),
            fin=index == len(fragments) - 1,
            rsv1=compressed and index == 0,
        )
        if index < len(fragments) - 1 and draw(st.booleans()):
            control, event = draw(_controls())
            wire += control
            events.append(event)
    return wire, [*events, Message(opcode, data)]


@st.composite
def conversations(draw: st.DrawFn) -> tuple[bytes, list[Event]]:
    """What a correct client with permessage-deflate may send, and the events that it means."""
    wire = b""
    events: list[Event] = []
    for _ in range(draw(st.integers(0, 4))):
        if draw(st.booleans()):
            more, several = draw(_messages())
            events += several
        else:
            more, event = draw(_controls())
            events.append(event)
        wire += more
    if draw(st.booleans()):
        reason = draw(st.text(max_size=30))
        wire += client_frame(Opcode.CLOSE, (1000).to_bytes(2, "big") + reason.encode(), draw(masks))
        events.append(Closed(1000, reason))
    return wire, events


@st.composite
def wirelike(draw: st.DrawFn) -> bytes:
    """Bytes that often look like frames, correct or nearly so."""
    near = st.builds(
        client_frame,
        st.integers(0, 15),
        st.one_of(payloads, texts.map(str.encode), payloads.map(deflate)),
        masks,
        fin=st.booleans(),
        rsv1=st.booleans(),
    )
    parts: list[Any] = draw(st.lists(st.one_of(near, st.binary(max_size=20)), max_size=6))
    return b"".join(parts)


headlike = st.builds(
    lambda names, values, start, end: (
        start + b"".join(b"%b: %b\r\n" % field for field in zip(names, values, strict=False)) + end
    ),
    st.lists(
        st.one_of(
            st.sampled_from([line.partition(b":")[0] for line in request_head().split(b"\r\n")[1:-2]]),
            st.binary(max_size=8),
        ),
        max_size=20,
    ),
    st.lists(
        st.one_of(
            st.sampled_from([line.partition(b": ")[2] for line in request_head().split(b"\r\n")[1:-2]]),
            st.binary(max_size=30),
        ),
        max_size=20,
    ),
    st.one_of(st.just(b"GET /ws HTTP/1.1\r\n"), st.binary(max_size=30)),
    st.one_of(st.just(b"\r\n"), st.binary(max_size=5)),
)
"""Bytes that often look like the head of a request, correct or nearly so."""
