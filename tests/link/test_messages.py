"""Link messages: each comes out of its serialised form as it went in, and readers may be older than writers."""

from __future__ import annotations

import typing

import msgpack
import msgspec
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from strategies import plainly, values

from engine.link import memory_link
from engine.link.messages import Down, Request, Up
from engine.schema import Act

up = msgspec.msgpack.Decoder(Up)
down = msgspec.msgpack.Decoder(Down)


@given(st.lists(values(Up), max_size=5), st.lists(values(Down), max_size=5))
def test_every_message_comes_out_as_it_went_in(ups: list[Up], downs: list[Down]) -> None:
    async def through() -> tuple[list[Up], list[Down]]:
        edge, hub = memory_link(encoded=True)
        edge.send(ups)
        hub.send(downs)
        edge.close()
        return list(await hub.receive()), list(await edge.receive())

    assert trio.run(through) == (ups, downs)


@given(values(Up), values(Down), st.integers())
def test_a_newer_writer_may_add_to_the_end(message: Up, answer: Down, extra: int) -> None:
    tail = [extra % 100, "new"]
    assert up.decode(msgpack.packb([*plainly(message), *tail])) == message
    assert down.decode(msgpack.packb([*plainly(answer), *tail])) == answer


@pytest.mark.parametrize("kind", typing.get_args(Act), ids=lambda kind: kind.__name__)
@given(values(Request), st.data())
def test_a_request_carries_any_act(kind: type[Act], request: Request, data: st.DataObject) -> None:
    message = msgspec.structs.replace(request, act=data.draw(values(kind)))
    read = up.decode(msgspec.msgpack.encode(message))
    assert read == message
    assert isinstance(read, Request)
    assert type(read.act) is kind
    assert read.ref == message.act.ref


def test_no_two_messages_of_a_direction_share_a_tag() -> None:
    for kinds in (typing.get_args(Up), typing.get_args(Down)):
        tags = [kind.__struct_config__.tag for kind in kinds]
        assert len(tags) == len(set(tags))


def test_a_message_of_the_other_direction_is_refused() -> None:
    with pytest.raises(msgspec.ValidationError):
        up.decode(msgpack.packb([38]))
    with pytest.raises(msgspec.ValidationError):
        down.decode(msgpack.packb([1, "room"]))
