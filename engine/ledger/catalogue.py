"""Gifts that can be given, as added by API.

Owns their rows. Those of the config file are not here.
"""

from __future__ import annotations

from typing import Final

import msgspec
from sqlalchemy import Connection, delete, select

from engine.ledger.bulk import Put
from engine.ledger.tables import catalogue
from engine.ledger.values import Gift

__all__ = ["gifts", "offer", "withdraw"]

_put: Final = Put(catalogue, tuple(catalogue.c), instead=[catalogue.c.id])


def gifts(connection: Connection) -> list[Gift]:
    """All of them, by id."""
    return [Gift(*row) for row in connection.execute(select(catalogue).order_by(catalogue.c.id))]


def offer(connection: Connection, gift: Gift) -> None:
    """Add or replace one."""
    _put(connection, [msgspec.structs.astuple(gift)])


def withdraw(connection: Connection, gift_id: str) -> bool:
    """Take one away. Returns whether it was there."""
    return connection.execute(delete(catalogue).where(catalogue.c.id == gift_id)).rowcount > 0
