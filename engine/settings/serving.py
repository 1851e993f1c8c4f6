"""Of the process, its viewers' connections, and what it writes about itself.

Owns these sections. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from annotated_types import Ge, Gt, Le, doc

from engine.settings.strict import STRICT

__all__ = ["EdgeSettings", "LogSettings", "NodeSettings"]


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSettings:
    """The process as a whole."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT

    name: Annotated[str, doc("Name of this node in logs and statistics; empty means the host's name.")] = ""
    shutdown_seconds: Annotated[
        float,
        Gt(0),
        Le(600),
        doc("After SIGTERM, how long queued frames may take to reach viewers before the process ends."),
    ] = 10.0
    return_window_seconds: Annotated[
        float,
        Ge(0),
        Le(600),
        doc("Viewers told to leave come back at a random moment within this window, not all at once."),
    ] = 10.0
    workers: Annotated[
        Annotated[int, Ge(0), Le(256)] | Literal["auto"],
        doc(
            "Edge processes that share the viewers, beside one hub process and a supervisor; "
            "limits of connections and viewers then hold for each edge process. 0 serves in one process. "
            '"auto": one for each core, as many as a CPU quota comes to at most.'
        ),
    ] = 0
    hang_seconds: Annotated[
        float,
        Ge(0),
        Le(3600),
        doc(
            "With workers, a process whose event loop stands still for so long is killed and replaced. "
            "Must exceed the longest pause that the machine may make, such as a snapshot of it. 0 means never."
        ),
    ] = 30.0
    pin_cpus: Annotated[bool, doc("With workers, keep each process on one core.")] = False
    run_directory: Annotated[
        str,
        doc(
            "With workers, directory for the pid file and the hub's socket, readable by this user only. "
            "Empty means roomcast in $XDG_RUNTIME_DIR, or roomcast-UID in the directory for temporary files."
        ),
    ] = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeSettings:
    """Viewer connections."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT

    host: Annotated[
        str, doc("Address to listen on. Loopback by default: TLS and the public side belong to a proxy in front.")
    ] = "127.0.0.1"
    port: Annotated[int, Ge(0), Le(65535), doc("TCP port; 0 lets the system choose.")] = 8765
    path: Annotated[str, doc("Path of the WebSocket endpoint.")] = "/ws"
    backlog: Annotated[
        int, Ge(16), Le(65535), doc("Connections the kernel queues before accept; net.core.somaxconn caps it.")
    ] = 4096
    viewers_max: Annotated[
        int,
        Ge(0),
        doc("Connections served at once; above it 503 with Retry-After. 0 means derived from the descriptor limit."),
    ] = 0
    viewers_per_address: Annotated[
        int,
        Ge(0),
        Le(10_000_000),
        doc("Connections from one IPv4 address or IPv6 /64; above it the answer is 429. Loopback is exempt. 0 means no limit."),
    ] = 256
    handshake_seconds: Annotated[float, Gt(0), Le(300), doc("Time for the upgrade request to arrive completely.")] = 10.0
    join_seconds: Annotated[float, Gt(0), Le(300), doc("Time from the upgrade, or from leaving a room, to joining one.")] = 15.0
    request_bytes: Annotated[int, Ge(1024), Le(1 << 20), doc("Largest upgrade request; above it the answer is 431.")] = 16_384
    message_bytes: Annotated[int, Ge(256), Le(1 << 20), doc("Largest message a viewer may send, after inflating.")] = 16_384
    send_buffer_bytes: Annotated[
        int,
        Ge(4096),
        Le(16 << 20),
        doc("SO_SNDBUF of each viewer: kernel memory that a viewer who stopped reading can hold."),
    ] = 65_536
    private_bytes: Annotated[
        int, Ge(1024), Le(1 << 20), doc("Replies waiting for one viewer; beyond it the viewer is closed.")
    ] = 16_384
    dead_peer_seconds: Annotated[
        float,
        Ge(5),
        Le(3600),
        doc("TCP_USER_TIMEOUT: unacknowledged data closes the connection. Must exceed room.lag_seconds."),
    ] = 60.0
    slice_frames: Annotated[
        int,
        Ge(1),
        Le(65536),
        doc("Sends between two checkpoints of the fan-out. Smaller: fairer. Larger: less overhead."),
    ] = 512
    compression: Annotated[bool, doc("Offer permessage-deflate (RFC 7692) without context takeover.")] = True
    origins: Annotated[
        tuple[str, ...], doc('Origins a browser may come from, such as "https://live.example.com"; empty means any.')
    ] = ()
    trusted_proxies: Annotated[
        tuple[str, ...], doc('Networks, such as "10.0.0.0/8", whose X-Forwarded-For and PROXY headers are believed.')
    ] = ()
    proxy_protocol: Annotated[
        bool, doc("Require a PROXY protocol v2 header on connections from trusted_proxies, which must not be empty.")
    ] = False


@dataclass(frozen=True, slots=True, kw_only=True)
class LogSettings:
    """What the process writes about itself, to standard error."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT

    level: Annotated[Literal["debug", "info", "warning", "error"], doc("Least important line that is written.")] = "info"
    format: Annotated[Literal["auto", "console", "json"], doc('"auto": console on a terminal, otherwise json.')] = "auto"
