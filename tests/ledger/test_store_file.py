"""A SQLite file that is taken away while it is in use: nothing is booked into what will not be there."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.ledger.errors import LedgerError
from engine.ledger.store import Store
from engine.ledger.values import Booked, Give
from engine.schema import Author


def gift(key: str) -> Give:
    return Give(
        room="大厅",
        key=key,
        stream="",
        author=Author("anna"),
        ref=1,
        gift="rose",
        price=10,
        count=1,
        receiver="",
        combo_ms=0,
    )


@pytest.mark.parametrize("replaced", [False, True])
def test_what_is_booked_is_in_the_file_that_has_the_name(tmp_path: Path, replaced: bool) -> None:
    store, away = Store(f"sqlite:///{tmp_path / 'ledger.db'}"), tmp_path / "away"
    store.open()
    store.commit([gift("1")], [], 1)
    away.mkdir()
    files = [path for path in tmp_path.iterdir() if path.is_file()]
    for path in files:
        path.rename(away / path.name)
    if replaced:
        (tmp_path / "ledger.db").touch()
    for key in ("2", "3"):
        with pytest.raises(LedgerError):
            store.commit([gift(key)], [], 2)
    for path in away.iterdir():
        path.replace(tmp_path / path.name)
    if replaced:
        # It goes on with the one that was put in its place, until that is gone, too.
        with pytest.raises(LedgerError, match="replaced"):
            store.commit([gift("2")], [], 3)
    (booked,) = store.commit([gift("2")], [], 3).outcomes
    assert isinstance(booked, Booked)
    assert booked.entry.number == 2
    store.close()
