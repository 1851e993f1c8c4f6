"""Certificates of rooms: when one begins and ends, what it adds up, and what is written of it."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from engine.access import SERVER, Standing
from engine.hub import shelf
from engine.hub.actor import Actor
from engine.hub.shelf import file_name
from engine.link.messages import CloseRoom, OpenRoom, Presence, Qualities
from engine.quality import Account, Measured, RoomQuality, Sent, certificate
from engine.schema import BACKSTAGE, CONSOLE, EVERYWHERE, Act, Change
from engine.settings import LimitSettings, NodeSettings, QualitySettings, RoomSettings

from .harness import START_MS, Harness, ScriptedBroker, open_hub, settle

PLAIN = RoomSettings(tick_grid_seconds=0.1, tick_max_seconds=1.0, counters_seconds=1.0, heartbeat_seconds=25.0)
NODE = NodeSettings(name="北-1", shutdown_seconds=60)
HOST = Actor(SERVER, Standing("server"))


def measured(reports: int = 2, received: int = 99, **more: Any) -> Measured:
    return Measured(
        reports, 50 * reports, received, 1, more.get("delays", {17: 90, 20: 9}), more.get("reconnects", {"1006": 1})
    )


def told(*rooms: str, sent: Sent | None = None, networks: dict[str, Measured] | None = None) -> Qualities:
    """What an edge tells of each of these rooms."""
    return Qualities(
        [RoomQuality(room, sent or Sent(1000, 10, 5, 1, {1001: 2}), networks or {"甲": measured()}) for room in rooms]
    )


async def set_life(harness: Harness, room: str = "room", **life: str) -> None:
    act: Act = Change(0, 0, "life", "", {"state": "open", **life})
    await harness.hub.act(room, act, HOST)
    await settle()


def of(harness: Harness, room: str = "room") -> dict[str, Any]:
    found = harness.hub.quality.of(room)
    assert found is not None
    return found


def names(directory: Path) -> list[str]:
    """Of all files that are there, unfinished ones too."""
    return sorted(path.name for path in directory.iterdir())


def files(directory: Path) -> list[dict[str, Any]]:
    """What is written, oldest first."""
    return [json.loads(path.read_text(encoding="utf-8")) for path in sorted(directory.iterdir())]


def lines(caplog: pytest.LogCaptureFixture, event: str) -> list[dict[str, Any]]:
    """The facts of the log's lines about this."""
    return [vars(record) for record in caplog.records if record.getMessage() == event]


async def until(condition: Callable[[], bool]) -> None:
    """Wait for threads, which take time that is not the test's clock's."""
    for _ in range(30_000):
        if condition():
            return
        await trio.to_thread.run_sync(time.sleep, 0.001)
    raise AssertionError("it does not come to pass")


async def written(directory: Path, count: int) -> list[dict[str, Any]]:
    """What is written, when so many files are there."""
    await until(lambda: len(list(directory.glob("*.json"))) >= count)
    return files(directory)


# -- what it adds up --------------------------------------------------------------------------------------------------


async def test_what_edges_tell_is_added_up_by_room_and_network(autojump_clock: MockClock) -> None:
    async with open_hub(room=PLAIN, node=NODE) as harness:
        one, two = harness.edge(), harness.edge()
        await one.open("room", viewers=3)
        await two.open("room", viewers=4)
        await one.open("else")
        one.send(told("room", "else"))
        two.send(told("room", networks={"甲": measured(4, 200), "乙": measured(received=50, reconnects={"4001": 3})}))
        await settle()
        certificate = of(harness)
        assert json.loads(json.dumps(certificate)) == certificate
        assert {name: certificate[name] for name in ("room", "node", "stream", "since", "ended")} == {
            "room": "room",
            "node": "北-1",
            "stream": "",
            "since": START_MS,
            "ended": False,
        }
        assert (certificate["viewers"], certificate["viewers_max"]) == (7, 7)
        assert certificate["sent"] == {
            "entitled": 2000,
            "skipped": 20,
            "rate": 0.99,
            "stalls": 10,
            "lag_policies": 2,
            "closed": {"1001": 4},
            "laggards": 0,
            "lag_max": 0.0,
        }
        assert {name: network["received"] for name, network in certificate["networks"].items()} == {"甲": 299, "乙": 50}
        total = certificate["measured"]
        assert (total["reports"], total["entitled"], total["received"], total["gaps"]) == (8, 400, 349, 3)
        assert total["arrival_rate"] == 349 / 400
        assert total["reconnects"] == {"1006": 2, "4001": 3}
        assert total["delays"] == {"17": 270, "20": 27}
        assert total["delay_ms"]["p50"] < total["delay_ms"]["p90"] <= total["delay_ms"]["p99"]
        assert harness.hub.quality.all().keys() == {"room", "else"}
        assert of(harness, "else")["measured"]["received"] == 99
        statistics = harness.hub.statistics().quality
        assert (statistics.reports, statistics.entitled, statistics.received) == (10, 500, 448)
        assert (statistics.gaps, statistics.reconnects) == (4, 6)
        assert (statistics.sent_entitled, statistics.sent_skipped) == (3000, 30)


async def test_of_nothing_there_is_no_rate(autojump_clock: MockClock) -> None:
    async with open_hub(room=PLAIN) as harness:
        await harness.edge().open("room")
        certificate = of(harness)
        assert certificate["sent"]["rate"] is None
        assert certificate["measured"]["arrival_rate"] is None
        assert certificate["measured"]["delay_ms"] == {"p50": None, "p90": None, "p99": None}
        assert certificate["networks"] == {}


async def test_networks_and_causes_are_told_apart_up_to_a_bound(autojump_clock: MockClock) -> None:
    async with open_hub(room=PLAIN, quality=QualitySettings(networks_max=2)) as harness:
        edge = harness.edge()
        await edge.open("room")
        edge.send(told("room", networks={"a": measured(), "b": measured(), "c": measured()}))
        edge.send(told("room", networks={"d": measured(), "b": measured(), "other": measured()}))
        for number in range(100):
            edge.send(told("room", networks={"a": measured(reconnects={f"x{number}": 1, f"y{number}": 1, "1006": 1})}))
        await settle()
        networks = of(harness)["networks"]
        assert {name: network["reports"] for name, network in networks.items()} == {"a": 202, "b": 4, "other": 6}
        causes = networks["a"]["reconnects"]
        assert len(causes) <= 65
        assert causes["1006"] == 101
        assert sum(causes.values()) == 301


async def test_who_is_behind_is_told_as_of_now_and_goes_with_the_edge(autojump_clock: MockClock) -> None:
    async with open_hub(room=PLAIN) as harness:
        one, two = harness.edge(), harness.edge()
        await one.open("room")
        await two.open("room")
        one.send(told("room", sent=Sent(laggards=5, lag_max=1.5)))
        two.send(told("room", sent=Sent(laggards=2, lag_max=2.5)))
        await settle()
        assert (of(harness)["sent"]["laggards"], of(harness)["sent"]["lag_max"]) == (7, 2.5)
        one.send(told("room", sent=Sent(laggards=3, lag_max=0.5)))
        two.end.close()
        await settle()
        assert (of(harness)["sent"]["laggards"], of(harness)["sent"]["lag_max"]) == (3, 0.5)
        one.send(told("room"))
        await settle()
        assert (of(harness)["sent"]["laggards"], of(harness)["sent"]["lag_max"]) == (0, 0.0)


async def test_what_happens_in_the_room_counts_since_it_began(autojump_clock: MockClock) -> None:
    limits = LimitSettings(room_events_per_second=2, comments_per_second=1000, comments_burst=1000)
    async with open_hub(room=PLAIN, limits=limits) as harness:
        edge = harness.edge()
        await edge.open("room", viewers=5)
        for start, stream in ((0, "一"), (10, "二")):
            await set_life(harness, stream=stream)
            begun = of(harness)
            assert (begun["stream"], begun["events"], begun["withheld"], begun["refused"]) == (stream, 1, {}, {})
            for ref in range(start, start + 8):
                edge.comment("room", "anna", "hallo", ref)
            await trio.sleep(5)
            await harness.hub.act("room", Change(0, 0, "mode", "", {"mode": "closed"}), HOST)
            edge.comment("room", "anna", "darf ich?", start + 8)
            await trio.sleep(5)
            await harness.hub.act("room", Change(0, 0, "mode", "", {"mode": "open"}), HOST)
            await trio.sleep(5)
            edge.send(Presence("room", 2))
            await settle()
            certificate = of(harness)
            assert certificate["refused"] == {"room_mode": 1}
            assert certificate["events"] == certificate["last"] - certificate["first"]
            assert certificate["withheld"] == {"events": 8 - (certificate["events"] - 3)}
            assert certificate["until"] - certificate["since"] == 15_000
            assert (certificate["viewers"], certificate["viewers_max"]) == (2, 5 if stream == "一" else 2)


# -- when it begins and ends ------------------------------------------------------------------------------------------


async def test_it_begins_with_the_first_viewer(autojump_clock: MockClock) -> None:
    async with open_hub(room=PLAIN) as harness:
        edge = harness.edge()
        await harness.hub.say("room", "niemand da")
        assert harness.hub.quality.of("room") is None
        edge.send(OpenRoom("room", 1, [0]))
        await settle()
        assert harness.hub.quality.of("room") is None
        await trio.sleep(1)
        edge.send(Presence("room", 1))
        await settle()
        assert (of(harness)["first"], of(harness)["since"]) == (1, START_MS + 1000)
        # As long as somebody comes back the same goes on.
        edge.send(Presence("room", 0), Presence("room", 3))
        await settle()
        assert of(harness)["since"] == START_MS + 1000


@pytest.mark.parametrize("name", [f"room{BACKSTAGE}", CONSOLE, EVERYWHERE])
async def test_rooms_that_are_no_broadcasts_have_none(name: str, autojump_clock: MockClock) -> None:
    async with open_hub(room=PLAIN) as harness:
        edge = harness.edge()
        await edge.open(name)
        edge.send(told(name))
        await settle()
        assert harness.hub.quality.of(name) is None
        assert harness.hub.statistics().quality.reports == 2


async def test_it_ends_when_no_edge_shows_the_room_and_has_all_that_was_told_before(
    autojump_clock: MockClock, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with open_hub(room=PLAIN, node=NODE, quality=QualitySettings(directory=str(tmp_path))) as harness:
        one, two = harness.edge(), harness.edge()
        await one.open("大厅/一号")
        await two.open("大厅/一号")
        one.send(told("大厅/一号"), CloseRoom("大厅/一号"))
        await settle()
        assert not of(harness, "大厅/一号")["ended"]
        async with harness.hub.opened("大厅/一号"):
            # That the hub looks in is not that somebody shows it.
            two.send(told("大厅/一号"), CloseRoom("大厅/一号"))
            await settle()
            assert harness.hub.quality.of("大厅/一号") is None
        (certificate,) = await written(tmp_path, 1)
    assert certificate["ended"]
    assert certificate["measured"]["reports"] == 4
    assert certificate["sent"]["entitled"] == 2000
    assert names(tmp_path) == ["20231114T221320.000Z-%E5%8C%97-1-%E5%A4%A7%E5%8E%85%2F%E4%B8%80%E5%8F%B7.json"]
    (line,) = lines(caplog, "certificate")
    assert (line["room"], line["arrival_rate"], line["sent_rate"], line["reports"]) == ("大厅/一号", 0.99, 0.99, 4)


async def test_a_clock_that_is_put_back_ends_nothing_before_it_began(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_hub(room=PLAIN) as harness:
        await harness.edge().open("room")
        since = of(harness)["since"]
        monkeypatch.setattr(harness.hub.quality, "_now_ms", lambda: since - 3_600_000)
        assert of(harness)["until"] == since


async def test_another_stream_begins_another_one(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with open_hub(room=PLAIN, quality=QualitySettings(directory=str(tmp_path))) as harness:
        edge = harness.edge()
        await edge.open("room")
        edge.send(told("room", sent=Sent(10, laggards=1, lag_max=0.5)))
        await trio.sleep(1)
        await set_life(harness, stream="周一")
        assert (of(harness)["stream"], of(harness)["since"]) == ("周一", START_MS + 1000)
        assert (of(harness)["measured"]["reports"], of(harness)["sent"]["entitled"]) == (0, 0)
        # Who is behind is so whatever the stream is called.
        assert of(harness)["sent"]["laggards"] == 1
        edge.send(told("room"))
        await trio.sleep(1)
        await set_life(harness, stream="周一", title="so heißt es jetzt")
        await set_life(harness, stream="周二")
        await trio.sleep(1)
        edge.send(CloseRoom("room"))
        await settle()
        found = await written(tmp_path, 3)
    assert [each["stream"] for each in found] == ["", "周一", "周二"]
    assert [each["measured"]["reports"] for each in found] == [2, 2, 0]
    # That a stream begins is the first event of it.
    assert [each["events"] for each in found] == [0, 2, 1]
    assert [each["until"] - each["since"] for each in found] == [1000, 1000, 1000]
    assert all(each["ended"] for each in found)


@pytest.mark.parametrize("state", ["closed", "archived"])
async def test_when_its_life_is_over_it_ends_and_stays_readable_until_another_one_begins(
    state: str, autojump_clock: MockClock, tmp_path: Path
) -> None:
    quality = QualitySettings(seconds=5, directory=str(tmp_path))
    async with open_hub(room=PLAIN, quality=quality) as harness:
        edge = harness.edge()
        await edge.open("room", viewers=2)
        await trio.sleep(1)
        await set_life(harness, state=state)
        assert of(harness)["ended"]
        # What edges have not told yet still belongs to it.
        edge.send(told("room"))
        await trio.sleep(4)
        assert not files(tmp_path)
        await trio.sleep(3)
        edge.send(told("room"), Presence("room", 1))
        await settle()
        (certificate,) = await written(tmp_path, 1)
        assert certificate == of(harness)
        assert (certificate["measured"]["reports"], certificate["viewers"]) == (2, 2)
        assert certificate["until"] == START_MS + 1000
        await set_life(harness, state="open")
        assert not of(harness)["ended"]
        assert of(harness)["measured"]["reports"] == 0
        assert harness.hub.statistics().quality.reports == 4


async def test_a_room_that_is_over_begins_none_and_one_that_goes_on_soon_writes_the_old_one(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with open_hub(room=PLAIN, quality=QualitySettings(seconds=5, directory=str(tmp_path))) as harness:
        edge = harness.edge()
        await set_life(harness, state="closed")
        await edge.open("room")
        assert harness.hub.quality.of("room") is None
        await set_life(harness)
        await set_life(harness, state="closed")
        await trio.sleep(1)
        await set_life(harness)
        assert len(await written(tmp_path, 1)) == 1
        await trio.sleep(10)
        assert not of(harness)["ended"]
        assert len(files(tmp_path)) == 1


async def test_an_epoch_that_is_over_loses_no_count(autojump_clock: MockClock) -> None:
    async with open_hub(room=PLAIN, broker=ScriptedBroker) as harness:
        broker = harness.scripted
        broker.add("a", "b")
        await harness.edge().open("room")
        broker.add("c")
        broker.deliver(broker.piece("room", 3, 3))
        assert (of(harness)["first"], of(harness)["last"], of(harness)["events"]) == (2, 3, 1)
        broker.restart()
        broker.add("x")
        broker.deliver(broker.piece("room", 1, 1))
        await settle()
        broker.add("y", "z")
        broker.deliver(broker.piece("room", 2, 3))
        await settle()
        assert (of(harness)["epoch"], of(harness)["last"], of(harness)["events"]) == (2, 3, 3)


@pytest.mark.parametrize("replaced", [False, True])
async def test_a_hub_that_stops_or_is_replaced_writes_all_that_are_open(replaced: bool, tmp_path: Path) -> None:
    async with open_hub(room=PLAIN, node=NODE, quality=QualitySettings(directory=str(tmp_path))) as harness:
        edge = harness.edge()
        for room in ("one", "two"):
            await edge.open(room)
        await set_life(harness, "two", state="closed")
        edge.send(told("one", "two"))
        await settle()
        await harness.hub.drain(replaced=replaced)
        # How the edges closed their viewers, once they had everything.
        edge.send(told("one"))
        await harness.hub.finish()
        assert sorted(each["room"] for each in files(tmp_path)) == ["one", "two"]
        assert {each["room"]: each["measured"]["reports"] for each in files(tmp_path)} == {"one": 4, "two": 2}
        edge.send(Presence("one", 5), CloseRoom("one"))
        await settle()
        await harness.hub.finish()
        assert len(files(tmp_path)) == 2


# -- the disk ---------------------------------------------------------------------------------------------------------


def account(room: str = "room", node: str = "node", since: int = START_MS) -> Account:
    return Account(room=room, node=node, stream="", since=since, epoch=1, first=0)


def table(room: str = "room", node: str = "node", since: int = START_MS) -> dict[str, Any]:
    return certificate(account(room, node, since))


@pytest.mark.parametrize("name", ["x" * 128, "大" * 128, "a" + "大" * 127, "aa" + "大" * 127, "..", "/", "%", "~" * 128])
def test_a_file_has_a_name_that_every_file_system_takes(name: str) -> None:
    made = file_name(table(name, name[:100]))
    assert len(f".{made}.part") <= 255
    assert made.isascii()
    assert "/" not in made
    assert made.endswith(".json")
    other = file_name(table(name[:-1] + "二", name[:100]))
    assert other != made
    assert file_name(table(name, name[:100], START_MS + 1)) > made


def test_what_is_cut_is_cut_between_octets() -> None:
    for extra in range(9):
        made = file_name(table("a" * extra + "大" * 100, "a" * extra + "大" * 60))
        assert not [part for part in made.split("%")[1:] if len(part) < 2 or not part[:2].isalnum()]


async def test_a_disk_that_takes_nothing_costs_the_file_only(
    autojump_clock: MockClock, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    directory = tmp_path / "certificates"
    directory.mkdir()
    async with open_hub(room=PLAIN, quality=QualitySettings(directory=str(directory))) as harness:
        edge = harness.edge()
        await edge.open("lost")
        directory.rmdir()
        edge.send(CloseRoom("lost"))
        await settle()
        await until(lambda: bool(lines(caplog, "certificate_not_written")))
        (line,) = lines(caplog, "certificate_not_written")
        assert (line["room"], line["error"]) == ("lost", "No such file or directory")
        directory.mkdir()
        await edge.open("room")
        edge.send(CloseRoom("room"))
        await settle()
        assert [each["room"] for each in await written(directory, 1)] == ["room"]


async def test_a_full_disk_leaves_nothing_half_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    async with open_hub(room=PLAIN, quality=QualitySettings(directory=str(tmp_path))) as harness:
        edge = harness.edge()
        await edge.open("room")
        monkeypatch.setattr("os.fsync", full)
        await harness.hub.finish()
    assert names(tmp_path) == []
    assert [line["error"] for line in lines(caplog, "certificate_not_written")] == ["No space left on device"]


async def test_a_disk_that_hangs_holds_up_no_stop_beyond_its_share(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    answers = threading.Event()
    monkeypatch.setattr("os.fsync", lambda _: answers.wait())
    node = NodeSettings(shutdown_seconds=0.1)
    async with open_hub(room=PLAIN, node=node, quality=QualitySettings(directory=str(tmp_path))) as harness:
        edge = harness.edge()
        await edge.open("room")
        await harness.hub.finish()
        assert [line["count"] for line in lines(caplog, "certificates_lost")] == [1]
        answers.set()


async def test_certificates_of_thousands_of_rooms_hold_nobody_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    makers: list[threading.Thread] = []

    def made(of: Account) -> dict[str, Any]:
        makers.append(threading.current_thread())
        return certificate(of)

    monkeypatch.setattr(shelf, "certificate", made)
    async with open_hub(room=PLAIN, quality=QualitySettings(directory=str(tmp_path))) as harness:
        edge = harness.edge()
        for room in ("one", "two"):
            await edge.open(room)
        await harness.hub.finish()
    assert sorted(each["room"] for each in files(tmp_path)) == ["one", "two"]
    assert len(makers) == 2
    assert threading.main_thread() not in makers


async def test_what_waits_for_the_disk_is_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(shelf, "_KEPT", 3)
    kept = shelf.Shelf(str(tmp_path))
    for number in range(5):
        kept.add(account(f"room{number}"))
    await kept.finish()
    assert [each["room"] for each in files(tmp_path)] == ["room0", "room1", "room2"]
    assert len(lines(caplog, "certificates_lost")) == 1


async def test_none_takes_the_place_of_another_one(tmp_path: Path) -> None:
    kept = shelf.Shelf(str(tmp_path))
    for node in ("node", "node", "node"):
        kept.add(account("大厅", node))
    await kept.finish()
    assert [name.removeprefix(file_name(table("大厅")).removesuffix(".json")) for name in names(tmp_path)] == [
        ".json",
        "_2.json",
        "_3.json",
    ]


async def test_other_settings_hold_for_what_comes(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with open_hub(room=PLAIN) as harness:
        edge = harness.edge()
        await edge.open("nowhere")
        edge.send(CloseRoom("nowhere"))
        await edge.open("room")
        settings = replace(harness.hub.settings, quality=QualitySettings(directory=str(tmp_path), networks_max=1))
        await harness.hub.adopt(settings)
        edge.send(told("room", networks={"a": measured(), "b": measured()}), CloseRoom("room"))
        await settle()
        (certificate,) = await written(tmp_path, 1)
    assert (certificate["room"], sorted(certificate["networks"])) == ("room", ["a", "other"])
