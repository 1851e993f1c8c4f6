"""From a client's bytes to messages (RFC 6455 section 5, RFC 7692 section 6).

Owns the reading direction of one connection: framing, masking, fragmentation, size limits, UTF-8 and inflating. Must
not know who reads the events or what is answered.

Three states, told by two attributes, so that an idle connection holds no buffer at all:

    ``_buffer is None``      between two frames; ``feed`` parses the caller's chunk in place
    ``_buffer`` of bytes     within a frame that is complete when ``_need`` bytes are there; nothing is looked at before
    ``_legal is None``       over, after a close frame or a fault; whatever still arrives is ignored (section 5.5.1)

Text is validated when a frame of it is complete, so a fault is reported with the fragment it sits in, not with the
byte: looking into incomplete frames would cost every chunk, and gain nothing for a client that fails anyway.
"""

from __future__ import annotations

from codecs import getincrementaldecoder
from typing import NamedTuple, TypeAlias

from engine.ws.deflate import inflate
from engine.ws.faults import ProtocolError
from engine.ws.frames import CONTROL_MAX, Opcode, is_close_code, unmask

__all__ = ["Closed", "Event", "Message", "Parser", "Ping", "Pong", "ProtocolError"]

# Looking up a member of an enum costs more than what it is compared with.
_CONTINUATION, _TEXT = int(Opcode.CONTINUATION), int(Opcode.TEXT)
_CLOSE, _PING = int(Opcode.CLOSE), int(Opcode.PING)
_FIN, _RSV1, _CONTROL, _OPCODE = 0x80, 0x40, 0x08, 0x0F
_WHOLE_TEXT = _FIN | _TEXT
_WHOLE = frozenset((_WHOLE_TEXT, _FIN | int(Opcode.BINARY)))
"""First bytes of a frame that is a message by itself and needs no inflating: nearly all there are."""
_MASKED = 0x80
_SHORT = 0x80 + 126
"""Second bytes from `_MASKED` to below this one tell the length themselves; this one announces 16 bits, the next 64."""

_PLAIN = frozenset(fin | opcode for fin in (0, _FIN) for opcode in (0, 1, 2)) | {_FIN | opcode for opcode in (8, 9, 10)}
"""First bytes that are legal without an extension."""
_DEFLATE = _PLAIN | {fin | _RSV1 | opcode for fin in (0, _FIN) for opcode in (1, 2)}
"""First bytes that are legal with permessage-deflate: RSV1 on the first frame of a message."""

_Utf8Decoder = getincrementaldecoder("utf-8")
_new = tuple.__new__
_int = int.from_bytes


class Message(NamedTuple):
    """A whole message: joined, inflated, and valid UTF-8 if ``opcode`` is `Opcode.TEXT`."""

    opcode: int
    data: bytes


class Ping(NamedTuple):
    """To be answered by a pong with the same data."""

    data: bytes


class Pong(NamedTuple):
    """An answer to a ping, or unsolicited."""

    data: bytes


class Closed(NamedTuple):
    """The client's close frame; always the last event. 1005 when it carried no code."""

    code: int
    reason: str


Event: TypeAlias = Message | Ping | Pong | Closed


class _Partial:
    """The message whose fragments are arriving."""

    __slots__ = ("compressed", "data", "decoder", "opcode")

    def __init__(self, opcode: int, compressed: bool) -> None:
        self.opcode = opcode
        self.compressed = compressed
        self.data = bytearray()
        self.decoder = _Utf8Decoder() if opcode == _TEXT and not compressed else None


class Parser:
    """Reads what one client sends.

    :ivar max_message: largest message in bytes, after joining and inflating. A compressed one may take an eighth
        and 64 bytes more than that on the wire, which is beyond what deflate adds to data that it cannot compress.
    :param deflate: whether permessage-deflate was agreed on.
    :ivar frames: complete frames of any kind so far, fragments included.
    """

    __slots__ = ("_buffer", "_legal", "_need", "_partial", "frames", "max_message")

    def __init__(self, *, max_message: int, deflate: bool) -> None:
        self.max_message = max_message
        self._legal: frozenset[int] | None = _DEFLATE if deflate else _PLAIN
        self._buffer: bytearray | None = None
        self._need = 0
        self.frames = 0
        self._partial: _Partial | None = None

    @property
    def over(self) -> bool:
        """Whether the stream has ended, by a close frame or a fault."""
        return self._legal is None

    def feed(self, data: bytes) -> list[Event]:
        """Take the next chunk, of any size, and return the events that it completes.

        Once a `Closed` was returned or an exception raised, further chunks are ignored and give no events.

        :raises ProtocolError: the client broke the protocol. Its ``events`` are those that this chunk completed before.
        """
        legal = self._legal
        if legal is None:
            return []
        buffer = self._buffer
        if buffer is not None:
            buffer += data
            if len(buffer) < self._need:
                return []
            data = bytes(buffer)
            self._buffer = None
        events: list[Event] = []
        start = 0
        size = len(data)
        try:
            while size - start > 1:
                first = data[start]
                second = data[start + 1]
                if first not in legal or second < _MASKED:
                    raise _bad_head(first, second, legal)
                body = start + 6
                if second < _SHORT:
                    length = second - _MASKED
                elif first & _CONTROL:
                    raise ProtocolError(1002, f"control frame longer than {CONTROL_MAX} bytes")
                else:
                    wide = 2 if second == _SHORT else 8
                    body += wide
                    if size < start + 2 + wide:
                        self._wait(data, start, 2 + wide)
                        return events
                    length = _int(data[start + 2 : start + 2 + wide], "big")
                    _check_length(length, wide)
                end = body + length
                if first & _CONTROL == 0 and (
                    length > self.max_message or self._partial is not None or first & _OPCODE == _CONTINUATION
                ):
                    self._check_message(first, length)
                if end > size:
                    self._wait(data, start, end - start)
                    return events
                payload = unmask(data[body:end], data[body - 4 : body])
                start = end
                self.frames += 1
                if first in _WHOLE:
                    if first == _WHOLE_TEXT:
                        payload.decode()
                    events.append(_new(Message, (first & _OPCODE, payload)))
                elif first & _CONTROL:
                    events.append(_control(first & _OPCODE, payload))
                    if first & _OPCODE == _CLOSE:
                        self._finish()
                        return events
                else:
                    message = self._message(first, payload)
                    if message is not None:
                        events.append(message)
        except ProtocolError as error:
            self._finish()
            error.events = events
            raise
        except UnicodeDecodeError as error:
            self._finish()
            raise ProtocolError(1007, "text is not UTF-8", events) from error
        if start < size:
            self._wait(data, start, 2)
        return events

    def _wait(self, data: bytes, start: int, need: int) -> None:
        """Keep what follows ``start`` until it is ``need`` bytes."""
        self._buffer = bytearray(data[start:])
        self._need = need

    def _finish(self) -> None:
        self._legal = None
        self._buffer = None
        self._partial = None

    def _check_message(self, first: int, length: int) -> None:
        """Whether a data frame may come now, and be as long as it says; before any of it is kept."""
        partial = self._partial
        if first & _OPCODE == _CONTINUATION:
            if partial is None:
                raise ProtocolError(1002, "continuation of no message")
            length += len(partial.data)
            compressed = partial.compressed
        else:
            if partial is not None:
                raise ProtocolError(1002, "new message within a fragmented one")
            compressed = bool(first & _RSV1)
        limit = self.max_message
        if length > (limit + (limit >> 3) + 64 if compressed else limit):
            raise ProtocolError(1009, f"message is larger than {limit} bytes")

    def _message(self, first: int, payload: bytes) -> Message | None:
        """The message that this data frame completes, if it does."""
        partial = self._partial
        final = first & _FIN
        if partial is None:
            opcode = first & _OPCODE
            compressed = bool(first & _RSV1)
            if not final:
                partial = self._partial = _Partial(opcode, compressed)
        else:
            opcode = partial.opcode
            compressed = partial.compressed
        if partial is not None:
            partial.data += payload
            if partial.decoder is not None:
                partial.decoder.decode(payload, bool(final))
            if not final:
                return None
            payload = bytes(partial.data)
            self._partial = None
            if not compressed:
                return Message(opcode, payload)
        if compressed:
            payload = inflate(payload, self.max_message)
        if opcode == _TEXT:
            payload.decode()
        return Message(opcode, payload)


def _bad_head(first: int, second: int, legal: frozenset[int]) -> ProtocolError:
    """What is wrong with the first two bytes of a frame."""
    opcode = first & _OPCODE
    if first & ~(_FIN | _OPCODE) and (first & _FIN) | opcode in legal:
        return ProtocolError(1002, "reserved bit set")
    if first not in legal:
        if opcode & _CONTROL and _FIN | opcode in legal:
            return ProtocolError(1002, "fragmented control frame")
        return ProtocolError(1002, f"opcode {opcode} is reserved")
    return ProtocolError(1002, "frame of a client without mask")


def _check_length(length: int, wide: int) -> None:
    """Whether a length of ``wide`` bytes had to be that wide (section 5.2)."""
    if length < _SHORT - _MASKED if wide == 2 else length < 1 << 16:
        raise ProtocolError(1002, "length not in its shortest form")
    if length >> 63:
        raise ProtocolError(1002, "length above 63 bits")


def _control(opcode: int, payload: bytes) -> Event:
    if opcode != _CLOSE:
        return Ping(payload) if opcode == _PING else Pong(payload)
    if not payload:
        return Closed(1005, "")
    code = _int(payload[:2], "big")
    if len(payload) == 1 or not is_close_code(code):
        raise ProtocolError(1002, "close frame without a valid code")
    return Closed(code, payload[2:].decode())
