"""Of what is measured at the viewers: how often it is told, by which networks, and where it is kept.

Owns this section. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from annotated_types import Ge, Le, doc

from engine.settings.strict import STRICT

__all__ = ["Network", "QualitySettings"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """A network that viewers come from, by the operator's name for it."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT

    name: Annotated[str, doc("Such as the provider's; at most 64 characters.")]
    addresses: Annotated[tuple[str, ...], doc("Its addresses, such as 203.0.113.0/24 and 2001:db8::/32.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class QualitySettings:
    """How well rooms reach their viewers: GET /v1/rooms/{room}/quality."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT

    seconds: Annotated[float, Ge(0.05), Le(3600), doc("How often an edge tells what it and its viewers have measured.")] = 5.0
    networks_max: Annotated[
        int, Ge(1), Le(10_000), doc('Networks told apart in one room; viewers of further ones are "other".')
    ] = 64
    directory: Annotated[
        str, doc("Where the certificate of each stream is written when it ends, as JSON; empty: nowhere. Must exist.")
    ] = ""
    networks: Annotated[
        tuple[Network, ...],
        doc(
            "Networks by name; the longest prefix counts. Viewers of others are told apart by the /16 or IPv6 /32 they are in."
        ),
    ] = ()
