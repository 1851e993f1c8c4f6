"""How the process writes its log lines: to standard error, for people on a terminal, as JSON otherwise.

Owns the configuration of structlog for the command line. A program that embeds the engine configures structlog itself.
"""

from __future__ import annotations

import logging
import sys
from typing import Any

import structlog

from engine.settings import LogSettings

__all__ = ["configure"]


def configure(settings: LogSettings) -> None:
    """Set up structlog for the whole process."""
    people = settings.format == "console" or (settings.format == "auto" and sys.stderr.isatty())
    renderer: Any = structlog.dev.ConsoleRenderer() if people else structlog.processors.JSONRenderer(ensure_ascii=False)
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=not people),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelName(settings.level.upper())),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
