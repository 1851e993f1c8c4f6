"""Who is muted, shadow-muted or banned at which time, against a plain map."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.hub.sanctions import Sanction, Sanctions, encode, field
from engine.schema import MSGPACK

KINDS = ("mute", "shadow", "ban", "address", "locate")
SUBJECTS = ("ann", "bob", "2001:db8::/64", "a:b", "")
TIMES = st.integers(0, 12)
"""0: for good."""
Name = tuple[str, str]
STEPS = st.lists(st.tuples(st.tuples(st.sampled_from(KINDS), st.sampled_from(SUBJECTS)), st.none() | TIMES), max_size=20)


def built(steps: Iterable[tuple[Name, int | None]]) -> tuple[Sanctions, dict[Name, int]]:
    """Sanctions after these steps, and the map from kind and subject to the end."""
    sanctions = Sanctions()
    model: dict[Name, int] = {}
    for name, until in steps:
        if until is None:
            model.pop(name, None)
        else:
            model[name] = until
        assert sanctions.apply(field(*name), None if until is None else encode(until, "mod", "why"))
    return sanctions, model


def held(models: Iterable[dict[Name, int]], kind: str, now_ms: int) -> dict[str, int]:
    """What holds at a time, as the rules say it: for good beats any end, a later end an earlier one."""
    found: dict[str, list[int]] = {}
    for model in models:
        for (each, subject), until in model.items():
            if each == kind and (until == 0 or until > now_ms):
                found.setdefault(subject, []).append(until)
    return {subject: 0 if 0 in ends else max(ends) for subject, ends in found.items()}


@given(STEPS, STEPS, st.booleans(), TIMES)
def test_sanctions_hold_until_their_end_here_and_everywhere(
    here: list[tuple[Name, int | None]], there: list[tuple[Name, int | None]], both: bool, now_ms: int
) -> None:
    sanctions, model = built(here)
    everywhere, other = built(there)
    also = everywhere if both else None
    models = [model, other] if both else [model]
    assert len(sanctions) == len(model)
    assert sanctions.barred(now_ms, also) == (held(models, "ban", now_ms), held(models, "address", now_ms))
    assert sanctions.locate(now_ms, also) == sorted(held(models, "locate", now_ms))
    for user in SUBJECTS:
        assert sanctions.muted(user, now_ms, also) == held(models, "mute", now_ms).get(user)
        assert sanctions.shadowed(user, now_ms, also) == (user in held(models, "shadow", now_ms))
    fields = {field(*name): encode(until, "mod", "why") for name, until in model.items()}
    again = Sanctions.from_fields({"s:life:": b"", **fields})
    assert again.barred(now_ms) == sanctions.barred(now_ms)
    for name, until in model.items():
        assert again.get(*name) == Sanction(until, "mod", "why")


def test_a_mute_is_over_at_its_end() -> None:
    sanctions = Sanctions.from_fields({field("mute", "ann"): encode(5, "mod", "")})
    assert (sanctions.muted("ann", 4), sanctions.muted("ann", 5)) == (5, None)
    assert sanctions.get("mute", "ann") == Sanction(5, "mod")
    assert sanctions.get("ban", "ann") is None


@pytest.mark.parametrize("name", ["", "x:", "x:mut:ann", "s:mute:ann", "mute:ann", "x:moote:ann"])
def test_other_fields_hold_no_sanction(name: str) -> None:
    sanctions = Sanctions()
    assert not sanctions.apply(name, encode(0, "mod", ""))
    assert len(sanctions) == 0


@pytest.mark.parametrize("value", [b"", b"\xc1", MSGPACK.encode([]), MSGPACK.encode(["x"])])
def test_what_cannot_be_read_is_not_there(value: bytes) -> None:
    sanctions = Sanctions.from_fields({field("mute", "ann"): encode(0, "mod", "")})
    assert sanctions.apply(field("mute", "ann"), value)
    assert sanctions.muted("ann", 1) is None


def test_there_are_no_other_kinds() -> None:
    with pytest.raises(ValueError, match="moot"):
        field("moot", "ann")
