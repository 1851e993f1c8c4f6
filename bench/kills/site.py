"""The servers of a storm that nobody kills, and the settings of its nodes.

Owns directories, databases, a Redis, ports, and what nodes are told. Must not know what happens there.
"""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from pathlib import Path

from bench.engineproc import Sections
from bench.kills.crowd import GIFTS
from bench.kills.plan import Storm
from bench.postgresproc import postgres_server
from bench.redisproc import KEEPS_EVERYTHING, claimed_ports, redis_server

__all__ = ["Site"]

COMBO_SECONDS = 1.0
RECENT_SECONDS = 20.0
"""Longer than anybody is away; what comes again after each kill is small."""


class Site:
    """See the module's docstring; a context manager that ends everything.

    :ivar ledger: URL of the database.
    :ivar sections: settings of each node.
    """

    def __init__(self, storm: Storm) -> None:
        with ExitStack() as stack:
            self.directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="roomcast-kills-")))
            self.ledger = f"sqlite:///{self.directory / 'ledger.db'}"
            redis = ""
            if storm.ledger == "postgresql":
                self.ledger = stack.enter_context(postgres_server(self.directory / "postgres")).url
            if storm.redis:
                redis = stack.enter_context(redis_server(self.directory / "redis", *KEEPS_EVERYTHING)).url
            # Below those that the kernel gives to connections, which could take a node's while nobody listens there.
            ports = stack.enter_context(claimed_ports(storm.nodes))
            self.sections = [self._settings(storm, number, port, redis) for number, port in enumerate(ports)]
            self._stack = stack.pop_all()

    def __enter__(self) -> Site:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _settings(self, storm: Storm, number: int, port: int, redis: str) -> Sections:
        name = f"node{number}"
        gifts: Sections = {
            f"gifts.{gift}": {"name": gift, "price": price, "combo_seconds": COMBO_SECONDS} for gift, price in GIFTS.items()
        }
        return {
            "node": {
                "name": name,
                "workers": storm.workers,
                "run_directory": str(self.directory / f"{name}-run"),
                "return_window_seconds": 0.0,
            },
            "edge": {"host": "127.0.0.1", "port": port},
            "room": {"heartbeat_seconds": 2.0},
            "limits": {
                "comments_per_second": 1e6,
                "comments_burst": 1_000_000,
                "messages_per_second": 1e6,
                "messages_burst": 100_000,
                "reads_per_second": 1e6,
                "reads_burst": 1_000_000,
            },
            "ledger": {"url": self.ledger, "spend": "free", "guests": True, "recent_seconds": RECENT_SECONDS},
            "redis": {"url": redis},
            "log": {"level": "warning", "format": "json"},
            **gifts,
        }
