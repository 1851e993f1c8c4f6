"""One peer's match: the same steps, the same counting, whoever it is.

Owns the steps and how their results are derived. Must not know a peer's name, nor the terminal beyond `News`. A match:

1. *unbatched*: N viewers join; at one instant each of M of them publishes one message; some rounds of that.
2. *batched*: a new server; one viewer publishes M messages at one instant, in one message where the peer takes that. This
   engine takes them one by one and batches itself, in both.
3. *slow*: a new server with fewer viewers. At a steady rate four times the bytes that the kernel holds for a viewer who
   does not read, once with everybody reading, once with one in a hundred not, who then reads on.

CPU is that of all the server's processes from just before the first publish until they are at rest. Everything that waits
has a bound; who does not move within it is reported as stalled.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Iterable
from statistics import median

from bench.children import ChildError
from bench.peers.base import Adapter
from bench.peers.catalogue import ENGINE_NAME
from bench.peers.process import Share
from bench.peers.record import Burst, Comparison, Peer, Slow, Verdict, environment
from bench.peers.server import PeerError
from bench.peers.stage import ROUND_SECONDS, Load, News, Rounds, Stage

__all__ = ["compare", "kernel_holds", "play", "play_slow"]

BURSTS_SECONDS = 40.0
"""Of a peer that needs longer for its rounds, fewer are taken."""
SLOW_AUDIENCE = 100
SLOW_BODY_BYTES = 15_000
SLOW_RCVBUF = 4096
SLOW_PUBLISHERS = 10
SLOW_READ_ON_SECONDS = 3.0
"""A viewer who reads again and gets nothing for so long gets nothing more."""
BUFFERS_SENT = 4
KERNEL_BYTES_MAX = 8 << 20


def compare(adapters: Iterable[Adapter], load: Load, show: News) -> Comparison:
    """All matches, one after the other. Ctrl-C yields those that are done."""
    result = Comparison(
        viewers=load.viewers,
        messages=load.messages,
        rounds=load.rounds,
        body_bytes=load.body_bytes,
        seed=load.seed,
        environment=environment(),
    )
    try:
        for adapter in adapters:
            result.peers.append(play(adapter, load, show))
    except KeyboardInterrupt:
        result.partial = True
    _factors(result.peers)
    return result


def _factors(peers: list[Peer]) -> None:
    engine = next((peer for peer in peers if peer.name == ENGINE_NAME), None)
    for peer in peers:
        for kind in ("unbatched", "batched"):
            ours: Burst | None = getattr(engine, kind, None)
            theirs: Burst | None = getattr(peer, kind)
            if ours and theirs and ours.deliveries_per_core_second and theirs.deliveries_per_core_second:
                theirs.engine_factor = ours.deliveries_per_core_second / theirs.deliveries_per_core_second


def play(adapter: Adapter, load: Load, show: News) -> Peer:
    """One peer's match. What goes wrong is in the result, never raised."""
    peer = Peer(name=adapter.name, what=adapter.what, link=adapter.link, viewers=load.viewers)
    if reason := adapter.available():
        peer.status, peer.note = "not installed", reason
        show.line(f"{peer.name}: not installed ({reason})")
        return peer
    peer.version = adapter.version()
    try:
        peer.unbatched = _bursts(adapter, "unbatched", load, peer, show)
        peer.batched = _bursts(adapter, "batched", load, peer, show)
        if load.slow_rate:
            peer.slow = play_slow(adapter, load, show)
    except (PeerError, ChildError) as error:
        peer.status, peer.note = "failed", str(error)
        show.line(f"{peer.name}: failed: {error}")
        return peer
    states = {part.verdict.status for part in (peer.unbatched, peer.batched, peer.slow) if part is not None}
    peer.status = next((state for state in ("stalled", "faulty") if state in states), "done")
    return peer


def _bursts(adapter: Adapter, mode: str, load: Load, peer: Peer, show: News) -> Burst:
    publishers = _spread(min(load.messages, load.viewers), load.viewers)
    share = Share(port=0, dialect=adapter.dialect, first=0, stop=load.viewers, seed=load.seed)
    with Stage(adapter, share, load) as stage:
        stage.join(f"{adapter.name}: joining ({mode})", show)
        if peer.viewer_bytes is None:
            peer.viewer_bytes, peer.join_cpu_us = stage.viewer_bytes, stage.join_cpu_us
        rounds = Rounds()
        began = time.monotonic()
        complete = True
        with show.task(f"{adapter.name}: {mode} bursts", load.rounds) as progress:
            for number in range(load.rounds + 1):
                complete = stage.burst(mode, publishers, rounds)
                if number == 0:
                    rounds = Rounds()  # the first warms up what is lazy
                if not complete:
                    break
                progress(number)
                if number and time.monotonic() - began > BURSTS_SECONDS:
                    break
        return _describe(rounds, stage.verdict(complete))


def _describe(rounds: Rounds, verdict: Verdict) -> Burst:
    burst = Burst(rounds=len(rounds.cpu), verdict=verdict)
    if not rounds.cpu:
        return burst
    burst.frames = median(tally.frames for tally in rounds.tallies)
    burst.deliveries = median(tally.deliveries for tally in rounds.tallies)
    burst.cpu_seconds = median(rounds.cpu)
    burst.seconds = median(rounds.seconds)
    burst.generator_busy = median(rounds.generator)
    if burst.deliveries:
        burst.bytes_per_delivery = median(tally.wire_bytes for tally in rounds.tallies) / burst.deliveries
        burst.frames_per_read = burst.frames / median(tally.reads for tally in rounds.tallies)
        burst.cpu_us_per_delivery = burst.cpu_seconds * 1e6 / burst.deliveries
    if burst.cpu_seconds:
        burst.frames_per_core_second = burst.frames / burst.cpu_seconds
        burst.deliveries_per_core_second = burst.deliveries / burst.cpu_seconds
    return burst


def play_slow(adapter: Adapter, load: Load, show: News) -> Slow:
    """The third part alone. Raises `PeerError` or `ChildError`."""
    viewers = min(load.viewers, SLOW_AUDIENCE)
    stopped = tuple(range(viewers - max(1, viewers // 100), viewers)) if viewers > 1 else ()
    holds = kernel_holds()
    messages = -(-BUFFERS_SENT * holds // SLOW_BODY_BYTES)
    result = Slow(viewers=viewers, slow=len(stopped), messages=messages, kernel_bytes=holds)
    result.sent_bytes = messages * SLOW_BODY_BYTES
    share = Share(port=0, dialect=adapter.dialect, first=0, stop=viewers, seed=load.seed, slow=stopped, slow_rcvbuf=SLOW_RCVBUF)
    most = ROUND_SECONDS + messages / load.slow_rate
    with Stage(adapter, share, load) as stage:
        stage.join(f"{adapter.name}: joining (slow viewer)", show)
        with show.task(f"{adapter.name}: steady, all read, then {len(stopped)} of {viewers} not", 2) as progress:
            publishers = tuple(range(min(SLOW_PUBLISHERS, viewers - len(stopped))))
            complete, tally, _ = stage.steady(messages, SLOW_BODY_BYTES, publishers, load.slow_rate, most)
            result.p99_before_ms = tally.latency.milliseconds()["p99"]
            progress(1)
            if complete:
                before = stage.server.quiet()
                stage.crew.ask("pause")
                complete, tally, peak = stage.steady(messages, SLOW_BODY_BYTES, publishers, load.slow_rate, most)
                result.p99_during_ms = tally.latency.milliseconds()["p99"]
                result.memory_growth_bytes = max(0, peak - before.rss_bytes)
                stage.crew.ask("read")
                stage.crew.wait(stage.goal, SLOW_READ_ON_SECONDS, ROUND_SECONDS)
                progress(2)
        result.verdict = stage.verdict(complete)
        for answer in stage.reports:
            result.lost += sum(lost for index, lost in answer["missing"].items() if int(index) in stopped)
            result.admitted += sum(told for index, told in answer["admitted"].items() if int(index) in stopped)
            result.closed += sum(int(index) in stopped for index in answer["closed"])
    result.loses = result.words()
    return result


def kernel_holds() -> int:
    """Bytes that the kernel takes, both ends together, for a viewer with a small receive buffer who does not read."""
    with socket.socket() as listener, socket.socket() as reader:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SLOW_RCVBUF)
        reader.connect(listener.getsockname())
        writer, _ = listener.accept()
        with writer:
            writer.setblocking(False)
            piece, held = bytes(SLOW_BODY_BYTES), 0
            while held < KERNEL_BYTES_MAX:
                try:
                    held += writer.send(piece)
                except BlockingIOError:
                    break
    return held


def _spread(count: int, viewers: int) -> tuple[int, ...]:
    return tuple(number * viewers // count for number in range(count))
