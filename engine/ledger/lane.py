"""The way of money through a node: what waits is booked in groups, published in their order, and then answered.

Owns both stages and their order. Must not know what a gift or a red packet is to the hub, nor a broker.

**Group commit** without a timer: what waits when the previous transaction has returned is the next group. While one group is
being published the next one is committed; if publishing takes longer than that, groups grow, and requests wait before they are
booked instead of after. Positions are recorded with the next group, or on their own a moment later if none follows, so that a
lone gift costs one synchronisation of the disk.

**When the database fails** it is not known whether it had committed. The group and all who have waited as long are told
`Code.LEDGER`, so that nobody waits for one failing call after the other. The first transaction that succeeds again is followed
by a look into the outbox before anything is published, so that what was booked and never answered comes first. The same happens
at the start. Rejected: to repeat a group until it is in, because it might be one request that the database does not take.

Whoever holds a key repeats a request that was not answered; it gets the first answer.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING, Any, Final, TypeVar

import trio

from engine.durations import Durations
from engine.errors import Code, Refused
from engine.ledger.alarm import Alarm
from engine.ledger.delays import Delays
from engine.ledger.errors import LedgerError
from engine.ledger.keeper import Keeper, RunSync, in_thread
from engine.ledger.outgoing import Answer, Outgoing
from engine.ledger.requests import OUT_OF_REACH, RETRY_MS, Requests
from engine.ledger.values import Book, Booked, Entry, Give, Group, Mark, Outcome, Pack, Rejected
from engine.schema import EventKind
from engine.settings import LedgerSettings
from engine.timing import Bell

if TYPE_CHECKING:
    from engine.ledger.store import Store

__all__ = ["Answer", "Lane", "LaneStatistics", "Publish"]

T = TypeVar("T")

Publish = Callable[[Sequence[Entry]], Awaitable[list[Mark]]]
"""Publishes entries, each room's in their order; returns when all of them are, with the position of each."""

_PAUSE_SECONDS: Final = 1.0
"""Time between two attempts at a database that fails."""
_CHEAP_SECONDS: Final = 0.1
"""A call that failed within this time is repeated once: the server may just have closed a connection that was idle."""
_MARKS_SECONDS: Final = 0.5
"""How long positions wait for a group to be recorded with."""
_ORPHANED_MS: Final = 5_000
"""Where others book, too: age of an entry that its node would have published by now."""


@dataclass(frozen=True, slots=True)
class LaneStatistics:
    """A frozen picture of the lane. Times are milliseconds.

    :ivar booked: requests answered with their entry, ``rejected`` with a code; ``waiting`` are neither yet.
    :ivar groups: transactions that booked something, and how many requests they had on average and at most.
    :ivar commit_p99_ms: of the time that transactions took, the thread included; ``commits`` the same as
        `engine.durations.Durations.table`.
    :ivar published: entries that have a position since the start.
    :ivar outbox: entries committed here, or found, and not known to be published.
    :ivar marks_waiting: positions that are not recorded.
    :ivar failures: calls to the database that failed.
    :ivar ledger: ``open``, ``closed``, or why it cannot be written.
    """

    booked: int
    rejected: int
    waiting: int
    groups: int
    group_mean: float
    group_max: int
    commit_mean_ms: float
    commit_p50_ms: float
    commit_p99_ms: float
    commit_max_ms: float
    commits: dict[str, Any]
    published: int
    outbox: int
    marks_waiting: int
    failures: int
    ledger: str


class _Phase(Enum):
    SERVING = auto()
    DRAINING = auto()
    STOPPED = auto()


class Lane:
    """See the module's docstring.

    :param now_ms: Unix milliseconds.
    :param turn_over: called after answers were given, to hand them over.
    :param store: makes the store; None: that of ``ledger.url``.
    :param run_sync: runs what blocks; None: in threads.
    :param fault: why there is no ledger (`engine.ledger.address.ledger_fault`); None: there is, or can be one.
    :ivar fault: the same; empty: there is, or can be one.
    """

    def __init__(
        self,
        settings: LedgerSettings,
        publish: Publish,
        now_ms: Callable[[], int],
        turn_over: Callable[[], None],
        *,
        store: Callable[[], Store] | None = None,
        run_sync: RunSync | None = None,
        fault: str | None = None,
    ) -> None:
        self._settings = settings
        self.fault = fault or ("" if settings.url else "there is no ledger (ledger.url)")
        self._publish = publish
        self._now_ms = now_ms
        self._keeper = Keeper("" if self.fault else settings.url, settings.answer_seconds, store, run_sync or in_thread)
        self._phase = _Phase.SERVING
        self._requests = Requests(settings.pending, turn_over)
        self._outgoing = Outgoing()
        self._alarm = Alarm(self._keeper.shared)
        self._bell = Bell()
        self._committed = Bell()
        self._idle = trio.Event()
        self._suspect = True
        """There may be entries in the outbox of which nobody here knows."""
        self._marks_since = -math.inf
        self._published = self._failures = 0
        self._groups = self._grouped = self._group_max = 0
        self._delays = Delays()
        self._commits = Durations()
        self._telling: Collection[EventKind] = ()
        self._told: Callable[[], None] = lambda: None

    def adopt(self, settings: LedgerSettings) -> None:
        """Take other settings; the ledger itself stays the same."""
        self._settings = settings
        self._requests.limit = settings.pending

    # -- what others ask ----------------------------------------------------------------------------------------------

    @property
    def opened(self) -> bool:
        """Whether there is a ledger to be read: something was booked here once, or it is a server's. True also while it is out
        of reach."""
        return self._keeper.wanted

    @property
    def shared(self) -> bool:
        """Whether other nodes may write to the same ledger."""
        return self._keeper.shared

    def accept(self, book: Book, answer: Answer) -> None:
        """Book something with the next group. Raises `Refused`, or calls ``answer`` once, later."""
        self._check()
        self._requests.accept(book, answer)
        self._keeper.wanted = True
        self._bell.ring()

    async def book(self, book: Book) -> Booked:
        """Book something and return it once it is published. Raises `Refused`."""
        done = trio.Event()
        outcomes: list[Outcome] = []

        def answer(outcome: Outcome) -> None:
            outcomes.append(outcome)
            done.set()

        self.accept(book, answer)
        await done.wait()
        outcome = outcomes[0]
        if isinstance(outcome, Rejected):
            raise Refused(outcome.code, outcome.text, outcome.retry_after_ms)
        return outcome

    async def read(self, do: Callable[[Store], T]) -> T:
        """Read something, beside what is being written. Raises `Refused`; `Code.NOT_FOUND` if there is no ledger (`opened`)."""
        if not self._keeper.wanted:
            raise Refused(Code.NOT_FOUND, "nothing was ever booked: the ledger has not been made")
        try:
            return await self._keeper.read(do)
        except LedgerError as error:
            raise Refused(Code.LEDGER, OUT_OF_REACH, RETRY_MS) from error

    async def write(self, do: Callable[[Store], T]) -> T:
        """Change something that is no entry, between two groups; the ledger is made if need be. Raises `Refused`."""
        self._check()
        self._keeper.wanted = True
        self._bell.ring()
        try:
            return await self._keeper.write(do)
        except LedgerError as error:
            self._failures += 1
            raise Refused(Code.LEDGER, OUT_OF_REACH, RETRY_MS) from error

    async def keep(self, do: Callable[[Store], T]) -> T:
        """As `write`, of what is no money: also while the node is stopping. Raises `LedgerError`."""
        if self.fault:
            raise LedgerError(self.fault)
        if not self._keeper.wanted:
            self._keeper.wanted = True
            self._bell.ring()
        return await self._keeper.write(do)

    def tell(self, kinds: Collection[EventKind], told: Callable[[], None]) -> None:
        """From now on let what is booked and of these kinds be a happening (`engine.ledger.webhooks`), with its transaction.

        :param told: called after each transaction in which there may be some.
        """
        self._telling, self._told = kinds, told

    def mark(self, marks: Sequence[Mark]) -> None:
        """Entries were published, or found, there; record it."""
        self._count_from_now()
        self._outgoing.mark(marks)
        self._bell.ring()

    async def drain(self) -> None:
        """Accept nothing more; wait until all that was accepted is answered and all positions are recorded. While the database
        is out of reach that is for ever: bound it."""
        if self._phase is _Phase.SERVING:
            self._phase = _Phase.DRAINING
        self._bell.ring()
        if self._busy():
            await self._idle.wait()

    def statistics(self) -> LaneStatistics:
        """A frozen picture."""
        requests, outgoing, delays = self._requests, self._outgoing, self._delays
        return LaneStatistics(
            booked=requests.booked,
            rejected=requests.rejected,
            waiting=requests.waiting,
            groups=self._groups,
            group_mean=self._grouped / self._groups if self._groups else 0.0,
            group_max=self._group_max,
            commit_mean_ms=delays.mean_ms,
            commit_p50_ms=delays.quantile_ms(0.5),
            commit_p99_ms=delays.quantile_ms(0.99),
            commit_max_ms=delays.max_ms,
            commits=self._commits.table(),
            published=self._published,
            outbox=outgoing.unpublished,
            marks_waiting=outgoing.marks_waiting,
            failures=self._failures,
            ledger=self._keeper.failure or ("open" if self._keeper.opened else "closed"),
        )

    # -- both stages --------------------------------------------------------------------------------------------------

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Book and publish until cancelled; a transaction that has begun is waited for. Whoever is not answered by then is told
        `Code.LEDGER`."""
        self._keeper.look()
        try:
            await self._open()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._publish_groups)
                nursery.start_soon(self._book_groups)
                task_status.started()
        finally:
            self._phase = _Phase.STOPPED
            self._requests.abandon(self._outgoing.abandon())
            self._idle.set()
            with trio.CancelScope(shield=True):
                await self._keeper.close()

    async def _open(self) -> None:
        if self._keeper.wanted:
            try:
                await self._keeper.open()
            except LedgerError:
                # The rest of the node does not need it.
                self._failures += 1

    async def _book_groups(self) -> None:
        while True:
            await self._bell.wait_until(self._next())
            self._requests.begin()
            try:
                await self._step()
            except LedgerError:
                self._failures += 1
                self._suspect = True
                self._requests.fail()
                await trio.sleep(_PAUSE_SECONDS)
            if self._phase is _Phase.DRAINING and not self._busy():
                self._idle.set()

    async def _publish_groups(self) -> None:
        while True:
            await self._committed.wait()
            while entries := self._outgoing.take():
                marks = await self._publish(entries)
                self._published += len(entries)
                self._count_from_now()
                self._requests.tell(self._outgoing.landed(marks))
                self._bell.ring()

    def _next(self) -> float:
        """When there is something to be done, by trio's clock."""
        now = trio.current_time()
        if not self._keeper.wanted:
            return math.inf
        if self._suspect or (self._requests and self._keeps_up()):
            return now
        when = math.inf
        if self._outgoing.marks_waiting:
            when = now if self._phase is _Phase.DRAINING else self._marks_since + _MARKS_SECONDS
        if self._looks():
            when = min(when, self._alarm.next(now, self._now_ms()))
        return when

    def _keeps_up(self) -> bool:
        """Whether publishing does."""
        return self._outgoing.ready < self._settings.group

    def _looks(self) -> bool:
        """Whether what is over may be booked."""
        return self._phase is _Phase.SERVING and self._keeps_up()

    def _busy(self) -> bool:
        # What an outbox out of reach may hold is for the next start.
        searching = self._suspect and self._keeper.wanted and not self._keeper.failure
        under_way = self._requests.waiting or self._requests.taken
        return bool(searching or under_way or self._outgoing.unpublished or self._outgoing.marks_waiting)

    # -- booking ------------------------------------------------------------------------------------------------------

    async def _step(self) -> None:
        """Whatever is to be done now. Raises `LedgerError`."""
        if not self._keeper.wanted:
            return
        await self._keeper.open()
        now = trio.current_time()
        if look := self._looks() and self._alarm.next(now, self._now_ms()) <= now:
            await self._look()
        if self._keeps_up():
            self._requests.fill(self._settings.group)
        marks: list[Mark] = []
        if self._requests.taken or self._phase is _Phase.DRAINING or now >= self._marks_since + _MARKS_SECONDS:
            marks = self._outgoing.marks()
        if self._requests.taken or marks:
            await self._commit(marks)
        if self._suspect:
            await self._search()
        self._outgoing.release()
        if self._outgoing.ready:
            self._committed.ring()
        if look:
            self._alarm.looked(now, await self._keeper.write(lambda store: store.next_due()))

    async def _look(self) -> None:
        """What is over goes into the transaction; what other nodes left behind will be published."""
        now_ms, limit, shared = self._now_ms(), self._settings.group, self._keeper.shared

        def look(store: Store) -> tuple[Sequence[Book], list[Entry]]:
            return store.due(now_ms, limit), store.outbox(limit) if shared else []

        due, outbox = await self._keeper.write(look)
        if self._phase is not _Phase.SERVING:
            # Whoever stops waits for what was accepted, not for what a clock asks for.
            return
        self._requests.take(due)
        self._outgoing.adopt(entry for entry in outbox if entry.booked_ms <= now_ms - _ORPHANED_MS)

    async def _commit(self, marks: list[Mark]) -> None:
        books = [book for book, _ in self._requests.taken]
        now_ms, telling = self._now_ms(), self._telling
        began = trio.current_time()

        def commit(store: Store) -> Group:
            return store.commit(books, marks, now_ms, telling)

        try:
            group = await self._keeper.write(commit)
        except LedgerError:
            if trio.current_time() - began > _CHEAP_SECONDS:
                raise
            self._failures += 1
            self._suspect = True
            group = await self._keeper.write(commit)
        self._delays.add(took := trio.current_time() - began)
        self._commits.add(took)
        if books:
            self._groups += 1
            self._grouped += len(books)
            self._group_max = max(self._group_max, len(books))
        self._outgoing.recorded(marks)
        self._count_from_now()
        if telling and group.entries:
            self._told()
        self._outgoing.hold(group.entries)
        self._settle(group.outcomes, now_ms)

    def _settle(self, outcomes: list[Outcome], now_ms: int) -> None:
        """A group is committed: answer what needs not be published."""
        answers: list[tuple[Answer, Outcome]] = []
        for (book, answer), outcome in zip(self._requests.committed(), outcomes, strict=True):
            if isinstance(outcome, Rejected):
                if answer is not None:
                    answers.append((answer, outcome))
                continue
            if type(book) is Give:
                if book.combo_ms:
                    # It may go on until its time, inclusive.
                    self._alarm.expect(now_ms + book.combo_ms + 1)
            elif type(book) is Pack:
                self._alarm.expect(book.expires)
            if answer is not None and (booked := self._outgoing.ask(outcome, answer)) is not None:
                answers.append((answer, booked))
        self._requests.tell(answers)

    async def _search(self) -> None:
        """Find what was booked and is not known here, before anything later in its room is published."""
        # The group that was just booked is there, too, with up to two entries for each request.
        limit = 4 * self._settings.group
        while True:
            page = await self._keeper.write(lambda store: store.outbox(limit))
            self._outgoing.adopt(page)
            if len(page) < limit:
                break
            # The rest shows when these are out of the way.
            self._outgoing.release(page)
            self._committed.ring()
            while self._outgoing.on_the_way:
                await self._bell.wait()
            await self._commit(self._outgoing.marks())
        self._suspect = False

    # -- small things -------------------------------------------------------------------------------------------------

    def _check(self) -> None:
        """Raise `Refused` if nothing can be booked."""
        if self.fault:
            raise Refused(Code.FORBIDDEN, self.fault)
        if self._phase is not _Phase.SERVING:
            raise Refused(Code.UNAVAILABLE, "the node is stopping", RETRY_MS)

    def _count_from_now(self) -> None:
        """Positions that come now have not waited yet."""
        if not self._outgoing.marks_waiting:
            self._marks_since = trio.current_time()
