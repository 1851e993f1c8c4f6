"""The planner's arithmetic: costs of single steps and a demand in, cores, nodes, memory, network and broker load out.

Owns the model and its assumptions; pure. Must not know how the costs were measured.

A room's tick is what its fan-out takes at one edge, divided by the share of a core that fan-out may take
(`engine.room.batcher.tick_seconds`); so a busy room keeps a core at that share whatever its size, and its size sets the
latency: an event waits for a tick at most, and the last viewer of a pass gets it when the pass is over. From one batch to the
next it is a tick, half a grid step on average because ticks are rounded up to the grid, and half the time between two events
until the next one comes; not less than a grid step.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from engine.settings import RoomSettings

__all__ = ["ASSUMPTIONS", "Costs", "Demand", "Share", "Sizing", "share_of", "size"]

PACKET_BYTES: Final = 1448
"""Payload of a TCP segment on Ethernet with timestamps."""
PACKET_OVERHEAD: Final = 90
"""Ethernet framing, IPv4 and TCP headers with timestamps."""
GROWTH: Final = 1.02
"""Step in which the size of an edge is searched."""

ASSUMPTIONS: Final = (
    "costs are this host's, kernel included; another machine's differ in proportion to its system calls and memory",
    "loopback has no network card: its interrupts cost some more per packet, TLS belongs to a proxy in front",
    "comments come evenly; all rooms are alike; everybody reads as fast as it is sent to",
    "of the kernel's memory half of what both ends took on this machine is the server's; send buffers in use come on top",
    "each node has a hub process that orders and encodes; its share is small beside the edges' and counted",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """What single steps cost on one host: CPU seconds and bytes.

    :ivar join: upgrade, join and snapshot of one viewer.
    :ivar message: a comment, received to published and answered.
    :ivar like: a like message.
    :ivar batch: encoding and handing out one batch, whatever its size.
    :ivar frame: sending one frame to one viewer, without its bytes; ``byte`` of each of them.
    :ivar wall: wall-clock seconds of a pass to CPU seconds of its frames; less than 1 on a core of its own, because a frame
        costs a little outside of passes, too.
    :ivar process_bytes: memory of an engine process without viewers; ``viewer_bytes`` of each viewer in it.
    :ivar kernel_bytes: of each viewer's connection in the kernel, one end.
    :ivar event_bytes: of an event in a frame beyond its text; ``frame_bytes`` of a frame beyond its events.
    :ivar spread: relative half-range of repeated measurements.
    """

    join: float
    message: float
    like: float
    batch: float
    frame: float
    byte: float
    wall: float
    process_bytes: float
    viewer_bytes: float
    kernel_bytes: float
    event_bytes: float
    frame_bytes: float
    spread: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """What is to be carried, and by what machines.

    :ivar viewers: of all rooms.
    :ivar messages_per_second: comments in each room.
    :ivar likes_per_second: like messages in each room.
    :ivar joins_per_second: of all rooms.
    :ivar body_bytes: of a comment's text.
    :ivar latency_ms: from send to the last viewer; the longest acceptable.
    :ivar utilisation: of a core that may be used on average.
    :ivar process_viewers: connections of one edge process.
    """

    viewers: int
    rooms: int = 1
    messages_per_second: float = 100.0
    likes_per_second: float = 0.0
    joins_per_second: float = 0.0
    body_bytes: int = 48
    latency_ms: float = 1000.0
    utilisation: float = 0.75
    process_viewers: int = 100_000
    node_cores: int = 16
    node_memory_gb: float = 64.0
    node_gbit: float = 10.0

    @property
    def room_viewers(self) -> float:
        """Viewers of each room."""
        return self.viewers / self.rooms


@dataclass(frozen=True, slots=True)
class Share:
    """One edge's part of the demand, by the second.

    :ivar rooms: rooms on the edge, whole or the one it has a part of.
    :ivar viewers: of each of them here.
    :ivar tick: seconds from one batch to the next.
    :ivar frames: to each viewer.
    :ivar frame_bytes: of each.
    :ivar cpu: of one core: fan-out and joins; ``ingest`` the part of it that moves to a hub.
    :ivar latency: send to the last receipt, seconds.
    :ivar wire_bytes: with headers of all layers.
    """

    rooms: float
    viewers: float
    tick: float
    frames: float
    frame_bytes: float
    cpu: float
    ingest: float
    latency: float
    wire_bytes: float

    @property
    def load(self) -> float:
        """Of one core, ingest included."""
        return self.cpu + self.ingest


@dataclass(frozen=True, slots=True)
class Sizing:
    """What a demand needs.

    :ivar share: of one edge.
    :ivar by: nodes that each resource alone would take.
    :ivar broker_operations: publishes and deliveries to nodes, a second; ``broker_bytes`` of them.
    :ivar feasible: whether the latency can be kept at all.
    """

    share: Share
    edges: int
    cores: float
    memory_bytes: float
    egress_bits: float
    deliveries: float
    nodes: int
    by: dict[str, float]
    broker_operations: float
    broker_bytes: float
    feasible: bool

    @property
    def saturates_first(self) -> str:
        """The resource that sets the number of nodes."""
        return max(self.by, key=lambda name: self.by[name])


def share_of(costs: Costs, demand: Demand, room: RoomSettings, *, rooms: float, viewers: float, whole: bool = True) -> Share:
    """What ``rooms`` rooms with ``viewers`` viewers each at one edge come to.

    :param whole: the rooms are entirely here, and so is their ingest.
    """
    rate = demand.messages_per_second
    event_bytes = costs.event_bytes + demand.body_bytes
    grid, size = room.tick_grid_seconds or 1e-3, costs.frame_bytes + event_bytes
    tick = grid
    for _ in range(20):  # the tick makes the frame, the frame the tick: a contraction
        cost = costs.frame + costs.byte * size
        wanted = min(max(viewers * cost * costs.wall / room.fanout_share, 1e-3), room.tick_max_seconds)
        tick = max(grid, wanted + grid / 2 + min(1 / rate, grid) / 2)
        frames = min(rate, 1 / tick)
        size = costs.frame_bytes + (rate / frames * event_bytes if frames else 0.0)
    heartbeats = 0.0 if frames > 1 / room.heartbeat_seconds else 1 / room.heartbeat_seconds
    counters = 1 / max(room.counters_seconds, tick)
    silent = max(heartbeats, counters - frames if demand.likes_per_second else 0.0)
    sent = rooms * viewers
    fanout = sent * (frames * cost + silent * (costs.frame + costs.byte * costs.frame_bytes))
    ingest = rooms * (rate * costs.message + demand.likes_per_second * costs.like + (frames + silent) * costs.batch)
    joins = demand.joins_per_second * sent / demand.viewers * costs.join
    packets = math.ceil(size / PACKET_BYTES)
    return Share(
        rooms=rooms,
        viewers=viewers,
        tick=tick,
        frames=frames + silent,
        frame_bytes=size,
        cpu=fanout + joins,
        ingest=ingest if whole else 0.0,
        latency=tick + viewers * cost * costs.wall + room.tick_grid_seconds,
        wire_bytes=sent * (frames * (size + packets * PACKET_OVERHEAD) + silent * (costs.frame_bytes + PACKET_OVERHEAD)),
    )


def size(costs: Costs, demand: Demand, room: RoomSettings) -> Sizing:
    """Find the largest edge that keeps the latency, the utilisation and the process's connections, and count."""
    share, feasible = _largest(costs, demand, room)
    edges = math.ceil(demand.viewers / (share.rooms * share.viewers))
    whole = share_of(costs, demand, room, rooms=demand.rooms, viewers=demand.room_viewers)
    ingest = whole.ingest
    cores = edges * share.cpu / demand.utilisation + ingest / demand.utilisation
    deliveries = demand.viewers * demand.messages_per_second
    egress = edges * share.wire_bytes * 8
    memory = demand.viewers * (costs.viewer_bytes + costs.kernel_bytes)
    memory += edges * (costs.process_bytes + _log_bytes(share, room))
    by = {
        "cores": cores / demand.node_cores,
        "memory": memory / (demand.node_memory_gb * 1e9 * demand.utilisation),
        "network": egress / (demand.node_gbit * 1e9 * demand.utilisation),
    }
    nodes = max(1, math.ceil(max(by.values())))
    memory += nodes * costs.process_bytes  # a hub on each
    in_nodes = min(nodes, math.ceil(nodes / demand.rooms) if demand.rooms < nodes else 1)
    rate = demand.messages_per_second
    publishes = demand.rooms * min(rate, in_nodes / (room.tick_grid_seconds or 1e-3))
    return Sizing(
        share=share,
        edges=edges,
        cores=cores,
        memory_bytes=memory,
        egress_bits=egress,
        deliveries=deliveries,
        nodes=nodes,
        by=by,
        broker_operations=publishes + publishes * in_nodes,
        broker_bytes=demand.rooms * rate * (demand.body_bytes + costs.event_bytes) * (1 + in_nodes),
        feasible=feasible,
    )


def _log_bytes(share: Share, room: RoomSettings) -> float:
    """Frames that an edge keeps for those who lag or return."""
    return share.rooms * min(room.log_bytes, share.frames * room.log_seconds * share.frame_bytes)


def _largest(costs: Costs, demand: Demand, room: RoomSettings) -> tuple[Share, bool]:
    """The largest edge within all limits, and whether there is one."""

    def fits(share: Share) -> bool:
        return (
            share.load <= demand.utilisation
            and share.latency * 1000 <= demand.latency_ms
            and share.rooms * share.viewers <= demand.process_viewers
        )

    single = share_of(costs, demand, room, rooms=1, viewers=demand.room_viewers)
    if fits(single):
        rooms = 1.0
        while rooms < demand.rooms:
            more = min(float(demand.rooms), max(rooms + 1, rooms * GROWTH))
            if not fits(share_of(costs, demand, room, rooms=more, viewers=demand.room_viewers)):
                break
            rooms = more
        return share_of(costs, demand, room, rooms=rooms, viewers=demand.room_viewers), True
    viewers = 1.0
    best: Share | None = None
    while viewers <= demand.room_viewers:
        # A room that several edges share leaves its ingest to the hubs.
        share = share_of(costs, demand, room, rooms=1, viewers=viewers, whole=False)
        if fits(share):
            best = share
        viewers *= GROWTH
    if best is None:
        return share_of(costs, demand, room, rooms=1, viewers=1.0, whole=False), False
    return best, True
