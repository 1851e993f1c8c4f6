"""Rules about what is measured at the viewers: networks' names and addresses, and where certificates are written.

Owns these rules.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path

from engine.configfile import toml_value
from engine.configrules.rule import NAME_MAX, encodable, presentable, rule
from engine.configvalues import Fault
from engine.settings import Settings

__all__: list[str] = []


@rule("quality.networks")
def _networks_are_named(settings: Settings) -> Iterator[Fault]:
    names = [network.name for network in settings.quality.networks]
    for index, name in enumerate(names):
        path = f"quality.networks[{index}].name"
        if not presentable(name) or not encodable(name):
            yield Fault(path, name, f"must be 1 to {NAME_MAX} printable characters, without white space around them")
        elif names.index(name) != index:
            yield Fault(path, name, "must not be the name of two networks")


@rule("quality.networks")
def _networks_have_addresses(settings: Settings) -> Iterator[Fault]:
    known: dict[IPv4Network | IPv6Network, str] = {}
    for index, network in enumerate(settings.quality.networks):
        path = f"quality.networks[{index}].addresses"
        if not network.addresses:
            yield Fault(path, [], 'must have at least one, such as "203.0.113.0/24"')
        for number, address in enumerate(network.addresses):
            try:
                found = ip_network(address)
            except ValueError:
                problem = 'must be a network, such as "203.0.113.0/24", or one address'
                yield Fault(f"{path}[{number}]", address, problem, suggestion=_meant(address))
                continue
            if found in known:
                # Which of the two would hold?
                yield Fault(f"{path}[{number}]", address, f"must not be listed twice: it is {known[found]}, too")
            known.setdefault(found, f"{path}[{number}]")


@rule("quality.directory")
def _certificates_can_be_written(settings: Settings) -> Iterator[Fault]:
    directory = settings.quality.directory
    if not directory:
        return
    try:
        there = Path(directory).is_dir()
        usable = there and os.access(directory, os.W_OK | os.X_OK)
    except ValueError:
        # A zero byte is in no name.
        there = usable = False
    if not usable:
        where = "" if Path(directory).is_absolute() else f" in {Path.cwd()}"
        problem = "must be a directory in which the node may write" if there else "must be a directory that exists"
        yield Fault("quality.directory", directory, f"{problem}{where}")


def _meant(address: str) -> str:
    """The network that somebody has given with an address in it; empty if it is none."""
    try:
        return toml_value(str(ip_network(address, strict=False)))
    except ValueError:
        return ""
