"""Which network a viewer comes from, by name.

Owns the operator's networks (``quality.networks``) and the names of all others: the /16 or IPv6 /32 that an address is in.
Pure. Must not know who asks. Of an IPv6 address only the first 64 bits are known here (`engine.edge.admission.key_of`): no
longer prefix is told apart.
"""

from __future__ import annotations

import ipaddress
from typing import Final

from engine.edge.admission import is_loopback
from engine.settings import QualitySettings

__all__ = ["LOOPBACK", "UNKNOWN", "Networks"]

LOOPBACK: Final = "loopback"
UNKNOWN: Final = "unknown"
_KNOWN_MAX: Final = 16_384
"""Addresses whose names are remembered; then all are forgotten."""
_BITS: Final = {4: 32, 6: 64}
"""Of an address in a key."""
_OTHERS: Final = {4: 16, 6: 32}
"""Length of the prefix by which an address is told apart that is in none of the operator's networks."""


class Networks:
    """Names networks."""

    __slots__ = ("_known", "_names", "_settings")

    def __init__(self, settings: QualitySettings) -> None:
        self._settings: QualitySettings | None = None
        self._names: dict[int, list[tuple[int, dict[int, str]]]] = {}
        self._known: dict[int, str] = {}
        self.adopt(settings)

    def adopt(self, settings: QualitySettings) -> None:
        """Take other settings."""
        if self._settings is not None and settings.networks == self._settings.networks:
            return
        self._settings = settings
        tables: dict[int, dict[int, dict[int, str]]] = {4: {}, 6: {}}
        for network in settings.networks:
            for address in network.addresses:
                parsed = ipaddress.ip_network(address, strict=False)
                drop = max(_BITS[parsed.version] - parsed.prefixlen, 0)
                prefix = int(parsed.network_address) >> (parsed.max_prefixlen - _BITS[parsed.version] + drop)
                # Of two that say the same, the first.
                tables[parsed.version].setdefault(drop, {}).setdefault(prefix, network.name)
        # Few bits to drop are a long prefix.
        self._names = {version: sorted(table.items()) for version, table in tables.items()}
        self._known.clear()

    def name_of(self, key: int | str | None) -> str:
        """The network of the address with this key (`engine.edge.admission.key_of`).

        :param key: None, or a text for a proxy that has not told whose connection it is: it is not known.
        """
        if not isinstance(key, int):
            return UNKNOWN
        name = self._known.get(key)
        if name is None:
            if len(self._known) >= _KNOWN_MAX:
                self._known.clear()
            name = self._known[key] = self._find(key)
        return name

    def _find(self, key: int) -> str:
        version, address = (6 if key & 1 else 4), key >> 1
        for drop, names in self._names[version]:
            name = names.get(address >> drop)
            if name is not None:
                return name
        if is_loopback(key):
            return LOOPBACK
        length = _OTHERS[version]
        drop = _BITS[version] - length
        prefix = address >> drop << drop
        if version == 6:
            return str(ipaddress.IPv6Network((prefix << 64, length)))
        return str(ipaddress.IPv4Network((prefix, length)))
