"""The viewers of one process that give, make red packets and claim them: what they ask for when, and what they are told.

Owns schedules and acknowledgements of money. Must not know sockets beyond a viewer's `send`, nor scenarios. A schedule is fixed
before the first request, as `bench.generator.sender`'s.

Faults, with those of `bench.audit`:

``paid``       somebody was told of an entry that is not in the room as told, or twice
``unpaid``     somebody's gift, share or red packet is in the room, and nobody told him
``sum``        a viewer has received other entries or amounts than are in its room
``refused``    a gift or a red packet got an error code that is no invitation to try again
``missing``    it was never answered
``order``      one giver's gifts do not stand in the order in which they were given
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from math import gcd
from time import monotonic_ns
from typing import Any, Final, NamedTuple

from bench.audience import Audience
from bench.audit import audit
from bench.generator.account import GIFT, PACKET, SHARE, Account, mark_of
from bench.generator.payee import Payee
from bench.generator.receiver import NEVER, Viewer, ViewerState
from bench.generator.sender import Desk, Plan
from bench.generator.swarm import Swarm
from bench.generator.verify import Fault, Log
from bench.histogram import Histogram
from bench.load import Load
from bench.wares import CLAIM_REF, GIFT_REF, PACK_REF, Wares

__all__ = ["Cashier", "claims_begin"]

GIVE, CLAIM, PACK = 18, 19, 20
"""Kinds of the messages sent here."""
AT_ONCE: Final = 64
"""Requests that are due are handed over, so many before this process reads again."""
GRID_SECONDS: Final = 0.001
"""The loop's clock has milliseconds: whoever sleeps for less does not sleep, but spins."""
FIRST_SHARE: Final = 0.25
"""Of the time that a rush has beside the claims: when the red packet is made. Half of it: when the claims begin."""
PACKET_SECONDS: Final = 60.0
"""A process waits so long for the red packet to be shown."""
GOLDEN: Final = 0.618
"""Of all viewers lie between one claim and the next."""


class Receipt(NamedTuple):
    """What somebody was told that it paid for, or was given."""

    entry: int
    offset: int
    amount: int


def claims_begin(load: Load) -> float:
    """Seconds after the start of a rush."""
    return 2 * FIRST_SHARE * (load.seconds - load.claim_seconds)


class Cashier:
    """See the module's docstring. Takes over `Swarm.on_paid`, and of `Swarm.on_reply` what is about money.

    :ivar acknowledged: intended time → paid, microseconds.
    :ivar sending: whether a schedule is under way.
    """

    def __init__(self, swarm: Swarm, desk: Desk, viewers: Mapping[int, Viewer], load: Load, audience: Audience) -> None:
        self._swarm = swarm
        self._desk = desk
        self._viewers = viewers
        self._load = load
        self._audience = audience
        everybody = audience.everybody
        self._stride = next(stride for stride in range(max(1, int(everybody * GOLDEN)), 0, -1) if gcd(stride, everybody) == 1)
        self._wares: Wares | None = None
        self._start_ns, self._step_ns = 0, 0.0
        self._claims_ns, self._claim_step_ns = 0, 0.0
        self._offered = self._claimed = self._repeated = 0
        self._waiting: dict[int, tuple[int, int]] = {}
        """Ref → when it was meant to be asked for, and the viewer."""
        self._receipts: dict[int, Receipt] = {}
        self._winners: dict[int, Receipt] = {}
        self._refused: Counter[int] = Counter()
        self._claim_codes: Counter[int] = Counter()
        self._due_ns = self._last_ns = 0
        self.acknowledged = Histogram()
        self.sending = False
        swarm.on_paid = self._paid
        self._say = swarm.on_reply
        swarm.on_reply = self._replied

    def account(self, prices: Mapping[str, int]) -> Account:
        """For a room of this run."""
        if self._wares is None:
            self._wares = Wares(self._load.seed, prices, self._audience.senders)
        return Account(self._wares, self._due_us)

    def _due_us(self, number: int) -> int:
        return (self._start_ns + int(number * self._step_ns) - self._swarm.clock.epoch_ns) // 1000

    def mark(self) -> None:
        """Begin the histogram anew."""
        self.acknowledged = Histogram()

    # -- asking -------------------------------------------------------------------------------------------------------

    async def play(self, plan: Plan) -> None:
        """Ask for this process's part of a plan; returns when the last request has been handed over."""
        if plan.speech != "gifts" and not plan.rush:
            return
        self.sending = True
        try:
            if plan.rush:
                await self._rush(plan.start_ns)
            else:
                self._start_ns, self._step_ns = plan.start_ns, 1e9 / plan.rate
                await self._pace(plan.total, plan.start_ns, self._step_ns, self._give)
        finally:
            self.sending = False

    async def _pace(self, total: int, start_ns: int, step_ns: float, hand: Callable[[int, int], None]) -> None:
        """Call ``hand`` with each number and when it is due, at that time or as soon after it as possible."""
        number = 0
        while number < total:
            self._due_ns = start_ns + int(number * step_ns)
            await asyncio.sleep(max(GRID_SECONDS, (self._due_ns - monotonic_ns()) / 1e9))
            due = min(total, number + AT_ONCE, int((monotonic_ns() - start_ns) / step_ns) + 1)
            for each in range(number, due):
                hand(each, start_ns + int(each * step_ns))
            number = max(number, due)

    def _give(self, number: int, due_ns: int) -> None:
        assert self._wares is not None  # a room has been entered
        offer = self._wares.offer(number)
        viewer = self._viewers.get(offer.sender)
        if viewer is None:
            return
        self._offered += 1
        self._ask(viewer, GIVE, GIFT_REF + number, due_ns, offer.gift, offer.pieces, offer.to)

    async def _rush(self, start_ns: int) -> None:
        load = self._load
        claims_ns = start_ns + int(claims_begin(load) * 1e9)
        self._claims_ns, self._claim_step_ns = claims_ns, load.claim_seconds * 1e9 / (load.claims * load.rooms)
        pack_ns = start_ns + (claims_ns - start_ns) // 2
        await asyncio.sleep(max(0.0, (pack_ns - monotonic_ns()) / 1e9))
        for room, maker in self._makers():
            if maker in self._viewers:
                rest = load.packet_total, load.packet_shares, load.packet_split
                self._ask(self._viewers[maker], PACK, PACK_REF + room, pack_ns, *rest)
        deadline = monotonic_ns() + int(PACKET_SECONDS * 1e9)
        while not all(map(_packet, self._swarm.logs.values())):
            self._due_ns = monotonic_ns()
            if self._due_ns > deadline:
                return
            await asyncio.sleep(GRID_SECONDS)
        await self._pace(load.claims * load.rooms, claims_ns, self._claim_step_ns, self._claim)

    def _makers(self) -> Iterator[tuple[int, int]]:
        """Of each room the first who speaks."""
        made: set[int] = set()
        for sender in self._audience.senders:
            room = self._audience.room_of(sender)
            if room not in made:
                made.add(room)
                yield room, sender

    def _claimer(self, number: int) -> int:
        """Whose turn it is: everybody's once, then everybody's again, but neighbours' far apart."""
        return number * self._stride % self._audience.everybody

    def _claim(self, number: int, due_ns: int) -> None:
        viewer = self._viewers.get(self._claimer(number))
        if viewer is None or viewer.log is None:
            return
        self._claimed += 1
        self._hand(viewer, [CLAIM, CLAIM_REF + number, viewer.log.handle, _packet(viewer.log)], due_ns)

    def _ask(self, viewer: Viewer, kind: int, ref: int, due_ns: int, *content: Any) -> None:
        assert viewer.log is not None
        self._waiting[ref] = due_ns, viewer.index
        self._hand(viewer, [kind, ref, viewer.log.handle, *content], due_ns)

    def _hand(self, viewer: Viewer, message: list[Any], due_ns: int) -> None:
        if viewer.transport is not None:
            viewer.send(self._swarm.encode(message))
            self._desk.late.add((monotonic_ns() - due_ns) // 1000)

    # -- being told ---------------------------------------------------------------------------------------------------

    def _paid(self, viewer: Viewer, ref: int, entry: int, offset: int, amount: int) -> None:
        now = self._last_ns = monotonic_ns()
        receipt = Receipt(entry, offset, amount)
        if viewer.log is not None:
            viewer.log.head = max(viewer.log.head, offset)
        if CLAIM_REF <= ref < PACK_REF:
            self._won(viewer, ref - CLAIM_REF, receipt, now)
            return
        waiting = self._waiting.pop(ref, None)
        if waiting is None or waiting[1] != viewer.index:
            self._swarm.fault(viewer, "paid", offset, offset, f"{_name(ref)}: told of entry {entry} without asking, or again")
            return
        self._receipts[ref] = receipt
        self.acknowledged.add((now - waiting[0]) // 1000)

    def _won(self, viewer: Viewer, number: int, receipt: Receipt, now_ns: int) -> None:
        known = self._winners.get(viewer.index)
        if known is None:
            self._winners[viewer.index] = receipt
            self.acknowledged.add((now_ns - self._claims_ns - int(number * self._claim_step_ns)) // 1000)
        elif known == receipt:
            self._repeated += 1
        else:
            self._swarm.fault(viewer, "paid", detail=f"two shares of one red packet: {known} and {receipt}")

    def _replied(self, viewer: Viewer, ref: int, code: int, offset: int, text: str, retry_after_ms: int) -> None:
        if ref < GIFT_REF:
            self._say(viewer, ref, code, offset, text, retry_after_ms)
        elif CLAIM_REF <= ref < PACK_REF:
            self._claim_codes[code] += 1
        else:
            self._waiting.pop(ref, None)
            self._refused[code] += 1
            if code >= NEVER or ref >= PACK_REF:
                self._swarm.fault(viewer, "refused", detail=f"reply {code} to {_name(ref)}: {text}")

    def statistics(self) -> dict[str, Any]:
        """Counts so far, to be added to those of the process."""
        answered = len(self._receipts) + len(self._winners) + self._repeated
        return {
            "sending": self.sending,
            "scheduled": self._due_ns > monotonic_ns(),
            "waiting": len(self._waiting),
            "paid": answered + self._refused.total() + self._claim_codes.total(),
            "unsettled": sum(account.unsettled for _, account in self._accounts()),
        }

    def _accounts(self) -> Iterator[tuple[Log, Account]]:
        return ((log, log.account) for log in self._swarm.every_log() if log.account is not None)

    def entries(self, room: int) -> dict[int, list[int]]:
        """Offset and mark of each entry of a room, as it was seen here."""
        return {
            entry: [offset, mark_of(packed)]
            for log, account in self._accounts()
            if log.room == room
            for entry, (offset, packed) in account.entries.items()
        }

    # -- after the run ------------------------------------------------------------------------------------------------

    def report(self) -> dict[str, Any]:
        """Final checks, then what `bench.settlement` reads."""
        for log, account in self._accounts():
            events = account.events()
            for text in audit(events):
                kind, _, detail = text.partition(": ")
                self._swarm.faults.add(Fault(kind, -1, log.room, detail=detail))
            self._check_order(log, account, events)
            self._check_viewers(log, account)
            self._check_receipts(log, account, events)
        for ref, (_, index) in self._waiting.items():
            self._swarm.fault(self._viewers[index], "missing", detail=f"{_name(ref)} was never answered")
        ended = min((account.ended_ns for _, account in self._accounts() if account.ended_ns), default=0)
        return {
            "offered": self._offered,
            "gifts": sum(ref < PACK_REF for ref in self._receipts),
            "packets": sum(ref >= PACK_REF for ref in self._receipts),
            "refused": self._refused,
            "claims": self._claimed,
            "claim_codes": self._claim_codes,
            "winners": len(self._winners),
            "repeated": self._repeated,
            "emptied_ms": (ended - self._claims_ns) / 1e6 if ended else None,
            "paid_seconds": max(0, self._last_ns - self._start_ns) / 1e9,
            "rooms": {log.room: [*account.coins.sums, self._placed(account)] for log, account in self._accounts()},
            "received": [sum(values) for values in zip(*(each.coins.sums[:3] for each in self._payees()), strict=True)],
            "viewers": Counter(viewer.room for viewer in self._payees()),
        }

    @staticmethod
    def _placed(account: Account) -> int:
        return sum(offset * entry for entry, (offset, _) in account.entries.items())

    def _payees(self) -> Iterator[Payee]:
        return (viewer for viewer in self._viewers.values() if isinstance(viewer, Payee))

    def _check_order(self, log: Log, account: Account, events: Mapping[int, list[Any]]) -> None:
        """Gifts of one giver stand in the order in which they were given."""
        latest: dict[str, int] = {}
        for entry in sorted(events, key=lambda entry: account.entries[entry][0]):
            event = events[entry]
            if event[0] == GIFT:
                user, ref = event[1][0], event[3]
                if ref <= latest.get(user, 0):
                    offset, text = account.entries[entry][0], f"{_name(ref)} after {_name(latest[user])}"
                    self._swarm.faults.add(Fault("order", -1, log.room, offset, offset, text))
                latest[user] = max(ref, latest.get(user, 0))

    def _check_viewers(self, log: Log, account: Account) -> None:
        due = account.coins.sums
        for viewer in self._payees():
            # One that was cut off has faults of its own.
            if viewer.log is log and viewer.state is not ViewerState.CLOSED and viewer.coins.sums != due:
                had, other = viewer.coins.sums[:3], " others" if viewer.coins.sums[:3] == due[:3] else ""
                text = f"received {had[0]}{other} entries, gifts of {had[1]}, shares of {had[2]}"
                self._swarm.fault(viewer, "sum", detail=f"{text}; in the room are {due[0]}, {due[1]}, {due[2]}")

    def _check_receipts(self, log: Log, account: Account, events: Mapping[int, list[Any]]) -> None:
        """Whoever was told has it, and whoever has it was told."""
        mine = {self._swarm.users[index]: index for index in self._viewers if index in self._swarm.users}
        told: set[int] = set()
        for ref, receipt in self._receipts.items():
            sender = self._sender(ref)
            if self._audience.room_of(sender) == log.room:
                told.add(receipt.entry)
                self._check(log, account, events, sender, ref, receipt)
        for index, receipt in self._winners.items():
            if self._audience.room_of(index) == log.room:
                told.add(receipt.entry)
                self._check(log, account, events, index, CLAIM_REF, receipt)
        for entry, event in events.items():
            index = mine.get(event[1][0], -1)
            if event[0] in (GIFT, PACKET, SHARE) and index >= 0 and entry not in told:
                text = f"entry {entry} is in the room, who asked for it was not told: {event!r:.160}"
                self._swarm.faults.add(Fault("unpaid", index, log.room, detail=text))

    def _sender(self, ref: int) -> int:
        if ref >= PACK_REF:
            return dict(self._makers())[ref - PACK_REF]
        assert self._wares is not None
        return self._wares.offer(ref - GIFT_REF).sender

    def _check(
        self, log: Log, account: Account, events: Mapping[int, list[Any]], index: int, ref: int, receipt: Receipt
    ) -> None:
        event = events.get(receipt.entry)
        there = "no such entry"
        own = False
        if event is not None:
            offset = account.entries[receipt.entry][0]
            there = f"{event!r:.160} at {offset}"
            own = event[1][0] == self._swarm.users.get(index) and (*_asked(event), offset) == (ref, *receipt[:0:-1])
        if not own:
            text = f"{_name(ref)} was acknowledged as {receipt}, in the room is {there}"
            self._swarm.faults.add(Fault("paid", index, log.room, detail=text))


def _packet(log: Log) -> int:
    return log.account.packet if log.account is not None else 0


def _asked(event: list[Any]) -> tuple[int, int]:
    """The ref of a request for which an event is the answer, and the amount; of all claims the same ref."""
    match event:
        case [kind, _, _, ref, _, _, amount, *_] if kind == GIFT:
            return ref, amount
        case [kind, _, _, ref, total, *_] if kind == PACKET:
            return ref, total
        case [kind, _, _, _, _, amount] if kind == SHARE:
            return CLAIM_REF, amount
    return 0, 0


def _name(ref: int) -> str:
    if ref >= PACK_REF:
        return f"red packet {ref - PACK_REF}"
    return f"claim {ref - CLAIM_REF}" if ref >= CLAIM_REF else f"gift {ref - GIFT_REF}"
