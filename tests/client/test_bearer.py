"""When a client needs another token, as far as it can tell from the one it has."""

from __future__ import annotations

import base64
import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.client.backoff import Loss, judge
from engine.client.bearer import Bearer, expiry_of, renewal_pause
from engine.errors import Close


def bearer(claims: Any) -> str:
    return f"e30.{base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip('=')}.AA"


@pytest.mark.parametrize(
    ("left", "pause"), [(7200, 7140), (121, 61), (120, 60), (100, 50), (10, 5), (2, 1), (0.5, 1), (0, math.inf), (-5, math.inf)]
)
def test_a_token_is_renewed_a_minute_before_it_expires_or_after_half_of_its_life(left: float, pause: float) -> None:
    assert renewal_pause(bearer({"exp": 1_000_000 + left}), 1_000_000) == pause


@pytest.mark.parametrize(
    "token", ["", "a", "a.b", "..", "a.!.c", bearer({}), bearer([]), bearer({"exp": "1"}), bearer({"exp": True})]
)
def test_one_that_does_not_say_when_is_not_renewed(token: str) -> None:
    assert expiry_of(token) == renewal_pause(token, 0) == math.inf


@given(st.text())
def test_whatever_stands_there_it_is_a_number(token: str) -> None:
    assert expiry_of(token) > -math.inf


async def test_where_tokens_come_from() -> None:
    async def fresh() -> str:
        return "fresh"

    for source, renewable, token in ((None, False, None), ("a", False, "a"), (fresh, True, "fresh")):
        made = Bearer(source)
        assert (made.renewable, await made.fetch()) == (renewable, token)


def test_who_can_have_another_token_comes_back_at_once_and_nobody_when_it_was_taken_back() -> None:
    assert judge(Close.TOKEN_EXPIRED, renewable=True) == Loss()
    assert judge(Close.TOKEN_EXPIRED, 2, 3, renewable=True) == Loss(after_seconds=2, window_seconds=3)
    for code, renewable in ((Close.TOKEN_EXPIRED, False), (Close.TOKEN_REVOKED, False), (Close.TOKEN_REVOKED, True)):
        assert judge(code, renewable=renewable).final
