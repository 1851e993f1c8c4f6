"""HAProxy and nginx in front of a node, each on a loopback port of the system's choice.

Owns the proxies' processes and what has to differ from the README for a test: addresses, paths, limits. The listening socket
is ours and inherited by the proxy, so a connection made before the proxy is ready waits in the queue of the kernel.
"""

from __future__ import annotations

import os
import shutil
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from urllib.parse import urlsplit

import pytest
import trio
from e2e.processes import Served, clean_environment, serve
from e2e.viewers import PATIENCE
from readme import block, replaced

__all__ = ["HAPROXY", "NGINX", "Make", "Proxied", "program", "proxied", "served"]

HOST = "live.example.com"
_FEW = 400
"""Connections, for machines that allow no more descriptors than usual."""


def program(name: str, package: str) -> str:
    """Path of a program; Debian keeps daemons where not every PATH looks. Fails the test when it is not installed."""
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if found is None:
        pytest.fail(f"{name} is needed: apt install {package}, or run without -m proxies", pytrace=False)
    return found


@dataclass(frozen=True, slots=True)
class Certificate:
    """A self-signed certificate.

    :ivar both: a file with key and certificate.
    """

    key: Path
    chain: Path
    both: Path

    def trust(self) -> ssl.SSLContext:
        """A client's context that knows this certificate only."""
        return ssl.create_default_context(cafile=str(self.chain))


def certificate(home: Path) -> Certificate:
    """Make one for loopback with OpenSSL."""
    made = Certificate(home / "key.pem", home / "chain.pem", home / "both.pem")
    command = [program("openssl", "openssl"), "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
    command += ["-noenc", "-days", "2", "-subj", f"/CN={HOST}", "-addext", f"subjectAltName=DNS:{HOST},IP:127.0.0.1"]
    command += ["-keyout", str(made.key), "-out", str(made.chain)]
    run(command)
    made.both.write_text(made.key.read_text() + made.chain.read_text())
    return made


def run(command: list[str], pass_fds: tuple[int, ...] = (), environment: Mapping[str, str] | None = None) -> None:
    """Run a program that ends by itself. Fails the test with what it said when it does not succeed."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, pass_fds=pass_fds, env=environment)
    if done.returncode:
        pytest.fail(f"{' '.join(command)}\n{done.stdout}{done.stderr}", pytrace=False)


@dataclass(frozen=True, slots=True)
class Make:
    """A proxy's ways.

    :ivar settings: what differs in the node's settings from the README.
    :ivar prepare: from a directory, the certificate, our listening socket, the node's ``host:port`` and whether to believe
        PROXY headers, to the command that checks the configuration, the command that runs it, and its environment.
    """

    name: str
    settings: Mapping[str, str]
    prepare: Callable[[Path, Certificate, socket.socket, str, bool], tuple[list[str], list[str], dict[str, str]]]


def _haproxy(
    home: Path, made: Certificate, listener: socket.socket, node: str, behind_balancer: bool
) -> tuple[list[str], list[str], dict[str, str]]:
    changes = {
        "bind :443 ssl": f"bind fd@{listener.fileno()}{' accept-proxy' if behind_balancer else ''} ssl",
        "/etc/haproxy/live.pem": str(made.both),
        "127.0.0.1:8765": node,
        "maxconn 50000": f"maxconn {_FEW}",
    }
    if os.geteuid():
        changes["    user haproxy\n    group haproxy\n"] = ""
    file = home / "haproxy.cfg"
    file.write_text(replaced(block("haproxy.cfg"), changes))
    command = [program("haproxy", "haproxy"), "-f", str(file)]
    return [*command, "-c"], [*command, "-db", "-p", str(home / "haproxy.pid")], {}


def _nginx(
    home: Path, made: Certificate, listener: socket.socket, node: str, behind_balancer: bool
) -> tuple[list[str], list[str], dict[str, str]]:
    host, port = listener.getsockname()
    bodies = "".join(f"{each}_temp_path {home}/{each};\n" for each in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    real = "set_real_ip_from 127.0.0.1;\nreal_ip_header proxy_protocol;\n" if behind_balancer else ""
    changes = {
        "http {\n": f"http {{\naccess_log {home}/access.log;\n{bodies}{real}",
        "listen 443 ssl": f"listen {host}:{port} ssl{' proxy_protocol' if behind_balancer else ''}",
        "/etc/nginx/live.crt": str(made.chain),
        "/etc/nginx/live.key": str(made.key),
        "127.0.0.1:8765": node,
        "worker_connections 100000": f"worker_connections {_FEW}",
        "worker_rlimit_nofile 110000": f"worker_rlimit_nofile {2 * _FEW}",
    }
    file = home / "nginx.conf"
    file.write_text(replaced(block("nginx.conf"), changes))
    also = f"daemon off; pid {home}/nginx.pid; error_log stderr warn;"
    command = [program("nginx", "nginx-light"), "-p", str(home), "-c", str(file), "-e", "stderr", "-g", also]
    # How nginx hands its listening sockets to a successor during an upgrade of itself.
    return [*command, "-t"], command, {"NGINX": f"{listener.fileno()};"}


HAPROXY = Make("haproxy", {}, _haproxy)
NGINX = Make("nginx", {"proxy_protocol = true": "proxy_protocol = false"}, _nginx)


@asynccontextmanager
async def served(make: Make, home: Path, environment: Mapping[str, str]) -> AsyncIterator[Served]:
    """Run a node with the settings that the README gives for a proxy."""
    file = home / "roomcast.toml"
    file.write_text(replaced(block("roomcast.toml"), make.settings), "utf-8")
    async with serve("--config", str(file), environment=clean_environment(**environment)) as node:
        yield node


@asynccontextmanager
async def open_proxy(make: Make, home: Path, made: Certificate, node: str, *, behind_balancer: bool) -> AsyncIterator[int]:
    """Run a proxy in front of ``node``, its ``host:port``, and yield the port it listens on.

    :param behind_balancer: whether it learns its clients' addresses from PROXY headers. Only that way can a test have
        another address than loopback.
    """
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
        port: int = listener.getsockname()[1]
        check, command, more = make.prepare(home, made, listener, node, behind_balancer)
        inherited, environment = (listener.fileno(),), clean_environment(**more)
        run(check, inherited, environment)
        process = await trio.lowlevel.open_process(command, pass_fds=inherited, env=environment)
    try:
        yield port
        assert process.poll() is None, f"{make.name} ended by itself"
    finally:
        with trio.CancelScope(shield=True):
            if process.returncode is None:
                process.terminate()
                with trio.move_on_after(PATIENCE):
                    await process.wait()
            if process.returncode is None:
                process.kill()
                await process.wait()


@dataclass(frozen=True, slots=True)
class Proxied:
    """A node behind a proxy.

    :ivar port: the proxy's.
    :ivar trust: for clients.
    """

    node: Served
    port: int
    trust: ssl.SSLContext

    @property
    def url(self) -> str:
        """Where viewers connect."""
        return f"wss://127.0.0.1:{self.port}/ws"


@asynccontextmanager
async def proxied(
    make: Make, home: Path, environment: Mapping[str, str] = MappingProxyType({}), *, behind_balancer: bool = False
) -> AsyncIterator[Proxied]:
    """A node with a proxy in front of it.

    :param environment: more settings of the node; for ``behind_balancer`` see `open_proxy`.
    """
    made = certificate(home)
    async with (
        served(make, home, environment) as node,
        open_proxy(make, home, made, urlsplit(node.url).netloc, behind_balancer=behind_balancer) as port,
    ):
        yield Proxied(node, port, made.trust())
