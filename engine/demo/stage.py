"""The settings of a node that shows everything on one machine and leaves nothing behind, and ports that are free.

Owns what a demo changes in the settings of others. Must not know what is shown.
"""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Final

from engine.errors import RoomcastError
from engine.listening import listen
from engine.settings import ApiKey, FeedSettings, GiftSettings, HookSettings, LogSettings, RedisSettings, Settings, WordList

__all__ = ["GIFTS", "KEY_NAME", "free_port", "staged"]

KEY_NAME: Final = "roomcast demo"
"""Names the console's key in logs."""

GIFTS: Final = {
    "heart": GiftSettings(name="Heart 爱心", price=1, effect="heart", combo_seconds=3.0),
    "rose": GiftSettings(name="Rose 玫瑰", price=5, effect="rose", combo_seconds=3.0),
    "tea": GiftSettings(name="Tea 热茶", price=10, effect="tea", combo_seconds=3.0),
    "lantern": GiftSettings(name="Lantern 灯笼", price=66, effect="lantern"),
    "firework": GiftSettings(name="Firework 烟花", price=188, effect="firework"),
    "crown": GiftSettings(name="Crown 皇冠", price=520, effect="crown"),
    "rocket": GiftSettings(name="Rocket 火箭", price=1_314, effect="rocket"),
}
"""What can be given where the config file names nothing."""

_HELD: Final = "spoiler\n剧透\n"
_PORTS: Final = 100
"""Ports that are tried."""


def staged(settings: Settings, directory: Path, key: str) -> Settings:
    """These settings for a demo: whoever comes may write, give and claim without paying, and no other machine is needed.

    :param directory: for what it keeps; a word list is written there.
    :param key: with which the API may be called for everything.
    """
    words = directory / "words.txt"
    words.write_text(_HELD, encoding="utf-8")
    api_key = ApiKey(name=KEY_NAME, sha256=sha256(key.encode()).hexdigest(), scopes=("*",))
    return replace(
        settings,
        node=replace(settings.node, workers=0),
        edge=replace(settings.edge, origins=(), proxy_protocol=False),
        access=replace(settings.access, anonymous="write"),
        moderation=replace(settings.moderation, lists=(*settings.moderation.lists, WordList(file=str(words), action="hold"))),
        feeds=settings.feeds or {"readable": FeedSettings(comments_per_second=10.0)},
        redis=RedisSettings(),
        # Nobody is to book, or to be paid, what simulated people give.
        hooks=HookSettings(),
        gifts=settings.gifts or GIFTS,
        ledger=replace(settings.ledger, url=f"sqlite:///{directory / 'ledger.db'}", spend="free", guests=True),
        api=replace(settings.api, enabled=True, pages=True, keys=(*settings.api.keys, api_key)),
        # The console moves with it.
        quality=replace(settings.quality, seconds=min(settings.quality.seconds, 1.0), directory=""),
        # A line for each request is for operators.
        log=replace(settings.log, level="warning") if settings.log == LogSettings() else settings.log,
    )


def free_port(host: str, wanted: int, *, but: int = 0) -> int:
    """The first port from the one that is wanted on at which somebody can listen now. Raises `RoomcastError` if none is.

    :param wanted: 0: any; the system chooses.
    :param but: not this one.
    """
    last = min(wanted + _PORTS, 65_535)
    for port in range(wanted, last + 1):
        if port == but and port:
            continue
        try:
            listeners = listen("demo", host, port)
        except RoomcastError:
            continue
        for listener in listeners:
            listener.close()
        return port
    raise RoomcastError(f"no port from {wanted} to {last} is free at {host}")
