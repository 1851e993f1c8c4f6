"""What a hub has counted and the broker is to be told: nothing is lost while it is not told, nothing is kept once it was."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from engine.hub.counts import Counts

SOURCES = st.sampled_from(("one", "two", "three"))
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("count"), SOURCES, st.integers(0, 9), st.dictionaries(st.sampled_from("🎉🔥"), st.integers(0, 9))),
        st.tuples(st.just("ends"), SOURCES),
        st.tuples(st.just("begins"), SOURCES),
        st.tuples(st.just("came"), st.lists(st.text(max_size=2), max_size=3)),
        st.tuples(st.just("report"), st.booleans()),
    ),
    max_size=40,
)


@given(STEPS)
def test_the_broker_learns_all_of_it_whatever_reports_are_lost(steps: list[tuple[object, ...]]) -> None:
    counts = Counts("own")
    likes: dict[str, int] = {}
    reactions: dict[str, dict[str, int]] = {}
    came: list[str] = []
    told_likes: dict[str, int] = {}
    told_reactions: dict[tuple[str, str], int] = {}
    told_came: list[str] = []

    def report(arrives: bool) -> None:
        ended, made = counts.ended_totals(), counts.report(1)
        if not arrives:
            return
        for source, total in made.likes.items():
            told_likes[source] = max(told_likes.get(source, 0), total)
        for source, names in made.reactions.items():
            for name, total in names.items():
                told_reactions[source, name] = max(told_reactions.get((source, name), 0), total)
        told_came.extend(made.arrivals)
        counts.told(ended, made)

    for step in steps:
        match step:
            case ("count", str(source), int(total), dict(given_reactions)):
                counts.begins(source)
                # Totals of one that is known only grow.
                likes[source] = max(likes.get(source, 0), total)
                mine = reactions.setdefault(source, {})
                for name, number in given_reactions.items():
                    mine[name] = max(mine.get(name, 0), number)
                counts.count(source, likes[source], mine)
            case ("ends", str(source)):
                counts.ends(source)
            case ("begins", str(source)):
                counts.begins(source)
            case ("came", list(users)):
                counts.came(users)
                came += users
            case ("report", bool(arrives)):
                report(arrives)
    report(True)
    assert {source: total for source, total in likes.items() if total} == {s: t for s, t in told_likes.items() if t}
    assert {(s, n): t for s, names in reactions.items() for n, t in names.items() if t} == {
        key: total for key, total in told_reactions.items() if total
    }
    assert told_came == came
    assert counts.report(1).arrivals == ()


def test_the_hubs_own_likes_are_a_source_like_any_other() -> None:
    counts = Counts("own")
    counts.add(3)
    counts.add(4)
    assert dict(counts.report(0).likes) == {"own": 7}
