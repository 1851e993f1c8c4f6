"""The last events of a room against a plain list: what newcomers are shown, and what vanishes when."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from engine.room.tail import Tail, expiry_of, tombstone
from engine.schema import MSGPACK, Author, CommentEvent, LinkedCommentEvent, OmittedReason, ShareEvent

ANNA = Author("anna")


def event(expires: int) -> bytes:
    """A comment; ``expires`` -1: one that cannot vanish, 0: one that does not."""
    if expires < 0:
        return MSGPACK.encode(CommentEvent(ANNA, 1, "你好"))
    return MSGPACK.encode(LinkedCommentEvent(ANNA, 1, "你好", 0, [], expires))


def test_only_a_linked_comment_may_vanish() -> None:
    assert [expiry_of(event(expires)) for expires in (-1, 0, 7, 2**52)] == [0, 0, 7, 2**52]
    assert expiry_of(tombstone(OmittedReason.DELETED)) == 0


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.lists(st.integers(-1, 40), min_size=1, max_size=5)),
        st.tuples(st.just("drop"), st.tuples(st.integers(1, 30), st.integers(0, 4))),
        st.tuples(st.just("expire"), st.integers(0, 50)),
        st.tuples(st.just("clear"), st.none()),
    ),
    max_size=30,
)


@given(st.integers(0, 6), STEPS)
def test_the_tail_is_the_end_of_the_list_without_what_is_gone(limit: int, steps: list[tuple[str, object]]) -> None:
    tail = Tail(limit)
    kept: dict[int, tuple[int, bytes]] = {}
    expiring: dict[int, int] = {}
    head = 0
    for step, value in steps:
        before, known = tail.changes, dict(kept)
        if step == "add":
            assert isinstance(value, list)
            events = [event(expires) for expires in value]
            tail.add(head + 1, events, [1000 + head] * len(events))
            for each in events:
                head += 1
                kept[head] = 1000 + head, each
                if expiry_of(each):
                    expiring[head] = expiry_of(each)
            # Times are those of the batch.
            first = head - len(events)
            kept.update({offset: (1000 + first, kept[offset][1]) for offset in range(first + 1, head + 1)})
        elif step == "drop":
            assert isinstance(value, tuple)
            for offset in range(value[0], value[0] + value[1] + 1):
                kept.pop(offset, None)
            tail.drop(value[0], value[0] + value[1])
        elif step == "expire":
            assert isinstance(value, int)
            gone = sorted(offset for offset, when in expiring.items() if when <= value)
            assert tail.expire(value) == gone
            for offset in gone:
                kept.pop(offset, None)
                del expiring[offset]
        else:
            tail.clear()
            kept.clear()
            expiring.clear()
        kept = dict(sorted(kept.items())[max(len(kept) - limit, 0) :])
        assert tail.recent() == [(offset, time, each) for offset, (time, each) in kept.items()]
        assert tail.next_expiry == min(expiring.values(), default=0)
        if kept != known:
            assert tail.changes > before


def test_money_is_not_dropped() -> None:
    tail = Tail(5)
    tail.add(1, [event(-1), MSGPACK.encode(ShareEvent(ANNA, 5, 4, 1, 20)), event(-1)], [1, 2, 3])
    tail.drop(1, 3)
    assert [offset for offset, _, _ in tail.recent()] == [2]


def test_what_was_omitted_is_not_shown() -> None:
    tail = Tail(5)
    tail.add(1, [event(-1), tombstone(OmittedReason.DELETED), event(-1)], [1, 2, 3])
    assert [offset for offset, _, _ in tail.recent()] == [1, 3]
