"""Finished frames read by wsproto, which is not ours."""

from __future__ import annotations

from wsproto.connection import Connection, ConnectionType
from wsproto.events import BytesMessage, TextMessage
from wsproto.extensions import PerMessageDeflate

__all__ = ["is_text", "messages_in", "payload_of"]


def messages_in(data: bytes) -> list[tuple[bool, bytes]]:
    """Whether text, and payload, of every message, inflated if it has to be; nothing may be left over."""
    extension = PerMessageDeflate(client_no_context_takeover=True, server_no_context_takeover=True)
    extension._enabled = True
    connection = Connection(ConnectionType.CLIENT, [extension])
    connection.receive_data(data)
    messages: list[tuple[bool, bytes]] = []
    part = b""
    for event in connection.events():
        assert isinstance(event, (BytesMessage, TextMessage))
        part += event.data.encode() if isinstance(event, TextMessage) else bytes(event.data)
        if event.message_finished:
            messages.append((isinstance(event, TextMessage), part))
            part = b""
    assert not part
    return messages


def payload_of(data: bytes) -> bytes:
    """The payload of exactly one message."""
    ((_, payload),) = messages_in(data)
    return payload


def is_text(data: bytes) -> bool:
    """Whether the only message is text."""
    ((text, _),) = messages_in(data)
    return text
