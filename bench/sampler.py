"""What an engine and its generators take while a phase runs: CPU and memory over time, for the record and the live table.

Owns when to look. Must not know what the phase is about.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from bench.engineproc import EngineError, Sample
from bench.fleet import Fleet
from bench.generator.sender import Plan
from bench.report.show import Show

__all__ = ["Sampler"]

SAMPLES_MAX: Final = 240
"""Looks at the engine's CPU and memory in one phase."""
SAMPLE_SECONDS: Final = 0.5


class Sampler:
    """Looks at the engine and the generators now and then while a phase runs.

    :ivar samples: as in `bench.report.record.Record`.
    """

    def __init__(self, engine: Callable[..., Sample], fleet: Fleet, show: Show, start_ns: int, plan: Plan) -> None:
        self._engine = engine
        self._fleet = fleet
        self._show = show
        self._start_ns = start_ns
        length = plan.total / plan.rate if plan.rate else 0.0
        self._every = max(SAMPLE_SECONDS, length / SAMPLES_MAX)
        self._at = time.monotonic()
        self._cpu = engine(memory=False).cpu_ns
        self._generator = sum(cpu for cpu, _ in fleet.cost())
        self._done = 0
        self.samples: list[dict[str, float]] = []

    def look(self, done: int) -> None:
        """Take a sample if it is time for one."""
        now = time.monotonic()
        span = now - self._at
        if span < self._every:
            return
        with suppress(EngineError):
            sample = self._engine()
            generator = sum(cpu for cpu, _ in self._fleet.cost())
            share = (sample.cpu_ns - self._cpu) / 1e9 / span
            self.samples.append(
                {
                    "second": round(now - self._start_ns / 1e9, 3),
                    "engine_cpu_share": round(share, 4),
                    "engine_memory_bytes": sample.rss_bytes,
                    "generator_cpu_share": round((generator - self._generator) / span, 4),
                    "deliveries": done,
                }
            )
            self._show.facts(
                deliveries_a_second=f"{(done - self._done) / span:,.0f}",
                engine_CPU=f"{share:.0%}",
                engine_memory=f"{sample.rss_bytes / 1e6:,.0f} MB",
                generator_CPU=f"{(generator - self._generator) / span:.0%}",
            )
            self._at, self._cpu, self._generator, self._done = now, sample.cpu_ns, generator, done
