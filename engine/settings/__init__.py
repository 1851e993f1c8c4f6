"""Every setting of a node: its type, unit, default, bounds and effect.

Owns the model, as plain frozen data that an edge process can hold without importing a validation library. Must not know
where values come from; `engine.config` reads files and the environment, validates and explains.

Units are part of the name: ``_seconds``, ``_bytes``, ``_per_second``. Sizes of kernel objects are what is asked for; Linux
doubles ``SO_SNDBUF``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar

from annotated_types import doc

from engine.settings.brokers import BrokerSettings, RedisSettings
from engine.settings.money import GiftSettings, LedgerSettings
from engine.settings.product import AccessSettings, ApiKey, ApiSettings, HookSettings, Scope, TokenKey
from engine.settings.quality import Network, QualitySettings
from engine.settings.rooms import FeedSettings, LimitSettings, ModerationSettings, RoomSettings, WordList
from engine.settings.serving import EdgeSettings, LogSettings, NodeSettings
from engine.settings.strict import STRICT

__all__ = [
    "AccessSettings",
    "ApiKey",
    "ApiSettings",
    "BrokerSettings",
    "EdgeSettings",
    "FeedSettings",
    "GiftSettings",
    "HookSettings",
    "LedgerSettings",
    "LimitSettings",
    "LogSettings",
    "ModerationSettings",
    "Network",
    "NodeSettings",
    "QualitySettings",
    "RedisSettings",
    "RoomSettings",
    "Scope",
    "Settings",
    "TokenKey",
    "WordList",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All sections of the config file."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT

    node: NodeSettings = field(default_factory=NodeSettings)
    edge: EdgeSettings = field(default_factory=EdgeSettings)
    room: RoomSettings = field(default_factory=RoomSettings)
    limits: LimitSettings = field(default_factory=LimitSettings)
    access: AccessSettings = field(default_factory=AccessSettings)
    moderation: ModerationSettings = field(default_factory=ModerationSettings)
    feeds: Annotated[dict[str, FeedSettings], doc("Feeds by name, at most 15, such as [feeds.readable].")] = field(
        default_factory=dict
    )
    broker: BrokerSettings = field(default_factory=BrokerSettings)
    redis: RedisSettings = field(default_factory=RedisSettings)
    gifts: Annotated[dict[str, GiftSettings], doc("What can be given, by id, such as [gifts.rose].")] = field(
        default_factory=dict
    )
    ledger: LedgerSettings = field(default_factory=LedgerSettings)
    api: ApiSettings = field(default_factory=ApiSettings)
    hooks: HookSettings = field(default_factory=HookSettings)
    quality: QualitySettings = field(default_factory=QualitySettings)
    log: LogSettings = field(default_factory=LogSettings)
