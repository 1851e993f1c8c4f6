"""Deadlines and the bell: everything expires once and in order, no ring is lost."""

from __future__ import annotations

import math
from itertools import pairwise

import trio
from hypothesis import example, given
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from engine.timing import Bell, Deadlines

times = st.one_of(
    st.integers(0, 1000).map(lambda number: math.nextafter(number / 10, math.inf)),
    st.floats(0, 100),
    st.integers(0, 1000).map(lambda number: number * 0.1),
    st.integers(0, 1000).map(lambda n: n / 10),
)


@example(grid=0.1, steps=[0.9000000000000001, ("until", 0.9)])
@given(
    st.sampled_from((0.0, 0.01, 0.1, 0.25, 3.0)), st.lists(st.one_of(times, st.tuples(st.just("until"), times)), max_size=60)
)
def test_items_expire_once_in_order_not_early_and_at_most_a_grid_late(
    grid: float, steps: list[float | tuple[str, float]]
) -> None:
    """Not early by the smallest fraction: who looks at its clock then finds nothing due, and forgets to ask again."""
    deadlines: Deadlines[int] = Deadlines(grid)
    wanted: dict[int, float] = {}
    for number, step in enumerate([*steps, ("until", 1000.0)]):
        if isinstance(step, tuple):
            now = step[1]
            got = list(deadlines.expired(now))
            assert len(got) == len(set(got))
            for item in got:
                assert wanted[item] <= now
            for earlier, later in pairwise(got):
                assert wanted[earlier] < wanted[later] + grid + 1e-9 or earlier < later
            for item in got:
                del wanted[item]
            assert all(when + grid + 1e-9 > now for when in wanted.values())
        else:
            before = deadlines.next()
            wanted[number] = step
            assert deadlines.add(step, number) == (deadlines.next() < before)
        assert len(deadlines) == len(wanted)
        assert (deadlines.next() == math.inf) == (not wanted)
        if wanted:
            assert min(wanted.values()) <= deadlines.next() <= min(wanted.values()) + grid + 1e-9
    assert not wanted


def test_what_is_added_while_others_expire_expires_too_if_its_time_has_come() -> None:
    deadlines: Deadlines[str] = Deadlines()
    deadlines.add(1.0, "first")
    deadlines.add(1.0, "second")
    seen = []
    for item in deadlines.expired(5.0):
        seen.append(item)
        if item == "first":
            deadlines.add(1.0, "again")
            deadlines.add(9.0, "later")
    assert seen == ["first", "second", "again"]
    assert deadlines.next() == 9.0


async def test_a_ring_before_the_wait_is_remembered_and_several_count_as_one() -> None:
    bell = Bell()
    bell.ring()
    bell.ring()
    await bell.wait()
    with trio.CancelScope() as scope:
        scope.cancel()
        await bell.wait()
    assert scope.cancelled_caught


async def test_a_ring_wakes_the_waiting_task() -> None:
    bell = Bell()
    woken = []

    async def wait() -> None:
        for number in range(3):
            await bell.wait()
            woken.append(number)

    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            for number in range(3):
                await wait_all_tasks_blocked()
                assert woken == list(range(number))
                bell.ring()
    assert woken == [0, 1, 2]


async def test_a_wait_ends_at_its_deadline_at_the_latest(autojump_clock: MockClock) -> None:
    bell = Bell()
    start = trio.current_time()
    await bell.wait_until(start + 5)
    assert trio.current_time() == start + 5
    bell.ring()
    await bell.wait_until(start + 100)
    assert trio.current_time() == start + 5


async def test_a_ring_during_a_wait_that_timed_out_is_not_lost(autojump_clock: MockClock) -> None:
    bell = Bell()
    await bell.wait_until(trio.current_time() - 1)
    bell.ring()
    with trio.fail_after(1):
        await bell.wait()
