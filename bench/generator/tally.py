"""What one generator process has counted: deliveries and what became of every offset, and how long they took.

Owns the counts, how they are timed, and their sums over processes. Must not know what is counted when.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

from bench.histogram import Histogram

__all__ = ["Clock", "Tally"]


@dataclass(frozen=True, slots=True)
class Clock:
    """How receipts are timed.

    :ivar epoch_ns: ``time.monotonic_ns()`` at the run's beginning, the zero of intended times.
    :ivar late_us: deliveries that took longer are late.
    :ivar window_seconds: latencies over time are counted in windows of this length.
    """

    epoch_ns: int = 0
    late_us: int = 5_000_000
    window_seconds: float = 1.0


@dataclass(slots=True)
class Tally:
    """Counts since the last mark. A delivery is one event at one viewer.

    Every offset that a viewer is entitled to is exactly one of: delivered, altered, twice, omitted, in a gap, lost.

    :ivar late: deliveries that took longer than the clock allows; they are delivered all the same.
    :ivar duplicated: events that a viewer got again, beyond its entitlement.
    :ivar twice: offsets that repeat a message of another offset.
    :ivar notices: deliveries of notices among all deliveries.
    :ivar lag: receipt of a frame after the first viewer of the same process had it, microseconds.
    :ivar latency: intended send → receipt in microseconds, by window since the run's beginning.
    """

    clock: Clock = field(default_factory=Clock)
    deliveries: int = 0
    late: int = 0
    frames: int = 0
    wire_bytes: int = 0
    lost: int = 0
    duplicated: int = 0
    twice: int = 0
    reordered: int = 0
    altered: int = 0
    omitted: int = 0
    overlap: int = 0
    gaps: int = 0
    gap_offsets: int = 0
    silent_frames: int = 0
    notices: int = 0
    first_ns: int = 0
    last_ns: int = 0
    lag: Histogram = field(default_factory=Histogram)
    latency: dict[int, Histogram] = field(default_factory=dict)

    @property
    def accounted(self) -> int:
        """Offsets of which is known what became of them."""
        return self.deliveries + self.altered + self.twice + self.omitted + self.gap_offsets + self.lost

    def whole_latency(self) -> Histogram:
        """Of all windows."""
        whole = Histogram()
        for histogram in self.latency.values():
            whole.merge(histogram)
        return whole

    def dump(self) -> dict[str, Any]:
        """As JSON: the counts, and the histograms as `Histogram.dump`."""
        counts = {item.name: getattr(self, item.name) for item in fields(self) if item.name not in ("clock", "lag", "latency")}
        windows = {str(window): histogram.dump() for window, histogram in self.latency.items()}
        return counts | {"lag": self.lag.dump(), "latency": windows}

    def merge(self, dumped: dict[str, Any]) -> None:
        """Add what another process dumped."""
        for name, value in dumped.items():
            if name == "latency":
                for window, histogram in value.items():
                    self.latency.setdefault(int(window), Histogram()).merge(Histogram.load(histogram))
            elif name == "lag":
                self.lag.merge(Histogram.load(value))
            elif name == "first_ns":
                self.first_ns = min(filter(None, (self.first_ns, value)), default=0)
            elif name == "last_ns":
                self.last_ns = max(self.last_ns, value)
            else:
                setattr(self, name, getattr(self, name) + value)
