"""The client's two codecs, on the `msgpack` and `json` packages.

Owns bytes and text on the client's side of the wire, apart from the engine's own codec so that two independent ones meet
in the tests. Knows nothing of what messages mean.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import Any, Final, NamedTuple

import msgpack

from engine.client.items import ProtocolViolation

__all__ = ["CODECS", "PlainCodec"]


class PlainCodec(NamedTuple):
    """One encoding of the messages.

    :ivar subprotocol: the WebSocket subprotocol that selects it.
    :ivar encode: message to what a WebSocket library sends; UnicodeEncodeError for text that is not Unicode.
    :ivar frame: type of the messages received, bytes or str.
    """

    subprotocol: str
    encode: Callable[[object], str | bytes]
    read: Callable[[Any], object]
    frame: type

    def decode(self, data: object) -> object:
        """Decode one message. Raises `ProtocolViolation`, nothing else."""
        if not isinstance(data, self.frame):
            raise ProtocolViolation(f"a {type(data).__name__} message, where {self.subprotocol} has none")
        try:
            return self.read(data)
        except (ValueError, TypeError, RecursionError) as error:  # TypeError: the key of a map is an array
            raise ProtocolViolation(f"a message does not decode: {error}") from error


def _to_json(message: object) -> str:
    text = json.dumps(message, ensure_ascii=False, separators=(",", ":"))
    text.encode()  # a lone surrogate is the caller's mistake: it must fail here, not in the connection
    return text


CODECS: Final = {
    # Keys of maps may be integers: the server is trusted not to choose them so that they collide.
    "msgpack": PlainCodec("roomcast.v1.msgpack", msgpack.packb, partial(msgpack.unpackb, strict_map_key=False), bytes),
    "json": PlainCodec("roomcast.v1.json", _to_json, json.loads, str),
}
