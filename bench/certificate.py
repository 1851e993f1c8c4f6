"""The delivery certificate: what every viewer was entitled to and what became of it, from the receivers' own counts.

Owns the sums over all processes and the judgement. Pure: the counts come in as each generator process reported them.

Expected are events times the viewers entitled to them: every offset after the one where a viewer came in, up to the head
of its room. Each is exactly one of: delivered, lost, altered, doubled offset, withheld by rule, covered by an explicit gap.
A comment for which its room had no place has no offset: of each reason, every viewer must have been told as many as senders
were, and what was offered is what was accepted and these; what was accepted is in the room, and nothing else is.
What came again (resends after a resume apart) or too late is counted beside it. Where servers fail, a comment that was
accepted and is not in the room any more must be covered by a change of the epoch that every viewer was told of. Bytes are
conserved over the connections that the viewers closed in order: bytes read = bytes the engine says it wrote. Money is conserved
from who gives it by way of the ledger to every receiver (`bench.settlement`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Final

from bench.fleet import Closing, RoomTotals
from bench.generator.tally import Tally
from bench.generator.totals import LIKES, reaction, withheld
from bench.generator.verify import Fault
from bench.settlement import Money

__all__ = ["Certificate", "certify"]

FAULTS_SHOWN: Final = 20
REASONS: Final = ("events", "bytes")
"""Why comments are withheld."""


@dataclass(slots=True, kw_only=True)
class Certificate:
    """See the module's docstring.

    :ivar late: deliveries that took longer than the scenario allows; they are delivered all the same.
    :ivar overlap: events resent after a resume, which a client drops.
    :ivar covered: comments that were accepted and that a reported change of epoch has taken with it.
    :ivar likes_lost: with an edge that was killed, before it could hand them over.
    :ivar offered: comments and notices of all senders, where some were withheld; ``accepted`` of them.
    :ivar withheld: offsets that were left out by rule; ``withheld_comments`` are comments that were given none, by reason.
    :ivar notices: accepted, each of which every viewer of its room has.
    :ivar connections: closed in order by their viewers, of all that were open at the end.
    :ivar bytes_read: on those, by the receivers; ``bytes_written`` what the engine says, None if it says nothing.
    :ivar money: None: there was none.
    :ivar fault_counts: violations by kind; ``faults`` the first of them in full.
    """

    expected: int = 0
    delivered: int = 0
    lost: int = 0
    doubled: int = 0
    reordered: int = 0
    altered: int = 0
    withheld: int = 0
    in_gaps: int = 0
    gaps: int = 0
    late: int = 0
    overlap: int = 0
    covered: int = 0
    offered: int = 0
    accepted: int = 0
    withheld_comments: dict[str, int] = field(default_factory=dict)
    notices: int = 0
    reactions: int = 0
    likes: int = 0
    likes_lost: int = 0
    connections: int = 0
    connections_closed: int = 0
    bytes_read: int = 0
    bytes_written: int | None = None
    money: Money | None = None
    fault_counts: dict[str, int] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)

    @property
    def balanced(self) -> bool:
        """Whether everything adds up and nobody met a fault."""
        return not self.fault_counts

    def add(self, text: str) -> None:
        """A violation that no single process can see: ``kind: what``."""
        kind = text.partition(":")[0]
        self.fault_counts[kind] = self.fault_counts.get(kind, 0) + 1
        self.faults.append(text)

    def close(self, closing: Closing, told: dict[str, Any] | None) -> None:
        """Take in how the connections ended.

        :param told: the engine's statistics as it stopped; None if it gave none.
        """
        self.connections_closed, self.bytes_read = closing.orderly, closing.orderly_bytes
        self.connections = closing.orderly + closing.left_open
        if closing.left_open:
            self.add(f"open: {closing.left_open} connections were closed by their viewers and not answered")
        edge = (told or {}).get("edge", {})
        if "orderly_bytes" not in edge:
            return
        self.bytes_written = edge["orderly_bytes"]
        if edge["orderly"] != closing.orderly:
            self.add(f"bytes: the engine counts {edge['orderly']} orderly connections, the viewers {closing.orderly}")
        if self.bytes_written != closing.orderly_bytes:
            self.add(f"bytes: the engine says it wrote {self.bytes_written}, the viewers read {closing.orderly_bytes}")

    def merge(self, other: Certificate) -> None:
        """Add another round's."""
        for item in fields(self):
            mine, theirs = getattr(self, item.name), getattr(other, item.name)
            if item.name == "faults":
                self.faults = (self.faults + other.faults)[:FAULTS_SHOWN]
            elif item.name in ("fault_counts", "withheld_comments"):
                setattr(self, item.name, dict(Counter(mine) + Counter(theirs)))
            elif item.name == "money":
                if mine is None or theirs is None:
                    self.money = mine or theirs
                else:
                    mine.merge(theirs)
            elif item.name == "bytes_written":
                self.bytes_written = None if mine is None or theirs is None else mine + theirs
            else:
                setattr(self, item.name, mine + theirs)


def certify(reports: Sequence[dict[str, Any]], totals: RoomTotals, failures: Iterable[str]) -> Certificate:
    """Add up the processes' reports (`bench.generator.process.Generator.report`).

    :param totals: what each room is to tell, as its senders say.
    :param failures: violations found elsewhere, each ``kind: what``.
    """
    total = Tally()
    faults: list[Fault] = []
    counts: Counter[str] = Counter()
    likes_lost: dict[str, int] = {}
    for report in reports:
        total.merge(report["total"])
        faults += (Fault(**fault) for fault in report["faults"])
        counts.update(report["fault_counts"])
        for room, lost in report["likes_lost"].items():
            likes_lost[room] = max(lost, likes_lost.get(room, 0))
    sums = sum(map(Counter, totals.values()), Counter[str]())
    held = {reason: sums[withheld(reason)] for reason in REASONS if sums[withheld(reason)]}
    made = Certificate(
        expected=sum(report["entitled"] for report in reports),
        delivered=total.deliveries,
        lost=total.lost,
        doubled=total.duplicated + total.twice,
        reordered=total.reordered,
        altered=total.altered,
        withheld=total.omitted,
        in_gaps=total.gap_offsets,
        gaps=total.gaps,
        late=total.late,
        overlap=total.overlap,
        covered=sum(report["covered"] for report in reports),
        offered=sum(report["sent"] for report in reports) if held else 0,
        accepted=sum(report["accepted"] for report in reports) if held else 0,
        withheld_comments=held,
        notices=sum(notices for report in reports for _, notices in report["heard"].values()),
        reactions=sum(count for name, count in sums.items() if name.startswith(reaction(""))),
        likes=sums[LIKES],
        likes_lost=sum(likes_lost.values()),
        fault_counts=dict(counts),
        faults=[str(fault) for fault in faults[:FAULTS_SHOWN]],
    )
    for text in (*_disagreements(reports), *_imbalances(made, reports), *failures):
        made.add(text)
    return made


def _imbalances(made: Certificate, reports: Sequence[dict[str, Any]]) -> Iterator[str]:
    """What was said is what is in the rooms and what was withheld; every notice has come to every viewer."""
    if not all(report["calm"] for report in reports):
        return
    if made.withheld_comments and made.offered != made.accepted + sum(made.withheld_comments.values()):
        yield f"balance: {made.offered} offered, {made.accepted} accepted, withheld {made.withheld_comments}"
    accepted, notices = Counter[str](), Counter[str]()
    for report in reports:
        for room, (everything, some) in report["heard"].items():
            accepted[room] += everything
            notices[room] += some
    due = 0
    for report in reports:
        for room, (found, viewers) in report["found"].items():
            due += notices[room] * viewers
            if viewers and found != accepted[room]:
                yield f"balance: {accepted[room]} comments of room {room} were accepted, a process has seen {found}"
    if (came := sum(report["total"]["notices"] for report in reports)) != due:
        yield f"notices: {came} came, {due} were due"


def _disagreements(reports: Iterable[dict[str, Any]]) -> list[str]:
    """Processes that watched one room from the same offset on must have seen the same messages at the same offsets."""
    seen: dict[tuple[str, int, int], list[int]] = {}
    wrong = []
    for report in reports:
        for room, (epoch, base, *facts) in report["rooms"].items():
            if (known := seen.setdefault((room, epoch, base), facts)) != facts:
                wrong.append(f"disagree: two processes saw room {room} differently: {known} and {facts}")
    return wrong
