"""The HTTP API as others see it: called with Python's `http.client`, Node's `fetch` and curl, watched with `websockets`,
Node's `ws` and trio-websocket, with and without permessage-deflate. Nothing of ours is between."""

from __future__ import annotations

import unicodedata
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from engine.errors import Close, Code

from .backends import CALLERS, KEY, Api, Site, of_room, serving, settings
from .people import token
from .shop import END, GIFT, PACKET, SHARE, named, of_kind, packet_is_right
from .viewers import CHANGE, COMMENT, JSON, MSGPACK, Viewer, open_viewer

Seat = tuple[str, str, bool]
SEATS: tuple[Seat, ...] = (
    ("websockets", MSGPACK, True),
    ("ws", JSON, True),
    ("websockets", JSON, False),
    ("ws", MSGPACK, False),
    ("trio-websocket", MSGPACK, False),
)
"""Whose client, codec, permessage-deflate."""
ROOMS = (
    "大厅/一号 🎬",
    "100% a+b?c=d&e#f",
    "..",
    "%2F%1F%00",
    "'\"\\<>;:@[]{}|^`~ é",
    "👍🏽/🇨🇳/\U0001f9e7",
    "שלום",
)
TEXTS = {
    "大家好，欢迎来到直播间 🎉": "大家好，欢迎来到直播间 🎉",
    "一家 👨‍👩‍👧 和 👍🏽 🇨🇳 ☕️": "一家 👨‍👩‍👧 和 👍🏽 🇨🇳 ☕️",
    "e\u0301 A\u030a ㄱ\u1161": "é Å ㄱ\u1161",
    "עברית ועוד — العربية ١٢٣": "עברית ועוד — العربية ١٢٣",
    "\u202egnihton\u202c\u2066 \x07bell\x00\ufeff": "gnihton bell",
    "ไทย ที่นี่ देवनागरी": "ไทย ที่นี่ देवनागरी",
    '"quoted" \\back\\ </script> &amp; ${x}': '"quoted" \\back\\ </script> &amp; ${x}',
    "z" + "\u0300" * 9 + "algo": unicodedata.normalize("NFC", "z" + "\u0300" * 4) + "algo",
    "𠜎𠜱 𝒳 \U0010fffd": "𠜎𠜱 𝒳 \U0010fffd",
    "第一行\n第二行": "第一行\n第二行",
}
"""What a product says, and what is shown of it."""
_TYPES = (
    *("omitted", "comment", "custom", "state", "notice", "moderated", "held", "presence"),
    *("gift", "combo", "correction", "packet", "share", "packet_end"),
)
_NAMES = {
    1: ("ref", "body"),
    2: ("ref", "name", "body"),
    3: ("ref", "kind", "key", "value", "version"),
    4: ("ref", "body", "receipts"),
    5: ("action", "user", "offsets", "until", "reason"),
}
_ROOM = count(1)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """One node for all."""
    directory = tmp_path_factory.mktemp("site")
    with serving(directory, settings(directory)) as running:
        yield running


@pytest.fixture(params=CALLERS)
async def api(request: pytest.FixtureRequest, site: Site) -> AsyncIterator[Api]:
    """The API by each client."""
    async with CALLERS[request.param](site) as found:
        yield found


@pytest.fixture
def room() -> str:
    """One that no other test is in, of a name that wants care."""
    number = next(_ROOM)
    return f"{ROOMS[number % len(ROOMS)]}·{number}"


@asynccontextmanager
async def seated(site: Site, home: Path, room: str, seats: Sequence[Seat] = SEATS[1:3]) -> AsyncIterator[list[Viewer]]:
    """Somebody in the room on each seat."""
    async with AsyncExitStack() as stack:
        crowd = []
        for make, codec, deflate in seats:
            viewer = await stack.enter_async_context(open_viewer(make, site.url, codec, deflate=deflate, home=home))
            assert viewer.transport.deflate is deflate
            await viewer.join(room)
            crowd.append(viewer)
        yield crowd


async def until(crowd: Sequence[Viewer], offset: int) -> None:
    for viewer in crowd:
        await viewer.until_offset(offset)
        assert not viewer.gaps


def told(event: list[Any]) -> dict[str, Any]:
    """An event as the API should tell it, of that which is in its array."""
    if event[0] >= GIFT:
        fields = {name: value for name, value in named(event).items() if name not in ("kind", "user", "entry", "name")}
    else:
        fields = dict(zip(_NAMES[event[0]], event[2:], strict=False))
        if fields.get("kind") == "pin":
            # There it holds an event, too, which is an object.
            del fields["value"]
    id_, name, attributes, *_ = event[1]
    return {"type": _TYPES[event[0]], **fields, "author": {"id": id_, "name": name, "attributes": attributes}}


async def everything(api: Api, room: str) -> dict[int, dict[str, Any]]:
    """The room's history, page by page."""
    found: dict[int, dict[str, Any]] = {}
    after: int | None = 0
    while after is not None:
        page = await api.done("GET", of_room(room, "history") + f"?limit=7&after={after}")
        found |= {each["offset"]: each["event"] for each in page["events"]}
        assert page["next"] is None or page["next"] == max(found)
        after = page["next"]
    return found


async def agrees(api: Api, room: str, viewer: Viewer) -> None:
    """History and state as the API tells them are what a viewer saw who was there all the time."""
    past = await everything(api, room)
    await viewer.until_offset(max(past))
    # What was before it came, and what was deleted, it does not have.
    for offset, event in viewer.events.items():
        wanted, got = told(event), past[offset]
        author = {name: got["author"][name] for name in wanted["author"]}
        assert {**got, **wanted} == {**got, "author": author}
    for offset in viewer.omitted:
        assert past[offset]["type"] == "omitted"
    state = (await api.done("GET", of_room(room, "state")))["entries"]
    shown = {(each["kind"], each["key"]): (each["value"], each["version"]) for each in state}
    for place, (value, version) in viewer.state.items():
        if place[0] not in ("packet", "pin"):
            assert shown[place] == (value, version)
    assert shown.keys() == viewer.state.keys()


# -- speaking ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("api", "seats"),
    [(name, SEATS if name == "http.client" else SEATS[1:3]) for name in CALLERS],
    ids=CALLERS,
    indirect=["api"],
)
async def test_what_a_product_says_is_what_everybody_sees(
    api: Api, site: Site, room: str, ws_home: Path, seats: Sequence[Seat]
) -> None:
    made = await api.ask("PUT", of_room(room), {"title": "双十一 🛒"})
    assert (made.status, made.body["room"], made.headers["location"]) == (201, room, of_room(room))
    async with seated(site, ws_home, room, seats) as crowd:
        offsets = {}
        for number, (said, shown) in enumerate(TEXTS.items()):
            author = {"id": f"用户-{number}", "name": f"小红 {number} 🌸", "attributes": {"徽章": "💎"}}
            answer = await api.ask("POST", of_room(room, "comments"), {"body": said, "author": author})
            assert answer.status == 201
            offsets[answer.body["offset"]] = shown
        batch = [{"room": room, "type": "comment", "body": said, "mentions": ["安娜"]} for said in TEXTS]
        results = (await api.done("POST", "/v1/batch", {"events": batch}))["results"]
        offsets |= dict(zip((each["offset"] for each in results), TEXTS.values(), strict=True))
        raw = '{"茶": 1, "👨‍👩‍👧": [null, "\\u202e"]}\x01'
        custom = await api.done("POST", of_room(room, "events"), {"name": "购物车.add", "body": raw})
        notice = await api.done("POST", of_room(room, "notices"), {"body": "换到二号直播间 📢"})
        await api.done("POST", of_room(room, "likes"), {"count": 25, "reactions": {"🎉": 3}})
        card = {"title": "龙井 🍵", "price": "¥99", "now": True}
        assert (await api.ask("PUT", of_room(room, "cards", "茶/1 %"), card)).status == 201
        await api.done("PUT", of_room(room, "pins", min(offsets)))
        poll = await api.done("PUT", of_room(room, "polls", "q"), {"question": "哪一种?", "options": ["绿茶", "红茶 🫖"]})
        for viewer in crowd:
            await viewer.until(lambda viewer=viewer: ("poll", "q") in viewer.state and viewer.counters[0] == 25)  # type: ignore[misc]
            assert {offset: viewer.events[offset][3] for offset in offsets} == offsets
            first = viewer.events[min(offsets)]
            assert first[1] == ["用户-0", "小红 0 🌸", {"徽章": "💎"}]
            assert viewer.events[custom["offset"]][3:] == ["购物车.add", raw]
            assert viewer.events[notice["offset"]][3] == "换到二号直播间 📢"
            assert viewer.value("card", "茶/1 %")["title"] == "龙井 🍵"
            assert viewer.state["poll", "q"][1] == poll["version"]
            assert viewer.events == crowd[0].events
            assert not viewer.faults
            await agrees(api, room, viewer)
        assert room in [each["room"] for each in (await api.done("GET", "/v1/rooms?limit=1000"))["rooms"]]
        standing = await api.done("GET", of_room(room))
        assert (standing["title"], standing["likes"], standing["viewers"]) == ("双十一 🛒", 25, len(crowd))
        assert (standing["epoch"], standing["offset"]) == crowd[0].position


async def test_a_room_of_any_name_is_the_same_for_everybody(site: Site, ws_home: Path) -> None:
    async with AsyncExitStack() as stack:
        callers = [await stack.enter_async_context(each(site)) for each in CALLERS.values()]
        for name in ROOMS:
            await is_one_room(site, ws_home, callers, name)


async def is_one_room(site: Site, home: Path, callers: list[Api], name: str) -> None:
    room = f"{name}~"
    async with seated(site, home, room, SEATS[:1]) as (viewer,):
        for api in callers:
            # Another client, and the same key: the same retry.
            assert await api.done("POST", of_room(room, "comments"), {"body": room}, once="this") == {"offset": 1}
        assert await viewer.comment("好") == 2
        for api in callers:
            assert (await api.done("GET", of_room(room)))["room"] == room
        await agrees(callers[-1], room, viewer)
        assert viewer.bodies == [room, "好"]
        # A name that looks alike is another room.
        for other in (name, f"{name}~/", f"/{name}~", f"{name}~/~"):
            assert (await callers[0].done("GET", of_room(other)))["offset"] == 0


@pytest.mark.parametrize("api", ["http.client"], indirect=True)
async def test_a_name_that_cannot_be_seen_to_be_one_is_refused_at_either_door(site: Site, api: Api) -> None:
    async with open_viewer("websockets", site.url, MSGPACK) as viewer:
        # Who has joined no room is not waited for as long as the API may take.
        names = ("👨‍👩‍👧", "a\u202eb", "a\u00a0")
        refusals = [await viewer.knock(name) for name in names]
        for name, refusal in zip(names, refusals, strict=True):
            assert refusal is not None
            answer = await api.ask("POST", of_room(name, "comments"), {"body": "x"})
            assert answer.status == 422, name
            assert {refusal.code, answer.body["code"]} <= {Code.BAD_ROOM, Code.INVALID}


@pytest.mark.parametrize("api", ["http.client"], indirect=True)
async def test_two_rooms_or_two_things_in_one_have_retry_keys_of_their_own(api: Api, room: str) -> None:
    names = [f"{room}{tail}" for tail in ("", "?", "?1", "?2", "#1", "#2", "\\", "%5C", "/x", ";a", "%")]
    for name in names:
        answer = await api.ask("POST", of_room(name, "comments"), {"body": name}, once="k")
        assert (answer.status, answer.body) == (201, {"offset": 1})
    for name in names:
        for _ in range(2):
            answer = await api.ask("POST", of_room(name, "gifts"), {"user": "anna", "gift": "rose"}, once="k")
            assert (answer.status, answer.body["entry"], answer.body["repeated"]) == (201, 1, False)
    for user in ("a?1", "a#2", "a/3", "a"):
        await api.done("PUT", of_room(room, "mutes", user), {}, once="k")
    assert len((await api.done("GET", of_room(room, "sanctions")))["sanctions"]) == 4


# -- tokens --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("api", ["fetch"], indirect=True)
async def test_a_token_that_the_api_made_opens_the_room_with_any_client(api: Api, site: Site, room: str, ws_home: Path) -> None:
    # Whose tokens are taken back has none of this second.
    user = f"主播-{room[-2:]}"
    wanted = {"user": user, "name": "安娜 🌹", "role": "host", "rooms": [room], "attributes": {"徽章": "💎"}}
    made = (await api.done("POST", "/v1/tokens", wanted))["token"]
    async with AsyncExitStack() as stack:
        crowd = []
        for number, (make, codec, deflate) in enumerate(SEATS):
            # Half in the join, half among the subprotocols.
            offered = number % 2 and make != "trio-websocket"
            offers = [f"roomcast.token.{made}"] if offered else []
            viewer = await stack.enter_async_context(
                open_viewer(make, site.url, codec, deflate=deflate, home=ws_home, offers=offers)
            )
            await viewer.join(room, token=None if offered else made)
            assert viewer.joined[4:6] == [user, "host"]
            refusal = await viewer.ask(CHANGE, viewer.handle, "card", f"{number}", {"title": "茶"})
            assert refusal.code == Code.OK
            crowd.append(viewer)
        offset = max([await viewer.comment("我来了 👋") for viewer in crowd])
        await until(crowd, offset)
        for viewer in crowd:
            assert viewer.events[offset][1] == [user, "安娜 🌹", {"徽章": "💎"}, "host", 0]
        # The same token calls the API, where it may do what a host may, in its room.
        assert (await api.ask("POST", of_room(room, "notices"), {"body": "公告"}, key=made)).status == 201
        assert (await api.ask("POST", of_room(room + "x", "notices"), {"body": "公告"}, key=made)).body[
            "code"
        ] == Code.FORBIDDEN
        assert (await api.ask("GET", "/v1/node", key=made)).body["code"] == Code.FORBIDDEN
        await api.done("POST", "/v1/tokens/revocations", {"user": user})
        for viewer in crowd:
            assert (await viewer.until_gone()).code == Close.TOKEN_REVOKED
    assert (await api.ask("POST", of_room(room, "notices"), {"body": "公告"}, key=made)).status == 401


# -- money ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("api", [list(CALLERS)[-1]], indirect=True)
async def test_gifts_and_red_packets_are_booked_once_and_seen_by_all(api: Api, site: Site, room: str, ws_home: Path) -> None:
    async with seated(site, ws_home, room) as crowd:
        gift = {"user": {"id": "安娜", "name": "安娜 🌸"}, "gift": "rose", "count": 9, "to": "小红"}
        first = await api.ask("POST", of_room(room, "gifts"), gift, once="order-4711")
        assert (first.status, first.body["amount"], first.body["repeated"]) == (201, 90, False)
        again = await api.ask("POST", of_room(room, "gifts"), gift, once="order-4711")
        assert (again.status, again.body) == (201, first.body)
        assert again.headers["idempotency-replayed"] == "true"
        other = await api.ask("POST", of_room(room, "gifts"), {**gift, "count": 8}, once="order-4711")
        assert (other.status, other.body["code"]) == (422, Code.CONFLICT)
        assert (await api.ask("POST", of_room(room, "gifts"), gift)).status == 400
        refund = await api.done("POST", of_room(room, "gifts", first.body["entry"], "refunds"), {"amount": 20}, once="r")
        packet = {"user": "老板", "total": 100, "shares": 3, "text": "恭喜发财 🧧"}
        number = (await api.done("POST", of_room(room, "red-packets"), packet, once="packet"))["entry"]
        (shown,) = (await api.done("GET", of_room(room, "red-packets")))["packets"]
        assert (shown["packet"], shown["text"], shown["user"]) == (number, "恭喜发财 🧧", "老板")
        won = {}
        for user in ("安娜", "bob", "卡尔"):
            share = await api.done("POST", of_room(room, "red-packets", number, "claims"), {"user": user})
            repeated = await api.done("POST", of_room(room, "red-packets", number, "claims"), {"user": user})
            assert repeated == {**share, "repeated": True}
            won[user] = share["amount"]
        late = await api.ask("POST", of_room(room, "red-packets", number, "claims"), {"user": "eve"})
        assert (late.status, late.body["code"]) == (410, Code.PACKET_OVER)
        for viewer in crowd:
            await viewer.until(lambda viewer=viewer: bool(of_kind(viewer, END)))  # type: ignore[misc]
            assert [fields["amount"] for fields in of_kind(viewer, GIFT)] == [90]
            assert packet_is_right(viewer, number) == won
            assert len(of_kind(viewer, PACKET)) == 1
            assert len(of_kind(viewer, SHARE)) == 3
            assert refund["entry"] in viewer.money
            await agrees(api, room, viewer)
        assert (await api.done("GET", of_room(room, "givers")))["givers"] == [{"user": "安娜", "name": "安娜 🌸", "given": 70}]


# -- moderation ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("api", ["fetch"], indirect=True)
async def test_what_a_product_forbids_is_forbidden_at_once(api: Api, site: Site, room: str, ws_home: Path) -> None:
    eve = f"夏娃/{room}"[:60]
    async with seated(site, ws_home, room) as crowd, AsyncExitStack() as stack:
        bad = []
        for make, codec, deflate in SEATS[:2]:
            viewer = await stack.enter_async_context(open_viewer(make, site.url, codec, deflate=deflate, home=ws_home))
            await viewer.join(room, token=token(eve))
            bad.append(viewer)
        spam = [await viewer.comment("加微信 🤑") for viewer in bad]
        await until(crowd, max(spam))
        await api.done("PUT", of_room(room, "mutes", eve), {"seconds": 600, "reason": "刷屏"}, once="mute")
        assert [(await viewer.ask(COMMENT, viewer.handle, "我?")).code for viewer in bad] == [Code.MUTED] * 2
        deleted = await api.done("DELETE", of_room(room, "comments", spam[0]) + "?reason=%E5%B9%BF%E5%91%8A")
        gone = await api.done("DELETE", of_room(room, "comments") + f"?user={of_room(eve)[10:]}")
        await until(crowd, max(deleted["offset"], gone["offset"]))
        for viewer in crowd:
            assert not set(spam) & viewer.shown.keys()
        (sanction,) = (await api.done("GET", of_room(room, "sanctions")))["sanctions"]
        assert (sanction["kind"], sanction["subject"], sanction["reason"]) == ("mute", eve, "刷屏")
        await api.done("PUT", of_room(room, "bans", eve), {"reason": "再见"})
        for viewer in bad:
            assert (await viewer.until_gone()).code == Close.BANNED
        async with open_viewer("ws", site.url, JSON, home=ws_home) as back:
            refusal = await back.knock(room, token=token(eve))
            assert refusal is not None
            assert refusal.code == Code.BANNED
            await api.done("DELETE", of_room(room, "bans", eve))
            await api.done("DELETE", of_room(room, "mutes", eve))
            await back.join(room, token=token(eve))
            await until(crowd, await back.comment("我改 🙏"))
            for viewer in crowd:
                assert viewer.bodies[-1] == "我改 🙏"
                assert viewer.bodies == crowd[0].bodies
                assert viewer.bye is None
                await agrees(api, room, viewer)
        audit = await api.done("GET", of_room(room, "audit"))
        assert {"mute", "delete", "delete_user", "ban", "unban"} <= {each["event"].get("action") for each in audit["events"]}


async def test_nothing_of_it_is_in_the_log(site: Site) -> None:
    log = site.log.read_text(encoding="utf-8")
    for secret in (KEY, "大家好", "微信", "eyJ", "小红", "恭喜"):
        assert secret not in log
