"""Between sockets and link: what viewers ask for goes up as it should, and what the hub says reaches whom it should."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest
import trio

from engine.access import Role, Standing
from engine.errors import Close, Code
from engine.link.messages import (
    Arrivals,
    Barred,
    Expel,
    Likes,
    Located,
    Notable,
    OpenRoom,
    PrivateTo,
    Receipts,
    Redact,
    ReplyTo,
    Request,
    Say,
    Wants,
)
from engine.schema import Ask, Change, Moderate, Notice, ReadHistory, ReadState, Vote, backstage_of, handle_of
from engine.ws import Opcode, frame

from .desk import HANDLE, ROOM, Desk, Guest, open_desk

COMMENT, CUSTOM, MODERATE, CHANGE, NOTICE, VOTE, ASK, HISTORY, STATE, CHOOSE = 3, 7, 9, 10, 11, 13, 14, 15, 16, 17
CALM = {"comments_per_second": 1e6, "comments_burst": 1_000_000}


# -- what viewers ask for -------------------------------------------------------------------------------------------------


async def test_a_comment_goes_up_with_all_that_belongs_to_it() -> None:
    async with open_desk() as desk:
        ann = await desk.enter("ann", level=7, follower=True)
        await desk.turn()
        ref = desk.ask(ann, COMMENT, "e\u0301!", 12, ["bob", "阿明"], 60_000)
        (say,) = await desk.told(Say)
        assert (say.body, say.reply_to, say.mentions, say.lifetime_ms) == ("é!", 12, ["bob", "阿明"], 60_000)
        assert say.standing == Standing("viewer", 7, True)
        assert (say.author.id, say.ref, say.viewer, say.name) == ("ann", ref, ann.session.viewer, "")


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        (("hello", 0, [], 86_400_001), Code.INVALID),
        (("hello", 0, ["b\u202eob"]), Code.INVALID),
        (("hello", 0, ["x"] * 17), Code.INVALID),
        ((" \u3164 ",), Code.EMPTY),
        (("x" * 2001,), Code.TOO_LONG),
    ],
)
async def test_a_comment_that_is_not_as_it_must_be_is_refused(fields: tuple[Any, ...], code: Code) -> None:
    async with open_desk() as desk:
        guest = await desk.enter()
        desk.ask(guest, COMMENT, *fields)
        assert [code for _, code in guest.replies()] == [code]
        assert not await desk.told(Say)


ACTS: list[tuple[int, tuple[Any, ...], Any, set[Role]]] = [
    (
        MODERATE,
        ("mute", "bob", 0, 60, " so\u202e rude \n", True),
        Moderate(1, HANDLE, "mute", "bob", 0, 60, "so rude", True),
        {Role.MODERATOR, Role.HOST},
    ),
    (CHANGE, ("card", "1", {"a": 1}, 0), Change(1, HANDLE, "card", "1", {"a": 1}, 0), {Role.MODERATOR, Role.HOST}),
    (NOTICE, ("e\u0301", True, 5), Notice(1, HANDLE, "é", True, 5), {Role.MODERATOR, Role.HOST}),
    (VOTE, ("poll", "p", 2), Vote(1, HANDLE, "poll", "p", 2), {Role.VIEWER, Role.MODERATOR, Role.HOST}),
    (ASK, ("e\u0301?",), Ask(1, HANDLE, "é?"), {Role.VIEWER, Role.MODERATOR, Role.HOST}),
    (HISTORY, (40, 20), ReadHistory(1, HANDLE, 40, 20), set(Role) - {Role.SERVER}),
    (STATE, (), ReadState(1, HANDLE), set(Role) - {Role.SERVER}),
]


@pytest.mark.parametrize(("kind", "fields", "act", "roles"), ACTS, ids=[type(act).__name__ for _, _, act, _ in ACTS])
async def test_what_the_hub_decides_on_goes_up_for_those_who_may(
    kind: int, fields: tuple[Any, ...], act: Any, roles: set[Role]
) -> None:
    async with open_desk() as desk:
        for role in set(Role) - {Role.SERVER}:
            guest = await desk.enter(f"a-{role.value}", role=role.value)
            await desk.turn()
            guest.ref = 0
            desk.ask(guest, kind, *fields)
            requests = await desk.told(Request)
            if role not in roles:
                assert not requests
                assert guest.replies() == [(1, Code.FORBIDDEN)]
                continue
            (request,) = requests
            assert request.act == act
            assert request.ref == 1
            assert (request.room, request.viewer, request.codec) == (ROOM, guest.session.viewer, 0)
            assert request.session == guest.session.secret
            assert request.standing == Standing(role.value)
            assert request.author.id == f"a-{role.value}"
            await desk.tell(ReplyTo(guest.session.viewer, 1, Code.CONFLICT))
            assert guest.replies() == [(1, Code.CONFLICT)]


async def test_viewers_change_attributes_only_where_their_operator_lets_them() -> None:
    for allowed in (0, 3):
        async with open_desk(room={"viewer_attributes": allowed}) as desk:
            guest = await desk.enter()
            desk.ask(guest, CHANGE, "attribute", "colour", {"is": "red"})
            desk.ask(guest, CHANGE, "card", "1", {})
            assert len(await desk.told(Request)) == (1 if allowed else 0)
            assert [code for _, code in guest.replies()] == [Code.FORBIDDEN] * (1 if allowed else 2)


async def test_texts_for_the_hub_are_judged_as_comments_are() -> None:
    async with open_desk(limits=CALM) as desk:
        host = await desk.enter("host", role="host")
        for body, code in ((" \u200b", Code.EMPTY), ("é" * 1001, Code.TOO_LONG), ("x" * 2001, Code.TOO_LONG)):
            for kind in (NOTICE, ASK):
                ref = desk.ask(host, kind, body)
                assert host.replies() == [(ref, code)]
        assert not await desk.told(Request)


async def test_everything_asked_counts_against_one_rate() -> None:
    async with open_desk(limits={"comments_per_second": 0.001, "comments_burst": 4}) as desk:
        guest = await desk.enter()
        desk.ask(guest, COMMENT, "one")
        desk.ask(guest, VOTE, "poll", "p")
        desk.ask(guest, ASK, "why?")
        desk.ask(guest, VOTE, "poll", "q")
        assert guest.read() == []
        refs = [desk.ask(guest, VOTE, "poll", "p"), desk.ask(guest, ASK, "why?"), desk.ask(guest, COMMENT, "two")]
        answers = guest.read()
        assert [(answer[1], answer[2]) for answer in answers] == [(ref, Code.RATE_LIMITED) for ref in refs]
        assert all(answer[5] > 0 for answer in answers)


async def test_reading_has_a_rate_of_its_own_which_staff_has_not() -> None:
    async with open_desk(limits={"reads_per_second": 0.001, "reads_burst": 2, "comments_burst": 1}) as desk:
        guest, moderator = await desk.enter(), await desk.enter("mod", role="moderator")
        for asker, refused in ((guest, 2), (moderator, 0)):
            refs = [desk.ask(asker, kind) for kind in (HISTORY, STATE, HISTORY, STATE)]
            answers = asker.read()
            assert [(answer[1], answer[2]) for answer in answers] == [(ref, Code.RATE_LIMITED) for ref in refs[4 - refused :]]
            assert all(answer[5] > 0 for answer in answers)
        desk.ask(guest, COMMENT, "one")
        assert guest.read() == []


async def test_nothing_is_asked_of_a_room_that_is_not_joined() -> None:
    async with open_desk() as desk:
        guest = await desk.enter("mod", role="moderator")
        guest.handle += 1
        for kind, fields, _, _ in ACTS:
            ref = desk.ask(guest, kind, *fields)
            assert guest.replies() == [(ref, Code.NOT_JOINED)]


async def test_a_private_answer_reaches_its_viewer_and_ends_the_holding() -> None:
    async with open_desk() as desk:
        guest, other = await desk.enter(), await desk.enter()
        one, two = desk.ask(guest, STATE), desk.ask(guest, COMMENT, "hi")
        await desk.turn()
        page = frame(Opcode.BINARY, msgpack.packb([41, one, HANDLE, 5, 0, {}, []]))
        await desk.tell(PrivateTo(guest.session.viewer, one, page), ReplyTo(guest.session.viewer, two, 0, 7))
        assert [message[:3] for message in guest.read()] == [[41, one, HANDLE], [35, two, 0]]
        assert other.read() == []
        with trio.fail_after(5):
            await desk.rooms.answered()


async def test_what_the_hub_has_not_answered_is_asked_again_of_the_next() -> None:
    async with open_desk() as desk, trio.open_nursery() as nursery:
        guest = await desk.enter("host", role="host")
        await desk.turn()
        asked = [desk.ask(guest, COMMENT, "hi"), desk.ask(guest, VOTE, "poll", "p"), desk.ask(guest, NOTICE, "hear")]
        first = [up for up in await desk.turn() if isinstance(up, Say | Request)]
        await desk.tell(ReplyTo(guest.session.viewer, asked[1], 0))
        await desk.cut()
        asked.append(desk.ask(guest, ASK, "still there?"))
        await nursery.start(desk.run)
        again = [up for up in await desk.turn() if isinstance(up, Say | Request)]
        assert [up.ref for up in again] == [asked[0], asked[2], asked[3]]
        assert again[:2] == [first[0], first[2]]
        # What is retried meanwhile is held once.
        desk.send(guest, ASK, asked[3], HANDLE, "still there?")
        await desk.tell(*(ReplyTo(guest.session.viewer, up.ref, 0) for up in again))
        with trio.fail_after(5):
            await desk.rooms.answered()
        nursery.cancel_scope.cancel()


async def test_what_waits_for_the_hub_is_bounded() -> None:
    async with open_desk(limits=CALM | {"pending_events": 3}) as desk:
        guest = await desk.enter()
        refs = [desk.ask(guest, VOTE, "poll", "p") for _ in range(5)]
        assert guest.replies() == [(ref, Code.OVERLOADED) for ref in refs[3:]]
        await desk.turn()
        await desk.tell(*(ReplyTo(guest.session.viewer, ref, 0) for ref in refs[:3]))
        guest.read()
        desk.ask(guest, VOTE, "poll", "p")
        assert guest.read() == []


async def test_backstage_is_for_moderators() -> None:
    async with open_desk() as desk:
        for user, role in (("", "viewer"), ("bob", "viewer"), ("mod", "moderator"), ("host", "host")):
            guest = desk.connect()
            desk.join(guest, room=backstage_of(ROOM), user=user, role=role)
            await desk.turn()
            assert [code for _, code in guest.replies()] == ([] if role in ("moderator", "host") else [Code.FORBIDDEN])
            # Whoever is not in says nothing there either.
            desk.ask(guest, COMMENT, "psst")
            assert [code for _, code in guest.replies()] == [Code.NOT_JOINED]
        assert handle_of(backstage_of(ROOM)) != HANDLE


# -- feeds ----------------------------------------------------------------------------------------------------------------


async def test_a_feed_is_chosen_with_the_join_or_later_and_unknown_ones_are_refused() -> None:
    async with open_desk() as desk:
        lost = desk.join(desk.connect(), feed="nonsense")
        assert lost.replies() == [(1, Code.NOT_FOUND)]
        assert lost.session.room is None
        calm = await desk.enter(feed="calm")
        assert calm.session.variant == 8
        full = await desk.enter()
        await desk.batch([0, 2, 1])
        assert [message[-1] for message in calm.read()] == [8]
        assert [message[-1] for message in full.read()] == [0]
        ref = desk.ask(full, CHOOSE, "calm")
        assert full.replies() == [(ref, Code.OK)]
        # Nobody here had that one yet: it goes on with the one it has.
        ref = desk.ask(full, CHOOSE, "readable")
        assert await desk.told(Wants) == [Wants(ROOM, [0, 4, 8])]
        await desk.batch([0, 2, 1])
        assert [message[-1] for message in full.read()] == [8]
        await desk.snapshot()
        assert full.replies() == [(ref, Code.OK)]
        await desk.batch([0, 2, 1])
        assert [(message[3], message[-1]) for message in full.read()] == [(3, 4)]
        ref = desk.ask(full, CHOOSE, "")
        await desk.batch([0, 2, 1])
        assert [(message[0], message[-1]) for message in full.read()][-1] == (34, 0)
        ref = desk.ask(full, CHOOSE, "no such feed")
        assert full.replies() == [(ref, Code.NOT_FOUND)]


async def test_of_two_choices_the_later_one_counts() -> None:
    async with open_desk() as desk:
        guest = await desk.enter()
        one, two = desk.ask(guest, CHOOSE, "readable"), desk.ask(guest, CHOOSE, "calm")
        assert guest.replies() == [(one, Code.CONFLICT)]
        await desk.turn()
        await desk.snapshot()
        assert guest.replies() == [(two, Code.OK)]
        assert guest.session.variant == 8
        one, two = desk.ask(guest, CHOOSE, "calm"), desk.ask(guest, CHOOSE, "calm")
        assert guest.replies() == [(one, Code.OK), (two, Code.OK)]


async def test_without_a_hub_only_feeds_that_are_here_can_be_chosen() -> None:
    async with open_desk() as desk, trio.open_nursery() as nursery:
        guest, other = await desk.enter(), await desk.enter(feed="calm")
        ref = desk.ask(guest, CHOOSE, "readable")
        await desk.turn()
        await desk.cut()
        calm = desk.ask(other, CHOOSE, "")
        assert other.replies() == [(calm, Code.OK)]
        gone = desk.ask(other, CHOOSE, "readable")
        assert other.replies() == [(gone, Code.UNAVAILABLE)]
        await nursery.start(desk.run)
        assert [up.variants for up in await desk.told(OpenRoom)] == [[0, 4, 8]]
        await desk.snapshot()
        assert guest.replies() == [(ref, Code.OK)]
        nursery.cancel_scope.cancel()


# -- who may be here ------------------------------------------------------------------------------------------------------


async def test_who_is_barred_is_sent_away_and_not_let_in_again_until_then() -> None:
    async with open_desk() as desk:
        ann, ann_too = await desk.enter("ann"), await desk.enter("ann")
        far = await desk.enter("far", address="2001:db8:0:0:7::1")
        near = await desk.enter("near", address="127.0.0.1")
        bob = await desk.enter("bob", address="203.0.113.8")
        behind = await desk.enter("behind")
        behind.session.address = "203.0.113.7"  # the proxy's own
        await desk.tell(
            Barred(ROOM, {"ann": desk.now_ms + 5_000}, {"2001:db8::/64": 0, "127.0.0.1": 0, "203.0.113.7": 0, "?": 0}, [])
        )
        closed = {guest.session: Close.BANNED for guest in (ann, ann_too, far, near)}
        assert desk.wire.closed == closed
        again = desk.join(desk.connect(), user="ann")
        assert again.read() == [[35, 1, Code.BANNED, 0, "you are banned from this room", 5_000]]
        guest = desk.join(desk.connect("2001:db8::9"))
        assert guest.read() == [[35, 1, Code.BANNED, 0, "you are banned from this room", 0]]
        desk.now_ms += 5_000
        await desk.enter("ann")
        await desk.tell(Barred(ROOM, {}, {}, []))
        await desk.enter(address="2001:db8::9")
        for present in (bob, behind):
            assert present.session.track is not None


async def test_who_waits_to_come_in_is_barred_and_expelled_too() -> None:
    async with open_desk() as desk:
        ann, bob, eve = (desk.join(desk.connect(), user=user) for user in ("ann", "bob", "eve"))
        await desk.turn()
        await desk.tell(Barred(ROOM, {"ann": 0}, {}, []), Expel(ROOM, "bob"))
        assert ann.replies() == [(1, Code.BANNED)]
        assert ann.session.room is None
        assert ann.session.deadline == 0.0
        assert desk.wire.closed == {bob.session: Close.KICKED}
        await desk.snapshot()
        assert [message[0] for message in eve.read()] == [32, 33]


async def test_the_address_of_who_is_looked_for_is_told_once() -> None:
    async with open_desk() as desk:
        await desk.enter("ann", address="203.0.113.7")
        await desk.enter("ann", address="203.0.113.7")
        await desk.enter("ann")
        await desk.enter("bob", address="203.0.113.9")
        await desk.turn()
        await desk.tell(Barred(ROOM, {"ann": 0}, {}, ["ann"]))
        assert await desk.told(Located) == [Located(ROOM, "ann", "203.0.113.7")]
        desk.join(desk.connect("203.0.113.7"), user="ann")
        assert await desk.told(Located) == []
        # It comes from elsewhere: refused, and found.
        desk.join(desk.connect("2001:db8::7"), user="ann")
        assert await desk.told(Located) == [Located(ROOM, "ann", "2001:db8::/64")]


async def test_a_user_who_is_expelled_goes_with_all_its_connections_and_may_return() -> None:
    async with open_desk() as desk:
        ann, ann_too, bob = await desk.enter("ann"), await desk.enter("ann"), await desk.enter("bob")
        await desk.tell(Expel(ROOM, "ann"))
        assert desk.wire.closed == {ann.session: Close.KICKED, ann_too.session: Close.KICKED}
        assert bob.session.track is not None
        await desk.enter("ann")


async def test_the_next_hub_says_anew_who_is_barred() -> None:
    async with open_desk() as desk, trio.open_nursery() as nursery:
        await desk.enter("bob")
        await desk.tell(Barred(ROOM, {"ann": 0}, {}, []))
        await desk.cut()
        assert desk.join(desk.connect(), user="ann").replies() == [(1, Code.BANNED)]
        await nursery.start(desk.run)
        await desk.turn()
        await desk.snapshot()
        await desk.enter("ann")
        nursery.cancel_scope.cancel()


# -- what is deleted ------------------------------------------------------------------------------------------------------


async def test_what_is_deleted_is_not_shown_to_who_comes_then() -> None:
    async with open_desk() as desk:
        await desk.enter()
        await desk.batch([1, ["a"], 1, "stays"], [1, ["a"], 2, "goes"])
        desk.hub.send([Redact(ROOM, 5, [2, 2], 1)])
        await desk.snapshot()
        back = desk.join(desk.connect(), position=0, session="x" * 16)
        batch = back.read()[-1]
        assert batch[6] == [[1, ["a"], 1, "stays"], [0, 1, 1]]


# -- likes ----------------------------------------------------------------------------------------------------------------


def like(desk: Desk, guest: Guest, total: int, reactions: dict[str, int] | None = None) -> None:
    desk.send(guest, 4, HANDLE, total, *([reactions] if reactions is not None else []))


async def test_likes_and_reactions_are_summed_and_told_as_totals() -> None:
    async with open_desk(room={"reactions": ("🔥", "👏")}) as desk:
        ann, bob = await desk.enter("ann"), await desk.enter("bob")
        like(desk, ann, 3, {"🔥": 2, "nonsense": 9})
        like(desk, bob, 0, {"🔥": 1, "👏": 4})
        assert await desk.told(Likes) == [Likes(ROOM, 3, {"🔥": 3, "👏": 4})]
        like(desk, ann, 3, {"🔥": 2})
        like(desk, bob, 0, {"🔥": 0})
        assert await desk.told(Likes) == []
        like(desk, ann, 2, {"🔥": 5})
        assert await desk.told(Likes) == [Likes(ROOM, 3, {"🔥": 6, "👏": 4})]


async def test_likes_and_reactions_share_a_rate() -> None:
    async with open_desk(limits={"likes_per_second": 0.001, "likes_burst": 10}) as desk:
        guest = await desk.enter()
        like(desk, guest, 4, {"🔥": 5, "👏": 5})
        assert await desk.told(Likes) == [Likes(ROOM, 4, {"🔥": 5, "👏": 1})]
        like(desk, guest, 9, {"🔥": 9, "👏": 9})
        assert await desk.told(Likes) == []


async def test_totals_of_a_session_go_on_when_it_comes_back() -> None:
    async with open_desk() as desk:
        guest = await desk.enter()
        secret = guest.session.secret
        like(desk, guest, 3, {"🔥": 2})
        desk.wire.drop(guest.session)
        await desk.turn()
        again = await desk.enter(session=secret)
        like(desk, again, 4, {"🔥": 3, "👏": 1})
        assert await desk.told(Likes) == [Likes(ROOM, 4, {"🔥": 3, "👏": 1})]
        # One that was counted elsewhere: its first report is where counting begins.
        stranger = await desk.enter(session="z" * 16)
        like(desk, stranger, 70, {"🔥": 70})
        assert await desk.told(Likes) == []
        like(desk, stranger, 71, {"🔥": 72})
        assert await desk.told(Likes) == [Likes(ROOM, 5, {"🔥": 5, "👏": 1})]


async def test_totals_are_told_again_to_the_next_hub() -> None:
    async with open_desk() as desk, trio.open_nursery() as nursery:
        guest = await desk.enter()
        like(desk, guest, 0, {"🔥": 2})
        await desk.turn()
        await desk.cut()
        like(desk, guest, 1)
        await nursery.start(desk.run)
        assert await desk.told(Likes) == [Likes(ROOM, 1, {"🔥": 2})]
        nursery.cancel_scope.cancel()


# -- who came -------------------------------------------------------------------------------------------------------------


async def test_arrivals_are_told_once_a_turn_and_all_of_them_to_the_next_hub() -> None:
    async with open_desk() as desk, trio.open_nursery() as nursery:
        first = await desk.enter("u-0")
        assert await desk.told(Arrivals) == [Arrivals(ROOM, ["u-0"])]
        for number in range(1, 2_500):
            desk.join(desk.connect(), user=f"u-{number % 2_300}")
        sizes = [len(up.users) for up in await desk.told(Arrivals)]
        assert sizes == [1_000, 1_000, 300]
        assert await desk.told(Arrivals) == []
        desk.wire.drop(first.session)
        await desk.cut()
        desk.join(desk.connect(), user="late")
        await nursery.start(desk.run)
        told = [user for up in await desk.told(Arrivals) for user in up.users]
        assert len(told) == len(set(told))
        assert set(told) == {f"u-{number}" for number in range(2_300)} | {"late"}
        nursery.cancel_scope.cancel()


async def test_who_waits_has_not_arrived() -> None:
    async with open_desk() as desk:
        desk.join(desk.connect(), user="ann")
        assert await desk.told(Arrivals) == []
        await desk.snapshot()
        assert await desk.told(Arrivals) == [Arrivals(ROOM, ["ann"])]


async def test_notable_viewers_come_once_and_go_with_their_last_connection() -> None:
    async with open_desk(room={"notable_level": 5}) as desk, trio.open_nursery() as nursery:
        host = await desk.enter("host", role="host", name="Ann")
        (came,) = await desk.told(Notable)
        assert (came.author.id, came.author.name, came.standing) == ("host", "Ann", Standing("host"))
        assert (came.present, came.session, came.room) == (True, host.session.secret, ROOM)
        host_too = await desk.enter("host", role="host")
        vip, nobody = await desk.enter("vip", level=5), await desk.enter("nobody", level=4)
        assert [(up.author.id, up.present) for up in await desk.told(Notable)] == [("vip", True)]
        for gone in (host, nobody, vip):
            desk.wire.drop(gone.session)
        assert [(up.author.id, up.present) for up in await desk.told(Notable)] == [("vip", False)]
        await desk.cut()
        await nursery.start(desk.run)
        assert await desk.told(Notable) == [came]
        desk.wire.drop(host_too.session)
        (left,) = await desk.told(Notable)
        assert (left.author, left.session, left.present) == (came.author, came.session, False)
        nursery.cancel_scope.cancel()


async def test_another_feed_is_neither_coming_nor_going() -> None:
    async with open_desk() as desk:
        host, other = await desk.enter("host", role="host"), await desk.enter(feed="calm")
        await desk.turn()
        desk.ask(host, CHOOSE, "calm")
        assert host.session.track is other.session.track
        assert await desk.turn() == []


async def test_receipts_are_collected_and_wait_for_a_hub() -> None:
    async with open_desk() as desk, trio.open_nursery() as nursery:
        ann, bob, reader = await desk.enter("ann"), await desk.enter("bob"), await desk.enter("eve", role="reader")
        await desk.batch([0, 2, 1], [0, 2, 1])
        await desk.turn()
        for guest in (ann, bob, ann, reader):
            desk.send(guest, 12, HANDLE, 1, False)
        desk.send(bob, 12, HANDLE, 2, True)
        for nowhere in (0, 3):
            desk.send(bob, 12, HANDLE, nowhere, True)
        told = await desk.told(Receipts)
        assert told == [Receipts(ROOM, 1, False, ["ann", "bob", "eve"]), Receipts(ROOM, 2, True, ["bob"])]
        assert await desk.turn() == []
        await desk.cut()
        desk.send(ann, 12, HANDLE, 2, True)
        desk.rooms.turn_over()
        await nursery.start(desk.run)
        assert await desk.told(Receipts) == [Receipts(ROOM, 2, True, ["ann"])]
        assert ann.read()[1:] == []
        nursery.cancel_scope.cancel()
