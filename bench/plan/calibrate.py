"""The planner's measurements: short runs against an engine on this host, each isolating one cost.

Owns which runs they are and how a cost follows from them, and the check of a prediction against a further run. Must not
know what the costs are used for.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from statistics import median
from typing import Final

from bench.engineproc import EngineProcess, Sections, quiet
from bench.load import Load
from bench.plan.model import Costs, Demand, Share, share_of
from bench.play import once
from bench.report.record import Record
from bench.report.show import Show
from bench.scenario import Scenario
from engine.settings import RoomSettings

__all__ = ["CalibrationError", "Check", "calibrate", "check"]

ROOM: Final = Load(viewers=3_000, senders=50, rate=60.0, seconds=3.5, body_bytes=48)
"""The room whose fan-out is measured, and again with comments of `LARGE_BYTES`."""
LARGE_BYTES: Final = 1_000
CHECK: Final = Load(viewers=4_500, senders=100, rate=100.0, seconds=6.0, body_bytes=200, seed=7)
KERNEL_BYTES: Final = 5_500.0
"""Of one end of an idle TCP connection, where the slab cannot be read."""
MINOR: Final = 1e-9
"""A cost that comes out as nothing or less is noise; this stands for it."""


class CalibrationError(Exception):
    """A run for calibration was not verified: the costs would be worth nothing."""


@dataclass(frozen=True, slots=True)
class Check:
    """A prediction beside what was measured.

    :ivar predicted: by name: ``cpu`` (share of a core), ``memory`` (bytes), ``bytes`` (of frames, a second), ``frames`` (a
        second); ``measured`` likewise.
    """

    predicted: dict[str, float]
    measured: dict[str, float]

    def error(self, name: str) -> float:
        """Predicted to measured, as a share: 0.1 is 10 % too much."""
        return self.predicted[name] / self.measured[name] - 1


class _Bench:
    def __init__(self, sections: Sections, command: tuple[str, ...], show: Show) -> None:
        self._sections = sections
        self._command = command
        self._show = show

    def run(self, name: str, load: Load) -> Record:
        record = once(Scenario(name=name, text="", load=load), self._sections, self._command, self._show)
        if record.partial:
            raise KeyboardInterrupt
        if not record.verified:
            raise CalibrationError(f"{name}: {'; '.join(record.certificate.faults)}")
        return record

    def empty(self) -> int:
        with EngineProcess(self._sections, self._command) as engine:
            return quiet(engine.sample).rss_bytes


def calibrate(sections: Sections, command: tuple[str, ...], show: Show) -> Costs:
    """Measure every cost, in about half a minute.

    :raises CalibrationError: a run was not verified.
    :raises bench.engineproc.EngineError: the engine did not start.
    """
    bench = _Bench(sections, command, show)
    process_bytes = float(bench.empty())
    small = [bench.run("small frames", replace(ROOM, seed=1))]
    large = bench.run("large frames", replace(ROOM, body_bytes=LARGE_BYTES))
    small += [
        bench.run(f"small frames, {viewers:,} viewers", replace(ROOM, viewers=viewers, seed=2)) for viewers in (2_000, 5_000)
    ]
    flood = bench.run("comments", Load(viewers=8, senders=8, speech="flood", messages=12_000, body_bytes=48))
    likes = bench.run("likes", Load(viewers=8, senders=8, speech="flood", messages=40_000, kinds={"like": 1.0}))
    many = bench.run("small rooms", Load(rooms=500, viewers=3, senders=1, rate=1.0, seconds=4.0, body_bytes=48))

    message = _cpu(flood) / _sent(flood)
    frame_bytes, event_bytes = _sizes(small[0], large)

    def per_frame(record: Record) -> tuple[float, float]:
        """CPU of a frame, its message's part taken off, and its length."""
        frames = record.figures["frames"]
        return (_cpu(record) - _sent(record) * message) / frames, _frame_bytes(record)

    costs = [per_frame(record) for record in small]
    cost = median(each for each, _ in costs)
    size = costs[0][1]
    large_cost, large_size = per_frame(large)
    byte = max(MINOR / 10, (large_cost - cost) / (large_size - size))
    frame = max(MINOR, cost - byte * size)
    batches = _sent(many)
    batch = max(MINOR, (_cpu(many) - _sent(many) * message - many.figures["frames"] * cost) / batches)
    joins = [record.figures["engine_cpu_us_per_join"] / 1e6 for record in (*small, large)]
    wall = median(record.figures["pass_us_per_frame"] / 1e6 for record in small)
    kernel = median(record.figures["kernel_bytes_per_viewer"] for record in (*small, large))
    spread = max(_spread([each for each, _ in costs]), _spread(joins))
    return Costs(
        join=median(joins),
        message=message,
        like=_cpu(likes) / likes.figures["messages_sent"],
        batch=batch,
        frame=frame,
        byte=byte,
        wall=wall / cost,
        process_bytes=process_bytes,
        viewer_bytes=median(record.figures["engine_bytes_per_viewer"] for record in (*small, large)),
        kernel_bytes=kernel or KERNEL_BYTES,
        event_bytes=event_bytes,
        frame_bytes=frame_bytes,
        spread=spread,
    )


def check(costs: Costs, sections: Sections, command: tuple[str, ...], show: Show) -> Check:
    """Predict a load of another size, rate and text length than those calibrated with, run it, and set both side by side."""
    demand = Demand(viewers=CHECK.viewers, messages_per_second=CHECK.rate, body_bytes=CHECK.body_bytes)
    share: Share = share_of(costs, demand, RoomSettings(), rooms=1, viewers=CHECK.viewers)
    record = _Bench(sections, command, show).run("check", CHECK)
    figures = record.figures
    frames = figures["frames"] / figures["seconds"]
    return Check(
        predicted={
            "cpu": share.load,
            "memory": costs.process_bytes + CHECK.viewers * costs.viewer_bytes + _log(share, CHECK.seconds),
            "frames": share.frames * CHECK.viewers,
            "bytes": share.frames * CHECK.viewers * share.frame_bytes,
        },
        measured={
            "cpu": figures["engine_cpu_seconds"] / figures["seconds"],
            "memory": figures["engine_memory_bytes"],
            "frames": frames,
            "bytes": frames * _frame_bytes(record),
        },
    )


def _log(share: Share, seconds: float) -> float:
    return share.frames * seconds * share.frame_bytes


def _spread(values: list[float]) -> float:
    """Half the range to the median."""
    return (max(values) - min(values)) / 2 / median(values)


def _cpu(record: Record) -> float:
    return record.figures["engine_cpu_seconds"]


def _sent(record: Record) -> float:
    return record.figures["messages_sent"]


def _frame_bytes(record: Record) -> float:
    return record.figures["bytes_per_delivery"] * record.figures["deliveries"] / record.figures["frames"]


def _sizes(small: Record, large: Record) -> tuple[float, float]:
    """Bytes of a frame beyond its events, and of an event beyond its text: two equations."""
    per_frame = [record.figures["deliveries"] / record.figures["frames"] for record in (small, large)]
    bodies = (float(ROOM.body_bytes), float(LARGE_BYTES))
    runs = zip((small, large), per_frame, bodies, strict=True)
    rest = [_frame_bytes(record) - events * body for record, events, body in runs]
    if abs(per_frame[1] - per_frame[0]) < 0.2 * per_frame[0]:
        # Too much alike to tell them apart: a frame's own part is known from the protocol, about 40 bytes.
        return 40.0, max(0.0, median((each - 40.0) / events for each, events in zip(rest, per_frame, strict=True)))
    event = (rest[1] - rest[0]) / (per_frame[1] - per_frame[0])
    return max(0.0, rest[0] - event * per_frame[0]), max(0.0, event)
