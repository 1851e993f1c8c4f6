"""What a database's error means to whoever runs the node.

Owns the texts. Knows no connection and no table.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from sqlalchemy.exc import DBAPIError

__all__ = ["explain"]

_SQLITE: Final = {
    "SQLITE_FULL": "its disk is full: make room; nothing else needs to be done",
    "SQLITE_READONLY": "it cannot be written: look at the rights to the file and its directory, and whether its disk is "
    "mounted read-only",
    "SQLITE_BUSY": "another process has been writing to it for longer than ledger.answer_seconds",
    "SQLITE_LOCKED": "another process has been writing to it for longer than ledger.answer_seconds",
    "SQLITE_CANTOPEN": "it cannot be opened: look at the path in ledger.url, whether the file is there, and the rights to it "
    "and its directory",
    "SQLITE_PERM": "it cannot be opened: look at the rights to the file",
    "SQLITE_IOERR": "its disk does not answer as it should: look at the system's log",
    "SQLITE_CORRUPT": "it is damaged: stop the node and restore the file from a backup",
    "SQLITE_NOTADB": "it is no SQLite database: look at the path in ledger.url",
}
"""By SQLite's result code (https://www.sqlite.org/rescode.html)."""

_POSTGRESQL: Final = {
    "53100": "its disk is full: make room on the server",
    "53": "the server has not enough of something (connections, memory): look at its log",
    "25006": "the server is read-only (a standby?): look at the host in ledger.url",
    "57014": "it took longer than ledger.answer_seconds",
    "55P03": "it took longer than ledger.answer_seconds to wait for others",
    "57P": "the server is starting, stopping or was stopped",
    "28": "the server does not let us in: look at user and password in ledger.url",
    "3D000": "there is no such database: create it, or look at ledger.url",
    "42501": "the user in ledger.url may not do this: grant it the rights to the database's tables",
    "42P01": "a table is missing: was the database changed while the node ran?",
    "40": "others were in the way each time",
    "23": "it holds something that must not be there: run `roomcast ledger verify`",
    "58": "the server's disk does not answer as it should: look at its log",
    "XX": "the server found damage: look at its log",
}
"""By the beginning of PostgreSQL's SQLSTATE (its manual, appendix A)."""


def explain(error: DBAPIError, path: Path | None) -> str:
    """For people: what happened and what to do. Holds no password, and nothing of what was to be written.

    :param path: of the SQLite file; None: it was PostgreSQL.
    """
    origin = error.orig
    if path is not None:
        name = str(getattr(origin, "sqlite_errorname", ""))
        known = (text for code, text in _SQLITE.items() if name == code or name.startswith(f"{code}_"))
        return f"the ledger's database {path}: {next(known, origin)}"
    state = getattr(origin, "sqlstate", None)
    if state is None:
        # Of the driver: it did not come as far as the server.
        told = str(origin).strip().splitlines()
        what = told[0] if told else ""
        return f"the ledger's PostgreSQL server does not answer (look at ledger.url, and whether it runs): {what}"
    known = (text for code, text in _POSTGRESQL.items() if state.startswith(code))
    return f"the ledger's PostgreSQL database: {next(known, 'it refused')} (SQLSTATE {state})"
