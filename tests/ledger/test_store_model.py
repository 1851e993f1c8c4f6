"""Whatever is asked of the ledger, in whatever groups, wherever a group breaks off: it does what plain dicts do."""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from engine.ledger.store import Store
from engine.ledger.values import Book, Finish, Give

from .crashes import Crash, crash_at
from .ledger_model import Model
from .requests import ROOMS, books, event, told

BASE_MS = 1_000
EXAMPLES = {"sqlite": 60, "postgresql": 40}


class Step(NamedTuple):
    """A group of requests, so long after the last one; broken off before some statement first."""

    group: list[Book]
    later_ms: int
    crash: int | None


STEPS = st.lists(
    st.builds(
        Step,
        st.lists(books(BASE_MS), min_size=1, max_size=8),
        st.sampled_from((-20, 0, 20, 99, 100, 101, 250)),
        st.none() | st.integers(0, 25),
    ),
    min_size=1,
    max_size=6,
)


class World:
    """A model and a store beside it, in rooms and with people and keys that no other example has."""

    def __init__(self, store: Store, number: int) -> None:
        self.store = store
        self.model = Model()
        self.number = number

    def own(self, book: Book) -> Book:
        changed: dict[str, Any] = {"room": f"{book.room}/{self.number}"}
        if hasattr(book, "author"):
            changed["author"] = msgspec.structs.replace(book.author, id=f"{book.author.id}/{self.number}")
        if hasattr(book, "key"):
            changed["key"] = f"{book.key}/{self.number}"
        if isinstance(book, Give) and book.receiver:
            changed["receiver"] = f"{book.receiver}/{self.number}"
        return msgspec.structs.replace(book, **changed)

    def commit(self, group: list[Book], now_ms: int) -> None:
        done = self.store.commit(group, [], now_ms)
        before = {name: len(room.events) for name, room in self.model.rooms.items()}
        expected = [self.model.book(book, now_ms) for book in group]
        assert [told(each) for each in done.outcomes] == expected
        for name, room in self.model.rooms.items():
            new = [each for each in done.entries if each.room == name]
            assert [event(each) for each in new] == room.events[before.get(name, 0) :]
            assert [each.booked_ms for each in new] == room.times[before.get(name, 0) :]

    def check(self, now_ms: int) -> None:
        """What can be read is what the model has."""
        for name in (f"{room}/{self.number}" for room in ROOMS):
            room = self.model.rooms.get(name)
            outbox = self.store.outbox(1_000, name)
            assert [event(each) for each in outbox] == ([] if room is None else room.events)
            assert [each.number for each in self.store.packets(name)] == self.model.open_in(name)
            for stream in ("", "life", "later"):
                lines = [(each.user, each.given) for each in self.store.givers(name, stream, 0, 100)]
                assert lines == self.model.givers(name, stream)
        due = {
            ("combo", each.room, each.combo) if isinstance(each, Finish) else ("packet", each.room, each.packet)
            for each in self.store.due(now_ms, 100_000)
        }
        assert {each for each in due if each[1].endswith(f"/{self.number}")} == self.model.due(now_ms)


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_it_does_what_plain_dicts_do(kind: str, request: pytest.FixtureRequest) -> None:
    store = Store(request.getfixturevalue(f"new_{kind}")(), answer_seconds=30)
    number = 0

    @settings(
        max_examples=EXAMPLES[kind],
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow],
        phases=[Phase.explicit, Phase.generate, Phase.shrink],
    )
    @given(STEPS)
    def run(steps: list[Step]) -> None:
        nonlocal number
        number += 1
        world, now_ms = World(store, number), BASE_MS
        for step in steps:
            now_ms += step.later_ms
            group = [world.own(book) for book in step.group]
            if step.crash is not None:
                try:
                    with crash_at(step.crash):
                        store.commit(group, [], now_ms)
                except Crash:
                    # Nothing of it is there; the same again does it.
                    world.check(now_ms)
                else:
                    # It has fewer statements than that.
                    break
            world.commit(group, now_ms)
            world.check(now_ms)

    run()
    store.close()
