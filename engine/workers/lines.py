"""How the processes of a node write their log lines, without the library that the command line uses.

Owns the format: one JSON object a line, or text for people on a terminal, with the same fields as `engine.logs` writes and the
process besides. Must not know what is logged.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from datetime import UTC, datetime
from typing import Any, Final

from engine.settings import LogSettings

__all__ = ["configure"]

_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}


class _Formatter(logging.Formatter):
    def __init__(self, role: str, people: bool) -> None:
        super().__init__()
        self._process = {"role": role, "pid": os.getpid()}
        self._people = people

    def format(self, record: logging.LogRecord) -> str:
        facts: dict[str, Any] = {name: value for name, value in vars(record).items() if name not in _STANDARD}
        facts |= self._process
        event, level, now = record.getMessage(), record.levelname.lower(), datetime.fromtimestamp(record.created, UTC)
        if record.exc_info:
            facts["exception"] = self.formatException(record.exc_info)
        if self._people:
            shown = " ".join(f"{name}={value}" for name, value in facts.items())
            return f"{now.astimezone():%Y-%m-%d %H:%M:%S} [{level:<7}] {event:<24} {shown} [{record.name}]"
        timestamp = now.isoformat().replace("+00:00", "Z")
        line = {**facts, "event": event, "level": level, "logger": record.name, "timestamp": timestamp}
        return json.dumps(line, ensure_ascii=False, default=str)


def configure(settings: LogSettings, role: str) -> None:
    """Set up logging for the whole process."""
    people = settings.format == "console" or (settings.format == "auto" and sys.stderr.isatty())
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Formatter(role, people))
    logging.basicConfig(level=settings.level.upper(), handlers=[handler], force=True)
