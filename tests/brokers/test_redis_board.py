"""Tallies as one node has them, whatever is lost, late or doubled on the way."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from engine.brokers.base import Delivery, Tally
from engine.brokers.redis.board import Board
from engine.brokers.redis.spread import Counted


class Truth:
    """A server with tallies that only grow."""

    def __init__(self) -> None:
        self.epoch, self.version, self.spread_version = 1, 0, 0
        self.counts: dict[str, tuple[int, ...]] = {}
        self.changed: set[str] = set()

    def cast(self, name: str) -> None:
        self.version += 1
        self.counts[name] = (*self.counts.get(name, (0,))[:-1], self.counts.get(name, (0,))[-1] + 1)
        self.changed.add(name)

    def spread(self) -> Counted:
        since, self.spread_version = self.spread_version, self.version
        names, self.changed = self.changed, set()
        return Counted(self.epoch, since, self.version, {name: self.counts[name] for name in names})

    def all(self) -> Counted:
        return Counted(self.epoch, 0, self.version, dict(self.counts))

    def lose(self) -> None:
        self.epoch, self.version, self.spread_version = self.epoch + 1, 0, 0
        self.counts, self.changed = {}, set()


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(("cast", "cast", "spread", "spread", "read", "late read", "renew", "lose")),
            st.sampled_from("ab"),
            st.sampled_from(("arrives", "arrives", "lost", "twice", "late")),
        ),
        max_size=40,
    )
)
def test_counts_never_go_back_and_are_those_of_the_server_in_the_end(steps: list[tuple[str, str, str]]) -> None:
    seen: list[Tally] = []

    def take(delivery: Delivery) -> None:
        assert isinstance(delivery, Tally)
        seen.append(delivery)

    truth, board, late = Truth(), Board("room", take), list[Counted]()
    board.read(truth.all())
    for step, name, fate in steps:
        if step == "cast":
            truth.cast(name)
        elif step == "read" and board.behind:
            board.read(truth.all())
        elif step == "late read":
            answer = truth.all()
            truth.cast(name)
            board.take(truth.spread())
            board.read(answer)
        elif step == "renew":
            truth.epoch += 1
        elif step == "lose":
            truth.lose()
        elif step == "spread" and truth.version > truth.spread_version:
            counted = truth.spread()
            if fate == "late":
                late.append(counted)
            elif fate != "lost":
                for _ in range(2 if fate == "twice" else 1):
                    board.take(counted)
    for counted in late:
        board.take(counted)
    board.hear(truth.epoch, truth.spread_version)
    if board.behind:
        board.read(truth.all())
    if truth.version > truth.spread_version:
        board.take(truth.spread())
    last: dict[str, tuple[int, ...]] = {}
    lost = any(step == "lose" for step, _, _ in steps)
    for tally in seen:
        # Nothing twice; less only if all was lost in between.
        assert tally.counts != last.get(tally.name)
        assert lost or sum(tally.counts) > sum(last.get(tally.name, ()))
        last[tally.name] = tally.counts
    assert {name: counts for name, counts in last.items() if counts} == truth.counts
    before = len(seen)
    board.repeat()
    assert {tally.name: tally.counts for tally in seen[before:]} == truth.counts


def test_what_came_before_the_first_reading_is_not_delivered_twice() -> None:
    seen: list[Delivery] = []
    board = Board("room", seen.append)
    board.take(Counted(5, 0, 1, {"a": (1,)}))
    assert board.behind
    assert not seen
    board.read(Counted(5, 0, 1, {"a": (1,)}))
    assert not board.behind
    assert not seen
    board.repeat()
    assert seen == [Tally("room", "a", (1,))]
    board.take(Counted(5, 0, 1, {"a": (1,)}))
    board.take(Counted(5, 1, 2, {"b": (0, 1)}))
    assert seen[1:] == [Tally("room", "b", (0, 1))]


def test_what_lies_after_something_that_was_missed_waits_for_it() -> None:
    seen: list[Delivery] = []
    board = Board("room", seen.append)
    board.read(Counted(5, 0, 0, {}))
    board.take(Counted(5, 1, 2, {"b": (1,)}))
    assert board.behind
    assert not seen
    board.read(Counted(5, 0, 3, {"a": (2,), "b": (1,)}))
    assert seen == [Tally("room", "a", (2,)), Tally("room", "b", (1,))]
    # It was spread before that was read, and comes later.
    board.take(Counted(5, 2, 3, {"a": (2,)}))
    assert len(seen) == 2
