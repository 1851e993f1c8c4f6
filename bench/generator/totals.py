"""What a room's counters and totals said, and who has heard it.

Owns their names: ``likes``; ``reaction NAME``; ``withheld REASON`` (`engine.schema.WithheldReason`). Must not know what was
sent.

A total only grows. The frame with which a node told its present value first is remembered: whoever has had that one knows it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from bench.generator.verify import Frame

__all__ = ["LIKES", "Heard", "named", "reaction", "withheld"]

LIKES: Final = "likes"


def reaction(name: str) -> str:
    """Name of a reaction's total."""
    return f"reaction {name}"


def withheld(reason: str) -> str:
    """Name of the total of what was withheld for a reason."""
    return f"withheld {reason}"


def named(counters: Sequence[int], totals: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    """The totals of a batch or a snapshot by name. Raises TypeError or AttributeError for a wrong shape."""
    if counters:
        yield LIKES, counters[0]
    for name, count in totals.get("reactions", {}).items():
        yield reaction(name), count
    for reason, count in totals.get("withheld", {}).items():
        yield withheld(reason), count


class Heard:
    """See the module's docstring.

    :ivar values: the highest of each total.
    """

    __slots__ = ("_frames", "values")

    def __init__(self) -> None:
        self.values: dict[str, int] = {}
        self._frames: dict[str, dict[int, Frame]] = {}

    def take(self, counters: Sequence[int], totals: Mapping[str, Any], frame: Frame | None = None, node: int = 0) -> None:
        """What a batch of a node, or without ``frame`` a snapshot, says."""
        for name, value in named(counters, totals):
            known = self.values.get(name, 0)
            if value > known:
                self.values[name] = value
                self._frames[name] = {}
            if frame is not None and value >= known:
                self._frames.setdefault(name, {}).setdefault(node, frame)

    def viewers(self, name: str) -> int:
        """How many have had a frame that told the present value; 0 if that was no frame."""
        return sum(frame.received for frame in self._frames.get(name, {}).values())
