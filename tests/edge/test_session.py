"""A viewer's private frames: whole, in order, and bounded."""

from __future__ import annotations

import pytest

from engine.edge.session import Overflow, Stage

from .scripted import PRIVATE_BYTES, FakeWire, frames_in, pong, viewer


def test_what_does_not_fit_waits_and_goes_first() -> None:
    session, sock = viewer(1, room=5)
    assert not session.push(pong(1), PRIVATE_BYTES)
    assert not session.push(pong(2), PRIVATE_BYTES)
    assert not session.flush_private()
    sock.room = None
    assert session.flush_private()
    assert session.private is None
    assert bytes(sock.received) == pong(1) + pong(2)
    assert session.written == len(sock.received)


@pytest.mark.parametrize("space", [0, 10, 200])
def test_one_that_is_too_large_ends_the_connection_and_never_with_a_frame_inside_a_frame(space: int) -> None:
    wire = FakeWire()
    session, sock = viewer(1, room=space)
    large = b"\x82\x7e\x10\x00" + bytes(4096)
    with pytest.raises(Overflow):
        session.push(large, PRIVATE_BYTES)
    wire.close(session, 4202, "replies are not read")
    sock.room = None
    if session in wire.armed:
        wire.writable(session)
    if space:
        assert session.stage is Stage.CLOSED
        assert bytes(sock.received) == large[:space]
    else:
        assert [opcode for opcode, *_ in frames_in(sock.received)] == [8]
