"""What log lines tell: never who said what. Read from the sources, and from a node that has something to hide."""

from __future__ import annotations

import ast
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from e2e.nodes import lively
from e2e.people import SECRET, token
from e2e.viewers import JSON, open_viewer

from engine.node import open_node

ENGINE = Path(__file__).parents[1] / "engine"
LEVELS = {"debug", "info", "warning", "error", "exception", "critical"}
FACTS = {
    "where": {
        "task",
        "room",
        "rooms",
        "node",
        "nodes",
        "child",
        "child_pid",
        "hub",
        "edge",
        "edges",
        "peer",
        "proxy",
        "url",
        "jwks",
    },
    "which": {"connection", "request_id", "kind", "hook", "number", "entry", "offset", "position", "first", "last"},
    "of what": {"old", "new", "version", "changed", "restart", "state", "stream", "exporter", "route", "method", "status"},
    "how much": {"count", "entries", "keys", "waiting", "workers", "bytes", "viewers", "viewers_max"},
    "how much is left": {"viewers_left", "edges_left"},
    "how well": {"events", "reports", "sent_rate", "arrival_rate"},
    "how often": {"attempts", "failures", "failed", "crashes"},
    "how long": {"seconds", "ms", "retry_seconds"},
    "why": {"error", "fault", "faults", "reason", "why", "text", "hint"},
    "for audits": {"user", "key", "caller"},
}
HIDDEN = {"body", "author", "name", "token", "secret", "password", "authorization", "query", "headers", "comment", "address"}
"""Attributes and variables whose values are in no line, but for those in `SHOWN`."""
SHOWN = {
    *("room=room.name", "room=name", "node=node.name", "node=self.node.name", "caller=caller.name"),
    *("proxy=session.address", "old=address"),
}
"""Rooms, nodes, API keys and who has a token for the API; a trusted proxy's address, a Redis server's."""


class Call(NamedTuple):
    """A line's making."""

    place: str
    node: ast.Call
    module: ast.Module


def calls() -> list[Call]:
    found = []
    for path in sorted(ENGINE.rglob("*.py")):
        module = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(module):
            match node:
                case ast.Call(func=ast.Attribute(value=ast.Name(id="log"), attr=method)) if method in LEVELS | {"log"}:
                    found.append(Call(f"{path.relative_to(ENGINE)}:{node.lineno}", node, module))
    return found


CALLS = calls()


def tables(call: Call) -> Iterator[ast.Dict]:
    """The literals of which a line's facts are made, wherever they are in the module."""
    extra = next((each.value for each in call.node.keywords if each.arg == "extra"), None)
    match extra:
        case None:
            return
        case ast.Dict():
            yield extra
            return
        case ast.Name(id=name):
            assigned = [
                node.value
                for node in ast.walk(call.module)
                if (isinstance(node, ast.Assign) and any(ast.unparse(each) == name for each in node.targets))
                or (isinstance(node, ast.AnnAssign | ast.AugAssign) and ast.unparse(node.target) == name)
            ]
            assert assigned, f"{call.place}: where does {name} come from?"
        case ast.Call(func=ast.Attribute(attr=name)):
            made = [node for node in ast.walk(call.module) if isinstance(node, ast.FunctionDef) and node.name == name]
            assigned = [each.value for node in made for each in ast.walk(node) if isinstance(each, ast.Return) and each.value]
            assert assigned, f"{call.place}: what does {name} return?"
        case _:
            raise AssertionError(f"{call.place}: facts are a table that can be read here")
    for value in filter(None, assigned):
        literals = [node for node in ast.walk(value) if isinstance(node, ast.Dict)]
        assert literals, f"{call.place}: facts are a table that can be read here"
        yield from literals


def facts(call: Call) -> Iterator[tuple[str, ast.expr]]:
    for table in tables(call):
        for key, value in zip(table.keys, table.values, strict=True):
            assert isinstance(key, ast.Constant), f"{call.place}: facts have names that can be read here"
            assert isinstance(key.value, str)
            yield key.value, value


def test_there_are_lines_to_judge() -> None:
    assert len(CALLS) > 50
    assert {name for call in CALLS for name, _ in facts(call)} == set().union(*FACTS.values()), "a fact that is gone"


@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.place)
def test_a_line_names_an_event_and_has_no_other_text(call: Call) -> None:
    arguments = call.node.args
    assert isinstance(call.node.func, ast.Attribute)
    if call.node.func.attr == "log":
        arguments = arguments[1:]
    (event,) = arguments
    assert isinstance(event, ast.Constant)
    assert isinstance(event.value, str)
    assert re.fullmatch(r"[a-z]+(_[a-z]+)*", event.value)


@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.place)
def test_a_line_tells_only_facts_that_are_allowed(call: Call) -> None:
    known = set().union(*FACTS.values())
    assert {name for name, _ in facts(call)} <= known, "think about who may read it, then write it down here"
    assert not known & set(vars(logging.makeLogRecord({}))), "the standard library refuses to overwrite its own"


@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.place)
def test_no_fact_is_made_of_what_is_nobodys_business(call: Call) -> None:
    for fact, value in facts(call):
        for node in ast.walk(value):
            if isinstance(node, ast.Attribute | ast.Name) and f"{fact}={(source := ast.unparse(node))}" not in SHOWN:
                assert source.rpartition(".")[2] not in HIDDEN, f"{fact} = {ast.unparse(value)}"


async def test_a_node_that_logs_all_it_can_tells_nothing_of_what_was_said(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    credential = token("konto-4711", name="Erika Mustermann")
    secrets = [credential, "konto-4711", "Erika Mustermann", "ein Geheimnis", "no such thing", SECRET]
    async with open_node(lively(edge={"port": 0}, access={"secret": SECRET})) as node:
        async with open_viewer("raw", node.url, JSON) as viewer:
            await viewer.join("room", token=credential)
            await viewer.comment("ein Geheimnis")
        async with open_viewer("raw", node.url, JSON) as viewer:
            with pytest.raises(AssertionError):
                await viewer.join("room", token=f"{credential}no such thing")
    lines = [f"{record.getMessage()} {vars(record)}" for record in caplog.records if record.name.startswith("roomcast")]
    assert lines
    assert not [line for line in lines for secret in secrets if secret in line]
