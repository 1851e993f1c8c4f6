"""The circuit breaker against a plain model of it."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from engine.hooks.breaker import Breaker, State

SECONDS = 10.0


@dataclass
class Model:
    """In words: closed until ``failures`` in a row; then nothing for a while; then one, which decides. What was begun before
    the last change counts for nothing."""

    failures: int
    closed: bool = True
    streak: int = 0
    until: float = 0.0
    trial: int | None = None
    counts: set[int] = field(default_factory=set)

    def allows(self, now: float) -> bool:
        return self.closed or (self.trial is None and now >= self.until)

    def begin(self, request: int) -> None:
        self.counts.add(request)
        if not self.closed:
            self.trial = request

    def ended(self, request: int, answered: bool, now: float) -> None:
        if request not in self.counts:
            return
        self.counts.remove(request)
        self.streak = 0 if answered else self.streak + 1
        if self.closed and self.streak < self.failures:
            return
        if not self.closed and answered:
            self.closed, self.trial, self.counts = True, None, set()
        elif not answered:
            self.closed, self.trial, self.counts, self.streak = False, None, set(), 0
            self.until = now + SECONDS

    def dropped(self, request: int) -> None:
        if request == self.trial:
            self.trial, self.counts = None, set()
        self.counts.discard(request)


@given(
    failures=st.integers(1, 4),
    steps=st.lists(
        st.one_of(
            st.tuples(st.just("wait"), st.sampled_from([0.5, 4.0, 10.0])),
            st.tuples(st.just("begin"), st.just(0)),
            st.tuples(st.sampled_from(["answered", "failed", "dropped"]), st.integers(0, 5)),
        ),
        max_size=60,
    ),
)
def test_it_does_as_its_model(failures: int, steps: list[tuple[str, float]]) -> None:
    breaker, model, now = Breaker(failures, SECONDS), Model(failures), 0.0
    under_way: list[tuple[int, int]] = []
    for number, (step, value) in enumerate(steps):
        if step == "wait":
            now += value
        elif step == "begin":
            assert breaker.allows(now) is model.allows(now)
            token = breaker.begin(now)
            assert (token is not None) is model.allows(now)
            if token is not None:
                model.begin(number)
                under_way.append((token, number))
        elif under_way:
            token, request = under_way.pop(int(value) % len(under_way))
            if step == "dropped":
                breaker.dropped(token)
                model.dropped(request)
            else:
                was = breaker.state
                changed = breaker.ended(token, step == "answered", now)
                model.ended(request, step == "answered", now)
                assert changed is (breaker.state is not was)
        assert (breaker.state is State.CLOSED) is model.closed
        assert (breaker.state is State.HALF_OPEN) is (model.trial is not None)
        assert breaker.allows(now) is model.allows(now)


def test_it_heals_by_one_request() -> None:
    breaker = Breaker(2, SECONDS)
    first, second = breaker.begin(0.0), breaker.begin(0.0)
    assert first is not None
    assert second is not None
    assert not breaker.ended(first, False, 1.0)
    assert breaker.ended(second, False, 2.0)
    assert breaker.begin(11.9) is None
    trial = breaker.begin(12.0)
    assert trial is not None
    assert breaker.begin(13.0) is None, "one is enough"
    assert not breaker.ended(first, True, 13.0), "an answer to what was asked before the pause says nothing"
    assert breaker.ended(trial, True, 14.0)
    assert breaker.state is State.CLOSED
    assert breaker.opened == 1


def test_it_takes_other_settings() -> None:
    breaker = Breaker(5, SECONDS)
    breaker.adopt(1, 1.0)
    request = breaker.begin(0.0)
    assert request is not None
    assert breaker.ended(request, False, 0.0)
    assert not breaker.allows(0.9)
    assert breaker.allows(1.0)
