"""What a run measures: the engine's nodes, the Redis that they share and the ledger, as one.

Owns how many of which there are, the order in which they start and stop, and the sums over all nodes. Must not know viewers.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, Final

from bench.detour import Detours
from bench.engineproc import EngineProcess, Sample, Sections, merge
from bench.load import Load
from bench.redisproc import KEEPS_EVERYTHING, RedisProcess, claimed_ports, redis_server, sentinels
from bench.treasury import Treasury

__all__ = ["Backing", "Site"]

DOWN_MS: Final = 2_000
"""A busy machine lets a server wait for longer than a busy network would."""
BROKER_COMMANDS: Final = frozenset({"fcall", "ssubscribe", "sunsubscribe", "wait", "ping"})
"""What a node asks of a server while it serves; what functions call inside it is not an operation of its own."""


class Backing:
    """The Redis of a run, started for it; a context manager that ends it.

    :ivar servers: one, or a primary and its replica; with ``detours`` everybody reaches them by these, in the same order.
    :ivar url: for the nodes.
    """

    def __init__(self, kind: str, *, by_detours: bool) -> None:
        self.kind = kind
        self.watching: list[RedisProcess] = []
        self.detours: Detours | None = None
        self._stack = ExitStack()
        with ExitStack() as stack:
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="roomcast-bench-")))
            ports = stack.enter_context(claimed_ports(7))
            self._known = known = ports[5:] if by_detours else ports[:2]
            if by_detours:
                self.detours = stack.enter_context(Detours(list(zip(known, ports, strict=False))))
            if kind == "sentinel":
                pair = sentinels(directory, *KEEPS_EVERYTHING, ports=ports[:5], announced=known, down_ms=DOWN_MS)
                self.servers, self.watching = stack.enter_context(pair)
                where = ",".join(f"127.0.0.1:{each.port}" for each in self.watching)
                self.url = f"redis+sentinel://{where}/primary"
            else:
                self.servers = [stack.enter_context(redis_server(directory, *KEEPS_EVERYTHING, port=ports[0]))]
                self.url = f"redis://127.0.0.1:{known[0]}"
            self._stack = stack.pop_all()

    def __enter__(self) -> Backing:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def primary(self) -> RedisProcess:
        """The server that takes writes."""
        for server in self.servers:
            with suppress(OSError):
                if server.numbers("replication").get("role") == "master":
                    return server
        return self.servers[0]

    def whole(self) -> bool:
        """Whether there is one primary, which all Sentinels name, and its replica follows it."""
        if self.kind != "sentinel":
            return True
        try:
            states = [server.numbers("replication") for server in self.servers]
            roles = [state["role"] for state in states]
            if sorted(roles) != ["master", "slave"]:
                return False
            primary = roles.index("master")
            named = {tuple(each.ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "primary")) for each in self.watching}
        except OSError:
            return False
        return states[primary]["connected_slaves"] == "1" and named == {(b"127.0.0.1", b"%d" % self._known[primary])}

    def traffic(self) -> dict[str, int]:
        """Of the primary since it started: operations, bytes in and out, CPU in nanoseconds. Raises OSError."""
        calls = self.primary.numbers("commandstats")
        stats, cpu = self.primary.numbers("stats"), self.primary.numbers("cpu")
        operations = sum(
            int(value.split(",")[0].removeprefix("calls="))
            for name, value in calls.items()
            if name.removeprefix("cmdstat_") in BROKER_COMMANDS
        )
        return {
            "operations": operations,
            "bytes_in": int(stats["total_net_input_bytes"]),
            "bytes_out": int(stats["total_net_output_bytes"]),
            "cpu_ns": int(1e9 * (float(cpu["used_cpu_sys"]) + float(cpu["used_cpu_user"]))),
        }


class Site:
    """See the module's docstring; a context manager that stops everything.

    :param sections: settings of every node.
    :param command: how to start one.
    :raises EngineError: a node did not start.
    :raises bench.redisproc.RedisError: Redis did not.
    :raises bench.postgresproc.PostgresError: PostgreSQL did not.
    :ivar treasury: the ledger of the run; None: there is no money.
    """

    def __init__(self, load: Load, sections: Sections, command: tuple[str, ...]) -> None:
        self._command = command
        self._past: list[Sample] = []
        self._statistics: list[dict[str, Any] | None] = []
        self.nodes: list[EngineProcess] = []
        self._sections: list[Sections] = []
        self.backing: Backing | None = None
        self.treasury: Treasury | None = None
        self._directory = tempfile.TemporaryDirectory(prefix="roomcast-bench-")
        try:
            if load.broker in ("redis", "sentinel"):
                self.backing = Backing(load.broker, by_detours=load.faults > 0)
                sections = merge({"redis": {"url": self.backing.url}}, sections)
            if load.money:
                self.treasury = Treasury(load.ledger, Path(self._directory.name))
                sections = merge({"ledger": {"url": self.treasury.url}}, sections)
            for number in range(load.nodes):
                own: Sections = {}
                if load.nodes > 1:
                    directory = str(Path(self._directory.name) / f"node{number}")
                    own = {"node": {"name": f"node{number}", "run_directory": directory}}
                self._sections.append(merge(sections, own))
                self.nodes.append(EngineProcess(self._sections[-1], command))
        except BaseException:
            self.stop()
            raise

    def __enter__(self) -> Site:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """Where viewers connect, of each node."""
        return [(node.host, node.port) for node in self.nodes]

    @property
    def viewers_max(self) -> int:
        """Places of all nodes."""
        return sum(node.viewers_max for node in self.nodes)

    def kill(self, number: int) -> None:
        """Kill a node; whatever it has started ends by itself."""
        self._past.append(self.nodes[number].past())
        self.nodes[number].kill()

    def revive(self, number: int) -> None:
        """Start a killed node again where it was. Raises `EngineError`."""
        gone = self.nodes[number]
        gone.stop()
        where: Sections = {"edge": {"host": gone.host, "port": gone.port}}
        self.nodes[number] = EngineProcess(merge(self._sections[number], where), self._command)

    def sample(self, *, memory: bool = True) -> Sample:
        """CPU and memory of all nodes now, with what those had taken that were killed. Raises `EngineError`."""
        first, *others = (node.sample(memory=memory) for node in self.nodes)
        return sum([*others, *self._past], first)

    def stop(self, read: Callable[[Treasury], None] | None = None) -> list[int]:
        """Stop all nodes in order, then Redis and the database; the exit statuses.

        :param read: called with the ledger in between.
        """
        statuses = [node.stop() for node in self.nodes]
        self._statistics = [node.statistics for node in self.nodes]
        if self.treasury is not None:
            try:
                if read is not None:
                    read(self.treasury)
            finally:
                self.treasury.close()
                self.treasury = None
        if self.backing is not None:
            self.backing.__exit__()
            self.backing = None
        self._directory.cleanup()
        return statuses

    @property
    def statistics(self) -> dict[str, Any] | None:
        """What the nodes said about their edges and hubs when they stopped, summed; None if one said nothing."""
        sums: dict[str, Counter[str]] = {"edge": Counter(), "hub": Counter()}
        for each in self._statistics:
            if each is None:
                return None
            for role, counts in sums.items():
                counts.update({name: value for name, value in each.get(role, {}).items() if isinstance(value, int | float)})
        return {role: dict(counts) for role, counts in sums.items()}

    @property
    def qualities(self) -> list[dict[str, Any]]:
        """What nodes said of their viewers' reports when they stopped."""
        return [hub["quality"] for hub in (each.get("hub", {}) for each in self._statistics if each is not None)]

    @property
    def lanes(self) -> list[dict[str, Any]]:
        """What nodes said about their way to the ledger when they stopped."""
        hubs = [each.get("hub", {}) for each in self._statistics if each is not None]
        return [hub["money"]["lane"] for hub in hubs if "money" in hub]
