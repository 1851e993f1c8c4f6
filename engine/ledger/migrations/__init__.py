"""How a database comes to the tables of this release, from nothing or from any earlier release.

Owns the way there, in steps (``versions``, one for each release that changed something; Alembic runs them). Each step stays as
it was released.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Final

from sqlalchemy import Connection, inspect, text

from engine.ledger.errors import LedgerError

__all__ = ["NEWEST", "migrate"]

NEWEST: Final = "0002"
"""The last version."""

_LOCK: Final = 0x726F_6F6D_6361_7374
"""What nodes that begin at once wait for in turn, in PostgreSQL. In SQLite one transaction writes at a time anyway."""


def migrate(connection: Connection, to: str = NEWEST) -> None:
    """Bring the database up to a version, within the connection's transaction. Raises `LedgerError` if it is at one that is not
    known."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
    version = None
    if inspect(connection).has_table("alembic_version"):
        version = connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one_or_none()
    if version == to:
        return
    # What it says of its own parts is nothing for every operator to read.
    logging.getLogger("alembic").setLevel(logging.WARNING)
    # Only here: it takes longer to load than everything else of the ledger.
    from alembic import command
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    known = {each.revision for each in ScriptDirectory.from_config(config).walk_revisions()}
    if version is not None and version not in known:
        raise LedgerError(
            f"the ledger's tables are of version {version}, made by a newer release (this one knows {NEWEST}): start that one"
        )
    command.upgrade(config, to)
