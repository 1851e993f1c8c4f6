"""The sketch of how many users came, against exact counts."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.brokers.distinct import Distinct

ERROR = 1.04 / math.sqrt(1 << 14)
"""Relative, on average; for few names it is less."""


@given(st.lists(st.text(max_size=3), max_size=256))
def test_few_names_are_counted_exactly(names: list[str]) -> None:
    sketch, seen = Distinct(), set[str]()
    for name in names:
        assert sketch.add([name]) == (name not in seen)
        seen.add(name)
        assert sketch.estimate() == len(seen)


@pytest.mark.parametrize("count", [257, 300, 1_000, 5_000, 16_384, 40_960, 60_000])
def test_many_names_are_counted_within_the_error_without_bias(count: int) -> None:
    errors = []
    for seed in range(6):
        sketch = Distinct()
        sketch.add([f"{seed} user {number}" for number in range(count)])
        errors.append(sketch.estimate() / count - 1)
    assert max(map(abs, errors)) < 3 * ERROR
    assert abs(sum(errors)) / len(errors) < 2.5 * ERROR / math.sqrt(len(errors))


def test_very_many_names_are_counted_within_the_error() -> None:
    sketch = Distinct()
    for thousand in range(400):
        sketch.add([f"viewer-{thousand * 1_000 + number}" for number in range(1_000)])
    assert abs(sketch.estimate() / 400_000 - 1) < 3 * ERROR


def test_neither_order_nor_repetition_matters() -> None:
    names = [f"u{number}" for number in range(3_000)]
    one, two = Distinct(), Distinct()
    one.add(names)
    for seed in range(3):
        random.Random(seed).shuffle(names)
        two.add(names)
    assert one.estimate() == two.estimate()
    assert not one.add(names)


def test_an_estimate_never_decreases() -> None:
    sketch, before = Distinct(), 0
    for number in range(20_000):
        if sketch.add([str(number)]):
            estimate = sketch.estimate()
            assert estimate >= before or number < 512
            before = estimate
