"""Dead letters over HTTP: what the product did not take is read, sent once more, and forgotten."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import trio
from receiver import SECRET, Happening, Reply, receiver

from engine.settings import GiftSettings, HookSettings, LedgerSettings

from .calling import Called, calling, fault_of, key_of, settings
from .watching import ROOM, at, key

DEAD = "/v1/webhooks/dead"


def refusing(happenings: list[Happening]) -> Reply:
    """None of them will ever be taken."""
    return 410, json.dumps({"failed": [each["id"] for each in happenings]}).encode()


async def letters(called: Called, count: int) -> list[dict[str, Any]]:
    """So many have been put aside."""
    with trio.fail_after(20):
        while True:
            found: list[dict[str, Any]] = (await called.call("GET", DEAD)).json()["letters"]
            if len(found) == count:
                return found
            await trio.sleep(0.01)


async def test_what_was_not_taken_is_read_sent_once_more_and_forgotten(tmp_path: Path) -> None:
    async with receiver() as told:
        told.answer = refusing
        hooks = HookSettings(secret=SECRET, events_url=told.url, events=("gift",), retry_seconds=0.01, attempts=3)
        ledger = LedgerSettings(url=f"sqlite:///{tmp_path / '账本.db'}")
        made = settings(key_of("here", rooms=["大厅/*"]), key_of("reader", "node:read"), ledger=ledger)
        made = replace(made, hooks=hooks, gifts={"rose": GiftSettings(name="玫瑰 🌹", price=100)})
        async with calling(made) as called:
            for number in range(3):
                gift = {"user": {"id": "u-1", "name": "小林 🌸"}, "gift": "rose", "count": number + 1}
                assert (await called.call("POST", at("gifts"), json=gift, headers=key(str(number)))).status_code == 201
            found = await letters(called, 3)
            assert [each["number"] for each in found] == [1, 2, 3]
            assert (found[0]["room"], found[0]["type"], found[0]["attempts"]) == (ROOM, "gift.given", 1)
            assert found[0]["data"]["author"]["name"] == "小林 🌸"
            assert found[0]["reason"] == "refused"
            first = (await called.call("GET", DEAD, params={"limit": 2})).json()
            assert first["next"] == found[1]["id"]
            rest = (await called.call("GET", DEAD, params={"after": first["next"]})).json()
            assert ([each["id"] for each in rest["letters"]], rest["next"]) == ([found[2]["id"]], None)
            assert (await called.call("DELETE", f"{DEAD}/{found[2]['id']}")).status_code == 204
            told.answer = lambda _: (204, b"")
            assert (await called.call("POST", f"{DEAD}/{found[1]['id']}/replay")).json() == {"letters": 1}
            (left,) = await letters(called, 1)
            assert left["id"] == found[0]["id"]
            assert (await called.call("POST", f"{DEAD}/replay")).json() == {"letters": 1}
            assert await letters(called, 0) == []
            assert [each["id"] for each in told.taken] == [found[1]["id"], found[0]["id"]]
            for method, path in (("DELETE", found[2]["id"]), ("POST", f"{found[2]['id']}/replay")):
                assert fault_of(await called.call(method, f"{DEAD}/{path}"))["name"] == "not_found"
            for method, path, params in (("DELETE", "/x", {}), ("POST", "/x/replay", {}), ("GET", "", {"after": "x"})):
                assert fault_of(await called.call(method, f"{DEAD}{path}", params=params))["name"] == "invalid"
            for who in ("rc_here", "rc_reader"):
                assert (await called.call("GET", DEAD, key=who)).status_code == 403


async def test_without_webhooks_there_is_nothing() -> None:
    async with calling() as called:
        assert (await called.call("GET", DEAD)).json() == {"letters": [], "next": None}
        assert (await called.call("POST", f"{DEAD}/replay")).json() == {"letters": 0}
