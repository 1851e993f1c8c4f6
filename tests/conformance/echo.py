"""An echo server over `engine.ws` and plain trio sockets: what the Autobahn cases talk to.

Owns a socket loop and nothing of the engine's edge: it is the sans-IO package that is measured. Messages are echoed as they
came; with permessage-deflate they are compressed again.
"""

from __future__ import annotations

from functools import partial

import trio

from engine import ws

__all__ = ["serve_echo"]

_LARGEST = 17 << 20
"""The suite's largest message has 16 MiB."""
_REQUEST = 16_384
_CHUNK = 1 << 16


async def serve_echo(*, task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED) -> None:
    """Serve on a free port of loopback until cancelled; started with the port."""
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, _serve, 0, host="127.0.0.1"))
        task_status.started(listeners[0].socket.getsockname()[1])


async def _serve(stream: trio.SocketStream) -> None:
    try:
        accepted, rest = await _upgrade(stream)
        await _echo(stream, accepted.deflate, rest)
        await stream.send_eof()
        while await stream.receive_some(_CHUNK):
            pass
    except ws.HandshakeError as error:
        await stream.send_all(error.response)
    except (trio.BrokenResourceError, ConnectionError):
        pass


async def _upgrade(stream: trio.SocketStream) -> tuple[ws.Accepted, bytes]:
    head = b""
    while True:
        chunk = await stream.receive_some(_CHUNK)
        if not chunk:
            raise ConnectionError("the peer hung up during the handshake")
        head += chunk
        parsed = ws.parse_request(head, limit=_REQUEST)
        if parsed is not None:
            request, end = parsed
            accepted = ws.negotiate(request, path=request.path, subprotocols=(), origins=(), compression=True)
            await stream.send_all(accepted.response)
            return accepted, head[end:]


async def _echo(stream: trio.SocketStream, deflate: bool, data: bytes) -> None:
    parser = ws.Parser(max_message=_LARGEST, deflate=deflate)
    while True:
        fault: ws.ProtocolError | None = None
        try:
            events = parser.feed(data)
        except ws.ProtocolError as error:
            events, fault = list(error.events), error
        out = b"".join(_answer(event, deflate) for event in events)
        if fault is not None:
            out += ws.close_frame(fault.code, fault.text)
        if out:
            await stream.send_all(out)
        if parser.over:
            return
        data = await stream.receive_some(_CHUNK)
        if not data:
            return


def _answer(event: ws.Event, deflate: bool) -> bytes:
    match event:
        case ws.Message(opcode, data) if deflate:
            return ws.frame(opcode, ws.deflate(data), compressed=True)
        case ws.Message(opcode, data):
            return ws.frame(opcode, data)
        case ws.Ping(data):
            return ws.frame(ws.Opcode.PONG, data)
        case ws.Closed(code, _):
            return ws.close_frame(code)
        case _:
            return b""
