"""Who may connect: capacity, per-address limits, and whom to believe about an address.

Owns the counts of open connections, and what an address is: the **key** of an IPv4 address or IPv6 /64, a number, and how it is
written, such as 203.0.113.7 and 2001:db8::/64. Pure. Loopback is exempt from per-address limits: it is a proxy, a test or a
benchmark.
"""

from __future__ import annotations

import ipaddress
import socket
from collections import Counter
from collections.abc import Iterable
from typing import Final

from engine.settings import EdgeSettings

__all__ = ["Address", "Admission", "is_loopback", "key_of", "written"]

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_IPV6_PREFIX: Final = 64
"""An IPv6 subscriber has at least a /64; limiting single addresses would limit nobody."""
_IPV6: Final = 1
"""Low bit of a key."""
_LOOPBACK_4: Final = 127


class Admission:
    """Counts connections.

    :param viewers_max: connections served at once.
    :ivar viewers: connections counted now.
    """

    __slots__ = ("_counts", "_latest", "_per_address", "_trusted", "viewers", "viewers_max")

    def __init__(self, settings: EdgeSettings, viewers_max: int) -> None:
        self._per_address = 0
        self._counts: dict[int, int] = {}
        self._latest: int | None = None
        self.viewers = 0
        self.adopt(settings, viewers_max)

    def adopt(self, settings: EdgeSettings, viewers_max: int, present: Iterable[int] = ()) -> None:
        """Take other settings.

        :param present: keys of the connections that are there, which were not counted if nothing was limited.
        """
        if settings.viewers_per_address and not self._per_address:
            self._counts = Counter(key for key in present if not is_loopback(key))
        self._per_address = settings.viewers_per_address
        self._trusted = tuple(ipaddress.ip_network(network, strict=False) for network in settings.trusted_proxies)
        self.viewers_max = viewers_max

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

        :returns: the key of the address, to be given back to `release`; None if it is none. Then whether the limit allows it
            (it is counted anyway).
        """
        key = key_of(address)
        if key is None:
            return None, True
        # One object for connections that come from the same place one after the other, as behind loopback they all do.
        self._latest = key = self._latest if key == self._latest and self._latest is not None else key
        if not self._per_address or is_loopback(key):
            return key, True
        count = self._counts[key] = self._counts.get(key, 0) + 1
        return key, count <= self._per_address

    def release(self, key: int | None) -> None:
        """A connection is gone."""
        count = self._counts.get(key, 0) if key is not None else 0
        if key is not None and count:
            if count > 1:
                self._counts[key] = count - 1
            else:
                del self._counts[key]


def key_of(address: str) -> int | None:
    """The key of an address, also of one that is `written`; None if it is none."""
    try:
        # Most are plain ones, and this is twenty times as fast.
        return int.from_bytes(socket.inet_pton(socket.AF_INET, address), "big") << 1
    except (OSError, ValueError):
        parsed = parse(address.removesuffix(f"/{_IPV6_PREFIX}"))
    if parsed is None:
        return None
    if parsed.version == 6:
        return (int(parsed) >> (128 - _IPV6_PREFIX)) << 1 | _IPV6
    return int(parsed) << 1


def written(key: int) -> str:
    """An address for people to read, and to ban: ``203.0.113.7``, ``2001:db8::/64``."""
    if key & _IPV6:
        return str(ipaddress.IPv6Network(((key >> 1) << (128 - _IPV6_PREFIX), _IPV6_PREFIX)))
    return str(ipaddress.IPv4Address(key >> 1))


def is_loopback(key: int) -> bool:
    """Whether this is the key of an address of this machine."""
    return key == _IPV6 or (not key & _IPV6 and key >> 25 == _LOOPBACK_4)


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
