"""Dependencies point one way. Read from the sources, so that an import inside a function counts too, and from processes."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ENGINE = Path(__file__).parents[1] / "engine"
CLOCKS_AND_SOCKETS = {"trio", "socket", "os", "time", "select", "selectors", "asyncio", "threading", "random", "subprocess"}
SERVER = {"engine.edge", "engine.hub", "engine.link", "engine.node", "engine.brokers", "engine.room", "engine.ws"}
DATABASES = {"sqlalchemy", "alembic", "psycopg"}
HEAVY = {"pydantic", "pydantic_settings", "fastapi", "httpx", "h11", "coredis", "typer", "rich", "click", *DATABASES}
HEAVY |= {"prometheus_client", "opentelemetry", "cryptography"}


def modules() -> Iterator[tuple[str, Path]]:
    for path in sorted(ENGINE.rglob("*.py")):
        parts = path.relative_to(ENGINE.parent).with_suffix("").parts
        yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


def type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def imported(tree: ast.AST) -> Iterator[str]:
    """Modules that a source names in imports, but for those that only a type checker reads."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports are not used"
            assert node.module is not None
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        if type_checking(node):
            assert isinstance(node, ast.If)
            for other in node.orelse:
                yield from imported(ast.Module([other], []))
        else:
            yield from imported(node)


@cache
def imports() -> dict[str, frozenset[str]]:
    return {name: frozenset(imported(ast.parse(path.read_text(encoding="utf-8")))) for name, path in modules()}


def within(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")


def of(package: str) -> dict[str, frozenset[str]]:
    found = {name: names for name, names in imports().items() if within(name, package)}
    assert found, f"{package} has gone: the rules must follow"
    return found


def offences(package: str, forbidden: set[str]) -> list[str]:
    return [
        f"{name} imports {target}"
        for name, targets in of(package).items()
        for target in sorted(targets)
        if any(within(target, each) for each in forbidden)
    ]


@pytest.mark.parametrize(
    "package",
    [
        "engine.ws",
        "engine.room",
        "engine.schema",
        "engine.access",
        "engine.errors",
        "engine.folding",
        "engine.text",
        "engine.hub.kinds",
        "engine.hub.entries",
        "engine.hub.state",
        "engine.hub.mode",
        "engine.hub.sanctions",
        "engine.hub.recent",
        "engine.hub.withholding",
        "engine.hub.words",
        "engine.hub.counts",
        "engine.hub.known",
        "engine.hub.givers",
        "engine.hub.phrases",
        "engine.hub.till",
        "engine.tokens.passes",
        "engine.ledger.split",
        "engine.ledger.values",
        "engine.ledger.address",
        "engine.ledger.matching",
    ],
)
def test_the_pure_parts_know_no_clock_no_socket_and_no_trio(package: str) -> None:
    assert not offences(package, CLOCKS_AND_SOCKETS)


@pytest.mark.parametrize(
    ("package", "forbidden"),
    [
        ("engine.ws", {"edge", "hub", "link", "node", "room", "brokers", "client", "schema", "settings", "access", "timing"}),
        ("engine.room", {"edge", "hub", "link", "node", "client", "timing", "config", "brokers.memory"}),
        ("engine.schema", {"edge", "hub", "link", "node", "client", "room", "ws", "brokers", "settings", "access"}),
        ("engine.access", {"edge", "hub", "link", "node", "client", "room", "ws", "brokers"}),
        ("engine.errors", {"edge", "hub", "link", "node", "client", "room", "ws", "brokers", "schema", "settings", "access"}),
        ("engine.settings", {"edge", "hub", "link", "node", "client", "room", "ws", "brokers", "config"}),
        ("engine.edge", {"hub", "brokers", "node", "workers", "api", "ledger", "client", "config", "configcheck", "cli"}),
        ("engine.hub", {"edge", "node", "workers", "api", "client", "ws", "config", "configcheck", "cli"}),
        ("engine.workers", {"node", "client", "config", "configcheck", "configfile", "logs", "cli"}),
        ("engine.backend", {"edge", "node", "workers", "api", "client", "ws", "config", "configcheck", "cli"}),
        ("engine.api", {"edge", "node", "workers", "client", "ws", "cli"}),
        ("engine.watching", {"edge", "node", "workers", "api", "client", "ws", "config", "configcheck", "cli"}),
        ("engine.demo", {"edge", "hub", "link", "workers", "brokers", "room", "config", "cli"}),
        ("engine.hooks", {"edge", "hub", "node", "workers", "api", "client", "ws", "link", "config", "cli"}),
        ("engine.metrics", {"edge", "hub", "node", "workers", "api", "client", "ws", "config", "cli"}),
        ("engine.tokens", {"edge", "hub", "link", "node", "client", "room", "ws", "brokers", "access"}),
        ("engine.link", {"edge", "hub", "node", "brokers", "room", "ws", "client", "config"}),
        ("engine.brokers", {"edge", "hub", "node", "link", "room", "ws", "client", "config"}),
        ("engine.client", {"edge", "hub", "node", "link", "room", "ws", "brokers", "config", "access", "settings"}),
    ],
)
def test_dependencies_point_one_way(package: str, forbidden: set[str]) -> None:
    assert not offences(package, {f"engine.{each}" for each in forbidden})


OUTSIDE = {
    f"engine.{each}" for each in ("edge", "hub", "link", "node", "workers", "api", "backend", "brokers", "client", "room")
}


def test_what_is_measured_is_pure() -> None:
    assert not offences("engine.quality", CLOCKS_AND_SOCKETS | OUTSIDE | {"engine.settings", "engine.advice"})


def test_advice_is_pure() -> None:
    others = {"engine.machine", "engine.watching", "engine.commands", "pathlib", "os"}
    assert not offences("engine.advice", CLOCKS_AND_SOCKETS | OUTSIDE | others)


def test_nobody_but_the_node_knows_both_edge_and_hub() -> None:
    both = [
        name
        for name, targets in imports().items()
        if any(within(each, "engine.edge") for each in targets) and any(within(each, "engine.hub") for each in targets)
    ]
    assert both == ["engine.node"]


def test_only_the_edge_watches_viewer_sockets() -> None:
    users = {name for name, targets in imports().items() if "select" in targets or "socket" in targets}
    others = {"engine.node", "engine.link.unix", "engine.listening", "engine.api.server", "engine.api.service"}
    # On the other end of them.
    others.add("engine.demo.crowd")
    others |= {name for name in users if within(name, "engine.workers")}
    assert all(within(name, "engine.edge") or name in others for name in users), users
    watchers = {name for name, targets in imports().items() if "select" in targets}
    assert watchers == {"engine.edge.poller"}


@pytest.mark.parametrize("name", [name for name, _ in modules()])
def test_every_module_states_its_rule_and_its_names(name: str) -> None:
    path = dict(modules())[name]
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert ast.get_docstring(tree), "a file opens with its rule"
    names = {
        target.id
        for node in tree.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    names |= {node.target.id for node in tree.body if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)}
    defines = any(isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef) for node in tree.body)
    assert "__all__" in names or not defines


def loaded(code: str) -> set[str]:
    """Modules in a process that ran ``code``."""
    program = f"{code}\nimport json, sys\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    return set(json.loads(done.stdout))


def test_an_edge_process_loads_nothing_heavy() -> None:
    names = loaded("import engine.edge, engine.link, engine.settings")
    assert not {name for name in names if name.partition(".")[0] in HEAVY}
    assert not {name for name in names if within(name, "engine.hub") or within(name, "engine.node")}


@pytest.mark.parametrize(
    ("module", "foreign"),
    [
        ("engine.workers.edge", {"engine.hub", "engine.brokers.memory", "engine.node", "engine.client"}),
        ("engine.workers.hub", {"engine.edge", "engine.node", "engine.client"}),
        ("engine.workers.supervisor", {"engine.hub", "engine.brokers.memory", "engine.node", "engine.client"}),
    ],
)
def test_a_worker_process_loads_nothing_heavy(module: str, foreign: set[str]) -> None:
    names = loaded(f"import {module}")
    assert not {name for name in names if name.partition(".")[0] in HEAVY | {"structlog"}}
    assert not {name for name in names if any(within(name, each) for each in foreign)}


@pytest.mark.parametrize("module", ["engine.hub", "engine.ledger.lane", "engine.ledger.values", "engine.node", "engine.cli"])
def test_a_database_is_loaded_when_there_is_money_to_book(module: str) -> None:
    names = loaded(f"import {module}")
    assert not {name for name in names if name.partition(".")[0] in DATABASES}


def test_the_ledger_knows_nobody_who_uses_it() -> None:
    assert not offences(
        "engine.ledger", {f"engine.{each}" for each in ("edge", "hub", "link", "node", "brokers", "client", "cli")}
    )
    tasks = {name for name, targets in of("engine.ledger").items() if "trio" in targets}
    assert not {name for name in tasks if "sqlalchemy" in of("engine.ledger")[name]}


@pytest.mark.parametrize("name", ["values", "split", "faults", "matching", "wire"])
def test_what_anybody_may_recompute_needs_no_database(name: str) -> None:
    assert not offences(f"engine.ledger.{name}", CLOCKS_AND_SOCKETS | DATABASES)


def test_the_log_of_a_room_needs_no_broker() -> None:
    names = loaded("import engine.room.log, engine.room.encoder, engine.room.batcher, engine.room.sequencer")
    assert "engine.brokers.memory" not in names


def test_a_client_loads_no_server() -> None:
    names = loaded("import engine.client; engine.client.open_client")
    assert not {name for name in names if any(within(name, each) for each in SERVER)}
    # trio-websocket takes h11.
    assert not {name for name in names if name.partition(".")[0] in HEAVY - {"h11"}}


def test_a_client_works_without_epoll() -> None:
    # As on a platform that has none; trio itself is loaded before, because it chooses its own way.
    code = (
        "import select, trio\n"
        "for name in [each for each in dir(select) if each.lower().startswith('epoll')]: delattr(select, name)\n"
        "import engine.client; engine.client.open_client"
    )
    assert "engine.client" in loaded(code)


def test_the_public_names_load_on_demand() -> None:
    names = loaded("import engine")
    assert not {name for name in names if name.startswith("engine.")}
    assert "engine.node" not in loaded("import engine; engine.open_client; engine.Close")
