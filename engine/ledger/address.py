"""Where the ledger is: which URLs name one, and with which broker it can be used.

Owns these rules and their words. Pure: opens nothing, loads no database's library. Its words never hold the URL, which may have
a password.

Nodes that share a broker share its rooms, and a room's entries are numbered by one ledger. With Redis there may be other nodes,
and each would have a SQLite file of its own: so money is refused there unless the ledger is PostgreSQL. A product that uses
Redis and no money need not know, although SQLite is the default.
"""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit

from engine.settings import Settings

__all__ = ["ledger_fault", "url_fault"]

_SHAPE: Final = "must be sqlite:///path or postgresql://user:password@host/database"
_MEANT: Final = {
    "postgres": "begins with postgresql://",
    "psql": "begins with postgresql://",
    "pgsql": "begins with postgresql://",
    "sqlite3": "begins with sqlite:///",
    "file": "begins with sqlite:///",
}


def url_fault(url: str) -> str | None:
    """What is wrong with ``ledger.url``, as the rest of a sentence about it; None: nothing. It may be empty: there is no ledger
    then."""
    if not url:
        return None
    if not url.isprintable():
        return "must be printable text on one line"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return f"{_SHAPE}; the host or the port is none"
    if parts.scheme == "sqlite":
        if parts.netloc:
            return "has two slashes and must have three before a path: sqlite:///path, or four: sqlite:////path is absolute"
        if parts.path.lstrip("/") in ("", ":memory:"):
            return f"{_SHAPE}; money is kept in a file, never in memory only"
        return None
    if parts.scheme == "postgresql":
        if port == 0 or parts.path.strip("/") == "":
            return f"{_SHAPE}; the {'port' if port == 0 else 'database'} is missing"
        return None
    meant = _MEANT.get(parts.scheme.partition("+")[0])
    return f"{_SHAPE}; it {meant}" if meant else _SHAPE


def ledger_fault(settings: Settings) -> str | None:
    """Why there can be no money with these settings, for whoever asks for it; None: there can."""
    if not settings.ledger.url:
        return "there is no money here (ledger.url is empty)"
    if settings.redis.url and settings.ledger.url.startswith("sqlite:"):
        return "with redis.url the ledger must be PostgreSQL (ledger.url): nodes with a file each would number entries twice"
    return None
