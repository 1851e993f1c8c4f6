"""How the process writes its log lines: to standard error, for people on a terminal, as JSON otherwise.

Owns the configuration of logging for the command line. The engine itself logs through the standard library, an event's name as
the message and its facts as ``extra``; a program that embeds it configures logging as it likes.

What a line may tell, in all of the engine: what happened, where (room, process, its own or its operator's addresses) and how
much. Never what somebody said or is called, a token, a key, or a viewer's address. A user's id only where an operator has to
find what was done about somebody (moderation, money, who called the API). Lines about one connection have its number as
``connection``, lines about one request to the HTTP API its ``request_id``. A test knows all facts there are.
"""

from __future__ import annotations

import logging
import sys
from typing import Any

import structlog

from engine.settings import LogSettings

__all__ = ["configure"]


def configure(settings: LogSettings) -> None:
    """Set up logging for the whole process."""
    people = settings.format == "console" or (settings.format == "auto" and sys.stderr.isatty())
    renderer: Any = structlog.dev.ConsoleRenderer() if people else structlog.processors.JSONRenderer(ensure_ascii=False)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[
                structlog.stdlib.add_log_level,
                structlog.stdlib.add_logger_name,
                structlog.stdlib.ExtraAdder(),
                structlog.processors.TimeStamper(fmt="iso", utc=not people),
            ],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    logging.basicConfig(level=settings.level.upper(), handlers=[handler], force=True)
