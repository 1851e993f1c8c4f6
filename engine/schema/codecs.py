"""The two encodings of the messages.

Owns what decodes and what does not. Pure.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec

from engine.schema.fields import DEPTH, EXACT
from engine.schema.requests import Change
from engine.schema.unions import ClientMessage

__all__ = ["CODECS", "JSON", "MSGPACK", "SUBPROTOCOLS", "Codec", "Malformed"]


class Malformed(ValueError):
    """A message does not decode. The text names the fault and its path; ``unknown_kind`` tells a kind that is not ours."""

    def __init__(self, text: str, *, unknown_kind: bool = False) -> None:
        super().__init__(text)
        self.unknown_kind = unknown_kind


def _check_value(value: dict[str, Any] | None) -> None:
    """Raise `Malformed` for what another codec, or a client, could not read."""
    level: list[Any] = [value]
    for _ in range(DEPTH):
        deeper: list[Any] = []
        for each in level:
            match each:
                case int() if not EXACT[0] < each < EXACT[1]:
                    raise Malformed("Expected `int` within 2^53 - at `$[5]`")
                case None | str() | int() | float():
                    pass
                case list():
                    deeper += each
                case dict():
                    deeper += each.keys()
                    deeper += each.values()
                case _:
                    raise Malformed(f"Expected text, number, boolean, array or object, got `{type(each).__name__}` - at `$[5]`")
        if not deeper:
            return
        level = deeper
    raise Malformed(f"Expected a value at most {DEPTH} deep - at `$[5]`")


class Codec:
    """One encoding of the messages.

    :ivar number: 0 for MessagePack, 1 for JSON; part of the key of a shared frame.
    :ivar subprotocol: the WebSocket subprotocol (RFC 6455 section 1.9) that selects it.
    :ivar text: whether messages travel in text frames.
    """

    __slots__ = ("_decode", "encode", "number", "subprotocol", "text")

    def __init__(self, number: int, subprotocol: str, *, text: bool) -> None:
        self.number: Final = number
        self.subprotocol: Final = subprotocol
        self.text: Final = text
        module: Any = msgspec.json if text else msgspec.msgpack
        self.encode: Final[Callable[[object], bytes]] = module.Encoder().encode
        """Message → bytes. `Raw` fields must hold this codec's bytes."""
        self._decode = module.Decoder(ClientMessage).decode

    def decode(self, data: bytes | bytearray | memoryview) -> ClientMessage:
        """Decode one client message and validate it. Raises `Malformed`, nothing else."""
        try:
            message: ClientMessage = self._decode(data)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            text = str(error) if not isinstance(error, UnicodeDecodeError) else "a string is not valid UTF-8"
            raise Malformed(text, unknown_kind=text.startswith("Invalid value") and text.endswith("`$[0]`")) from None
        if type(message) is Change:
            _check_value(message.value)
        return message


MSGPACK: Final = Codec(0, "roomcast.v1.msgpack", text=False)
JSON: Final = Codec(1, "roomcast.v1.json", text=True)
CODECS: Final = (MSGPACK, JSON)
SUBPROTOCOLS: Final = {codec.subprotocol: codec for codec in CODECS}
