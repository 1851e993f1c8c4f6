"""A node's copy of a record, against a record of which amendments are lost, late or doubled, and answers are old."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from engine.brokers.base import Amended, Record
from engine.brokers.redis.copy import Copy

from .model import Seen

steps = st.tuples(
    st.sampled_from(("amend", "amend", "amend", "epoch", "lose", "read", "old read")),
    st.sampled_from("abc"),
    st.none() | st.binary(max_size=2),
    st.sampled_from(("arrives", "arrives", "lost", "twice", "late")),
)


class Truth:
    """The record at the server."""

    def __init__(self) -> None:
        self.epoch = 1
        self.record = Record("room", 0, {})

    def amend(self, field: str, value: bytes | None) -> tuple[int, Amended]:
        fields = {name: content for name, content in self.record.fields.items() if name != field}
        if value is not None:
            fields[field] = value
        self.record = Record("room", self.record.revision + 1, fields)
        return self.epoch, Amended("room", self.record.revision, field, value)


@settings(max_examples=300, deadline=None)
@given(st.lists(steps, max_size=40))
def test_whatever_is_lost_or_late_the_copy_joins_and_ends_as_the_record_is(
    play: list[tuple[str, str, bytes | None, str]],
) -> None:
    truth, seen = Truth(), Seen()
    copy = Copy(seen.take)
    copy.take(truth.epoch, truth.record)
    copy.repeat()
    late: list[tuple[int, Amended]] = []
    old = truth.epoch, truth.record
    for step, field, value, fate in play:
        if step == "amend":
            spread = truth.amend(field, value)
            if fate == "late":
                late.append(spread)
            elif fate != "lost":
                for _ in range(2 if fate == "twice" else 1):
                    copy.amend(*spread)
        elif step in ("epoch", "lose"):
            truth.epoch += 1
            if step == "lose":
                truth.record = Record("room", 0, {})
            if fate == "arrives":
                copy.hear(truth.epoch, 0)
        elif step == "read":
            copy.take(truth.epoch, truth.record)
            old = truth.epoch, truth.record
            assert seen.values == truth.record.fields
        else:
            copy.take(*old)
    for spread in late:
        copy.amend(*spread)
    copy.hear(truth.epoch, truth.record.revision)
    if copy.behind:
        copy.take(truth.epoch, truth.record)
    assert not copy.behind
    assert (seen.revision, seen.values) == (truth.record.revision, truth.record.fields)


def test_the_same_record_in_a_new_epoch_is_not_told_again() -> None:
    told: list[Record | Amended] = []
    copy = Copy(told.append)  # type: ignore[arg-type]  # it is given nothing else
    copy.take(1, Record("room", 3, {"a": b"1"}))
    assert told == []
    copy.repeat()
    copy.hear(2, 0)
    assert copy.behind
    copy.take(2, Record("room", 3, {"a": b"1"}))
    assert not copy.behind
    assert told == [Record("room", 3, {"a": b"1"})]
