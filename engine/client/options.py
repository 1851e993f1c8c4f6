"""How a client behaves, and who it is.

Owns what a caller can choose for `engine.client.open_client`; frozen data, no behaviour.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from random import Random
from ssl import SSLContext

from engine.client.bearer import TokenSource
from engine.client.items import Position

__all__ = ["Identity", "Options"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How a client behaves.

    :ivar attempts: failed attempts in a row after which the client gives up; None: never.
    :ivar deadline_seconds: time without a connection after which the client gives up.
    :ivar undelivered: items held for an iteration that does not keep up; see `Client`.
    :ivar like_seconds: likes and reactions are summed for this long.
    :ivar quality: probability with which the client reports to the server what `Client.quality` counts: at once after a return,
        about every ``quality_seconds``, and when it leaves.
    :ivar receipts: tell by itself that a notice that asks for it has come; that it was read is for the program to tell.
    :ivar connect_seconds: from the first packet to being in the room.
    :ivar close_seconds: for a polite goodbye.
    :ivar message_bytes: largest message accepted.
    :ivar random: where jitter comes from.
    """

    attempts: int | None = None
    deadline_seconds: float = math.inf
    backoff_base_seconds: float = 0.25
    backoff_cap_seconds: float = 20.0
    undelivered: int = 10_000
    like_seconds: float = 0.5
    quality: float = 0.0
    quality_seconds: float = 30.0
    receipts: bool = True
    connect_seconds: float = 10.0
    close_seconds: float = 1.0
    message_bytes: int = 16 << 20
    ssl_context: SSLContext | None = None
    random: Random = field(default_factory=Random)


@dataclass(frozen=True, slots=True)
class Identity:
    """Whom to join as, and where to begin; see `engine.client.open_client`."""

    room: str
    name: str | None = None
    attributes: Mapping[str, str] = field(default_factory=dict)
    session: str | None = None
    position: Position | None = None
    token: str | TokenSource | None = None
    feed: str = ""
    taps: Mapping[str, int] = field(default_factory=dict)
