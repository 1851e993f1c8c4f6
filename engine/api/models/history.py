"""A room's past.

Owns these shapes. Pure.
"""

from __future__ import annotations

from pydantic import Field

from engine.api.events import EVENT_EXAMPLE
from engine.api.models.common import Answer, EventObject

__all__ = ["HistoryAnswer", "PastAnswer"]


class PastAnswer(Answer):
    """One offset of a room's history."""

    offset: int = Field(examples=[1042])
    time: int = Field(description="Unix milliseconds, never decreasing within a room.", examples=[1790000000000])
    event: EventObject = Field(examples=[EVENT_EXAMPLE])


class HistoryAnswer(Answer):
    """What is kept of a room, oldest first."""

    epoch: int = Field(description="Another one than on the page before: history was lost, and offsets began anew.")
    head: int = Field(description="The room's last offset.")
    events: list[PastAnswer]
    next: int | None = Field(description="For `after`, to get what follows; null: this is all there is now.")
