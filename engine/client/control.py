"""What a server says to the client itself rather than to its user: answers, and the frame of a conversation.

Owns these shapes; see the messages of the same names in `engine.schema`.
"""

from __future__ import annotations

from dataclasses import dataclass

from engine.client.items import Page
from engine.client.money import Givers, Offer, Paid

__all__ = [
    "Answer",
    "Bye",
    "Control",
    "GiversAnswer",
    "Joined",
    "OffersAnswer",
    "PageAnswer",
    "PaidAnswer",
    "Pong",
    "Reply",
    "StateAnswer",
]


@dataclass(frozen=True, slots=True)
class Joined:
    """See `engine.schema.Joined`."""

    ref: int
    handle: int
    session: str
    user: str
    role: str
    resumed: bool
    heartbeat_ms: int


@dataclass(frozen=True, slots=True)
class Reply:
    """See `engine.schema.Reply`."""

    ref: int
    code: int
    offset: int = 0
    text: str = ""
    retry_after_ms: int = 0


@dataclass(frozen=True, slots=True)
class Bye:
    """See `engine.schema.Bye`."""

    code: int
    text: str
    return_after_ms: int
    return_window_ms: int


@dataclass(frozen=True, slots=True)
class Pong:
    """See `engine.schema.Pong`."""

    ref: int
    time: int


@dataclass(frozen=True, slots=True)
class PageAnswer:
    """See `engine.schema.Page`."""

    ref: int
    page: Page


@dataclass(frozen=True, slots=True)
class StateAnswer:
    """See `engine.schema.State`; what it says that was not known has been taken in already."""

    ref: int


@dataclass(frozen=True, slots=True)
class PaidAnswer:
    """See `engine.schema.Paid`."""

    ref: int
    paid: Paid


@dataclass(frozen=True, slots=True)
class GiversAnswer:
    """See `engine.schema.Givers`."""

    ref: int
    givers: Givers


@dataclass(frozen=True, slots=True)
class OffersAnswer:
    """See `engine.schema.Gifts`."""

    ref: int
    offers: tuple[Offer, ...]


Answer = Reply | Pong | PageAnswer | StateAnswer | PaidAnswer | GiversAnswer | OffersAnswer
"""What ends the wait for a request."""

Control = Joined | Bye | Answer
