"""Gifts, red packets and claims at the edge: who may, how often, and what becomes of claims that come too late."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import msgpack
import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st
from strategies import plainly, values

from engine.access import Rate, Role, Standing
from engine.edge.flows import Flows
from engine.edge.glance import is_claim
from engine.edge.held import Held
from engine.errors import Code, Refused
from engine.link.messages import CloseRoom, Packets, PrivateTo, RefuseRoom, ReplyTo, Request, Say
from engine.schema import (
    CODECS,
    JSON,
    MSGPACK,
    Author,
    Claim,
    ClientMessage,
    Codec,
    Give,
    Malformed,
    Pack,
    ReadGifts,
    ReadGivers,
    handle_of,
)
from engine.ws import Message, Opcode, frame

from .desk import HANDLE, ROOM, Desk, Guest, open_desk

COMMENT, GIVE, CLAIM, PACK, GIVERS, GIFTS = 3, 18, 19, 20, 21, 22
BOTH = pytest.mark.parametrize("codec", CODECS, ids=lambda codec: codec.subprotocol)
ANN = Author("ann")
MAY = {Role.VIEWER, Role.MODERATOR, Role.HOST}

# -- who may, and what goes up --------------------------------------------------------------------------------------------

ACTS: list[tuple[int, tuple[Any, ...], Any, set[Role]]] = [
    (GIVE, ("rose",), Give(1, HANDLE, "rose"), MAY),
    (GIVE, ("rose", 99, "阿明"), Give(1, HANDLE, "rose", 99, "阿明"), MAY),
    (CLAIM, (7,), Claim(1, HANDLE, 7), MAY),
    (PACK, (1000, 10), Pack(1, HANDLE, 1000, 10), MAY),
    (
        PACK,
        (1000, 10, "equal", 5, 6, True, " e\u0301  好 ", " 恭喜\u202e\n发财 "),
        Pack(1, HANDLE, 1000, 10, "equal", 5, 6, True, "é 好", " 恭喜\n发财 "),
        MAY,
    ),
    (PACK, (9, 9, "random", 0, 0, False, "", "\u200b"), Pack(1, HANDLE, 9, 9), MAY),
    (GIVERS, (None, 3, 50), ReadGivers(1, HANDLE, None, 3, 50), MAY | {Role.READER}),
    (GIFTS, (), ReadGifts(1, HANDLE), MAY | {Role.READER}),
]


@pytest.mark.parametrize(("kind", "fields", "act", "roles"), ACTS, ids=[repr(act) for _, _, act, _ in ACTS])
async def test_what_is_about_money_goes_up_for_those_who_may(
    kind: int, fields: tuple[Any, ...], act: Any, roles: set[Role]
) -> None:
    async with open_desk() as desk:
        for role in MAY | {Role.READER}:
            guest = await desk.enter(f"a-{role.value}", role=role.value)
            await desk.tell(Packets(ROOM, [7]))
            await desk.turn()
            guest.ref = 0
            desk.ask(guest, kind, *fields)
            requests = await desk.told(Request)
            if role not in roles:
                assert not requests
                assert guest.read() == [[35, 1, Code.FORBIDDEN, 0, "the role reader may not give", 0]]
                continue
            (request,) = requests
            assert request.act == act
            assert (request.room, request.viewer, request.ref, request.codec) == (ROOM, guest.session.viewer, 1, 0)
            assert (request.session, request.standing) == (guest.session.secret, Standing(role.value))
            paid = [42, 1, HANDLE, 5, 9, 100]
            await desk.tell(PrivateTo(guest.session.viewer, 1, frame(Opcode.BINARY, msgpack.packb(paid))))
            assert guest.read() == [paid]


async def test_guests_give_where_they_may_write_and_only_look_where_they_may_not() -> None:
    for anonymous, code in (("write", []), ("read", [Code.FORBIDDEN])):
        async with open_desk(access={"anonymous": anonymous}) as desk:
            guest = await desk.enter()
            await desk.tell(Packets(ROOM, [7]))
            for kind, fields in ((GIVE, ("rose",)), (CLAIM, (7,)), (PACK, (5, 1))):
                desk.ask(guest, kind, *fields)
                assert [code for _, code in guest.replies()] == code
            desk.ask(guest, GIFTS)
            assert guest.read() == []


@pytest.mark.parametrize(
    ("kind", "fields", "code"),
    [
        (GIVE, ("rose", 1, "b\u202eob"), Code.INVALID),
        (GIVE, ("rose", 0), Code.INVALID),
        (GIVE, ("rose", 1_000_001), Code.INVALID),
        (GIVE, ("",), Code.INVALID),
        (PACK, (0, 1), Code.INVALID),
        (PACK, (2**53, 1), Code.INVALID),
        (PACK, (5, 0), Code.INVALID),
        (PACK, (5, 1, "unfair"), Code.INVALID),
        (PACK, (5, 1, "random", 0, 0, False, " \u200b "), Code.EMPTY),
        (GIVERS, (None, 0, 201), Code.INVALID),
    ],
)
async def test_what_is_not_as_it_must_be_is_refused(kind: int, fields: tuple[Any, ...], code: Code) -> None:
    async with open_desk() as desk:
        guest = await desk.enter()
        desk.ask(guest, kind, *fields)
        assert [code for _, code in guest.replies()] == [code]
        assert not await desk.told(Request)


async def test_nothing_is_given_in_a_room_that_is_not_joined() -> None:
    async with open_desk() as desk:
        guest = await desk.enter()
        await desk.tell(Packets(ROOM, [7]))
        guest.handle += 1
        for kind, fields, _, _ in ACTS:
            ref = desk.ask(guest, kind, *fields)
            assert guest.replies() == [(ref, Code.NOT_JOINED)]


# -- how often ------------------------------------------------------------------------------------------------------------


async def test_gifts_packets_and_claims_have_one_rate_of_their_own() -> None:
    async with open_desk(limits={"gifts_per_second": 0.001, "gifts_burst": 3, "comments_burst": 1, "reads_burst": 1}) as desk:
        guest, other = await desk.enter(), await desk.enter()
        await desk.tell(Packets(ROOM, [7]))
        for kind, fields in ((GIVE, ("rose",)), (PACK, (5, 1)), (CLAIM, (7,))):
            desk.ask(guest, kind, *fields)
        assert guest.read() == []
        refs = [desk.ask(guest, kind, *fields) for kind, fields in ((GIVE, ("rose",)), (PACK, (5, 1)), (CLAIM, (7,)))]
        answers = guest.read()
        assert [(answer[1], answer[2]) for answer in answers] == [(ref, Code.RATE_LIMITED) for ref in refs]
        assert all(answer[5] > 0 for answer in answers)
        # Others are not meant, and neither is anything else that this viewer does.
        desk.ask(other, GIVE, "rose")
        desk.ask(guest, COMMENT, "one")
        desk.ask(guest, GIVERS)
        assert other.read() == guest.read() == []


async def test_the_lists_of_givers_and_gifts_have_the_rate_of_reads() -> None:
    async with open_desk(limits={"reads_per_second": 0.001, "reads_burst": 2, "gifts_burst": 1}) as desk:
        guest = await desk.enter()
        refs = [desk.ask(guest, kind) for kind in (GIVERS, GIFTS, GIVERS, GIFTS)]
        assert guest.replies() == [(ref, Code.RATE_LIMITED) for ref in refs[2:]]


@given(
    st.floats(0.01, 1000),
    st.integers(1, 20),
    st.lists(st.tuples(st.integers(0, 3), st.floats(0, 30)), max_size=60),
)
def test_a_flow_is_a_rate_for_each_viewer(per_second: float, burst: int, steps: list[tuple[int, float]]) -> None:
    flows, rate, states, now = Flows(per_second, burst), Rate(per_second, burst), dict.fromkeys(range(4), 0.0), 100.0
    for viewer, pause in steps:
        now += pause
        state = rate.take(states[viewer], now)
        wait_ms = flows.take(viewer, now)
        assert (wait_ms > 0) == (state < 0)
        if state >= 0:
            states[viewer] = state
        else:
            # A millisecond more, because the sum is rounded.
            assert rate.take(states[viewer], now + (wait_ms + 1) / 1000) > 0, "it does not fit when it was said to"


def test_who_has_not_given_of_late_is_forgotten() -> None:
    flows = Flows(20.0, 100)
    for viewer in range(10_000):
        assert flows.take(viewer, 100.0) == 0
    assert len(flows) == 10_000
    assert flows.take(1, 111.0) == 0
    assert len(flows) == 1


# -- claims that come too late ----------------------------------------------------------------------------------------------


async def test_a_claim_goes_up_while_its_packet_is_open_and_is_dropped_otherwise() -> None:
    async with open_desk() as desk:
        guest = await desk.enter()
        desk.ask(guest, CLAIM, 7)
        await desk.tell(Packets(ROOM, [7, 9]))
        refs = [desk.ask(guest, CLAIM, packet) for packet in (7, 8, 9)]
        assert [(up.ref, up.act) for up in await desk.told(Request)] == [
            (ref, Claim(ref, HANDLE, packet)) for ref, packet in ((refs[0], 7), (refs[2], 9))
        ]
        await desk.tell(Packets(ROOM, [9]))
        desk.ask(guest, CLAIM, 7)
        assert not await desk.told(Request)
        assert guest.read() == []
        assert desk.requests.claims_dropped == 3
        desk.ask(guest, CLAIM, 9)
        assert len(await desk.told(Request)) == 1


async def test_in_a_room_without_packets_a_claim_is_not_even_decoded() -> None:
    async with open_desk() as desk:
        guest = await desk.enter()
        received = desk.requests.received
        for body in (b"\x94\x13\x01\x02\x03", b"\x94\x13 this is no claim but begins like one", b"\x91\x13"):
            desk.requests.handle(guest.session, Message(Opcode.BINARY, body))
        assert guest.read() == []
        assert guest.session.faults == 0
        assert (desk.requests.received, desk.requests.claims_dropped) == (received, 3)
        # What is none is heard as ever.
        for body in (b"\x13", b"\x94", b"", b"\x90\x13", b"\xdc\x00\x04\x13\x00\x02\x03", b"\x83\x13\x01\x02\x03\x04\x05"):
            desk.requests.handle(guest.session, Message(Opcode.BINARY, body))
        assert guest.replies() == [(0, Code.INVALID)] * 6
        assert desk.requests.claims_dropped == 3


async def test_whoever_is_in_no_room_is_told_so() -> None:
    async with open_desk() as desk:
        guest = desk.connect()
        ref = desk.ask(guest, CLAIM, 7)
        assert guest.replies() == [(ref, Code.NOT_JOINED)]


async def test_claims_that_are_dropped_leave_nothing_behind() -> None:
    async with open_desk() as desk:
        guests = [await desk.enter() for _ in range(20)]
        await desk.turn()
        for _ in range(10):
            for guest in guests:
                desk.ask(guest, CLAIM, 7)
        await desk.tell(Packets(ROOM, [8]))
        for guest in guests:
            desk.ask(guest, CLAIM, 7)
        assert await desk.turn() == []
        assert desk.requests.claims_dropped == 220
        with trio.fail_after(5):
            await desk.rooms.answered()


WRITERS: dict[int, list[Callable[[Any], bytes]]] = {
    0: [msgpack.packb],
    1: [
        lambda message: json.dumps(message, separators=(",", ":")).encode(),
        lambda message: json.dumps(message, ensure_ascii=False, indent=2).encode(),
        lambda message: json.dumps(message, separators=("\r\n ,\t", ":\n")).encode(),
        lambda message: b" \t\r\n" + json.dumps(message).encode() + b"\n",
        lambda message: json.dumps(message).replace("[", "[ \t\r\n", 1).encode(),
    ],
}


@BOTH
@given(st.one_of(values(ClientMessage), values(Claim)), st.data())
def test_a_message_looks_like_a_claim_if_it_is_one(codec: Codec, message: ClientMessage, data: st.DataObject) -> None:
    write = data.draw(st.sampled_from(WRITERS[codec.number]))
    for written in (codec.encode(message), write(plainly(message)), write([*plainly(message), "of tomorrow"])):
        assert is_claim(codec, written) == isinstance(message, Claim)


CLAIMLIKE = [b"\x94\x13", b"\x9f\x13", b"\x90\x13", b"\xa2\x13\x00", b"[19,", b" [ 19 ,"]
NUMBERS = [b"[19]", b"[190,1]", b"[1.9e1,1,2,3]", b"[19.0,1,2,3]", b'["19",1,2,3]', b"[-19,1]", b"[019,1]"]
ODDLY = st.one_of(
    st.binary(max_size=12),
    st.builds(bytes.__add__, st.sampled_from(CLAIMLIKE), st.binary(max_size=9)),
    st.text('[] 19,.e+-0\t\n"', max_size=12).map(str.encode),
    st.sampled_from(NUMBERS),
)


@BOTH
@given(ODDLY)
def test_what_looks_like_a_claim_is_one_or_malformed(codec: Codec, data: bytes) -> None:
    try:
        decoded: object = codec.decode(data)
    except Malformed as fault:
        decoded = fault
    if is_claim(codec, data):
        assert isinstance(decoded, Claim) or (isinstance(decoded, Malformed) and not decoded.unknown_kind)
    elif isinstance(decoded, Claim):
        # Written as no writer does: it was decoded, which is never wrong.
        assert not codec.text
        assert not data.startswith(b"\x94\x13")


def test_claims_of_either_codec_are_known_by_sight() -> None:
    claim = Claim(2**53 - 1, handle_of(ROOM), 12)
    for codec in (MSGPACK, JSON):
        assert is_claim(codec, codec.encode(claim))
        assert not is_claim(codec, codec.encode(Give(19, 19, "rose")))


# -- what is held ---------------------------------------------------------------------------------------------------------


async def claimed(desk: Desk, packet: int) -> tuple[Guest, int]:
    guest = await desk.enter()
    ref = desk.ask(guest, CLAIM, packet)
    return guest, ref


async def test_claims_of_a_packet_that_is_over_are_not_held_any_longer() -> None:
    async with open_desk() as desk:
        await desk.enter()
        await desk.tell(Packets(ROOM, [7, 9]))
        await claimed(desk, 7)
        late, ref = await claimed(desk, 9)
        await desk.turn()
        await desk.tell(Packets(ROOM, [9]))
        with trio.move_on_after(0) as scope:
            await desk.rooms.answered()
        assert scope.cancelled_caught, "one is still held"
        await desk.tell(ReplyTo(late.session.viewer, ref, Code.CONDITION))
        with trio.fail_after(5):
            await desk.rooms.answered()
        assert late.replies() == [(ref, Code.CONDITION)]


async def test_an_answer_to_a_claim_that_is_not_held_any_longer_arrives_all_the_same() -> None:
    async with open_desk() as desk:
        await desk.enter()
        await desk.tell(Packets(ROOM, [7]))
        guest, ref = await claimed(desk, 7)
        await desk.tell(Packets(ROOM, []), ReplyTo(guest.session.viewer, ref, Code.PACKET_OVER))
        assert guest.replies() == [(ref, Code.PACKET_OVER)]


async def test_claims_wait_for_the_next_hub_which_says_what_is_still_open() -> None:
    async with open_desk() as desk, trio.open_nursery() as nursery:
        await desk.enter()
        await desk.tell(Packets(ROOM, [7, 9]))
        one, two = await claimed(desk, 7), await claimed(desk, 9)
        gift = desk.ask(one[0], GIVE, "rose")
        await desk.turn()
        await desk.cut()
        three = await claimed(desk, 9)
        await nursery.start(desk.run)
        again = await desk.told(Request)
        assert [(up.viewer, up.ref) for up in again] == [
            (one[0].session.viewer, one[1]),
            (two[0].session.viewer, two[1]),
            (one[0].session.viewer, gift),
            (three[0].session.viewer, three[1]),
        ]
        await desk.tell(Packets(ROOM, [7]), ReplyTo(one[0].session.viewer, one[1], Code.LEDGER))
        await desk.tell(ReplyTo(one[0].session.viewer, gift, Code.UNPAID))
        with trio.fail_after(5):
            await desk.rooms.answered()
        assert two[0].read() == three[0].read() == []
        nursery.cancel_scope.cancel()


async def test_a_room_that_the_edge_forgets_holds_no_claims(autojump_clock: trio.testing.MockClock) -> None:
    async with open_desk(room={"linger_seconds": 30.0}) as desk, trio.open_nursery() as nursery:
        nursery.start_soon(desk.rooms.expire)
        await desk.enter()
        await desk.tell(Packets(ROOM, [7]))
        await claimed(desk, 7)
        for session in [*desk.wire.known.values()]:
            desk.wire.drop(session)
        await desk.turn()
        await trio.sleep(31)
        assert await desk.told(CloseRoom) == [CloseRoom(ROOM)]
        with trio.fail_after(5):
            await desk.rooms.answered()
        nursery.cancel_scope.cancel()


async def test_a_room_that_is_refused_holds_no_claims() -> None:
    async with open_desk() as desk:
        await desk.enter()
        await desk.tell(Packets(ROOM, [7]))
        await claimed(desk, 7)
        await desk.tell(RefuseRoom(ROOM, 1, Code.ROOM_FULL, "no"))
        with trio.fail_after(5):
            await desk.rooms.answered()


KEYS = st.tuples(st.integers(1, 3), st.integers(1, 4))
ROOMS = st.sampled_from("ab")
HELD = st.one_of(
    st.builds(
        lambda key, room, packet: Request(room, key[0], "s", ANN, Standing(), 0, Claim(key[1], 1, packet)),
        KEYS,
        ROOMS,
        st.integers(1, 3),
    ),
    st.builds(lambda key, room: Request(room, key[0], "s", ANN, Standing(), 0, Give(key[1], 1, "rose")), KEYS, ROOMS),
    st.builds(lambda key, room: Say(room, key[0], "s", key[1], ANN, "hi"), KEYS, ROOMS),
)


@given(st.lists(st.one_of(HELD, KEYS, st.tuples(st.sampled_from("ab"), st.frozensets(st.integers(1, 3)))), max_size=40))
def test_what_is_held_is_what_is_neither_answered_nor_over(steps: list[Any]) -> None:
    held, model, most = Held(5), dict[tuple[int, int], Any](), 5
    for step in steps:
        if isinstance(step, tuple) and isinstance(step[0], str):
            held.release(*step)
            room, packets = step
            for key, kept in list(model.items()):
                claim = isinstance(kept, Request) and isinstance(kept.act, Claim)
                if claim and kept.room == room and kept.act.packet not in packets:
                    del model[key]
        elif isinstance(step, tuple):
            held.done(*step)
            model.pop(step, None)
        else:
            try:
                held.add(step)
            except Refused:
                assert len(model) == most
            else:
                model.setdefault((step.viewer, step.ref), step)
        assert list(held.messages) == list(model.values())
    for key in list(model):
        held.done(*key)
    trio.run(held.empty)
