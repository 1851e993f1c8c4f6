"""What stands in the way of a load on a given machine, and what to do about it."""

from __future__ import annotations

from dataclasses import replace

from bench.load import Load
from bench.preflight import Facts, facts, problems, workers_for

MACHINE = Facts(
    descriptors=20_000,
    files=2_000_000,
    files_open=1_000,
    ports=28_000,
    memory=24_000_000_000,
    tcp_pages=500_000,
)


def test_this_machine_can_be_looked_at_and_holds_a_small_load() -> None:
    machine = facts()
    assert machine.descriptors > 0
    assert problems(Load(viewers=10), machine) == []


def test_the_headline_fits_with_as_many_workers_as_it_needs() -> None:
    workers = workers_for(200_000, MACHINE)
    assert workers == 11
    assert problems(Load(viewers=200_000, workers=workers), MACHINE) == []
    assert workers_for(10_000, MACHINE) == 0
    assert problems(Load(viewers=200_000, workers=6, nodes=2, broker="redis"), MACHINE) == []
    assert "--workers 6" in problems(Load(viewers=200_000, nodes=2, broker="redis"), MACHINE)[0]


def test_each_bound_is_told_with_its_remedy() -> None:
    load = Load(viewers=200_000, workers=11)
    for change, word in (
        ({"descriptors": 10_000}, "--workers 22"),
        ({"files": 300_000}, "fs.file-max="),
        ({"ports": 3_000}, "ip_local_port_range="),
        ({"memory": 1_000_000_000}, "--viewers"),
        ({"tcp_pages": 1_000}, "tcp_mem="),
    ):
        found = problems(load, replace(MACHINE, **change))
        assert len(found) == 1, found
        assert word in found[0]


def test_a_load_that_shrinks_needs_no_places() -> None:
    assert problems(Load(rooms=5_000, viewers=20, shrink=True), MACHINE) == []
