"""What the ledger raises.

Owns the one exception of the package, so that whoever waits for the ledger can catch it without loading a database's library:
`engine.ledger.store` imports it from here and turns what the library raises into it. Knows nothing else of the package.
"""

from __future__ import annotations

from engine.errors import RoomcastError

__all__ = ["LedgerError"]


class LedgerError(RoomcastError):
    """The database cannot be reached, is full, read-only or too slow. Nothing was committed, or it is not known whether it was;
    the same request with the same key may be repeated. The text says what to do."""
