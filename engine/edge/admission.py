"""Who may connect: capacity, per-address limits, and whom to believe about an address.

Owns the counts of open connections. Pure. Loopback is exempt from per-address limits: it is a proxy, a test or a benchmark.
"""

from __future__ import annotations

import ipaddress
from typing import Final

from engine.settings import EdgeSettings

__all__ = ["Address", "Admission"]

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_IPV6_PREFIX: Final = 64
"""An IPv6 subscriber has at least a /64; limiting single addresses would limit nobody."""


class Admission:
    """Counts connections.

    :param viewers_max: connections served at once.
    :ivar viewers: connections counted now.
    """

    __slots__ = ("_counts", "_per_address", "_trusted", "viewers", "viewers_max")

    def __init__(self, settings: EdgeSettings, viewers_max: int) -> None:
        self._per_address = settings.viewers_per_address
        self._trusted = tuple(ipaddress.ip_network(network, strict=False) for network in settings.trusted_proxies)
        self._counts: dict[int, int] = {}
        self.viewers_max = viewers_max
        self.viewers = 0

    def trusted(self, address: str) -> bool:
        """Whether what this peer says about others' addresses is believed."""
        if not self._trusted:
            return False
        parsed = parse(address)
        return parsed is not None and any(parsed.version == net.version and parsed in net for net in self._trusted)

    def forwarded(self, header: str) -> str | None:
        """The client's address in X-Forwarded-For: the rightmost one that is not one of our proxies."""
        for part in reversed(header.split(",")):
            address = part.strip()
            if parse(address) is None:
                return None
            if not self.trusted(address):
                return address
        return None

    @property
    def full(self) -> bool:
        """Whether there is no place for another viewer."""
        return self.viewers > self.viewers_max

    def count(self, address: str) -> tuple[int | None, bool]:
        """Count a connection against its address.

        :returns: the key to give back to `release`, None if exempt, and whether the limit allows it (it is counted anyway).
        """
        key = self._key(address)
        if key is None:
            return None, True
        count = self._counts[key] = self._counts.get(key, 0) + 1
        return key, count <= self._per_address

    def release(self, key: int | None) -> None:
        """A connection is gone."""
        if key is not None:
            count = self._counts[key] - 1
            if count:
                self._counts[key] = count
            else:
                del self._counts[key]

    def _key(self, address: str) -> int | None:
        if not self._per_address:
            return None
        parsed = parse(address)
        if parsed is None or parsed.is_loopback:
            return None
        if parsed.version == 6:
            return (int(parsed) >> (128 - _IPV6_PREFIX)) << 1 | 1
        return int(parsed) << 1


def parse(text: str) -> Address | None:
    """An address from text, IPv4 in IPv6 (RFC 4291 section 2.5.5.2) unwrapped; None if it is none. Scope ids and ports go."""
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address: Address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address
