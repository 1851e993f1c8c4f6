"""The rules by which comments are withheld, against the budget as brokers keep it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.brokers.base import LIMITED, Pending
from engine.brokers.budget import Budget, Purse
from engine.hub.recent import Recent
from engine.hub.withholding import MOST, Rule, reserve

RULES: tuple[Rule, ...] = ("newest", "sampled", "authors", "levels")
SESSION = "s" * 16


@dataclass(frozen=True)
class Said:
    """One comment that somebody wants to make."""

    ms: int
    user: str
    level: int = 0


def crowd(speakers: dict[str, float], seconds: int, seed: int, levels: dict[str, int] | None = None) -> list[Said]:
    """Comments of speakers with so many a second each, at random times."""
    random = Random(seed)
    said = []
    for user, per_second in speakers.items():
        moment = random.expovariate(per_second)
        while moment < seconds:
            said.append(Said(int(moment * 1000), user, (levels or {}).get(user, 0)))
            moment += random.expovariate(per_second)
    return sorted(said, key=lambda each: each.ms)


def passed(rule: Rule, offered: list[Said], per_second: float, delay_ms: int = 50) -> list[int]:
    """Indexes of the comments that are given an offset. What was is seen in the stream a while later."""
    random, purse, recent = Random(5), Purse(Budget(per_second)), Recent(10_000, texts=0)
    delivered: list[int] = []
    seen = 0
    for index, said in enumerate(offered):
        while seen < len(delivered) and offered[delivered[seen]].ms <= said.ms - delay_ms:
            earlier = delivered[seen]
            recent.note(offered[earlier].user, earlier + 1, "", offered[earlier].ms)
            seen += 1
        kept = reserve(rule, recent.share(said.user, said.ms), said.level, random.random())
        if purse.pay(said.ms, Pending(b"x", "", 0, LIMITED, kept)) == 0:
            recent.accept(said.user, SESSION, index + 1, "", said.ms)
            delivered.append(index)
    return delivered


@given(st.sampled_from(RULES), st.floats(0, 1e6), st.integers(0, 2**40), st.floats(0, 1, exclude_max=True))
def test_a_reserve_is_always_one_that_a_full_bucket_has(rule: Rule, share: float, level: int, draw: float) -> None:
    assert 0 <= reserve(rule, share, level, draw) <= MOST < 64


@given(st.floats(0, 1e4), st.floats(0, 1e4), st.floats(0, 1, exclude_max=True))
def test_who_said_more_has_no_smaller_reserve(one: float, other: float, draw: float) -> None:
    less, more = sorted((one, other))
    assert reserve("authors", less, 0, draw) <= reserve("authors", more, 0, draw)
    assert reserve("authors", 0, 0, draw) == 0


@given(st.integers(0, 10**6), st.integers(0, 10**6), st.floats(0, 1, exclude_max=True))
def test_a_higher_level_has_no_larger_reserve(one: int, other: int, draw: float) -> None:
    low, high = sorted((one, other))
    assert reserve("levels", 0, high, draw) <= reserve("levels", 0, low, draw)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize(("per_second", "offered_per_second"), [(200, 5_000), (200, 250), (10, 400), (0.5, 20)])
def test_whatever_the_rule_exactly_the_budget_is_delivered(rule: Rule, per_second: float, offered_per_second: float) -> None:
    seconds = 20
    speakers = {f"user{number}": offered_per_second / 500 for number in range(500)}
    offered = crowd(speakers, seconds, seed=1, levels={f"user{number}": number % 7 for number in range(500)})
    delivered = len(passed(rule, offered, per_second))
    # Up to one second's worth was there at first, and up to one may be left.
    assert per_second * (seconds - 1) <= delivered <= per_second * (seconds + 1) + 1


@pytest.mark.parametrize("rule", RULES)
def test_within_the_budget_nothing_is_withheld(rule: Rule) -> None:
    offered = crowd({f"user{number}": 1 for number in range(100)}, 30, seed=2)
    assert len(passed(rule, offered, 200)) == len(offered)


@pytest.mark.parametrize("rule", RULES)
def test_a_burst_of_half_a_second_s_worth_passes_untouched(rule: Rule) -> None:
    burst = [Said(1_000, f"user{number}") for number in range(100)]
    assert len(passed(rule, burst, 200)) == 100


def test_sampling_is_even_over_time_and_within_what_comes_at_once() -> None:
    # As brokers see it: what a node has gathered comes at once, fifty times a second.
    seconds, together = 20, 100
    offered = [Said(turn * 20, f"user{place}") for turn in range(50 * seconds) for place in range(together)]

    def quarters(rule: Rule) -> Counter[int]:
        return Counter(index % together * 4 // together for index in passed(rule, offered, 200) if offered[index].ms >= 1_000)

    # The newest rule gives all to whoever is first in every turn.
    assert set(quarters("newest")) == {0}
    sampled = quarters("sampled")
    assert min(sampled.values()) > 0.5 * max(sampled.values())

    times = Counter(offered[index].ms // 500 for index in passed("sampled", offered, 200))
    later = [times[half] for half in range(2, 2 * seconds)]
    assert all(60 <= count <= 140 for count in later)
    assert sum(later) == pytest.approx(200 * (seconds - 1), rel=0.02)


def test_one_who_floods_gets_about_a_fair_share() -> None:
    seconds, speakers = 60, 100
    offered = crowd({**{f"user{number}": 1.0 for number in range(speakers)}, "flood": 50.0}, seconds, seed=3)

    def of_each(rule: Rule) -> Counter[str]:
        return Counter(offered[index].user for index in passed(rule, offered, 20))

    fair = 20 * seconds / (speakers + 1)
    assert of_each("newest")["flood"] > 15 * fair
    authors = of_each("authors")
    assert authors["flood"] < 3 * fair
    # Nor does anybody go without.
    assert all(authors[f"user{number}"] > 0.4 * fair for number in range(speakers))


def test_who_says_little_is_heard_whole_beside_those_who_say_much() -> None:
    seconds = 60
    few = {f"few{number}": 0.05 for number in range(100)}
    many = {f"many{number}": 5.0 for number in range(50)}
    offered = crowd({**few, **many}, seconds, seed=4)
    authors = Counter(offered[index].user for index in passed("authors", offered, 30))
    wanted = Counter(said.user for said in offered)
    heard = sum(authors[user] for user in few) / sum(wanted[user] for user in few)
    assert heard > 0.95
    # Those who say much share the rest alike.
    shares = sorted(authors[user] for user in many)
    assert shares[-1] < 2 * shares[0]


def test_higher_levels_pass_first() -> None:
    seconds = 30
    levels = {f"user{number}": level for number, level in enumerate((0, 5, 60) * 40)}
    offered = crowd(dict.fromkeys(levels, 1.0), seconds, seed=6, levels=levels)
    # 120 a second are offered, 40 of each level: the budget takes the two higher ones, and half of one more.
    delivered = Counter(offered[index].level for index in passed("levels", offered, 100) if offered[index].ms > 2_000)
    wanted = Counter(said.level for said in offered if said.ms > 2_000)
    part = {level: delivered[level] / wanted[level] for level in wanted}
    assert part[60] == 1
    assert part[5] > 0.95
    assert 0.3 < part[0] < 0.7
