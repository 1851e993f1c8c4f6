"""Against wsproto as a client: the upgrade, frames in both directions, with and without its permessage-deflate."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wsproto import ConnectionType, WSConnection, events
from wsproto.extensions import Extension, PerMessageDeflate

from engine.ws import (
    Closed,
    Message,
    Opcode,
    Parser,
    Ping,
    Pong,
    close_frame,
    deflate,
    frame,
    negotiate,
    parse_request,
)

from .strategies import chunked, drive, patiently

SUBPROTOCOLS = ("roomcast.v1.msgpack", "roomcast.v1.json")


def connect(*, compression: bool = True, offer: bool = True) -> tuple[WSConnection, Parser, bool]:
    """A client after its upgrade, our parser for what it sends, and whether they compress."""
    client = WSConnection(ConnectionType.CLIENT)
    extensions: list[Extension] = [PerMessageDeflate()] if offer else []
    wire = client.send(
        events.Request(
            host="example.com",
            target="/ws?token=x",
            extensions=extensions,
            subprotocols=["unknown", *SUBPROTOCOLS[::-1]],
        )
    )
    parsed = parse_request(wire, limit=4096)
    assert parsed is not None
    request, consumed = parsed
    assert consumed == len(wire)
    accepted = negotiate(request, path="/ws", subprotocols=SUBPROTOCOLS, origins=(), compression=compression)
    client.receive_data(accepted.response)
    (answer,) = client.events()
    assert isinstance(answer, events.AcceptConnection)
    assert answer.subprotocol == accepted.subprotocol == "roomcast.v1.json"
    assert len(answer.extensions) == accepted.deflate
    return client, Parser(max_message=10_000, deflate=accepted.deflate), accepted.deflate


def joined(received: Iterable[events.Event]) -> list[str | bytes]:
    """The messages that a client received; wsproto hands them out in pieces."""
    messages: list[str | bytes] = []
    text, binary = "", b""
    for event in received:
        if isinstance(event, events.TextMessage):
            text += event.data
            if event.message_finished:
                messages.append(text)
                text = ""
        else:
            assert isinstance(event, events.BytesMessage)
            binary += event.data
            if event.message_finished:
                messages.append(binary)
                binary = b""
    return messages


@pytest.mark.parametrize(("compression", "offer"), [(True, True), (True, False), (False, True)])
def test_compression_is_agreed_on_when_both_want_it(compression: bool, offer: bool) -> None:
    _, _, compressed = connect(compression=compression, offer=offer)
    assert compressed == (compression and offer)


@patiently
@given(st.data(), st.booleans(), st.lists(st.one_of(st.text(max_size=300), st.binary(max_size=300)), max_size=4))
def test_what_a_client_sends_is_what_we_read(data: st.DataObject, compression: bool, messages: list[str | bytes]) -> None:
    client, parser, _ = connect(compression=compression)
    wire = b""
    for message in messages:
        event: events.TextMessage | events.BytesMessage
        if isinstance(message, str):
            cut = data.draw(st.integers(0, len(message)))
            wire += client.send(events.TextMessage(data=message[:cut], message_finished=False))
            wire += client.send(events.Ping(payload=b"between"))
            event = events.TextMessage(data=message[cut:])
        else:
            event = events.BytesMessage(data=message)
        wire += client.send(event)
    wire += client.send(events.Pong(payload=b"p")) + client.send(events.CloseConnection(code=4000, reason="再见"))
    expected: list[object] = []
    for message in messages:
        if isinstance(message, str):
            expected += [Ping(b"between"), Message(Opcode.TEXT, message.encode())]
        else:
            expected.append(Message(Opcode.BINARY, message))
    assert drive(parser, data.draw(chunked(wire))) == ([*expected, Pong(b"p"), Closed(4000, "再见")], None)


@patiently
@given(st.booleans(), st.lists(st.one_of(st.text(max_size=3000), st.binary(max_size=3000)), max_size=4))
def test_what_we_send_is_what_a_client_reads(compression: bool, messages: list[str | bytes]) -> None:
    client, _, compressed = connect(compression=compression)
    wire = b""
    for message in messages:
        payload = message.encode() if isinstance(message, str) else message
        opcode = Opcode.TEXT if isinstance(message, str) else Opcode.BINARY
        wire += frame(opcode, deflate(payload) if compressed else payload, compressed=compressed)
    client.receive_data(wire + frame(Opcode.PING, b"p") + close_frame(4001, "lag"))
    *several, ping, closed = client.events()
    assert joined(several) == messages
    assert isinstance(ping, events.Ping)
    assert ping.payload == b"p"
    assert isinstance(closed, events.CloseConnection)
    assert (closed.code, closed.reason) == (4001, "lag")


def test_one_compressed_frame_serves_every_client_at_any_time() -> None:
    shared = frame(Opcode.TEXT, deflate(b"to all of you, to all of you"), compressed=True)
    other = frame(Opcode.TEXT, deflate(b"something else"), compressed=True)
    early, late = connect()[0], connect()[0]
    early.receive_data(other + shared)
    late.receive_data(shared)
    assert joined(early.events()) == ["something else", "to all of you, to all of you"]
    assert joined(late.events()) == ["to all of you, to all of you"]
