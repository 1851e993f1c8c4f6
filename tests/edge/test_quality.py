"""What an edge measures: networks by name, reports within their bounds, sums, and when they are told."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from typing import Any

import msgpack
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from engine.access import Grant, Role
from engine.edge.admission import key_of
from engine.edge.bearers import Bearers
from engine.edge.meter import Meter, code_of
from engine.edge.networks import Networks
from engine.edge.quality import Measuring
from engine.edge.rooms import Rooms
from engine.edge.session import Session
from engine.edge.track import Track
from engine.errors import Close
from engine.link import memory_link
from engine.link.base import End
from engine.link.messages import CloseRoom, Down, Frames, OpenRoom, Qualities, SharedSnapshot, Stop, Up
from engine.quality import Measured, RoomQuality, Sent
from engine.schema import Author, Join, Quality
from engine.settings import Network, QualitySettings, RoomSettings, Settings
from engine.ws import Opcode, frame

from .scripted import HANDLE, FakeSocket, FakeWire, joined, viewer

MANY = 1000

# -- networks ---------------------------------------------------------------------------------------------------------


def networks(**named: tuple[str, ...]) -> Networks:
    return Networks(QualitySettings(networks=tuple(Network(name=name, addresses=each) for name, each in named.items())))


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("203.0.113.7", "203.0.0.0/16"),
        ("0.0.0.0", "0.0.0.0/16"),
        ("255.255.255.255", "255.255.0.0/16"),
        ("2001:db8::7", "2001:db8::/32"),
        ("2001:db8:ffff::", "2001:db8::/32"),
        ("ffff:ffff::1", "ffff:ffff::/32"),
        ("::ffff:203.0.113.7", "203.0.0.0/16"),
        ("127.0.0.1", "loopback"),
        ("127.255.255.255", "loopback"),
        ("::1", "loopback"),
        ("128.0.0.0", "128.0.0.0/16"),
        ("126.255.0.1", "126.255.0.0/16"),
    ],
)
def test_who_is_in_no_network_of_the_operators_is_told_apart_by_a_prefix(address: str, name: str) -> None:
    assert networks().name_of(key_of(address)) == name


def test_whose_address_is_not_known_is_in_no_network() -> None:
    every = networks(all=("0.0.0.0/0", "::/0"))
    assert every.name_of(None) == every.name_of("10.0.0.1") == "unknown"


def test_the_longest_prefix_has_the_name() -> None:
    found = networks(
        world=("0.0.0.0/0",),
        provider=("203.0.113.0/24", "2001:db8::/32"),
        street=("203.0.113.64/26", "2001:db8:7::/48"),
        house=("203.0.113.77/32", "2001:db8:7:7::/64"),
        room=("2001:db8:7:7:8::/96",),
        desk=("127.0.0.2/32",),
    )
    names = {
        "203.0.113.77": "house",
        "203.0.113.76": "street",
        "203.0.113.1": "provider",
        "203.0.114.1": "world",
        "2001:db8:7:7::1": "house",
        "2001:db8:7:8::1": "street",
        "2001:db8:8::1": "provider",
        "2001:db9::1": "2001:db9::/32",
        "127.0.0.2": "desk",
        "127.0.0.1": "world",
    }
    for _ in range(2):
        assert {address: found.name_of(key_of(address)) for address in names} == names


prefixes = st.one_of(
    st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 32)).map(lambda pair: ipaddress.IPv4Network(pair, strict=False)),
    st.tuples(st.integers(0, 2**128 - 1), st.integers(0, 64)).map(lambda pair: ipaddress.IPv6Network(pair, strict=False)),
)


@given(st.lists(prefixes, max_size=12), st.data())
def test_names_are_those_of_a_plain_search(
    nets: list[ipaddress.IPv4Network | ipaddress.IPv6Network], data: st.DataObject
) -> None:
    named = [Network(name=f"n{index}", addresses=(str(net),)) for index, net in enumerate(nets)]
    found = Networks(QualitySettings(networks=tuple(named)))
    ends = [net[0] for net in nets] + [net[-1] for net in nets]
    address = data.draw(st.one_of(st.sampled_from(ends or [ipaddress.IPv4Address("9.9.9.9")]), st.ip_addresses()))
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    holding = [(net.prefixlen, -index) for index, net in enumerate(nets) if address in net]
    name = found.name_of(key_of(str(address)))
    if holding:
        assert name == f"n{-max(holding)[1]}"
    elif name != "loopback":
        assert address in ipaddress.ip_network(name)


def test_names_follow_the_settings_and_what_is_remembered_is_bounded() -> None:
    found = networks(a=("203.0.0.0/16",))
    key = key_of("203.0.0.1")
    assert found.name_of(key) == "a"
    found.adopt(QualitySettings(networks=(Network(name="b", addresses=("203.0.0.0/16",)),)))
    assert found.name_of(key) == "b"
    for number in range(50_000):
        found.name_of(number << 1)
    assert len(found._known) < 20_000


# -- reports ----------------------------------------------------------------------------------------------------------


def someone(reported: int = 1) -> Session:
    session, _ = viewer(1)
    session.reported = reported
    return session


def report(
    meter: Meter, quality: Quality, place: int, session: Session | None = None, now: float = 0.0, network: str = "n"
) -> bool:
    return meter.report(session or someone(), quality, network, 4, place, now)


def told(meter: Meter) -> RoomQuality:
    return meter.take(0, 0.0, 0, 0.0)


def test_a_report_is_counted_as_it_is() -> None:
    meter = Meter("room")
    assert report(meter, Quality(1, 100, 90, 2, [3, 0, 80], {"1006": 2, "4200": 1}), 101)
    assert told(meter).networks == {"n": Measured(1, 100, 90, 2, {0: 3, 2: 80}, {"1006": 2, "4200": 1})}
    assert told(meter).networks == {}


@pytest.mark.parametrize("quality", [Quality(1, 10, 11), Quality(1, 10, 5, 0, [3, 3]), Quality(1, 0, 1)])
def test_a_report_that_cannot_be_is_not_counted(quality: Quality) -> None:
    meter, session = Meter("room"), someone()
    assert not report(meter, quality, 101, session)
    assert told(meter).networks == {}
    assert report(meter, Quality(1, 10, 10), 101, session)


def test_reports_count_every_few_seconds() -> None:
    meter, session = Meter("room"), someone()
    assert report(meter, Quality(1, 10, 10), 11, session, 0.0)
    assert not report(meter, Quality(1, 10, 10), 21, session, 1.0)
    # What an ignored one spoke of may be told with the next.
    assert report(meter, Quality(1, 20, 20), 31, session, 9.0)
    assert told(meter).networks["n"] == Measured(2, 30, 30)


def test_what_is_no_cause_does_not_count_and_no_number_is_larger_than_life() -> None:
    meter = Meter("room")
    causes = {"": 1, "12345": 1, "x": 1, "-1": 1, "１": 1, "1 ": 1, "__proto__": 1, "1006": 2**50, "4001": 0}
    assert report(meter, Quality(1, 0, 0, 2**50, [], causes), 1)
    measured = told(meter).networks["n"]
    assert measured.gaps == 100
    assert measured.reconnects == {"1006": 100}


def test_one_viewer_makes_no_crowd_that_came_back() -> None:
    meter, session = Meter("room"), someone()
    causes = {str(code): 60 for code in range(4000, 4016)}
    for number in range(10):
        assert report(meter, Quality(1, 0, 0, 0, [], causes), 1, session, 10.0 * number)
    assert told(meter).networks["n"].reconnects == {"4000": 60, "4001": 40}
    # Over another connection it has come back.
    report(meter, Quality(1, 0, 0, 0, [], {"1006": 1}), 1, someone(), 100.0)
    assert told(meter).networks["n"].reconnects == {"1006": 1}


def test_causes_and_networks_are_bounded() -> None:
    meter = Meter("room")
    for number in range(200):
        report(meter, Quality(1, 1, 1, 0, [], {str(number): 1}), 2, network=f"network {number}" if number > 100 else "one")
    found = told(meter).networks
    assert set(found) == {"one", "network 101", "network 102", "network 103", "other"}
    assert len(found["one"].reconnects) == 65
    assert found["one"].reconnects["other"] == 101 - 64
    assert sum(each.reports for each in found.values()) == 200


counts = st.integers(0, 2**53 - 1)


@given(counts, counts, st.lists(st.integers(0, 2**40), max_size=64), st.integers(1, 10_000), st.integers(1, 10_000))
def test_nobody_has_more_weight_than_what_has_passed(
    entitled: int, received: int, delays: list[int], since: int, place: int
) -> None:
    meter, session = Meter("room"), someone(since)
    if not report(meter, Quality(1, entitled, received, 0, delays), place, session):
        assert received > entitled or sum(delays) > received
        return
    measured = told(meter).networks["n"]
    passed = max(place - since, 0)
    assert measured.entitled == min(entitled, passed)
    assert sum(measured.delays.values()) <= measured.received <= measured.entitled
    if entitled <= passed:
        assert measured.received == received
        assert sum(measured.delays.values()) == sum(delays)
    elif passed:
        # Weighed, not changed.
        assert abs(measured.received / passed - received / entitled) <= 1 / passed
    assert session.reported == min(since + entitled, place)


def test_what_was_on_its_way_at_one_report_is_in_the_next() -> None:
    meter, session = Meter("room"), someone(1)
    assert report(meter, Quality(1, 7, 7), 11, session, 0.0)
    assert report(meter, Quality(1, 13, 13), 21, session, 10.0)
    assert told(meter).networks["n"].entitled == 20
    # And no more than that.
    assert report(meter, Quality(1, 5, 5), 21, session, 20.0)
    assert told(meter).networks["n"].entitled == 0


def test_who_returns_may_report_what_passed_shortly_before_and_in_a_young_room_everything() -> None:
    meter = Meter("room")
    meter.begins(7)
    assert meter.reach(7, 0.0) == 1
    for second in range(0, 1000, 5):
        meter.take(second * 10, float(second), 0, 0.0)
    # Ten offsets a second; it was looked at every half a minute.
    assert 8_500 <= meter.reach(7, 1000.0) <= 8_800
    assert len(meter._past) < 10


def test_places_go_on_through_epochs() -> None:
    meter = Meter("room")
    meter.begins(1)
    assert meter.place(1, 50) == 50
    # Each track of the room says so.
    for _ in range(2):
        meter.goes_on(1, 50, 2, 10)
    assert meter.place(2, 11) == 51
    assert meter.after(2, 10) == 51
    assert meter.after(3, 1) == float("inf")
    for epoch in range(2, 40):
        meter.goes_on(epoch, 20, epoch + 1, 0)
    assert len(meter._bases) < 10


def test_a_viewers_own_close_codes_mean_nothing_that_only_servers_mean() -> None:
    assert [code_of(code) for code in (1000, 1001, 1005, 1015, 4201, 3000, 4999)] == [1000, 1001, 1005, 1015, 1000, 1000, 1000]


# -- deliveries -------------------------------------------------------------------------------------------------------


def data(size: int = 100) -> dict[int, bytes]:
    return {0: b"\x82\x7e" + size.to_bytes(2, "big") + b"x" * size}


class Here:
    """A track and its meter."""

    def __init__(self, epoch: int = 5, head: int = 0, **settings: Any) -> None:
        self.meter = Meter("room")
        self.wire = FakeWire()
        shown = {0: frame(Opcode.BINARY, msgpack.packb([33, HANDLE, "room", epoch, head, 1, [0, 0], 25_000]))}
        self.now = 0.0
        self.track = Track(
            HANDLE,
            0,
            SharedSnapshot("room", 1, epoch, head, shown),
            RoomSettings(**settings),
            self.wire,
            self.meter,
        )
        self.count = 0

    def come(self, room: int | None = None, cursor: int | None = None) -> tuple[Session, FakeSocket]:
        self.count += 1
        session, sock = viewer(self.count, room=room)
        self.track.enter(session, self.track.log.end if cursor is None else cursor)
        return session, sock

    def append(self, offsets: int, size: int = 100) -> None:
        head = self.track.log.head
        self.track.append(head + 1, head + offsets, data(size), self.now)
        while self.track.begin():
            self.track.step(MANY)

    def sent(self) -> Sent:
        return told(self.meter).sent


def test_what_is_due_is_offsets_times_viewers() -> None:
    here = Here()
    here.append(7)
    assert here.sent() == Sent()
    for _ in range(3):
        here.come()
    here.append(5)
    here.append(0)
    assert here.sent() == Sent(entitled=15)
    # One that goes on from an earlier place is due what it has missed.
    session, _ = here.come(cursor=0)
    assert here.sent() == Sent(entitled=12)
    here.track.leave(session)
    here.append(2)
    assert here.sent() == Sent(entitled=6)


def test_a_snapshot_and_what_followed_it_are_due_once() -> None:
    here = Here()
    here.append(3)
    session, _ = viewer(99)
    snapshot = here.track.snapshot(here.now)
    assert snapshot is not None
    here.track.welcome(session, joined(False), *snapshot)
    assert here.sent() == Sent(entitled=3)
    assert session.reported == 1
    assert here.track.place == 4


def test_skips_stalls_and_lag_policies_are_counted() -> None:
    here = Here(lag_seconds=1.0, log_seconds=100.0)
    here.come()
    slow, sock = here.come(room=50)
    here.append(10)
    assert here.sent() == Sent(entitled=20, stalls=1)
    here.now = 5.0
    here.append(10)
    here.append(10)
    sock.room = None
    here.track.pump(slow)
    here.now = 9.0
    here.append(1)
    # It had the first frame whole, and was spared what came after it, up to where it caught up.
    sent = here.sent()
    assert (sent.entitled, sent.skipped, sent.lag_policies) == (42, 0, 0)
    sock.room = 50
    here.append(10)
    here.now = 20.0
    here.append(10)
    here.now = 30.0
    here.append(10)
    sock.room = None
    here.track.pump(slow)
    sent = here.sent()
    assert (sent.entitled, sent.skipped, sent.lag_policies) == (60, 20, 1)
    assert sent.stalls == 1
    assert sent.rate == 1 - 20 / 60


def test_who_has_half_of_a_snapshot_waits_for_what_follows_it() -> None:
    here = Here(lag_seconds=100.0)
    snapshot = here.track.snapshot(here.now)
    assert snapshot is not None
    greeting = joined(False)
    slow, _ = viewer(99, room=len(greeting) + 1)
    here.track.welcome(slow, greeting, *snapshot)
    assert slow.entry is snapshot[0]
    # A snapshot is of no age; JSON has no word for what that would be.
    assert here.track.lag(50.0) == 0.0
    here.now = 60.0
    here.append(3)
    assert here.track.lag(62.5) == 2.5


def test_closing_instead_of_skipping_skips_nothing() -> None:
    here = Here(lag_seconds=1.0, lag_policy="close")
    slow, _ = here.come(room=50)
    here.append(10)
    here.now = 5.0
    here.append(10)
    here.now = 9.0
    here.append(10)
    assert here.wire.closed == {slow: Close.LAG}
    sent = here.sent()
    assert (sent.skipped, sent.lag_policies) == (0, 1)


def test_a_skip_over_the_end_of_an_epoch_counts_what_was_passed_in_both() -> None:
    here = Here(lag_seconds=1.0, log_seconds=100.0)
    slow, sock = here.come(room=50)
    here.append(10)
    here.append(4)
    here.track.restart(6, 100, data(), here.now)
    shown = {0: frame(Opcode.BINARY, msgpack.packb([33, HANDLE, "room", 6, 103, 1, [0, 0], 25_000]))}
    here.append(3)
    here.now = 5.0
    here.append(2)
    here.track.renew(SharedSnapshot("room", 1, 6, 105, shown))
    sock.room = None
    here.now = 6.0
    here.track.pump(slow)
    sent = here.sent()
    assert sent.lag_policies == 1
    # 11 to 14 of the old epoch, 101 to 105 of the new one.
    assert sent.skipped == 4 + 5
    assert sent.entitled == 10 + 4 + 3 + 2


moves = st.sampled_from(("append", "come", "block", "free", "late", "go", "restart"))


@given(st.lists(st.tuples(moves, st.integers(0, 9)), max_size=60))
def test_never_is_more_skipped_than_was_due(play: list[tuple[str, int]]) -> None:
    here = Here(lag_seconds=1.0, log_seconds=100.0)
    people: list[tuple[Session, FakeSocket]] = []
    total, epoch = Sent(), 5
    for step, number in play:
        here.now += 0.1
        if step == "append":
            here.append(number)
        elif step == "come":
            cursor = max(here.track.log.end - number, here.track.log.epoch_start)
            people.append(here.come(cursor=max(cursor, here.track.log.start)))
        elif step == "late":
            here.now += 2.0
        elif step == "restart":
            epoch += 1
            here.track.restart(epoch, number, data(), here.now)
        elif people:
            session, sock = people[number % len(people)]
            if session.track is None:
                continue
            if step == "go":
                here.track.leave(session)
            else:
                sock.room = number if step == "block" else None
                if step == "free" and session in here.wire.armed:
                    here.wire.writable(session)
        total.add(here.sent())
        assert total.skipped <= total.entitled
        assert total.lag_policies == here.track.overtaken


# -- telling ----------------------------------------------------------------------------------------------------------


class Told:
    """Who is told, if anybody is there."""

    def __init__(self) -> None:
        self.there = True
        self.rooms: list[tuple[float, RoomQuality]] = []
        self.laggards = 0

    def __call__(self, meters: object) -> bool:
        if self.there:
            for meter in meters:  # type: ignore[attr-defined]  # a sequence
                self.rooms.append((trio.current_time(), meter.take(1, trio.current_time(), self.laggards, 0.0)))
        return self.there


async def test_rooms_are_told_of_in_time_and_silent_ones_never(autojump_clock: MockClock) -> None:
    told = Told()
    measuring = Measuring(QualitySettings(seconds=5.0), told)
    busy, silent = measuring.open("busy"), measuring.open("silent")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(measuring.run)
        start = trio.current_time()
        await trio.sleep(100)
        assert told.rooms == []
        for _ in range(3):
            busy.due(4)
            await trio.sleep(1)
        await trio.sleep(100)
        assert [(at - start, each) for at, each in told.rooms] == [(105.0, RoomQuality("busy", Sent(entitled=12), {}))]
        silent.due(1)
        await trio.sleep(10)
        assert len(told.rooms) == 2
        nursery.cancel_scope.cancel()


async def test_what_nobody_is_there_for_is_kept_for_the_next(autojump_clock: MockClock) -> None:
    told = Told()
    measuring = Measuring(QualitySettings(seconds=5.0), told)
    meters = [measuring.open(f"room {number}") for number in range(250)]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(measuring.run)
        told.there = False
        for meter in meters:
            meter.due(1)
        await trio.sleep(20)
        for meter in meters:
            meter.due(2)
        await trio.sleep(20)
        told.there = True
        measuring.hub_came()
        await trio.sleep(20)
        assert {each.room: each.sent.entitled for _, each in told.rooms} == {meter.room: 3 for meter in meters}
        assert len(told.rooms) == 250
        measuring.hub_came()
        await trio.sleep(20)
        assert len(told.rooms) == 250
        nursery.cancel_scope.cancel()


async def test_that_nobody_is_behind_any_more_is_told_too(autojump_clock: MockClock) -> None:
    told = Told()
    measuring = Measuring(QualitySettings(seconds=5.0), told)
    meter = measuring.open("room")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(measuring.run)
        told.laggards = 2
        meter.stalled()
        await trio.sleep(11)
        told.laggards = 0
        await trio.sleep(100)
        assert [each.sent.laggards for _, each in told.rooms] == [2, 2, 0]
        nursery.cancel_scope.cancel()


async def test_another_interval_holds_at_once(autojump_clock: MockClock) -> None:
    told = Told()
    measuring = Measuring(QualitySettings(seconds=3600.0), told)
    meter = measuring.open("room")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(measuring.run)
        meter.due(1)
        await trio.sleep(1)
        measuring.adopt(QualitySettings(seconds=2.0))
        await trio.sleep(3)
        assert len(told.rooms) == 1
        nursery.cancel_scope.cancel()


async def test_a_room_that_is_forgotten_is_told_of_by_hand(autojump_clock: MockClock) -> None:
    told = Told()
    measuring = Measuring(QualitySettings(), told)
    one, two = measuring.open("one"), measuring.open("two")
    one.closed(1006)
    two.closed(1001)
    measuring.forget(one)
    assert measuring.tell()
    assert [(each.room, each.sent.closed) for _, each in told.rooms] == [("two", {1001: 1})]


# -- in rooms ---------------------------------------------------------------------------------------------------------

SETTINGS = Settings(room=RoomSettings(linger_seconds=1.0), quality=QualitySettings(seconds=60.0))


class Hub:
    """The other end of the link of an edge's rooms."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self.wire = FakeWire()
        self.rooms = Rooms(SETTINGS, self.wire, lambda: 0, Bearers(SETTINGS.access, self.wire, lambda: 0))
        self.nursery = nursery
        nursery.start_soon(self.rooms.expire)
        nursery.start_soon(self.rooms.quality.run)

    async def link(self) -> None:
        ours, self.end = memory_link(encoded=True)
        await self.nursery.start(self.rooms.serve, ours)

    async def come(self, number: int) -> Session:
        session, _ = viewer(number)
        session.author = Author(f"guest-{number}")
        self.rooms.join(session, Join(1, "room"), Grant(f"session-{number}", session.author, Role.VIEWER))
        self.rooms.turn_over()
        shown = {0: frame(Opcode.BINARY, msgpack.packb([33, HANDLE, "room", 5, 0, 1, [0, 0], 25_000]))}
        self.end.send([SharedSnapshot("room", 1, 5, 0, shown)])
        await wait_all_tasks_blocked()
        return session

    async def told(self) -> list[Up]:
        """What it is told until nothing is left to tell, but for what has nothing to do with it."""
        await wait_all_tasks_blocked()
        with trio.move_on_after(0.001):
            return [message for message in await self.end.receive() if isinstance(message, Qualities | CloseRoom | OpenRoom)]
        return []


async def test_the_last_numbers_of_a_room_come_before_it_is_closed(autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        hub = Hub(nursery)
        await hub.link()
        session = await hub.come(1)
        hub.end.send([Frames("room", 5, 1, 3, data())])
        await hub.told()
        hub.rooms.leave(session, 1006)
        hub.rooms.turn_over()
        await trio.sleep(5)
        sent = Sent(entitled=3, closed={1006: 1})
        assert await hub.told() == [Qualities([RoomQuality("room", sent, {})]), CloseRoom("room")]
        # It is told of no more.
        await trio.sleep(200)
        assert await hub.told() == []
        nursery.cancel_scope.cancel()


async def test_what_was_measured_comes_once_after_the_next_hub_knows_the_room(autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        hub = Hub(nursery)
        await hub.link()
        await hub.come(1)
        hub.end.send([Frames("room", 5, 1, 3, data())])
        await hub.told()
        hub.end.close()
        await trio.sleep(100)
        hub.rooms["room"].meter.closed(1000)
        await hub.link()
        await trio.sleep(100)
        opened, qualities = await hub.told()
        assert isinstance(opened, OpenRoom)
        assert qualities == Qualities([RoomQuality("room", Sent(entitled=3, closed={1000: 1}), {})])
        await trio.sleep(200)
        assert await hub.told() == []
        nursery.cancel_scope.cancel()


async def test_what_a_hub_did_not_read_any_more_is_told_to_the_next(autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        hub = Hub(nursery)
        await hub.link()
        session = await hub.come(1)
        hub.end.send([Frames("room", 5, 1, 3, data())])
        await hub.told()
        hub.rooms.quality.tell()
        assert await hub.told() == [Qualities([RoomQuality("room", Sent(entitled=3), {})])]
        session.track.append(4, 5, data(), 0.0)  # type: ignore[union-attr]  # it is in
        hub.rooms.quality.tell()
        hub.rooms["room"].meter.closed(1000)
        # The first is not read, the second goes nowhere.
        hub.end.close()
        hub.rooms.quality.tell()
        await wait_all_tasks_blocked()
        await hub.link()
        await trio.sleep(100)
        assert (await hub.told())[1:] == [Qualities([RoomQuality("room", Sent(entitled=2, closed={1000: 1}), {})])]
        nursery.cancel_scope.cancel()


class Stuck(End[Up, Down]):
    """A link that hands nothing over, and breaks."""

    def __init__(self) -> None:
        self._sent = 0
        self._broken = trio.Event()

    @property
    def backlog(self) -> int:
        return 0 if self._broken.is_set() else self._sent

    @property
    def lost(self) -> int:
        return self._sent - self.backlog

    def send(self, messages: Sequence[Up]) -> None:
        if not self._broken.is_set():
            self._sent += len(messages)

    async def receive(self) -> Sequence[Down]:
        await self._broken.wait()
        return ()

    def close(self) -> None:
        self._broken.set()


async def test_what_a_broken_link_did_not_hand_over_is_told_to_the_next(autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        hub, stuck = Hub(nursery), Stuck()
        await hub.link()
        await hub.come(1)
        hub.end.send([Frames("room", 5, 1, 3, data())])
        await hub.told()
        hub.end.close()
        await wait_all_tasks_blocked()
        await nursery.start(hub.rooms.serve, stuck)
        hub.rooms.quality.tell()
        assert stuck.backlog
        stuck.close()
        # After it has broken, and nobody has noticed yet.
        hub.rooms["room"].meter.closed(1000)
        hub.rooms.quality.tell()
        await wait_all_tasks_blocked()
        await hub.link()
        await trio.sleep(100)
        assert (await hub.told())[1:] == [Qualities([RoomQuality("room", Sent(entitled=3, closed={1000: 1}), {})])]
        nursery.cancel_scope.cancel()


async def test_a_hub_that_stops_is_told_at_once(autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        hub = Hub(nursery)
        await hub.link()
        await hub.come(1)
        await hub.told()
        hub.end.send([Frames("room", 5, 1, 3, data()), Stop()])
        assert await hub.told() == [Qualities([RoomQuality("room", Sent(entitled=3), {})])]
        nursery.cancel_scope.cancel()
