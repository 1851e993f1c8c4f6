"""Rules about what is measured at the viewers: networks by name, and where certificates are written."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from engine.configcheck import check
from engine.configvalues import Fault
from engine.settings import Network, QualitySettings, Settings


def faults(*networks: tuple[str, tuple[str, ...]], directory: str = "") -> list[Fault]:
    made = tuple(Network(name=name, addresses=addresses) for name, addresses in networks)
    return check(Settings(quality=QualitySettings(networks=made, directory=directory)))


def test_networks_that_are_right() -> None:
    assert not faults(
        ("电信 🌏", ("203.0.113.0/24", "2001:db8::/32")), ("one", ("203.0.113.7",)), ("all", ("0.0.0.0/0", "::/0"))
    )


@pytest.mark.parametrize("name", ["", " a", "a\n", "x" * 65, "\ud800"])
def test_a_name_can_be_shown(name: str) -> None:
    (fault,) = faults(("good", ("203.0.113.0/24",)), (name, ("198.51.100.0/24",)))
    assert (fault.path, fault.value) == ("quality.networks[1].name", name)
    assert "1 to 64 printable characters" in fault.problem


def test_a_name_is_that_of_one_network() -> None:
    (fault,) = faults(("a", ("203.0.113.0/24",)), ("b", ("198.51.100.0/24",)), ("a", ("192.0.2.0/24",)))
    assert (fault.path, fault.problem) == ("quality.networks[2].name", "must not be the name of two networks")


@pytest.mark.parametrize(
    ("address", "suggestion"),
    [
        ("203.0.113.7/24", '"203.0.113.0/24"'),
        ("203.0.113.0/33", ""),
        ("provider.example", ""),
        ("", ""),
        ("2001:db8::1/32", '"2001:db8::/32"'),
    ],
)
def test_an_address_is_a_network(address: str, suggestion: str) -> None:
    (fault,) = faults(("a", ("192.0.2.0/24", address)))
    assert (fault.path, fault.value, fault.suggestion) == ("quality.networks[0].addresses[1]", address, suggestion)
    assert "must be a network" in fault.problem


def test_a_network_has_addresses() -> None:
    (fault,) = faults(("a", ()))
    assert (fault.path, fault.value) == ("quality.networks[0].addresses", [])


@pytest.mark.parametrize("again", ["203.0.113.0/24", "2001:0db8::/32", "192.0.2.1/32"])
def test_no_address_is_listed_twice(again: str) -> None:
    (fault,) = faults(("a", ("203.0.113.0/24", "2001:db8::/32", "192.0.2.1")), ("b", (again,)))
    assert fault.path == "quality.networks[1].addresses[0]"
    assert "must not be listed twice: it is quality.networks[0].addresses[" in fault.problem
    # A part of another one is not the same: the longest prefix counts.
    assert not faults(("a", ("203.0.113.0/24",)), ("b", ("203.0.113.0/25",)))


def test_the_directory_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert not faults(directory=str(tmp_path))
    (tmp_path / "here").mkdir()
    assert not faults(directory="here")
    (tmp_path / "file").touch()
    for name in ("missing", "file", "zero\0", str(tmp_path / "missing")):
        (fault,) = faults(directory=name)
        assert (fault.path, fault.value) == ("quality.directory", name)
        assert fault.problem.startswith("must be a directory that exists")
        assert (f" in {tmp_path}" in fault.problem) == (not name.startswith("/"))


def test_the_directory_can_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Root may write everywhere, and so may whoever tests.
    monkeypatch.setattr("os.access", lambda path, mode: mode != os.W_OK | os.X_OK)
    (fault,) = faults(directory=str(tmp_path))
    assert fault.problem == "must be a directory in which the node may write"
