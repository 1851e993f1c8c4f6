"""Gifts over several edge processes, and a hub that is killed: nothing acknowledged is lost, what waits is answered once."""

from __future__ import annotations

import os
import signal
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from workers.nodes import gone, members

from bench.redisproc import redis_server

from .people import ROOM, token
from .processes import serve
from .shop import CAR, GIFT, ROSE, combos_are_right, environment, in_ledger, of_kind, packet_is_right, sqlite, until_entry
from .viewers import CLAIM, GIVE, JSON, MSGPACK, PACK, Viewer, open_viewer

MAKES = (("websockets", MSGPACK), ("ws", JSON), ("raw", JSON), ("raw", MSGPACK), ("trio-websocket", JSON), ("websockets", JSON))


@pytest.mark.parametrize("kept", [True, False], ids=["redis", "memory"])
async def test_what_a_killed_hub_did_not_answer_its_successor_does_once(
    tmp_path: Path, ws_home: Path, request: pytest.FixtureRequest, kept: bool
) -> None:
    more: dict[str, str] = {"ROOMCAST_NODE__WORKERS": "2", "ROOMCAST_NODE__RUN_DIRECTORY": str(tmp_path / "run")}
    async with AsyncExitStack() as stack:
        ledger = sqlite(tmp_path)
        if kept:
            directory = stack.enter_context(tempfile.TemporaryDirectory())
            more["ROOMCAST_REDIS__URL"] = stack.enter_context(redis_server(Path(directory), "--save", "")).url
            ledger = request.getfixturevalue("shared_ledger")
        served = await stack.enter_async_context(serve(environment=environment(ledger, **more)))
        async with AsyncExitStack() as visits:
            crowd: list[Viewer] = []
            for number, (make, codec) in enumerate(MAKES):
                viewer = await visits.enter_async_context(open_viewer(make, served.url, codec, home=ws_home))
                await viewer.join(ROOM, token=token(f"用户{number}"))
                crowd.append(viewer)
            packet = await crowd[0].spend(PACK, 100, 4, "equal")
            first = [await viewer.spend(GIVE, CAR, ref=1) for viewer in crowd]
            await until_entry(*crowd, entries=[packet.entry, *(paid.entry for paid in first)])
            (hub,) = members(served, "hub")
            # It takes what edges send no more, but is there.
            os.kill(hub, signal.SIGSTOP)
            for viewer in crowd:
                for ref in range(2, 8):
                    await viewer.send(GIVE, ref, viewer.handle, ROSE, ref)
                await viewer.send(CLAIM, 8, viewer.handle, packet.entry)
                await viewer.send(GIVE, 1, viewer.handle, CAR)
                await viewer.settle()
                viewer.paid.pop(1, None)
            os.kill(hub, signal.SIGKILL)
            await gone(hub)
            for viewer in crowd:
                await viewer.until(lambda viewer=viewer: set(range(1, 8)) <= viewer.paid.keys())  # type: ignore[misc]
                assert not viewer.replies
            assert [viewer.paid[1].entry for viewer in crowd] == [paid.entry for paid in first]
            last = (await crowd[0].spend(GIVE, CAR)).entry
            for viewer in crowd:
                await until_entry(viewer, entries=range(1, last + 1))
                assert sorted(viewer.money) == list(range(1, max(viewer.money) + 1))
                assert not kept or not (viewer.again or viewer.gaps), "the history has survived"
                assert [gap[3] for gap in viewer.gaps] == ([] if kept else ["epoch"])
                won = packet_is_right(viewer, packet.entry)
                assert sum(won.values()) == 100
                combos_are_right(viewer, ended=False)
                gifts = [(each["user"], each["ref"], each["gift"], each["count"]) for each in of_kind(viewer, GIFT)][:-1]
                assert sorted(gifts) == sorted(
                    gift
                    for number in range(len(crowd))
                    for user in [f"用户{number}"]
                    for gift in [(user, 1, CAR, 1), *((user, ref, ROSE, ref) for ref in range(2, 8))]
                )
                # What an answer tells is where the gift is now.
                for paid in viewer.paid.values():
                    if paid.ref < 8 and paid.ref > 1:
                        assert viewer.money[paid.entry][3] == paid.ref
        served.process.terminate()
        assert await served.ended() == 0
        entries, outbox = in_ledger(ledger, ROOM)
        assert [entry.number for entry in entries] == list(range(1, len(entries) + 1))
        assert not outbox


async def test_two_edges_share_one_red_packet_and_one_leaderboard(tmp_path: Path, ws_home: Path) -> None:
    more: dict[str, Any] = {"ROOMCAST_NODE__WORKERS": "2", "ROOMCAST_NODE__RUN_DIRECTORY": str(tmp_path / "run")}
    ledger = sqlite(tmp_path)
    async with serve(environment=environment(ledger, **more)) as served, AsyncExitStack() as stack:
        crowd: list[Viewer] = []
        for number, (make, codec) in enumerate(MAKES * 3):
            viewer = await stack.enter_async_context(open_viewer(make, served.url, codec, home=ws_home))
            # Each user is there three times.
            await viewer.join(ROOM, token=token(f"用户{number % 6}"))
            crowd.append(viewer)
        packet = await crowd[0].spend(PACK, 10, 5)
        for viewer in crowd:
            await viewer.until(lambda viewer=viewer: viewer.value("packet", str(packet.entry)) is not None)  # type: ignore[misc]
        for viewer in crowd:
            await viewer.send(CLAIM, 1, viewer.handle, packet.entry)
            await viewer.send(GIVE, 2, viewer.handle, ROSE)
        board = [[f"用户{number}", "", 30] for number in range(6)]
        for viewer in crowd:
            await viewer.until(lambda viewer=viewer: viewer.totals.get("givers") == board and 2 in viewer.paid)  # type: ignore[misc]
            await until_entry(viewer, entries=range(1, 1 + 18 + 5 + 2))
            won = packet_is_right(viewer, packet.entry)
            assert (len(won), sum(won.values())) == (5, 10)
            assert not viewer.replies
