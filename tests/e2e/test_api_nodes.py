"""Two nodes with an HTTP API each over one Redis and one PostgreSQL: whichever is called, the rooms, the retry keys, the money
and what is forbidden are the same."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import trio
from receiver import SECRET as HOOK_SECRET
from receiver import Happening, Receiver, Reply, receiver

from engine.errors import Close, Code
from engine.node import open_node
from engine.settings import GiftSettings, Settings

from .backends import API_KEY, CALLERS, Answer, Api, doors, of_room
from .people import ROOM, token
from .shop import GIFT, SHARE, of_kind, packet_is_right, shop, until_entry
from .viewers import COMMENT, GIVE, JSON, MSGPACK, PATIENCE, Viewer, open_viewer


@dataclass
class House:
    """A node, its API, and who watches there.

    :ivar settings: what it finds when it reads them again.
    """

    settings: Settings
    api: Api
    viewers: list[Viewer]


@asynccontextmanager
async def open_house(settings: Settings, caller: str, home: Path, room: str = ROOM) -> AsyncIterator[House]:
    house: House

    def reread() -> Settings:
        return house.settings

    async with AsyncExitStack() as stack:
        node = await stack.enter_async_context(open_node(settings, reread=reread))
        api = await stack.enter_async_context(CALLERS[caller](doors(node)))
        house = House(settings, api, [])
        for make, codec, user in (("websockets", MSGPACK, "小明"), ("ws", JSON, None)):
            viewer = await stack.enter_async_context(open_viewer(make, node.url, codec, home=home))
            await viewer.join(room, token=token(user) if user else None)
            house.viewers.append(viewer)
        yield house


@asynccontextmanager
async def two_houses(
    ledger: str, redis: dict[str, Any], home: Path, **sections: dict[str, Any]
) -> AsyncIterator[tuple[House, House]]:
    """Two nodes; one is called with `http.client`, the other with `fetch`."""
    api = {"enabled": True, "port": 0, "keys": (API_KEY,)}
    settings = shop(ledger, redis=redis, api=api, gifts={"rose": GiftSettings(name="玫瑰", price=10)}, **sections)
    async with open_house(settings, "http.client", home) as one, open_house(settings, "fetch", home) as two:
        yield one, two


def crowd(*houses: House) -> list[Viewer]:
    return [viewer for house in houses for viewer in house.viewers]


async def until(viewers: list[Viewer], offset: int) -> None:
    for viewer in viewers:
        await viewer.until_offset(offset)
        assert not viewer.gaps


async def at_both(houses: tuple[House, House], method: str, path: str, body: Any, key: str) -> list[Answer]:
    """The same request at both nodes at the same time, then once more at each."""
    answers: list[Answer] = []

    async def ask(house: House) -> None:
        answers.append(await house.api.ask(method, path, body, once=key))

    for _ in range(2):
        async with trio.open_nursery() as nursery:
            for house in houses:
                nursery.start_soon(ask, house)
    return answers


async def test_a_retry_at_another_node_is_a_retry(shared_ledger: str, redis: dict[str, Any], ws_home: Path) -> None:
    async with two_houses(shared_ledger, redis, ws_home) as houses:
        both = partial(at_both, houses)
        viewers = crowd(*houses)
        batch = [{"room": ROOM, "type": "comment", "body": f"第{number}条 👨‍👩‍👧"} for number in range(20)]
        for name, body in (
            ("comments", {"body": "大家好"}),
            ("events", {"name": "茶", "body": "{}"}),
            ("notices", {"body": "公告 📢"}),
        ):
            answers = await both("POST", of_room(ROOM, name), body, f"key-{name}")
            assert {answer.status for answer in answers} == {201}
            assert len({answer.body["offset"] for answer in answers}) == 1, name
        answers = await both("POST", "/v1/batch", {"events": batch}, "batch")
        offsets = [[result["offset"] for result in answer.body["results"]] for answer in answers]
        assert offsets == [list(range(4, 24))] * 4
        await both("POST", of_room(ROOM, "likes"), {"count": 7}, "likes")
        card = await both("PUT", of_room(ROOM, "cards", "tea"), {"title": "龙井"}, "card")
        assert {answer.status for answer in card} <= {200, 201}
        assert len({answer.body["version"] for answer in card}) == 1
        gift = {"user": "安娜", "gift": "rose", "count": 3}
        given = await both("POST", of_room(ROOM, "gifts"), gift, "order")
        assert {(answer.status, answer.body["entry"], answer.body["amount"]) for answer in given} == {(201, 1, 30)}
        assert (await houses[1].api.ask("POST", of_room(ROOM, "gifts"), {**gift, "count": 4}, once="order")).status in (
            409,
            422,
        )
        packet = {"user": "老板", "total": 90, "shares": 3, "split": "equal"}
        made = {answer.body["entry"] for answer in await both("POST", of_room(ROOM, "red-packets"), packet, "packet")}
        (number,) = made
        for viewer in viewers:
            await viewer.until(lambda viewer=viewer: ("packet", str(number)) in viewer.state)  # type: ignore[misc]
        for user in ("a", "b", "c"):
            shares = await both("POST", of_room(ROOM, "red-packets", number, "claims"), {"user": user}, f"claim-{user}")
            assert {(answer.status, answer.body["amount"]) for answer in shares} == {(200, 30)}
            assert len({answer.body["entry"] for answer in shares}) == 1
        last = (await houses[0].api.done("POST", of_room(ROOM, "comments"), {"body": "完"}))["offset"]
        await until(viewers, last)
        for viewer in viewers:
            await viewer.until(lambda viewer=viewer: viewer.counters[0] == 7)  # type: ignore[misc]
            assert viewer.bodies == ["大家好", "{}", "公告 📢", *(event["body"] for event in batch), "完"]
            assert len(of_kind(viewer, GIFT)) == 1
            assert len(of_kind(viewer, SHARE)) == 3
            assert packet_is_right(viewer, number) == dict.fromkeys("abc", 30)
            assert viewer.events == viewers[0].events
        histories = [await house.api.done("GET", of_room(ROOM, "history")) for house in houses]
        assert histories[0] == histories[1]
        assert [each["offset"] for each in histories[0]["events"]] == list(range(1, last + 1))


async def test_what_is_forbidden_at_one_node_is_forbidden_at_the_other(
    shared_ledger: str, redis: dict[str, Any], ws_home: Path
) -> None:
    async with two_houses(shared_ledger, redis, ws_home) as (here, there):
        ming, guest = there.viewers
        await here.api.done("PUT", of_room(ROOM, "mutes", "小明"), {"seconds": 600})
        await said(ming, Code.MUTED)
        await there.api.done("DELETE", of_room(ROOM, "mutes", "小明"))
        offset = await said(ming, Code.OK)
        await here.api.done("DELETE", of_room(ROOM, "comments", offset))
        await guest.until(lambda: offset in guest.omitted)
        assert [each["subject"] for each in (await there.api.done("GET", of_room(ROOM, "sanctions")))["sanctions"]] == []
        await here.api.done("PUT", of_room(ROOM, "bans", guest.user), {"reason": "再见"})
        assert (await guest.until_gone()).code == Close.BANNED
        # Whose tokens are taken back at one is sent away from both.
        old = token("小明", "host")
        await here.api.done("POST", "/v1/tokens/revocations", {"user": "小明"})
        for viewer in (ming, here.viewers[0]):
            assert (await viewer.until_gone()).code == Close.TOKEN_REVOKED
        with trio.fail_after(PATIENCE):
            while (await there.api.ask("GET", of_room(ROOM), key=old)).status != 401:
                await trio.lowlevel.checkpoint()
        # And one that reads its settings again does so alone.
        here.settings = replace(here.settings, limits=replace(here.settings.limits, comment_bytes=10))
        told = await here.api.done("POST", "/v1/node/reload")
        assert told == {"changed": ["limits.comment_bytes"], "restart": []}
        long = {"body": "比十个字节长"}
        assert (await here.api.ask("POST", of_room(ROOM, "comments"), long)).body["code"] == Code.TOO_LONG
        last = (await there.api.done("POST", of_room(ROOM, "comments"), long))["offset"]
        await until(here.viewers[1:], last)


async def said(viewer: Viewer, code: Code) -> int:
    """Speak until that is what comes of it, as it does within a tick; returns the offset."""
    with trio.fail_after(PATIENCE):
        while (reply := await viewer.ask(COMMENT, viewer.handle, "我说")).code != code:
            assert reply.code in (Code.OK, Code.MUTED)
    return reply.offset


async def test_a_product_is_told_of_what_happens_at_either_node_in_one_order(
    shared_ledger: str, redis: dict[str, Any], ws_home: Path
) -> None:
    async with receiver() as told:
        told.answer = flaky(told)
        hooks = {
            "events_url": told.url,
            "secret": HOOK_SECRET,
            "events_batch": 7,
            "retry_seconds": 0.01,
            "retry_most_seconds": 0.05,
            "events": ("gift", "red_packet", "moderation"),
        }
        async with two_houses(shared_ledger, redis, ws_home, hooks=hooks) as houses:
            paid: set[int] = set()

            async def give(house: House, number: int) -> None:
                for count in range(1, 16):
                    body = {"user": f"用户{number}", "gift": "rose", "count": count}
                    paid.add((await house.api.done("POST", of_room(ROOM, "gifts"), body, once=f"{number}-{count}"))["entry"])

            async with trio.open_nursery() as nursery:
                for number, house in enumerate(houses):
                    nursery.start_soon(give, house, number)
                    nursery.start_soon(press, house.viewers[0], paid)
            assert paid == set(range(1, 51))
            await houses[0].api.done("PUT", of_room(ROOM, "mutes", "eve"), {"reason": "刷屏"})
            await houses[1].api.done("DELETE", of_room(ROOM, "mutes", "eve"))
            await until_entry(*crowd(*houses), entries=paid)

            def all_of_it() -> bool:
                found = told.firsts().get(ROOM, [])
                entries = {each["data"]["entry"] for each in found if each["type"].startswith("gift")}
                return paid <= entries and len([each for each in found if each["type"].startswith("moder")]) >= 2

            await told.until(all_of_it)
        assert told.genuine
        found = told.firsts()[ROOM]
        assert [each["number"] for each in found] == list(range(1, len(found) + 1)), "in order, without holes"
        gifts = [each["data"]["entry"] for each in found if each["type"] == "gift.given"]
        assert len(gifts) == len(set(gifts)), "each has one id, whichever node tells it"


async def press(viewer: Viewer, paid: set[int]) -> None:
    for _ in range(10):
        paid.add((await viewer.spend(GIVE, "rose", 1)).entry)


def flaky(told: Receiver) -> Callable[[list[Happening]], Reply]:
    """Takes what it is told, but every third time nobody learns of it, or it does not."""
    times = 0

    def answer(happenings: list[Happening]) -> Reply:
        nonlocal times
        times += 1
        if times % 6 == 3:
            told.take(happenings)
            return None
        return (500, b"") if times % 6 == 0 else (204, b"")

    return answer
