"""What a viewer says to each kind of server, and what it is told: the only thing in which the load differs between peers.

Owns the messages' form. Must not know sockets, processes or measuring. A dialect is looked up by name in each generator
process. A message is (opcode, payload), the opcode `TEXT` or `BINARY`.

Every viewer may publish, over the connection on which it receives; M of them do. So all servers hold the same number of
connections and send the same number of copies, whether or not they know a role for those who only publish.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import msgpack

from bench.generator.wire import BINARY, TEXT
from engine.schema import handle_of

__all__ = ["DIALECTS", "Centrifugo", "Dialect", "Message", "Roomcast"]

ROOM = "room"
Message = tuple[int, bytes]
JOIN, COMMENT = 1, 3
SNAPSHOT, BATCH, GAP = 33, 34, 36
COMMENT_EVENT = 1


class Dialect:
    """The plain one, which this benchmark's small servers speak: a text frame is one message, or a JSON array of them.

    :cvar path: of the WebSocket endpoint.
    :cvar subprotocol: to ask for; empty for none.
    :cvar batches: whether the server itself puts what is published at one moment into one frame.
    """

    path = "/ws"
    subprotocol = ""
    batches = False

    def hello(self) -> list[Message]:
        """What to say after the upgrade. If it is nothing, the viewer is subscribed by then."""
        return []

    def welcomes(self, payload: bytes) -> bool:
        """Whether this message without texts says that the viewer is subscribed."""
        return False

    def publish(self, texts: Sequence[str], *, batched: bool) -> list[Message]:
        """The messages that publish these texts: one each or, if ``batched``, all in one as far as the server takes that."""
        if batched:
            return [(TEXT, json.dumps(texts, separators=(",", ":")).encode())]
        return [(TEXT, text.encode()) for text in texts]

    def unwrap(self, payload: bytes) -> list[str] | None:
        """The texts in a message; None when it is none that carries texts.

        Raises ValueError, TypeError, KeyError or IndexError when it makes no sense.
        """
        text = payload.decode()
        return _strings(json.loads(text)) if text.startswith("[") else [text]

    def answer(self, payload: bytes) -> Message | None:
        """What a message without texts must be answered with, if anything."""
        return None

    def admitted(self, payload: bytes) -> int:
        """How many messages this one says will never come."""
        return 0


class Roomcast(Dialect):
    """Protocol v1 in MessagePack, as `engine.schema` documents it. The engine batches by itself."""

    subprotocol = "roomcast.v1.msgpack"
    batches = True

    def __init__(self) -> None:
        self._handle = handle_of(ROOM)
        self._ref = 0

    def hello(self) -> list[Message]:
        """Join."""
        return [(BINARY, msgpack.packb([JOIN, 1, ROOM]))]

    def welcomes(self, payload: bytes) -> bool:
        """The snapshot."""
        return bool(msgpack.unpackb(payload)[0] == SNAPSHOT)

    def publish(self, texts: Sequence[str], *, batched: bool) -> list[Message]:
        """A comment each."""
        messages: list[Message] = []
        for text in texts:
            self._ref += 1
            messages.append((BINARY, msgpack.packb([COMMENT, self._ref, self._handle, text])))
        return messages

    def unwrap(self, payload: bytes) -> list[str] | None:
        """The comments of a batch that has any."""
        message = msgpack.unpackb(payload)
        if message[0] != BATCH or not message[6]:
            return None
        return _strings([event[3] for event in message[6] if event[0] == COMMENT_EVENT])

    def admitted(self, payload: bytes) -> int:
        """What a gap spans."""
        kind, *fields = msgpack.unpackb(payload)
        if kind != GAP:
            return 0
        _handle, _epoch, first, last, *_ = fields
        return max(0, int(last) - int(first) + 1)


class Centrifugo(Dialect):
    """Centrifugo's bidirectional protocol in JSON: several replies may share a frame, one a line."""

    path = "/connection/websocket"

    def hello(self) -> list[Message]:
        """Connect and subscribe."""
        return [
            (TEXT, json.dumps({"id": 1, "connect": {}}).encode()),
            (TEXT, json.dumps({"id": 2, "subscribe": {"channel": ROOM}}).encode()),
        ]

    def welcomes(self, payload: bytes) -> bool:
        """The reply to the subscription, unless it is an error."""
        return any(reply.get("id") == 2 and "error" not in reply for reply in _replies(payload))

    def publish(self, texts: Sequence[str], *, batched: bool) -> list[Message]:
        """A publication for each, or one whose data is an array."""
        return [
            (TEXT, json.dumps({"id": 3, "publish": {"channel": ROOM, "data": data}}, separators=(",", ":")).encode())
            for data in ([list(texts)] if batched else texts)
        ]

    def unwrap(self, payload: bytes) -> list[str] | None:
        """The data of all publications in the frame."""
        data = [reply["push"]["pub"]["data"] for reply in _replies(payload) if "pub" in reply.get("push", ())]
        if not data:
            return None
        return _strings([text for one in data for text in (one if isinstance(one, list) else [one])])

    def answer(self, payload: bytes) -> Message | None:
        """An empty object is a ping, and its answer."""
        return (TEXT, b"{}") if payload.strip() == b"{}" else None


def _replies(payload: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in payload.splitlines() if line.strip()]


def _strings(texts: object) -> list[str]:
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise TypeError("not an array of texts")
    return texts


DIALECTS: dict[str, Callable[[], Dialect]] = {"plain": Dialect, "roomcast": Roomcast, "centrifugo": Centrifugo}
