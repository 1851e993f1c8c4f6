"""Who may speak in which mode, and how long to wait in between."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.access import Role, Standing
from engine.errors import Code, Refused
from engine.hub.kinds import KINDS, value_after
from engine.hub.mode import Mode
from engine.hub.state import Entries, Entry, field_of
from engine.settings import LimitSettings

VIEWER, FOLLOWER = Standing(), Standing(follower=True)
MODERATOR, HOST, SERVER = Standing("moderator"), Standing("host"), Standing("server")
EVERYBODY = (VIEWER, FOLLOWER, MODERATOR, HOST, SERVER)
STANDINGS = st.builds(Standing, st.sampled_from([role.value for role in Role]), st.integers(0, 9), st.booleans())


def mode_of(mode: dict[str, Any] | None = None, life: dict[str, Any] | None = None, slow_seconds: float = 0.0) -> Mode:
    entries = Entries()
    for kind, fields in (("mode", mode), ("life", life)):
        if fields is not None:
            entries.apply(field_of(kind, ""), Entry(kind, "", value_after(KINDS[kind], fields, {}, 1), 1).encode())
    return Mode(entries, LimitSettings(slow_seconds=slow_seconds))


def refusal(mode: Mode, standing: Standing, body: str, custom: bool) -> Refused | None:
    try:
        mode.check(standing, body, custom=custom)
    except Refused as refused:
        return refused
    return None


def speakers(mode: Mode, body: str = "hello", *, custom: bool = False) -> list[Standing]:
    refusals = {standing: refusal(mode, standing, body, custom) for standing in EVERYBODY}
    for refused in refusals.values():
        if refused is not None:
            assert refused.code is Code.ROOM_MODE
            assert refused.text.startswith(f"{mode.mode if mode.life == 'open' else mode.life}: ")
    return [standing for standing, refused in refusals.items() if refused is None]


@pytest.mark.parametrize("custom", [False, True])
@pytest.mark.parametrize(
    ("mode", "able"),
    [
        ("open", EVERYBODY),
        ("followers", (FOLLOWER, MODERATOR, HOST, SERVER)),
        ("staff", (MODERATOR, HOST, SERVER)),
        ("emotes", (MODERATOR, HOST, SERVER)),
        ("closed", (SERVER,)),
    ],
)
def test_each_mode_has_its_speakers(mode: str, able: tuple[Standing, ...], custom: bool) -> None:
    assert speakers(mode_of({"mode": mode}), custom=custom) == list(able)


def test_a_room_that_says_nothing_is_open() -> None:
    mode = mode_of()
    assert (mode.mode, mode.life, mode.longest_slow_ms) == ("open", "open", 0)
    assert speakers(mode) == list(EVERYBODY)


def test_emoji_are_for_everybody_where_only_emoji_are() -> None:
    mode = mode_of({"mode": "emotes"})
    assert speakers(mode, "🎉 👍🏽") == list(EVERYBODY)
    assert speakers(mode, "🎉", custom=True) == [MODERATOR, HOST, SERVER]


@pytest.mark.parametrize("mode", ["open", "followers", "emotes"])
def test_in_a_closed_room_only_staff_takes_part(mode: str) -> None:
    closed = mode_of({"mode": mode}, {"state": "closed"})
    assert speakers(closed, "🎉") == [MODERATOR, HOST, SERVER]
    closed.check_life(HOST)
    for standing in (VIEWER, FOLLOWER, Standing("reader")):
        with pytest.raises(Refused, match="closed: "):
            closed.check_life(standing)


def test_in_an_archived_room_nobody_does() -> None:
    archived = mode_of(None, {"state": "archived"})
    assert speakers(archived) == []
    for standing in EVERYBODY:
        with pytest.raises(Refused, match="archived: ") as caught:
            archived.check_life(standing)
        assert caught.value.code is Code.ROOM_MODE


@pytest.mark.parametrize(
    ("slow", "waits"),
    [
        ({}, (2_000, 2_000, 0, 0, 0)),
        ({"viewer": 30}, (30_000, 30_000, 0, 0, 0)),
        ({"viewer": 30, "follower": 10}, (30_000, 10_000, 0, 0, 0)),
        ({"follower": 0}, (2_000, 0, 0, 0, 0)),
        ({"viewer": 0}, (0, 0, 0, 0, 0)),
        ({"moderator": 1, "server": 0.5}, (2_000, 2_000, 1_000, 0, 500)),
    ],
)
def test_each_role_waits_its_time(slow: dict[str, float], waits: tuple[int, ...]) -> None:
    mode = mode_of({"slow": slow}, slow_seconds=2.0)
    assert tuple(map(mode.slow_ms, EVERYBODY)) == waits
    assert mode.longest_slow_ms == max(waits)


@given(
    st.none() | st.dictionaries(st.sampled_from(["viewer", "follower", "moderator", "host", "server"]), st.floats(0, 100)),
    st.floats(0, 100),
    STANDINGS,
)
def test_nobody_waits_longer_than_the_longest(slow: dict[str, float] | None, default: float, standing: Standing) -> None:
    mode = mode_of(None if slow is None else {"slow": slow}, slow_seconds=default)
    assert 0 <= mode.slow_ms(standing) <= mode.longest_slow_ms
