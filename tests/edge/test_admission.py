"""Admission: capacity, limits per address, and whose word about an address counts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.edge.admission import Admission, key_of, parse, written
from engine.settings import EdgeSettings


def admission(per_address: int = 2, *trusted: str, viewers_max: int = 10) -> Admission:
    return Admission(EdgeSettings(viewers_per_address=per_address, trusted_proxies=trusted), viewers_max)


def test_an_address_is_counted_up_to_its_limit_and_given_back() -> None:
    gate = admission(2)
    keys = [gate.count("203.0.113.5") for _ in range(3)]
    assert [allowed for _, allowed in keys] == [True, True, False]
    assert gate.count("203.0.113.6")[1]
    gate.release(keys[2][0])
    assert not gate.count("203.0.113.5")[1]
    for key, _ in keys:
        gate.release(key)
    assert gate.count("203.0.113.5")[1]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9", True),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
        ("203.0.113.5", "::ffff:203.0.113.5", True),
        ("203.0.113.5", "203.0.113.6", False),
        ("fe80::1%eth0", "fe80::2", True),
        ("0.0.0.1", "0:0:0:1::", False),
    ],
)
def test_a_subscriber_is_an_ipv4_address_or_an_ipv6_64(one: str, other: str, same: bool) -> None:
    gate = admission(1)
    assert gate.count(one)[1]
    assert gate.count(other)[1] is not same


@pytest.mark.parametrize("address", ["127.0.0.1", "127.5.6.7", "::1", "::ffff:127.0.0.1", "not an address", ""])
def test_loopback_and_what_is_no_address_are_exempt(address: str) -> None:
    gate = admission(1)
    keys = [gate.count(address) for _ in range(5)]
    assert keys == [(key_of(address), True)] * 5
    for key, _ in keys:
        gate.release(key)


def test_without_a_limit_nobody_is_counted() -> None:
    gate = admission(0)
    keys = [gate.count("203.0.113.5") for _ in range(5)]
    assert keys == [(key_of("203.0.113.5"), True)] * 5
    for key, _ in keys:
        gate.release(key)


def test_connections_from_one_place_share_the_key() -> None:
    """An integer for each of them would be a part of what an idle viewer costs."""
    gate = admission(0)
    keys = [gate.count("127.0.0.3")[0] for _ in range(3)]
    assert len({id(key) for key in keys}) == 1


@pytest.mark.parametrize(
    ("address", "text"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("2001:db8:1:2:3::9", "2001:db8:1:2::/64"),
        ("2001:db8::7", "2001:db8::/64"),
        ("127.0.0.1", "127.0.0.1"),
        ("::1", "::/64"),
        ("0.0.0.1", "0.0.0.1"),
    ],
)
def test_an_address_is_written_for_people_and_read_again(address: str, text: str) -> None:
    key = key_of(address)
    assert key is not None
    assert written(key) == text
    assert key_of(text) == key


@pytest.mark.parametrize("text", ["", "nonsense", "203.0.113.0/24", "2001:db8::/32", "300.1.1.1"])
def test_what_is_no_address_has_no_key(text: str) -> None:
    assert key_of(text) is None


def test_capacity_counts_the_one_that_asks() -> None:
    gate = admission(viewers_max=2)
    gate.viewers = 2
    assert not gate.full
    gate.viewers = 3
    assert gate.full


@pytest.mark.parametrize(
    ("address", "believed"),
    [
        ("10.1.2.3", True),
        ("::ffff:10.1.2.3", True),
        ("11.0.0.1", False),
        ("2001:db8::7", True),
        ("2001:db9::7", False),
        ("nonsense", False),
    ],
)
def test_only_the_operators_proxies_are_believed(address: str, believed: bool) -> None:
    assert admission(2, "10.0.0.0/8", "2001:db8::/32").trusted(address) is believed
    assert not admission(2).trusted(address)


@pytest.mark.parametrize(
    ("header", "client"),
    [
        ("203.0.113.5", "203.0.113.5"),
        ("203.0.113.5, 10.0.0.7", "203.0.113.5"),
        ("198.51.100.1, 203.0.113.5 ,10.0.0.7,10.0.0.8", "203.0.113.5"),
        ("1.2.3.4, evil, 203.0.113.5", "203.0.113.5"),
        ("127.0.0.1, 203.0.113.5", "203.0.113.5"),
        ("2001:db8::7, 10.0.0.7", "2001:db8::7"),
        ("10.0.0.7", None),
        ("", None),
        ("203.0.113.5, evil", None),
        ("unknown", None),
    ],
)
def test_the_client_is_the_rightmost_address_that_is_not_our_proxy(header: str, client: str | None) -> None:
    assert admission(2, "10.0.0.0/8").forwarded(header) == client


@pytest.mark.parametrize(
    ("header", "client"),
    [("203.0.113.5:40123", "203.0.113.5"), ("[2001:db8::7]:40123", "2001:db8::7"), ("[2001:db8::7]", "2001:db8::7")],
)
def test_a_port_behind_a_forwarded_address_goes(header: str, client: str) -> None:
    """Some gateways add the client's port."""
    found = admission(2, "10.0.0.0/8").forwarded(header)
    assert found is not None
    assert parse(found) == parse(client)


addresses = st.one_of(
    st.ip_addresses(v=4, network="203.0.113.0/29").map(str), st.ip_addresses(v=6, network="2001:db8::/66").map(str)
)


@given(st.lists(st.one_of(addresses, st.integers(0, 50))))
def test_counts_are_those_of_the_open_connections(steps: list[str | int]) -> None:
    gate = admission(3)
    open_now: list[tuple[str, int]] = []
    for step in steps:
        if isinstance(step, str):
            subscriber = step if "." in step else "v6"
            key, allowed = gate.count(step)
            assert key is not None
            open_now.append((subscriber, key))
            assert allowed == (sum(other == subscriber for other, _ in open_now) <= 3)
        elif open_now:
            gate.release(open_now.pop(step % len(open_now))[1])
    for _, key in open_now:
        gate.release(key)
    assert all(gate.count("203.0.113.1")[1] for _ in range(3))
