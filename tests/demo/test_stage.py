"""What a demo changes in the settings of others, and which ports it takes."""

from __future__ import annotations

import socket
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest

from engine.configcheck import check
from engine.demo.stage import GIFTS, free_port, staged
from engine.errors import RoomcastError
from engine.settings import (
    AccessSettings,
    ApiKey,
    ApiSettings,
    EdgeSettings,
    GiftSettings,
    HookSettings,
    LogSettings,
    NodeSettings,
    QualitySettings,
    RedisSettings,
    RoomSettings,
    Settings,
)

KEY = "rc_key"


def test_it_can_be_run_and_everything_is_on(tmp_path: Path) -> None:
    made = staged(Settings(), tmp_path, KEY)
    assert not check(made)
    assert made.api.enabled
    assert made.api.pages
    assert made.api.keys[0].sha256 == sha256(KEY.encode()).hexdigest()
    assert made.gifts == GIFTS
    assert (made.ledger.spend, made.ledger.guests) == ("free", True)
    assert str(tmp_path) in made.ledger.url
    assert Path(made.moderation.lists[0].file).read_text(encoding="utf-8")


def test_what_the_operator_chose_stays_unless_it_is_in_the_way(tmp_path: Path) -> None:
    given = Settings(
        node=NodeSettings(name="mine", workers=2),
        edge=EdgeSettings(port=1234, origins=("https://elsewhere.example",)),
        room=RoomSettings(recent_events=7),
        access=AccessSettings(secret="x" * 32, anonymous="none"),
        redis=RedisSettings(url="redis://elsewhere.example"),
        gifts={"cake": GiftSettings(name="Cake", price=3)},
        api=ApiSettings(keys=(ApiKey(name="mine", sha256="0" * 64),)),
        log=LogSettings(level="debug"),
        hooks=HookSettings(gift_url="https://product.example/gifts", fallback="refuse"),
        quality=QualitySettings(seconds=0.5, networks_max=3, directory=str(tmp_path)),
    )
    made = staged(given, tmp_path, KEY)
    assert not check(made)
    assert (made.node.name, made.node.workers, made.redis.url, made.edge.origins) == ("mine", 0, "", ())
    assert (made.room, made.gifts, made.log) == (given.room, given.gifts, given.log)
    assert made.access == replace(given.access, anonymous="write")
    # Nothing of it goes to a product, nor stays.
    assert made.hooks == HookSettings()
    assert made.quality == replace(given.quality, directory="")
    assert [key.name for key in made.api.keys] == ["mine", "roomcast demo"]


def test_a_port_that_is_taken_is_passed_over() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        found = free_port("127.0.0.1", port)
        assert port < found <= port + 100
        assert free_port("127.0.0.1", found, but=found) > found
        with socket.create_server(("127.0.0.1", found)):
            assert free_port("127.0.0.1", port) > found
    assert free_port("127.0.0.1", 0) == 0


def test_where_no_port_can_be_had_it_says_so() -> None:
    with pytest.raises(RoomcastError, match=r"203\.0\.113\.1"):
        free_port("203.0.113.1", 65_530)
