"""All generator processes of a match, as one.

Owns what they are asked. Must not know matches.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, replace

from bench.children import Children, split
from bench.peers.order import Tally
from bench.peers.process import Plan, Share

__all__ = ["Crew"]

PROCESS_VIEWERS = 18_000
POLL_SECONDS = 0.03


class Crew:
    """Generator processes; a context manager that ends them.

    :param share: what all have in common; ``first`` and ``stop`` span all viewers.
    :param processes: how many; 0: one for each 18,000 viewers.
    :raises bench.children.ChildError: the generator failed, not the peer.
    """

    def __init__(self, share: Share, processes: int = 0) -> None:
        parts = split(share.stop - share.first, processes or -(-(share.stop - share.first) // PROCESS_VIEWERS))
        shares = [replace(share, first=share.first + part.start, stop=share.first + part.stop) for part in parts]
        self._children = Children("bench.peers.process", map(asdict, shares))
        self.ask = self._children.ask

    def __enter__(self) -> Crew:
        return self

    def __exit__(self, *_: object) -> None:
        self._children.close()

    def total(self, name: str) -> int:
        """Sum of a number in the status of all processes."""
        return sum(status[name] for status in self.ask("status"))

    def publish(self, plan: Plan) -> None:
        """Start a plan."""
        self.ask("publish", plan=asdict(plan))

    def published(self) -> dict[int, int]:
        """Publisher → how many messages it has published."""
        return {int(one): count for status in self.ask("status") for one, count in status["published"].items()}

    def wait(self, goal: int, stall_seconds: float, most_seconds: float, watch: Callable[[], object] | None = None) -> bool:
        """Wait until all plans are done and every connected viewer that reads has ``goal`` messages.

        :param watch: called at each poll.
        :return: False when nothing moved for ``stall_seconds``, or it took ``most_seconds``.
        """
        began = moved = time.monotonic()
        latest: tuple[int, ...] = ()
        while True:
            statuses = self.ask("status", goal=goal)
            if not any(status["busy"] or status["pending"] for status in statuses):
                return True
            if watch is not None:
                watch()
            now = time.monotonic()
            state = tuple(status[key] for status in statuses for key in ("subscribed", "wire_bytes", "busy"))
            if state != latest:
                latest, moved = state, now
            if now - moved > stall_seconds or now - began > most_seconds:
                return False
            time.sleep(POLL_SECONDS)

    def phase(self) -> Tally:
        """What all counted since the last mark."""
        tally = Tally()
        for answer in self.ask("phase"):
            tally.merge(answer["tally"])
        return tally
