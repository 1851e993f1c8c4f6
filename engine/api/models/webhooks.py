"""What could not be told to the product.

Owns these shapes. Pure.
"""

from __future__ import annotations

from typing import Any

from pydantic import Field

from engine.api.models.common import Answer

__all__ = ["DeadLetterAnswer", "DeadLettersAnswer", "DoneAnswer"]


class DeadLetterAnswer(Answer):
    """A happening that was put aside after too many attempts."""

    id: str = Field(description="The same whenever it is told, as `webhook-id`.")
    type: str = Field(examples=["gift.given"])
    room: str
    number: int = Field(description="Counts what is told of this room, from 1 without holes.")
    time: int = Field(description="Unix milliseconds.")
    data: dict[str, Any] = Field(description="As it was, and will be, sent.")
    attempts: int = Field(description="How often it was sent.")
    reason: str = Field(description="Why it failed the last time.", examples=["status 503"])
    again: bool = Field(description="It waits to be sent once more.")


class DeadLettersAnswer(Answer):
    """Happenings that were put aside, each room's in their order."""

    letters: list[DeadLetterAnswer]
    next: str | None = Field(description="For `after`, to get those that follow; null: there are none.")


class DoneAnswer(Answer):
    """To how many of them it was done."""

    letters: int
