"""Viewers who wait at the door, at an edge whose hub is the test."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
from edge.desk import HANDLE, ROOM, Desk, Guest, open_desk

from engine.errors import Close, Code
from engine.link.messages import Barred, Gate, Knock, OpenRoom, ReplyTo, Say

JOINED = 32


@asynccontextmanager
async def gated(**sections: dict[str, object]) -> AsyncIterator[Desk]:
    """A desk whose hub wants viewers to knock."""
    async with open_desk(**sections) as desk:
        await desk.tell(Gate(True))
        yield desk


async def knock(desk: Desk, user: str = "小明", address: str | None = None, **more: object) -> tuple[Guest, Knock]:
    """Somebody knocks."""
    guest = desk.join(desk.connect(address), user=user, **more)  # type: ignore[arg-type]
    (message,) = await desk.told(Knock)
    return guest, message


async def answer(desk: Desk, message: Knock, code: Code = Code.OK, text: str = "", wait_ms: int = 0) -> None:
    await desk.tell(ReplyTo(message.viewer, message.ref, code, 0, text, wait_ms))


async def entered(desk: Desk, guest: Guest) -> bool:
    """Whether it is in, now or once the room's snapshot has come."""
    if guest.session.room is not None and guest.session.track is None:
        await desk.turn()
        await desk.snapshot()
    return any(message[0] == JOINED for message in guest.read())


async def test_who_knocks_is_let_in_when_the_hub_says_so() -> None:
    async with gated() as desk:
        guest, message = await knock(desk, address="203.0.113.7", role="viewer", level=3)
        assert (message.room, message.author.id, message.address) == (ROOM, "小明", "203.0.113.7")
        assert message.standing.level == 3
        assert message.ref < 0
        assert not guest.read()
        assert not len(desk.rooms)
        await answer(desk, message)
        assert [opening.room for opening in await desk.told(OpenRoom)] == [ROOM]
        await desk.snapshot()
        assert await entered(desk, guest)
        assert guest.session.deadline == float("inf")
        # The next one finds the room open, and knocks nevertheless.
        other, message = await knock(desk, "小红")
        await answer(desk, message)
        assert await entered(desk, other)


async def test_who_is_refused_is_told_why_and_its_time_runs_on() -> None:
    async with gated() as desk:
        guest, message = await knock(desk)
        deadline = guest.session.deadline
        await answer(desk, message, Code.DECLINED, "满了")
        assert guest.read() == [[35, 1, Code.DECLINED, 0, "满了", 0]]
        assert guest.session.deadline == deadline
        assert guest.session.room is None
        # It may try again, and the answer to the first knock is none to the second.
        desk.join(guest, user="小明")
        (again,) = await desk.told(Knock)
        await answer(desk, message)
        assert guest.session.room is None
        await answer(desk, again)
        assert await entered(desk, guest)


async def test_who_waits_can_only_wait() -> None:
    async with gated() as desk:
        guest, message = await knock(desk)
        author, secret = guest.session.author, guest.session.secret
        desk.join(guest, user="别人", room="另一间")
        assert guest.replies() == [(2, Code.ALREADY_JOINED)]
        assert (guest.session.author, guest.session.secret) == (author, secret)
        guest.handle = HANDLE
        for kind, fields in ((2, ()), (3, ("你好",)), (17, ("calm",))):
            ref = desk.ask(guest, kind, *fields)
            assert guest.replies() == [(ref, Code.NOT_JOINED)]
        assert not await desk.turn()
        await answer(desk, message)
        assert await entered(desk, guest)


async def test_no_answer_to_something_else_lets_anybody_in() -> None:
    async with gated() as desk:
        guest, message = await knock(desk)
        await answer(desk, message)
        assert await entered(desk, guest)
        # What it said is not answered when it leaves, and its next join has the same ref.
        ref = desk.ask(guest, 3, "慢")
        (said,) = await desk.told(Say)
        desk.ask(guest, 2)
        guest.ref = ref - 1
        desk.join(guest, user="小明", room="私人")
        (second,) = await desk.told(Knock)
        await desk.tell(ReplyTo(said.viewer, said.ref, Code.OK, 7))
        assert guest.session.room is None
        await answer(desk, second, Code.DECLINED)
        assert guest.session.room is None
        assert Code.DECLINED in [code for _, code in guest.replies()]


async def test_who_goes_while_it_waits_is_forgotten() -> None:
    async with gated() as desk:
        guest, message = await knock(desk)
        desk.wire.close(guest.session, Close.TIMEOUT, "too late")
        await answer(desk, message)
        assert guest.session.room is None
        assert not len(desk.rooms)
        await desk.cut()


async def test_only_so_many_may_wait() -> None:
    async with gated(hooks={"pending": 2}) as desk:
        (first, message), _ = await knock(desk, "一"), await knock(desk, "二")
        third = desk.join(desk.connect(), user="三")
        ((_, code),) = third.replies()
        assert code == Code.OVERLOADED
        await answer(desk, message)
        assert await entered(desk, first)
        await knock(desk, "三")


async def test_knocks_are_told_again_over_another_link() -> None:
    async with gated() as desk, trio.open_nursery() as nursery:
        guest, message = await knock(desk)
        gone, other = await knock(desk, "小红")
        desk.wire.drop(gone.session)
        await desk.cut()
        late = desk.join(desk.connect(), user="小刚")
        ((_, code),) = late.replies()
        assert code == Code.UNAVAILABLE, "nobody can be asked"
        await nursery.start(desk.run)
        assert await desk.told(Knock) == [message]
        await answer(desk, other)
        await answer(desk, message)
        assert await entered(desk, guest)
        nursery.cancel_scope.cancel()


async def test_what_held_before_is_looked_at_again() -> None:
    async with gated(room={"viewers_max": 2}) as desk:
        first, message = await knock(desk, "一")
        await answer(desk, message)
        assert await entered(desk, first)
        banned, knocked = await knock(desk, "坏人")
        others = [await knock(desk, user) for user in ("二", "三")]
        await desk.tell(Barred(ROOM, {"坏人": 0}, {}, []))
        await answer(desk, knocked)
        assert [code for _, code in banned.replies()] == [Code.BANNED]
        for _, message in others:
            await answer(desk, message)
        assert await entered(desk, others[0][0])
        assert [code for _, code in others[1][0].replies()] == [Code.ROOM_FULL]
        # Nobody is asked about who could not enter anyhow.
        desk.join(full := desk.connect(), user="四")
        assert [code for _, code in full.replies()] == [Code.ROOM_FULL]
        assert not await desk.told(Knock)


async def test_a_token_that_has_ended_while_its_viewer_waited_lets_nobody_in() -> None:
    async with gated() as desk:
        guest, message = await knock(desk, seconds=60)
        desk.now_ms += 3_600_000
        await answer(desk, message)
        assert guest.session.room is None
        assert [code for _, code in guest.replies()] == [Code.BAD_TOKEN]


async def test_guests_knock_too_and_are_who_they_were() -> None:
    async with gated(access={"anonymous": "write"}) as desk:
        guest, message = await knock(desk, "")
        await answer(desk, message)
        await desk.turn()
        await desk.snapshot()
        (joined,) = [message for message in guest.read() if message[0] == JOINED]
        assert joined[4] == message.author.id


async def test_nobody_knocks_when_nobody_is_asked() -> None:
    async with open_desk() as desk:
        guest = await desk.enter("小明")
        assert guest.session.room is not None
        await desk.tell(Gate(True))
        assert not desk.connect().read()
        await desk.tell(Gate(False))
        assert await desk.enter("小红")


@pytest.mark.parametrize("url", ["", "http://127.0.0.1:1/"])
async def test_with_an_address_nobody_slips_in_before_the_hub_has_spoken(url: str) -> None:
    async with open_desk(hooks={"join_url": url}) as desk:
        desk.join(desk.connect(), user="小明")
        kinds = {type(up) for up in await desk.turn()}
        assert (Knock in kinds) is bool(url)
        assert (OpenRoom in kinds) is not bool(url)
