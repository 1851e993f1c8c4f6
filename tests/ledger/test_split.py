"""How red packets are divided: exact, at least one unit each, no place better than another, and the same everywhere."""

from __future__ import annotations

import hashlib
import hmac
from fractions import Fraction
from statistics import fmean
from typing import Final

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from engine.ledger.split import Split, commitment, share, shares, verify

MOST: Final = 2**53 - 1
SPLITS: Final[tuple[Split, ...]] = ("equal", "random")

seeds = st.binary(min_size=32, max_size=32)
splits = st.sampled_from(SPLITS)
counts = st.integers(1, 300)
packets = counts.flatmap(
    lambda count: st.tuples(
        st.integers(count, 3 * count) | st.integers(count, 10**6) | st.integers(count, MOST), st.just(count)
    )
)


def seed_of(number: int) -> bytes:
    return hashlib.sha256(b"%d" % number).digest()


@given(seeds, packets, splits)
@example(bytes(32), (1, 1), "random")
@example(bytes(32), (MOST, 1), "random")
@example(bytes(32), (MOST, 300), "random")
@example(bytes(32), (300, 300), "random")
def test_shares_are_as_many_as_asked_at_least_one_unit_each_and_sum_to_the_total(
    seed: bytes, packet: tuple[int, int], split: Split
) -> None:
    total, count = packet
    amounts = shares(seed, total, count, split)
    assert (len(amounts), sum(amounts)) == (count, total)
    assert min(amounts) >= 1
    assert shares(seed, total, count, split) == amounts


@given(seeds, packets)
def test_a_random_share_is_less_than_twice_the_average_of_what_is_left(seed: bytes, packet: tuple[int, int]) -> None:
    left, remaining = packet
    for amount in shares(seed, left, remaining, "random")[:-1]:
        assert amount < Fraction(2 * left, remaining)
        left, remaining = left - amount, remaining - 1


@given(seeds, packets)
def test_equal_shares_differ_by_a_unit_and_the_first_ones_have_it(seed: bytes, packet: tuple[int, int]) -> None:
    total, count = packet
    each, more = divmod(total, count)
    assert shares(seed, total, count, "equal") == [each + 1] * more + [each] * (count - more)


@pytest.mark.parametrize("split", SPLITS)
def test_a_packet_of_as_many_units_as_shares_gives_one_each(split: Split) -> None:
    assert shares(bytes(32), 500, 500, split) == [1] * 500


@pytest.mark.parametrize("split", SPLITS)
def test_one_share_is_everything(split: Split) -> None:
    assert shares(bytes(32), 88, 1, split) == [88]


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize(("total", "count"), [(4, 5), (0, 1), (-1, 1), (5, 0), (5, -1)])
def test_what_cannot_be_divided_is_refused(total: int, count: int, split: Split) -> None:
    with pytest.raises(ValueError, match="cannot be divided"):
        shares(bytes(32), total, count, split)


@pytest.mark.parametrize(("total", "count"), [(14, 10), (21, 20), (100, 5), (8_888, 10), (MOST, 7)])
def test_no_place_in_the_queue_is_better_than_another(total: int, count: int) -> None:
    draws = 4_000
    columns = list(zip(*(shares(seed_of(number), total, count, "random") for number in range(draws)), strict=True))
    average = total / count
    for column in columns:
        mean = fmean(column)
        # The seeds are fixed, so this holds always or never; five standard errors would be chance once in a million places.
        error = (fmean((each - mean) ** 2 for each in column) / draws) ** 0.5
        assert abs(mean - average) <= 5 * error


def test_every_amount_of_a_first_share_is_as_likely_as_the_others() -> None:
    # 60 units for 10: 1 to 11, with 100 / 10 beyond the first unit there is no rounding.
    draws = 11_000
    counts = [0] * 12
    for number in range(draws):
        counts[share(seed_of(number), 1, 60, 10, "random")] += 1
    assert counts[0] == 0
    assert all(880 <= each <= 1_120 for each in counts[1:])


@given(seeds, packets, splits, st.data())
def test_a_share_follows_from_what_those_before_it_have_left(
    seed: bytes, packet: tuple[int, int], split: Split, data: st.DataObject
) -> None:
    total, count = packet
    amounts = shares(seed, total, count, split)
    number = data.draw(st.integers(1, count))
    left = total - sum(amounts[: number - 1])
    assert share(seed, number, left, count - number + 1, split) == amounts[number - 1]


@given(seeds, packets, splits, st.data())
def test_an_auditor_finds_out_whether_a_packet_was_divided_as_announced(
    seed: bytes, packet: tuple[int, int], split: Split, data: st.DataObject
) -> None:
    total, count = packet
    claimed = shares(seed, total, count, split)[: data.draw(st.integers(0, count))]
    assert verify(seed, commitment(seed), total, count, split, claimed)
    assert not verify(seed, commitment(seed + b"x"), total, count, split, claimed)
    if claimed:
        index = data.draw(st.integers(0, len(claimed) - 1))
        wrong = [*claimed]
        wrong[index] += 1
        assert not verify(seed, commitment(seed), total, count, split, wrong)


def test_what_makes_no_sense_is_no_fair_packet() -> None:
    seed = bytes(32)
    for total, count, claimed in ((4, 5, []), (5, 0, []), (2, 2, [1, 1, 1])):
        assert not verify(seed, commitment(seed), total, count, "random", claimed)
    assert not verify(seed, "嗯", 5, 1, "random", [5])


def test_the_documented_recipe_gives_the_same_shares() -> None:
    # Written from the module's docstring alone, as in another language.
    seed, left, count = seed_of(7), 8_888, 66
    expected = []
    for number in range(1, count + 1):
        remaining = count - number + 1
        if remaining == 1:
            expected.append(left)
            break
        digest = hmac.new(seed, number.to_bytes(8, "big"), "sha256").hexdigest()
        a, b = int(digest[:32], 16), int(digest[32:], 16)
        widest = (2 * (left - remaining) + a % remaining) // remaining
        expected.append(1 + b % (widest + 1))
        left -= expected[-1]
    assert shares(seed, 8_888, count, "random") == expected


def test_the_draw_never_changes() -> None:
    # What was promised with a commitment must come out the same in every later version.
    seed = bytes(range(32))
    assert commitment(seed) == "630dcd2966c4336691125448bbb25b4ff412a49c732db2c8abc1b8581bd710dd"
    assert shares(seed, 100, 10, "random") == [3, 14, 17, 10, 1, 9, 11, 21, 13, 1]
    assert shares(seed, 14, 10, "random") == [1, 2, 1, 2, 1, 2, 1, 1, 1, 2]
    assert shares(seed, 14, 10, "equal") == [2, 2, 2, 2, 1, 1, 1, 1, 1, 1]
    assert shares(seed, MOST, 3, "random") == [291039097828217, 1583771664768754, 7132388492144020]
