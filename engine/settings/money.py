"""Of gifts, red packets and their ledger.

Owns these sections. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal

from annotated_types import Ge, Gt, Le, doc

from engine.settings.strict import STRICT

__all__ = ["GiftSettings", "LedgerSettings"]


@dataclass(frozen=True, slots=True, kw_only=True)
class GiftSettings:
    """Something that viewers can give."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT

    name: Annotated[str, doc("Shown to viewers; at most 64 characters.")]
    price: Annotated[int, Ge(1), Le(10**12), doc("Of one, in the smallest unit of the product's money.")]
    effect: Annotated[
        str, doc("Names to clients what they are to show, in at most 128 characters; the engine does not look at it.")
    ] = ""
    combo_seconds: Annotated[
        float, Ge(0), Le(60), doc("Gifts of one giver to one receiver, each within this time of the one before, are one combo.")
    ] = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerSettings:
    """Where gifts and red packets are booked, and what may be."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT

    url: Annotated[
        str,
        doc(
            "sqlite:///path for one node (relative to the working directory; sqlite:////path is absolute), "
            "postgresql://user:password@host/database for any number, and with redis.url. The file is made when money is first "
            "used. Empty: there is no money."
        ),
    ] = field(default="sqlite:///roomcast-ledger.db", repr=False)
    spend: Annotated[
        Literal["hook", "free"],
        doc(
            '"hook": the product is asked before a viewer\'s gift or red packet is booked (node.on_spend); without a hook '
            'viewers cannot give. "free": viewers give without being asked for money.'
        ),
    ] = "hook"
    spend_seconds: Annotated[float, Gt(0), Le(60), doc("How long the product may take to answer.")] = 5.0
    answer_seconds: Annotated[
        float,
        Gt(0),
        Le(60),
        doc("How long the database may take for a transaction; later than that, senders are told to try again."),
    ] = 5.0
    pending: Annotated[
        int, Ge(1), Le(1_000_000), doc("Gifts and claims that may wait to be booked; above it senders are told to retry.")
    ] = 50_000
    group: Annotated[int, Ge(1), Le(10_000), doc("Most that are booked in one transaction.")] = 1_000
    recent_seconds: Annotated[
        float,
        Ge(0),
        Le(86_400),
        doc(
            "When a room's history was lost, the last money in it comes again: what was booked within this time of the room's "
            "last entry. At least room.lag_seconds."
        ),
    ] = 60.0
    givers_shown: Annotated[int, Ge(0), Le(100), doc("Givers of most whom everybody in the room is told.")] = 10
    packet_seconds: Annotated[
        float,
        Ge(1),
        Le(2_592_000),
        doc("Longest time until what is left of a red packet goes back, and the default."),
    ] = 86_400.0
    packet_shares: Annotated[int, Ge(1), Le(1_000_000), doc("Most shares that a red packet may have.")] = 10_000
    packets_open: Annotated[int, Ge(1), Le(1_000), doc("Red packets that may be open in a room at once.")] = 20
    guests: Annotated[
        bool, doc("Guests may claim red packets. Whoever has no token is another user with every session, and can claim again.")
    ] = False
