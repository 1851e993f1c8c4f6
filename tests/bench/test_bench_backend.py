"""A product's backend under measurement: whole runs against the real engine, and what the publisher finds out by itself."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from runs import Runs, started

from bench.backend.http import ApiError
from bench.backend.publisher import LINE, Publisher
from bench.engineproc import to_toml

SMALL = ("--viewers", "40", "--senders", "4", "--seconds", "1")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runs]:
    loads = {
        "workers": ["backend", *SMALL],
        "one process": ["backend", *SMALL, "--workers", "0"],
        "embedded": ["burst", "--viewers", "60", "--hosted", "uvicorn"],
        "tokens": ["join-storm", "--viewers", "60", "--seconds", "0", "--tokens"],
    }
    with started(tmp_path_factory.mktemp("runs"), loads) as made:
        yield made


@pytest.mark.parametrize("name", ["workers", "one process"])
def test_what_a_backend_publishes_is_kept_once_and_in_order_while_viewers_are_served(runs: Runs, name: str) -> None:
    figures = runs.outcome(name)["figures"]
    for way in ("single", "batch", "socket"):
        assert figures[f"backend_{way}_per_second"] > 0
        assert figures[f"backend_{way}_offered"] > 0
        assert figures[f"backend_{way}_latency_to_calm"] > 0
    assert figures["backend_kept"] > 1_000


def test_an_embedded_node_is_measured_like_any_other(runs: Runs) -> None:
    assert runs.outcome("embedded")["figures"]["frames"] > 0


def test_everybody_can_join_with_a_token(runs: Runs) -> None:
    record = runs.outcome("tokens", silent=True)
    assert record["figures"]["engine_cpu_us_per_join"] > 0


class Api:
    """Answers of an API that keeps these events."""

    def __init__(self, *kept: str, first: int = 1) -> None:
        self._events = [{"offset": first + at, "event": {"body": body}} for at, body in enumerate(kept)]

    def ask(self, method: str, target: str, body: Any = None) -> Any:
        if method == "POST":
            return {"offset": 1}
        after = int(target.partition("after=")[2].partition("&")[0])
        return {"events": [each for each in self._events if each["offset"] > after]}


def publisher(api: Api, said: int) -> Publisher:
    made = Publisher.__new__(Publisher)
    made._share, made._room, made._api, made._said = {"room": "r"}, "r", api, said  # type: ignore[assignment]
    return made


def test_what_is_kept_as_it_was_said_is_found_good() -> None:
    assert publisher(Api(f"1 {LINE}", f"2 {LINE}"), 2).verify() == {"kept": 2, "faults": []}


@pytest.mark.parametrize(
    "api",
    [
        Api(f"1 {LINE}"),
        Api(f"1 {LINE}", f"3 {LINE}"),
        Api(f"2 {LINE}", f"1 {LINE}"),
        Api(f"1 {LINE}", f"1 {LINE}"),
        Api(f"1 {LINE}", f"2 {LINE}!"),
        Api(f"1 {LINE}", f"2 {LINE}", first=2),
        Api(f"1 {LINE}", f"2 {LINE}", f"3 {LINE}"),
    ],
    ids=["lost", "hole", "reordered", "doubled", "altered", "not from the first", "more"],
)
def test_what_is_not_kept_as_it_was_said_is_a_fault(api: Api) -> None:
    assert publisher(api, 2).verify()["faults"]


def test_offsets_that_do_not_ascend_are_a_fault() -> None:
    with pytest.raises(ApiError, match="ascend"):
        publisher(Api(), 0).single(seconds=5, rate=0)


def test_a_list_of_tables_becomes_one_in_the_file(tmp_path: Path) -> None:
    sections: dict[str, dict[str, Any]] = {
        "api": {"port": 0, "keys": [{"name": "a", "rooms": ["x*"]}, {"name": "b"}]},
        "log": {},
    }
    assert tomllib.loads(to_toml(sections)) == sections
