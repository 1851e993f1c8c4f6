"""Moderating over HTTP: viewers feel it at once, it is written down, and a key that is for some rooms decides only there."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trio

from engine.client import Client, Closed, Comment, Moderated
from engine.errors import Close, Code, Refused
from engine.schema import EventKind
from engine.settings import ModerationSettings, Settings, WordList

from .calling import Called, calling, fault_of, key_of, settings
from .watching import ROOM, at, key, restarted, token, until, watching


async def refused_with(code: Code, client: Client, body: str = "可以吗？") -> None:
    """The viewer may not say this."""
    with pytest.raises(Refused) as refused:
        await client.comment(body)
    assert refused.value.code == code


async def gone(client: Client) -> Closed:
    """The viewer is sent away."""
    with pytest.raises(Closed) as closed, trio.fail_after(20):
        async for _ in client:
            pass
    return closed.value


async def sanctions(called: Called, **more: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await called.call("GET", at("sanctions"), **more)).json()["sanctions"]
    return found


async def test_a_muted_user_may_not_speak_until_it_is_taken_back() -> None:
    async with calling() as called, watching(called, "用户/1") as viewer:
        muted = await called.call("PUT", at("mutes", "用户/1"), json={"seconds": 600, "reason": "刷屏 🚫"})
        assert (muted.status_code, muted.content) == (204, b"")
        told = await until(viewer, Moderated, action="mute")
        assert told.user == "用户/1"
        await refused_with(Code.MUTED, viewer)
        (found,) = await sanctions(called)
        assert found == {
            "kind": "mute",
            "subject": "用户/1",
            "until": found["until"],
            "actor": "server",
            "reason": "刷屏 🚫",
            "everywhere": False,
        }
        assert 0 < found["until"] - told.time <= 600_000
        # The product speaks for whom it wants.
        said = {"body": "由产品代言", "author": {"id": "用户/1"}}
        assert (await called.call("POST", at("comments"), json=said)).status_code == 201
        for _ in range(2):
            assert (await called.call("DELETE", at("mutes", "用户/1"))).status_code == 204
        assert await viewer.comment("谢谢 🙏")
        assert await sanctions(called) == []


async def test_what_a_shadow_muted_user_says_is_seen_by_nobody() -> None:
    async with calling() as called, watching(called, "anna") as viewer:
        assert (await called.call("PUT", at("shadow-mutes", "anna"), json={})).status_code == 204
        assert await viewer.comment("有人吗？") == 0
        assert [each["kind"] for each in await sanctions(called)] == ["shadow-mute"]
        assert (await called.call("DELETE", at("shadow-mutes", "anna"))).status_code == 204
        assert await viewer.comment("现在呢？") == 1


async def test_a_banned_user_is_sent_away_and_does_not_come_back() -> None:
    async with calling() as called:
        async with watching(called, "anna") as viewer:
            body = {"reason": "广告", "everywhere": True}
            assert (await called.call("PUT", at("bans", "anna"), json=body)).status_code == 204
            assert (await gone(viewer)).code == Close.BANNED
        with pytest.raises(Refused) as refused:
            async with watching(called, "anna", room="别处"):
                pass
        assert refused.value.code == Code.BANNED
        (found,) = await sanctions(called)
        assert (found["kind"], found["everywhere"], found["until"]) == ("ban", True, 0)
        assert (await called.call("DELETE", at("bans", "anna"), params={"everywhere": True})).status_code == 204
        async with watching(called, "anna") as viewer:
            assert (await called.call("POST", at("kicks"), json={"user": "anna"})).json()["offset"]
            assert (await gone(viewer)).code == Close.KICKED
        async with watching(called, "anna"):
            pass


async def test_bans_and_mutes_hold_for_users_who_come_with_a_token() -> None:
    host, moderator, product = (token(role, role) for role in ("host", "moderator", "server"))
    batch = {"events": [{"room": ROOM, "type": "comment", "body": "还在"}]}
    async with calling() as called:
        for user in ("host", "moderator", "server"):
            assert (await called.call("PUT", at("mutes", user), json={"everywhere": True})).status_code == 204
        for path, body in ((at("comments"), {"body": "可以吗?"}), (at("likes"), {"count": 1}), ("/v1/batch", batch)):
            fault = fault_of(await called.call("POST", path, json=body, key=host))
            assert (fault["status"], fault["code"]) == (403, Code.MUTED)
            assert (await called.call("POST", path, json=body, key=product)).is_success
        pinned = await called.call("PUT", at("attributes", "topic"), json={"value": "茶"}, key=host)
        assert pinned.status_code == 201
        assert (await called.call("PUT", at("bans", "moderator"), json={"seconds": 60})).status_code == 204
        for method, path, more in (
            ("DELETE", at("bans", "moderator"), {}),
            ("GET", at("history"), {}),
            ("GET", at("held"), {}),
        ):
            fault = fault_of(await called.call(method, path, key=moderator, **more))
            assert (fault["status"], fault["code"]) == (403, Code.BANNED)
        (author,) = [past.event[1] async for past in called.node.room(ROOM).history() if past.event[0] == EventKind.STATE]
        assert (author[0], author[3]) == ("host", "host")


async def test_an_address_is_banned_as_such() -> None:
    async with calling() as called:
        body = {"address": True, "seconds": 60}
        assert (await called.call("PUT", at("bans", "192.0.2.7"), json=body)).status_code == 204
        assert (await called.call("PUT", at("bans", "2001:db8::/64"), json=body)).status_code == 204
        found = [(each["kind"], each["subject"]) for each in await sanctions(called)]
        assert found == [("address-ban", "192.0.2.7"), ("address-ban", "2001:db8::/64")]
        assert fault_of(await called.call("PUT", at("bans", "10.0.0.0/8"), json=body))["name"] == "invalid"
        for address in ("192.0.2.7", "2001:db8::/64"):
            assert (await called.call("DELETE", at("bans", address), params={"address": True})).status_code == 204
        assert await sanctions(called) == []


async def test_what_is_deleted_is_gone_from_screens_and_history_once() -> None:
    async with calling() as called, watching(called, "anna") as viewer:
        offsets = [await viewer.comment(body) for body in ("一 😀", "二", "三")]
        deleted = await called.call("DELETE", at("comments", offsets[0]), params={"reason": "不好"}, headers=key("a"))
        told = await until(viewer, Moderated, offset=deleted.json()["offset"])
        assert (told.action, told.offsets) == ("delete", ((1, 1),))
        async with restarted(called) as other:
            again = await other.call("DELETE", at("comments", offsets[0]), params={"reason": "不好"}, headers=key("a"))
            assert again.json() == deleted.json()
        theirs = await called.call("DELETE", at("comments"), params={"user": "anna"})
        assert (await until(viewer, Moderated, offset=theirs.json()["offset"])).offsets == ((2, 3),)
        await called.call("POST", at("comments"), json={"body": "四"})
        everything = await called.call("DELETE", at("comments"), params={"everybody": True})
        assert (await until(viewer, Moderated, offset=everything.json()["offset"])).action == "clear"
        kinds = [past.event[0] async for past in called.node.room(ROOM).history()]
        assert kinds == [0, 0, 0, 5, 5, 0, 5]
        assert fault_of(await called.call("DELETE", at("comments", 99)))["name"] == "not_found"
        assert fault_of(await called.call("DELETE", at("comments", 4)))["name"] == "invalid"
        for params in ({}, {"user": "anna", "everybody": True}, {"user": "u" * 65, "everybody": False}):
            assert fault_of(await called.call("DELETE", at("comments"), params=params))["name"] == "invalid"


def holding(tmp_path: Path) -> Settings:
    """What holds a word is for moderators to decide."""
    words = tmp_path / "words.txt"
    words.write_text("加微信\n", encoding="utf-8")
    lists = (WordList(file=str(words), action="hold"),)
    return replace(settings(), moderation=ModerationSettings(lists=lists))


async def test_moderators_decide_on_what_is_held(tmp_path: Path) -> None:
    async with calling(holding(tmp_path)) as called, watching(called, "anna", name="安娜 🌸") as viewer:
        for number in range(3):
            assert await viewer.comment(f"加微信 {number}") == 0
        page = (await called.call("GET", at("held"), params={"limit": 2})).json()
        first, second = page["held"]
        assert (first["event"]["body"], first["reason"]) == ("加微信 0", "加微信")
        assert first["event"]["author"]["name"] == "安娜 🌸"
        assert page["next"] == second["offset"]
        (third,) = (await called.call("GET", at("held"), params={"after": page["next"]})).json()["held"]
        approved = await called.call("POST", at("held", second["offset"], "approve"))
        assert (await until(viewer, Comment, offset=approved.json()["offset"])).body == "加微信 1"
        again = await called.call("POST", at("held", second["offset"], "approve"))
        assert again.json() == approved.json()
        rejected = await called.call("POST", at("held", first["offset"], "reject"), params={"reason": "广告 🙅"})
        assert rejected.status_code == 204
        left = (await called.call("GET", at("held"))).json()
        assert ([each["offset"] for each in left["held"]], left["next"]) == ([third["offset"]], None)
        for decision in ("approve", "reject"):
            assert fault_of(await called.call("POST", at("held", 99, decision)))["name"] == "not_found"
        audit = (await called.call("GET", at("audit"))).json()
        told = [(each["event"]["type"], each["event"].get("action")) for each in audit["events"]]
        assert told[:3] == [("held", None)] * 3
        assert ("moderated", "reject") in told
        assert next(each["event"]["reason"] for each in audit["events"] if each["event"].get("action") == "reject") == "广告 🙅"
        assert audit["events"][0]["event"]["event"]["body"] == "加微信 0"
        rest = (await called.call("GET", at("audit"), params={"after": 2, "limit": 1})).json()
        assert ([each["offset"] for each in rest["events"]], rest["next"]) == ([3], 3)


async def test_nobody_decides_about_rooms_that_are_not_theirs() -> None:
    keys = key_of("here", "moderate", rooms=["大厅/*"]), key_of("reader", "rooms:read")
    async with calling(settings(*keys)) as called:
        mod = token("mod", "moderator", rooms=[ROOM])
        assert (await called.call("PUT", at("mutes", "x", room="别处"), key="rc_here", json={})).status_code == 403
        for each in ("rc_here", mod):
            assert (await called.call("PUT", at("mutes", "x"), key=each, json={})).status_code == 204
            everywhere = await called.call("PUT", at("mutes", "x"), key=each, json={"everywhere": True})
            assert fault_of(everywhere)["name"] == "forbidden"
            lifted = await called.call("DELETE", at("bans", "x"), key=each, params={"everywhere": True})
            assert lifted.status_code == 403
        assert [each["actor"] for each in await sanctions(called)] == ["mod"]
        await called.call("PUT", at("bans", "y"), json={"everywhere": True})
        assert {each["subject"] for each in await sanctions(called)} == {"x", "y"}
        assert {each["subject"] for each in await sanctions(called, key=mod)} == {"x"}
        for name in ("held", "audit", "sanctions"):
            assert (await called.call("GET", at(name), key="rc_reader")).status_code == 403
        assert (await called.call("DELETE", at("comments", 1), key="rc_reader")).status_code == 403


NO_SANCTIONS: list[tuple[tuple[str, str], dict[str, Any]]] = [
    (("mutes", "x"), {"seconds": -1}),
    (("mutes", "x"), {"seconds": 10**9}),
    (("mutes", "x"), {"seconds": 1.5}),
    (("mutes", "x"), {"reason": "长" * 257}),
    (("mutes", "x"), {"address": True}),
    (("bans", " x"), {}),
    (("bans", "x\u202e"), {}),
    (("bans", "x" * 65), {}),
]


async def test_what_is_no_sanction_is_refused() -> None:
    async with calling() as called:
        for path, body in NO_SANCTIONS:
            assert fault_of(await called.call("PUT", at(*path), json=body))["name"] == "invalid", (path, body)
        assert await sanctions(called) == []
