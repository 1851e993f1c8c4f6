"""The peers: which there are, whether each is installed, and how each is started.

Owns their commands and configurations. Must not know how they are measured. Every choice here is the one that the peer's
own documentation makes for broadcasting, or its default.
"""

from __future__ import annotations

import json
import os
import re
import resource
import shutil
import sys
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from bench.engineproc import ENGINE, Sections, to_toml
from bench.peers.base import SERVERS, Adapter, Launch, Script, output_of

__all__ = ["ADAPTERS", "ENGINE_NAME", "LIMIT_NAME"]

ENGINE_NAME, LIMIT_NAME = "roomcast", "limit"
PLENTY = 1_000_000
DESCRIPTORS_MAX = 200_000
"""nginx sets memory aside for each."""
SPARE = 2
"""nginx closes connections that have not said much yet when fewer than a sixteenth of its slots are free."""
NODE_MODULES = ("/usr/share/nodejs", "/usr/lib/node_modules", "/usr/local/lib/node_modules")
"""Where Debian and npm put modules for everybody; NODE_PATH comes first."""


class Engine(Adapter):
    """This engine."""

    name = ENGINE_NAME
    what = "this engine, default settings without compression and rate limits; batches by itself"
    link = "README.md"
    dialect = "roomcast"

    def available(self) -> None:
        """Always."""

    def version(self) -> str:
        """Of the package."""
        return version("roomcast")

    def start(self, directory: Path, port: int) -> Launch:
        """A config file with the port. Rate limits are opened: some viewers speak for a hundred."""
        config = directory / "roomcast.toml"
        sections: Sections = {
            "edge": {"host": "127.0.0.1", "port": port, "compression": False},
            "limits": {
                "comment_bytes": 16_384,
                "comment_characters": 16_384,
                "comments_per_second": float(PLENTY),
                "comments_burst": PLENTY,
                "messages_per_second": float(PLENTY),
                "messages_burst": PLENTY,
            },
            "log": {"level": "warning"},
        }
        config.write_text(to_toml(sections))
        return Launch(command=(*ENGINE, "--config", str(config)))


class Limit(Script):
    """What no server in Python can beat."""

    name = LIMIT_NAME
    what = "a bare loop of non-blocking send() over all sockets, one round for each message; no library, no queue"
    link = "bench/peers/servers/limit_server.py"
    script = "limit_server.py"

    def available(self) -> None:
        """Always."""

    def version(self) -> str:
        """The interpreter's."""
        return f"Python {sys.version.split()[0]}"


class Websockets(Script):
    """websockets on uvloop."""

    name = "websockets"
    what = "websockets' broadcast() on uvloop"
    link = "https://websockets.readthedocs.io/en/stable/topics/broadcast.html"
    script = "websockets_server.py"

    def available(self) -> str | None:
        """Both packages are needed."""
        return _packages("websockets", "uvloop")

    def version(self) -> str:
        """Of both."""
        return f"{version('websockets')}, uvloop {version('uvloop')}"


class TrioWebsocket(Script):
    """trio-websocket."""

    name = "trio-websocket"
    what = "trio-websocket, for each connection a task that sends from its own memory channel"
    link = "https://trio.readthedocs.io/en/stable/reference-core.html#using-channels-to-pass-values-between-tasks"
    script = "trio_server.py"

    def available(self) -> str | None:
        """Installed with the engine."""
        return _packages("trio_websocket")

    def version(self) -> str:
        """Of the package and trio."""
        return f"{version('trio-websocket')}, trio {version('trio')}"


class MicroWebsockets(Script):
    """uWebSockets."""

    name = "uws"
    what = "uWebSockets (C++) through socketify: topics; what is published within one turn of its loop leaves in one write"
    link = "https://docs.socketify.dev/websockets-backpressure.html"
    script = "uws_server.py"

    def available(self) -> str | None:
        """The package brings its library along; it needs libuv from the system."""
        return _packages("socketify")

    def version(self) -> str:
        """socketify's, which pins uWebSockets'."""
        return f"socketify {version('socketify')}"


class NodeWs(Adapter):
    """ws on Node."""

    name = "ws"
    what = "ws on Node: clients.forEach(client => client.send(data))"
    link = "https://github.com/websockets/ws#server-broadcast"

    def available(self) -> str | None:
        """Node itself, and the module where Node finds it."""
        if shutil.which("node") is None:
            return "Node is not installed: apt install nodejs node-ws"
        return None if self._installed() else "apt install node-ws, or npm install -g ws"

    def version(self) -> str:
        """Of the module and of Node."""
        return (self._installed() or "").strip()

    def start(self, directory: Path, port: int) -> Launch:
        """Node runs the program."""
        return Launch(command=("node", str(SERVERS / "ws_server.mjs"), str(port)), environment=self._environment())

    def _environment(self) -> dict[str, str]:
        return {"NODE_PATH": os.pathsep.join(filter(None, (os.environ.get("NODE_PATH"), *NODE_MODULES)))}

    def _installed(self) -> str | None:
        ask = "console.log(`${require('ws/package.json').version}, Node ${process.version}`)"
        return output_of("node", "-e", ask, environment=dict(os.environ) | self._environment())


class Nchan(Adapter):
    """nchan, a module of nginx."""

    name = "nchan"
    what = "nchan in nginx, one worker: a WebSocket location that is publisher and subscriber of one channel"
    link = "https://nchan.io/#pubsub-endpoint"

    def available(self) -> str | None:
        """nginx and the module."""
        return None if self._module() else "apt install nginx libnginx-mod-nchan"

    def version(self) -> str:
        """nginx's; the module tells its own only to a running server."""
        found = re.search(r"nginx/(\S+)", output_of(self._nginx(), "-v") or "")
        debian = output_of("dpkg-query", "-W", "-f", "${Version}", "libnginx-mod-nchan")
        return f"nchan {debian or '?'}, nginx {found[1] if found else '?'}"

    def start(self, directory: Path, port: int) -> Launch:
        """A configuration of its own, touching nothing of the system's."""
        config = directory / "nginx.conf"
        temporary = "\n".join(
            f"    {kind}_temp_path {directory / kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        descriptors = DESCRIPTORS_MAX if hard == resource.RLIM_INFINITY else min(hard, DESCRIPTORS_MAX)
        user = "user root;" if os.geteuid() == 0 else ""
        config.write_text(
            f"""load_module {self._module()};
{user}
daemon off;
worker_processes 1;
worker_rlimit_nofile {descriptors};
pid {directory / "nginx.pid"};
error_log stderr error;
events {{ worker_connections {descriptors * SPARE}; }}
http {{
    access_log off;
{temporary}
    nchan_shared_memory_size 256M;
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location = /ws {{
            nchan_pubsub websocket;
            nchan_channel_id room;
            nchan_message_buffer_length 2000;
            nchan_message_timeout 5m;
            nchan_subscriber_first_message newest;
        }}
    }}
}}
"""
        )
        return Launch(command=(self._nginx(), "-p", str(directory), "-e", "stderr", "-c", str(config)))

    def _nginx(self) -> str:
        return shutil.which("nginx") or "/usr/sbin/nginx"

    def _module(self) -> Path | None:
        told = re.search(r"--modules-path=(\S+)", output_of(self._nginx(), "-V") or "")
        module = Path(told[1] if told else "/usr/lib/nginx/modules") / "ngx_nchan_module.so"
        return module if module.exists() else None


class CentrifugoServer(Adapter):
    """Centrifugo."""

    name = "centrifugo"
    what = "Centrifugo (Go, one thread of work): JSON protocol, viewers publish into the channel they subscribed to"
    link = "https://centrifugal.dev/docs/server/channel_permissions"
    dialect = "centrifugo"

    def available(self) -> str | None:
        """One binary on the PATH."""
        if shutil.which("centrifugo"):
            return None
        return "a centrifugo 6 binary on the PATH: https://centrifugal.dev/docs/getting-started/installation"

    def version(self) -> str:
        """As it says itself."""
        return (output_of("centrifugo", "version") or "?").strip().splitlines()[0]

    def start(self, directory: Path, port: int) -> Launch:
        """Anonymous viewers who may subscribe and publish, no history."""
        config = directory / "centrifugo.json"
        allowed = ("subscribe_for_anonymous", "subscribe_for_client", "publish_for_anonymous", "publish_for_subscriber")
        settings = {
            "http_server": {"address": "127.0.0.1", "port": port},
            "client": {"allow_anonymous_connect_without_token": True, "allowed_origins": ["*"]},
            "channel": {"without_namespace": {f"allow_{what}": True for what in allowed}},
            "websocket": {"message_size_limit": 16 << 20},
            "log": {"level": "error"},
        }
        config.write_text(json.dumps(settings))
        return Launch(command=("centrifugo", "--config", str(config)), environment={"GOMAXPROCS": "1"})


def _packages(*names: str) -> str | None:
    missing = [name.replace("_", "-") for name in names if find_spec(name) is None]
    return f"pip install {' '.join(missing)}" if missing else None


ADAPTERS: tuple[Adapter, ...] = (
    Engine(),
    Limit(),
    Websockets(),
    TrioWebsocket(),
    MicroWebsockets(),
    NodeWs(),
    Nchan(),
    CentrifugoServer(),
)
"""In the order of the table: this engine and the limit first."""
