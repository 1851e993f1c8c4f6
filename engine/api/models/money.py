"""Gifts, red packets and who gave most.

Owns these shapes. Pure. Amounts are whole numbers of the smallest unit of the product's money.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from engine import schema
from engine.api.models.common import AMOUNT_MAX, Amount, Answer, AuthorBody, Body, Reason, Receiver, UserId
from engine.text import clean, clean_line, visible

__all__ = [
    "BookedAnswer",
    "CatalogueAnswer",
    "ClaimBody",
    "CorrectionBody",
    "GiftAnswer",
    "GiftBody",
    "GiverAnswer",
    "GiversAnswer",
    "OfferBody",
    "PacketAnswer",
    "PacketBody",
    "PacketsAnswer",
    "RefundBody",
    "author_of",
]

User = Annotated[UserId | AuthorBody, Field(description="Who: an id, or an object with what is shown of the user.")]
Count = Annotated[int, Field(ge=1, le=1_000_000)]


def _phrase(text: str) -> str:
    if text and not visible(clean_line(text)):
        raise ValueError("shows nothing: nobody could say it")
    return clean_line(text)


def _shown(text: str) -> str:
    text = clean(text)
    return text if visible(text) else ""


def _line(text: str) -> str:
    text = clean_line(text)
    if not visible(text):
        raise ValueError("shows nothing")
    return text


def author_of(user: str | AuthorBody) -> schema.Author:
    """As events carry it."""
    return user.author() if isinstance(user, AuthorBody) else schema.Author(user)


class OfferBody(Body):
    """A gift that can be given."""

    name: Annotated[str, AfterValidator(_line)] = Field(min_length=1, max_length=64, description="Shown.", examples=["玫瑰 🌹"])
    price: int = Field(ge=1, le=10**12, description="Of one.", examples=[100])
    effect: str = Field("", max_length=128, description="Names to clients what they are to show.", examples=["petals"])
    combo_seconds: float = Field(
        5,
        ge=0,
        le=60,
        allow_inf_nan=False,
        description="Within this time of the one before: one combo; 0: never.",
    )


class GiftAnswer(Answer):
    """A gift of the catalogue."""

    id: str = Field(examples=["rose"])
    name: str = Field(examples=["玫瑰 🌹"])
    price: int = Field(description="Of one.", examples=[100])
    effect: str
    combo_seconds: float


class CatalogueAnswer(Answer):
    """What can be given, cheapest first."""

    gifts: list[GiftAnswer]


class GiftBody(Body):
    """A gift that is paid."""

    user: User
    gift: str = Field(min_length=1, max_length=64, description="Id in the catalogue.", examples=["rose"])
    count: Count = Field(1, description="How many.")
    to: Receiver = ""


class RefundBody(Body):
    """A gift is given back, or a part of it."""

    amount: Amount | None = Field(None, description="Left out: all that remains of it.")
    reason: Reason = Field("", description="Part of the event that viewers get.")


class CorrectionBody(Body):
    """What a gift was worth changes."""

    amount: int = Field(
        ge=-AMOUNT_MAX, le=AMOUNT_MAX, description="What is added; negative: what is taken away, at most all that remains."
    )
    reason: Reason = Field("", description="Part of the event that viewers get.")


class PacketBody(Body):
    """A red packet that is paid."""

    user: User
    total: Amount = Field(description="Of all shares together; at least one unit each.", examples=[8888])
    shares: Count = Field(description="At most ledger.packet_shares.", examples=[100])
    split: Literal["random", "equal"] = Field("random", description="`random`: by the doubled average; `equal`: alike.")
    opens_seconds: float = Field(0, ge=0, le=10**9, allow_inf_nan=False, description="From now until it can be claimed.")
    lasts_seconds: float = Field(
        0, ge=0, le=10**9, allow_inf_nan=False, description="From then until what is left goes back; 0: ledger.packet_seconds."
    )
    followers: bool = Field(False, description="Only who follows the host can claim it.")
    phrase: Annotated[str, AfterValidator(_phrase)] = Field(
        "", max_length=64, description="Only who has said this in the room since then can claim it.", examples=["恭喜发财 🧧"]
    )
    text: Annotated[str, AfterValidator(_shown)] = Field("", max_length=256, description="Shown with it.")


class ClaimBody(Body):
    """Who claims a share."""

    user: User
    follower: bool = Field(False, description="Whether the user follows the host.")


class BookedAnswer(Answer):
    """It is in the ledger and in the room's stream."""

    entry: int = Field(description="Number in the room's ledger; names the gift or red packet.")
    epoch: int
    offset: int = Field(description="Of its event in the room.")
    amount: int = Field(description="Of the gift, the share, the packet, or what is added or goes back.")
    repeated: bool = Field(description="It was in the ledger before, and nothing was booked now.")


class PacketAnswer(Answer):
    """A red packet that is open."""

    packet: int = Field(description="Its entry in the room's ledger.")
    user: str = Field(description="Id of who made it.")
    name: str
    total: int
    shares: int
    split: str
    opens: int = Field(description="Unix milliseconds from when it can be claimed.")
    expires: int = Field(description="Unix milliseconds at which what is left goes back.")
    followers: bool
    phrase: str
    text: str
    commitment: str = Field(description="SHA-256 of the seed from which the shares follow.")


class PacketsAnswer(Answer):
    """Red packets that are open."""

    packets: list[PacketAnswer]


class GiverAnswer(Answer):
    """One line of a leaderboard."""

    user: str = Field(description="Id; of one who was erased a pseudonym.")
    name: str
    given: int = Field(description="Corrections included.")


class GiversAnswer(Answer):
    """Who gave most, most first."""

    givers: list[GiverAnswer]
    next: int | None = Field(description="For `after`, to get those that follow; null: there are none.")
