"""Mutes, bans, deletions, what is held, and the audit.

Owns these shapes. Pure.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from engine.api.models.common import Answer, Body, EventObject, Reason, Seconds, UserId

__all__ = ["BanBody", "HeldAnswer", "HeldPage", "KickBody", "SanctionAnswer", "SanctionBody", "SanctionsAnswer"]


class SanctionBody(Body):
    """How long, and why."""

    seconds: Seconds = 0
    reason: Reason = ""
    everywhere: bool = Field(False, description="In all rooms; for a key that is for all rooms.")


class BanBody(SanctionBody):
    """How long, and why."""

    address: bool = Field(False, description="Ban everybody at the user's address, too.")


class KickBody(Body):
    """Who is sent away; it may come back."""

    user: UserId
    reason: Reason = ""


class SanctionAnswer(Answer):
    """One of them."""

    kind: Literal["mute", "shadow-mute", "ban", "address-ban"]
    subject: str = Field(description="Id of the user, or the address.", examples=["u-17"])
    until: int = Field(description="Unix milliseconds; 0: for good.")
    actor: str = Field(description="Id of who did it.")
    reason: str
    everywhere: bool = Field(description="In all rooms.")


class SanctionsAnswer(Answer):
    """Who may not speak or enter."""

    sanctions: list[SanctionAnswer]


class HeldAnswer(Answer):
    """A comment that waits for a decision."""

    offset: int = Field(description="Backstage; by it the comment is approved or rejected.")
    time: int = Field(description="Unix milliseconds.")
    event: EventObject
    reason: str = Field(description="The words for which it is held.", examples=["加微信"])


class HeldPage(Answer):
    """Comments on which nobody has decided, oldest first."""

    held: list[HeldAnswer]
    next: int | None = Field(description="For `after`, to get those that follow; null: there are none.")
