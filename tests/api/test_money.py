"""Money over HTTP: booked once whatever is repeated, seen by viewers, refused with the reason."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from engine.client import Correction, Gift, Packet, PacketEnd, Share
from engine.settings import ApiKey, GiftSettings, LedgerSettings

from .calling import Called, calling, fault_of, key_of, settings
from .watching import ROOM, at, key, restarted, token, until, watching


@asynccontextmanager
async def shop(tmp_path: Path, *keys: ApiKey) -> AsyncIterator[Called]:
    """A node where a rose can be given."""
    made = settings(*keys, ledger=LedgerSettings(url=f"sqlite:///{tmp_path / '账本.db'}"))
    async with calling(replace(made, gifts={"rose": GiftSettings(name="玫瑰 🌹", price=100)})) as called:
        yield called


async def test_a_gift_is_booked_once_and_seen_by_everybody(tmp_path: Path) -> None:
    body = {"user": {"id": "u/1", "name": "小林 🌸"}, "gift": "rose", "count": 3, "to": "主播"}
    async with shop(tmp_path) as called, watching(called) as viewer:
        given = await called.call("POST", at("gifts"), json=body, headers=key("pay-1"))
        assert given.status_code == 201
        told = given.json()
        seen = await until(viewer, Gift, entry=told["entry"])
        assert (seen.author.name, seen.gift, seen.count, seen.amount, seen.to) == ("小林 🌸", "rose", 3, 300, "主播")
        assert told == {"entry": 1, "epoch": seen.epoch, "offset": seen.offset, "amount": 300, "repeated": False}
        again = await called.call("POST", at("gifts"), json=body, headers=key("pay-1"))
        assert again.json() == told
        async with restarted(called) as other:
            again = await other.call("POST", at("gifts"), json=body, headers=key("pay-1"))
            assert again.json() == {**told, "repeated": True}
            conflict = await other.call("POST", at("gifts"), json={**body, "count": 4}, headers=key("pay-1"))
            assert fault_of(conflict)["name"] == "conflict"
        assert (await called.call("POST", at("gifts"), json={**body, "user": "u/1"}, headers=key("pay-2"))).json()["entry"] == 2
        history = (await called.call("GET", at("history"))).json()["events"]
        assert [(each["event"]["type"], each["event"]["given"]) for each in history] == [("gift", 300), ("gift", 600)]


async def test_a_gift_is_given_back_and_corrected_within_what_remains(tmp_path: Path) -> None:
    async with shop(tmp_path) as called, watching(called) as viewer:
        gift = {"user": "anna", "gift": "rose", "count": 5}
        entry = (await called.call("POST", at("gifts"), json=gift, headers=key("a"))).json()["entry"]
        part = await called.call(
            "POST", at("gifts", entry, "refunds"), json={"amount": 200, "reason": "点错了 😅"}, headers=key("b")
        )
        assert (part.status_code, part.json()["amount"]) == (201, -200)
        seen = await until(viewer, Correction, entry=part.json()["entry"])
        assert (seen.corrected, seen.user, seen.amount, seen.reason) == (entry, "anna", -200, "点错了 😅")
        more = await called.call("POST", at("gifts", entry, "corrections"), json={"amount": 50}, headers=key("c"))
        assert more.json()["amount"] == 50
        too_much = await called.call("POST", at("gifts", entry, "refunds"), json={"amount": 351}, headers=key("d"))
        assert fault_of(too_much)["name"] == "invalid"
        rest = await called.call("POST", at("gifts", entry, "refunds"), json={}, headers=key("e"))
        assert rest.json()["amount"] == -350
        async with restarted(called) as other:
            again = await other.call("POST", at("gifts", entry, "refunds"), json={}, headers=key("e"))
            assert again.json() == {**rest.json(), "repeated": True}
        missing = await called.call("POST", at("gifts", 99, "refunds"), json={}, headers=key("f"))
        assert fault_of(missing)["name"] == "not_found"


async def test_a_red_packet_is_made_claimed_and_ended(tmp_path: Path) -> None:
    packet = {"user": {"id": "host", "name": "主播"}, "total": 100, "shares": 2, "split": "equal", "text": "恭喜发财 🧧"}
    async with shop(tmp_path) as called, watching(called) as viewer:
        made = await called.call("POST", at("red-packets"), json=packet, headers=key("p"))
        assert (made.status_code, made.json()["amount"]) == (201, 100)
        number = made.json()["entry"]
        assert (await until(viewer, Packet, entry=number)).text == "恭喜发财 🧧"
        (listed,) = (await called.call("GET", at("red-packets"))).json()["packets"]
        assert (listed["packet"], listed["user"], listed["name"], listed["text"]) == (number, "host", "主播", "恭喜发财 🧧")
        share = await called.call("POST", at("red-packets", number, "claims"), json={"user": "anna"})
        assert (share.status_code, share.json()["amount"], share.json()["repeated"]) == (200, 50, False)
        again = await called.call("POST", at("red-packets", number, "claims"), json={"user": "anna"})
        assert (again.json()["amount"], again.json()["repeated"]) == (50, True)
        assert (await until(viewer, Share)).author.id == "anna"
        ended = await called.call("DELETE", at("red-packets", number))
        assert (ended.status_code, ended.json()["amount"]) == (200, 50)
        assert (await until(viewer, PacketEnd)).reason == "cancelled"
        assert (await called.call("GET", at("red-packets"))).json() == {"packets": []}
        late = await called.call("POST", at("red-packets", number, "claims"), json={"user": "bert"})
        assert (late.status_code, fault_of(late)["name"]) == (410, "packet_over")
        assert (await called.call("DELETE", at("red-packets", number))).json()["repeated"] is True
        assert fault_of(await called.call("DELETE", at("red-packets", 99)))["name"] == "not_found"


async def test_a_red_packets_conditions_hold(tmp_path: Path) -> None:
    async with shop(tmp_path) as called:
        base = {"user": "host", "total": 10, "shares": 1}

        async def claim(**more: Any) -> dict[str, Any]:
            made = await called.call("POST", at("red-packets"), json=base | more, headers=key(str(sorted(more))))
            return fault_of(await called.call("POST", at("red-packets", made.json()["entry"], "claims"), json={"user": "anna"}))

        assert (await claim(followers=True))["name"] == "condition"
        assert (await claim(phrase="新年 快乐 🎆"))["detail"].endswith("新年 快乐 🎆")
        early = await claim(opens_seconds=60)
        assert (early["name"], 0 < early["retry_after_ms"] <= 60_000) == ("too_early", True)


async def test_the_catalogue_is_changed_for_all_rooms(tmp_path: Path) -> None:
    async with shop(tmp_path, key_of("here", rooms=["大厅/*"])) as called:
        car = {"name": "跑车 🏎️", "price": 50_000, "effect": "drive", "combo_seconds": 0}
        put = await called.call("PUT", "/v1/gifts/car%1F1", json=car)
        assert (put.status_code, put.json()) == (201, {"id": "car/1", **car})
        assert (await called.call("PUT", "/v1/gifts/car%1F1", json={**car, "price": 49_000})).status_code == 200
        gifts = (await called.call("GET", "/v1/gifts", key="rc_here")).json()["gifts"]
        assert [(gift["id"], gift["price"]) for gift in gifts] == [("rose", 100), ("car/1", 49_000)]
        given = await called.call("POST", at("gifts"), json={"user": "anna", "gift": "car/1"}, headers=key("a"))
        assert given.json()["amount"] == 49_000
        for method, body in (("PUT", car), ("DELETE", None)):
            assert (await called.call(method, "/v1/gifts/car%1F1", key="rc_here", json=body)).status_code == 403
        assert (await called.call("DELETE", "/v1/gifts/car%1F1")).status_code == 204
        for gift in ("car%1F1", "rose"):
            assert fault_of(await called.call("DELETE", f"/v1/gifts/{gift}"))["name"] == "not_found"


async def test_who_gave_most_is_told_page_by_page_and_by_broadcast(tmp_path: Path) -> None:
    async with shop(tmp_path) as called:
        await called.call("PUT", at(), json={"stream": "周一"})
        for number, user in enumerate(("甲", "乙", "丙"), 1):
            body = {"user": {"id": user, "name": f"{user} 👑"}, "gift": "rose", "count": number}
            await called.call("POST", at("gifts"), json=body, headers=key(str(number)))
        first = (await called.call("GET", at("givers"), params={"limit": 2})).json()
        assert first["givers"] == [
            {"user": "丙", "name": "丙 👑", "given": 300},
            {"user": "乙", "name": "乙 👑", "given": 200},
        ]
        rest = (await called.call("GET", at("givers"), params={"after": first["next"]})).json()
        assert ([each["user"] for each in rest["givers"]], rest["next"]) == (["甲"], None)
        await called.call("PUT", at(), json={"stream": "周二"})
        assert (await called.call("GET", at("givers"))).json()["givers"] == []
        for stream in ("周一", ""):
            assert len((await called.call("GET", at("givers"), params={"stream": stream})).json()["givers"]) == 3


NOT_TO_BE_BOOKED: list[tuple[tuple[str | int, ...], dict[str, Any], str]] = [
    (("gifts",), {"user": "anna", "gift": "tulip"}, "not_found"),
    (("gifts",), {"user": "anna", "gift": "rose", "count": 0}, "invalid"),
    (("gifts",), {"user": "anna", "gift": "rose", "to": "a\nb"}, "invalid"),
    (("gifts",), {"user": " anna", "gift": "rose"}, "invalid"),
    (("gifts",), {"gift": "rose"}, "invalid"),
    (("gifts", 1, "refunds"), {"amount": 0}, "invalid"),
    (("gifts", 1, "corrections"), {"amount": 0}, "invalid"),
    (("gifts", 0, "refunds"), {}, "invalid"),
    (("red-packets",), {"user": "anna", "total": 1, "shares": 2}, "invalid"),
    (("red-packets",), {"user": "anna", "total": 10, "shares": 1_000_000}, "invalid"),
    (("red-packets",), {"user": "anna", "total": 10, "shares": 1, "split": "fair"}, "invalid"),
    (("red-packets",), {"user": "anna", "total": 10, "shares": 1, "phrase": "\u3164"}, "invalid"),
    (("red-packets",), {"user": "anna", "total": 10, "shares": 1, "lasts_seconds": 1e8}, "invalid"),
]


async def test_what_cannot_be_booked_is_refused(tmp_path: Path) -> None:
    async with shop(tmp_path) as called:
        for number, (path, body, name) in enumerate(NOT_TO_BE_BOOKED):
            answer = await called.call("POST", at(*path), json=body, headers=key(str(number)))
            assert fault_of(answer)["name"] == name, (path, body)
        assert [past async for past in called.node.room(ROOM).history()] == []


async def test_what_is_booked_needs_a_key_and_a_scope(tmp_path: Path) -> None:
    async with shop(tmp_path, key_of("reader", "money:read")) as called:
        gift = {"user": "anna", "gift": "rose"}
        packet = {"user": "anna", "total": 10, "shares": 1}
        for path, body in ((("gifts",), gift), (("gifts", 1, "refunds"), {}), (("red-packets",), packet)):
            told = await called.call("POST", at(*path), json=body)
            assert (told.status_code, fault_of(told)["name"]) == (400, "invalid")
            assert "Idempotency-Key" in fault_of(told)["detail"]
            for who in ("rc_reader", token("host-1", "host")):
                assert (await called.call("POST", at(*path), key=who, json=body, headers=key("a"))).status_code == 403
        paths = (await called.call("GET", "/openapi.json")).json()["paths"]
        for place in ("gifts", "gifts/{entry}/refunds", "gifts/{entry}/corrections", "red-packets"):
            operation = paths[f"/v1/rooms/{{room}}/{place}"]["post"]
            assert {"$ref": "#/components/parameters/NeededIdempotencyKey"} in operation["parameters"]
        assert (await called.call("GET", "/v1/gifts", key="rc_reader")).status_code == 200
        assert (await called.call("GET", "/v1/gifts", key=token("anna"))).status_code == 403


async def test_without_a_ledger_nothing_is_booked() -> None:
    async with calling() as called:
        assert (await called.call("GET", "/v1/gifts")).json() == {"gifts": []}
        assert (await called.call("GET", at("givers"))).json() == {"givers": [], "next": None}
