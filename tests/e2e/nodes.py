"""Settings for nodes under test: a port of the system's choice, room for lively viewers, little patience at the end."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from engine.settings import EdgeSettings, LimitSettings, NodeSettings, RoomSettings, Settings

__all__ = ["lively"]

_LIVELY = Settings(
    node=NodeSettings(shutdown_seconds=2.0, return_window_seconds=0.0),
    edge=EdgeSettings(port=0),
    room=RoomSettings(counters_seconds=0.05, tick_grid_seconds=0.002),
    limits=LimitSettings(
        comments_per_second=10_000.0,
        comments_burst=10_000,
        reads_per_second=10_000.0,
        reads_burst=10_000,
        likes_per_second=10_000.0,
        likes_burst=100_000,
        messages_per_second=100_000.0,
        messages_burst=100_000,
    ),
)


def lively(**sections: dict[str, Any]) -> Settings:
    """Settings whose rates do not get in the way, changed by section: ``lively(room={"log_seconds": 1.0})``."""
    return replace(_LIVELY, **{name: replace(getattr(_LIVELY, name), **changes) for name, changes in sections.items()})
