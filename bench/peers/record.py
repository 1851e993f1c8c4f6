"""The result of a comparison: one record, as JSON for machines and reports.

Owns the fields. Must not know how they were measured or are shown. The JSON is the record field by field::

    {"viewers", "messages", "rounds", "body_bytes", "seed", "partial", "environment": {…},
     "peers": [{"name", "what", "link", "version", "status", "note", "viewers",
                "join_cpu_us", "viewer_bytes",
                "unbatched": BURST | null, "batched": BURST | null, "slow": SLOW | null}, …]}

with BURST the fields of `Burst` and SLOW those of `Slow`. Units are in the names: ``_us`` microseconds, ``_ms`` milliseconds,
``_bytes`` bytes, without one seconds. A core-second is a second of CPU, user and system, of all the server's processes.
"""

from __future__ import annotations

import json
import os
import platform
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["Burst", "Comparison", "Peer", "Slow", "environment"]


@dataclass(slots=True, kw_only=True)
class Verdict:
    """What checking every delivery of one server's run found, from its first message to its last.

    :ivar status: ``verified``, ``faulty`` (see the counts) or ``stalled`` (nothing moved any more, or it took too long).
    :ivar lost: messages missing at a viewer that read, summed over viewers.
    :ivar reordered: messages that came after a later one of the same publisher.
    :ivar closed: viewers that read and lost their connection.
    :ivar common_order: whether all viewers that read saw the messages in one and the same order.
    """

    status: str = "verified"
    lost: int = 0
    doubled: int = 0
    reordered: int = 0
    altered: int = 0
    closed: int = 0
    common_order: bool = True
    faults: list[str] = field(default_factory=list)


@dataclass(slots=True, kw_only=True)
class Burst:
    """All messages at one instant to all viewers; medians of the rounds.

    :ivar frames: WebSocket data frames with messages, at viewers, in a round.
    :ivar deliveries: messages at viewers in a round.
    :ivar cpu_us_per_delivery: of the server.
    :ivar seconds: first publish → last receipt.
    :ivar bytes_per_delivery: all bytes that the viewers read, by deliveries.
    :ivar frames_per_read: how many frames a ``recv`` of a viewer returned.
    :ivar generator_busy: CPU of the busiest generator process by ``seconds``; near 1, ``seconds`` tells of the generator.
    :ivar engine_factor: this engine's deliveries per core-second by this peer's, both of this run.
    """

    rounds: int = 0
    frames: float = 0.0
    deliveries: float = 0.0
    cpu_seconds: float = 0.0
    frames_per_core_second: float | None = None
    deliveries_per_core_second: float | None = None
    cpu_us_per_delivery: float | None = None
    seconds: float | None = None
    bytes_per_delivery: float | None = None
    frames_per_read: float | None = None
    generator_busy: float | None = None
    engine_factor: float | None = None
    verdict: Verdict = field(default_factory=Verdict)


@dataclass(slots=True, kw_only=True)
class Slow:
    """Some viewers stop reading while messages come at a steady rate, then read on.

    :ivar viewers: all; ``slow`` of them stop.
    :ivar sent_bytes: texts published while they did not read; ``kernel_bytes`` is what the kernel holds for one of them.
    :ivar lost: messages that the slow ones never got, in all; ``admitted`` of them the server told them about.
    :ivar closed: slow viewers whose connection the server ended.
    :ivar memory_growth_bytes: of the server, while they did not read.
    :ivar p99_before_ms: latency of everybody while all read; ``p99_during_ms`` of those who still read.
    :ivar loses: what a slow viewer loses, in words.
    :ivar verdict: lost and closed are those who read all the time; the other counts are everybody's.
    """

    viewers: int = 0
    slow: int = 0
    messages: int = 0
    sent_bytes: int = 0
    kernel_bytes: int = 0
    lost: int = 0
    admitted: int = 0
    closed: int = 0
    memory_growth_bytes: int = 0
    p99_before_ms: float | None = None
    p99_during_ms: float | None = None
    loses: str = ""
    verdict: Verdict = field(default_factory=Verdict)

    def words(self) -> str:
        """What a slow viewer loses."""
        if self.verdict.status == "stalled":
            return "stalled"
        parts = []
        if self.closed:
            parts.append("the connection")
        if self.lost and not self.closed:
            how = "is told" if self.admitted >= self.lost else "silently"
            parts.append(f"{self.lost / max(1, self.slow):,.0f} of {self.messages:,}, {how}")
        return "; ".join(parts) or "nothing"


@dataclass(slots=True, kw_only=True)
class Peer:
    """One peer.

    :ivar status: ``done``, ``not installed``, ``failed``, ``stalled`` (then some parts are missing) or ``faulty``.
    :ivar note: how to get it, or what went wrong.
    :ivar join_cpu_us: CPU of the server for one viewer's connecting and subscribing.
    :ivar viewer_bytes: memory of the server for one idle viewer.
    """

    name: str
    what: str
    link: str
    version: str = ""
    status: str = "done"
    note: str = ""
    viewers: int = 0
    join_cpu_us: float | None = None
    viewer_bytes: float | None = None
    unbatched: Burst | None = None
    batched: Burst | None = None
    slow: Slow | None = None


@dataclass(slots=True, kw_only=True)
class Comparison:
    """One run.

    :ivar partial: whether it was interrupted; the peers are those that were done.
    """

    viewers: int
    messages: int
    rounds: int
    body_bytes: int
    seed: int
    partial: bool = False
    peers: list[Peer] = field(default_factory=list)
    environment: dict[str, Any] = field(default_factory=dict)

    def write(self, path: Path) -> None:
        """As JSON."""
        path.write_text(json.dumps(asdict(self), indent=2) + "\n", encoding="utf-8")


def environment() -> dict[str, Any]:
    """Kernel, processor and interpreter."""
    return {
        "kernel": platform.release(),
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "python": sys.version.split()[0],
    }
