"""Where a Redis is, as written in ``redis.url``.

Owns the grammar of the URL. Pure: opens nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final
from urllib.parse import unquote, urlsplit

__all__ = ["Address", "Place", "parse"]

_KINDS: Final = {"single": 6379, "sentinel": 26379, "cluster": 6379}
"""What may be found behind a URL, and the usual port."""


@dataclass(frozen=True, slots=True)
class Address:
    """One server: a TCP address, or with ``path`` a Unix socket."""

    host: str = ""
    port: int = 0
    path: str = ""

    def __str__(self) -> str:
        return self.path or f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Place:
    """A parsed URL.

    :ivar kind: ``single``, ``sentinel`` or ``cluster``.
    :ivar addresses: of the server, the Sentinels, or some nodes of the cluster.
    :ivar primary: name under which the Sentinels know the primary.
    """

    kind: str
    addresses: tuple[Address, ...]
    user: str = ""
    password: str = ""
    tls: bool = False
    database: int = 0
    primary: str = ""


def parse(url: str) -> Place:
    """Read a URL. Raises `ValueError` that says what is wrong with it, and never quotes the password."""
    parts = urlsplit(url)
    base, _, kind = parts.scheme.partition("+")
    kind = kind or "single"
    if base not in ("redis", "rediss", "unix") or kind not in _KINDS or (base == "unix" and kind != "single"):
        raise ValueError(
            "redis.url begins with redis://, rediss://, unix://, redis+sentinel:// or redis+cluster:// (rediss+… for TLS)"
        )
    login, _, hosts = parts.netloc.rpartition("@")
    user, _, password = login.partition(":")
    place = Place(kind, (), unquote(user), unquote(password), base == "rediss")
    if base == "unix":
        if hosts or not parts.path:
            raise ValueError("redis.url of a Unix socket has three slashes: unix:///run/redis.sock")
        return replace(place, addresses=(Address(path=unquote(parts.path)),))
    addresses = tuple(_address(each, _KINDS[kind]) for each in hosts.split(","))
    if kind == "single" and len(addresses) > 1:
        raise ValueError("redis.url names several servers; redis+sentinel:// or redis+cluster:// says what they are")
    rest = parts.path.strip("/")
    if kind == "sentinel":
        if not rest:
            raise ValueError("redis.url of Sentinels ends in the name of the primary: redis+sentinel://host:26379/mymaster")
        return replace(place, addresses=addresses, primary=unquote(rest))
    if rest and (kind == "cluster" or not rest.isascii() or not rest.isdigit()):
        raise ValueError("redis.url ends in the number of a database, in a cluster in nothing")
    return replace(place, addresses=addresses, database=int(rest or 0))


def _address(text: str, usual: int) -> Address:
    split = urlsplit(f"//{text}")
    if not split.hostname:
        raise ValueError("redis.url names no host")
    try:
        return Address(split.hostname, split.port or usual)
    except ValueError:
        raise ValueError("redis.url has a port that is none") from None
