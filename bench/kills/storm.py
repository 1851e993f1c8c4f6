"""The run of a storm: everybody comes in, everything is killed again and again, and then all must add up.

Owns the order of things and their time limits. Must not know how a node works, nor what exactly is a fault.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from dataclasses import asdict
from itertools import zip_longest
from math import inf
from typing import Final

import trio
from sqlalchemy.exc import SQLAlchemyError

from bench.kills.book import GIFT, Book
from bench.kills.crowd import Crowd
from bench.kills.judge import Boards, Fault, Kept, Kind, judge, unsettled
from bench.kills.ledger import read_ledger
from bench.kills.nodes import Node
from bench.kills.plan import Kill, Moment, Storm, StormError, kills_of
from bench.kills.record import Fallen, StormRecord, row
from bench.kills.site import Site
from bench.report.show import Show

__all__ = ["play"]

CALM_SECONDS: Final = 1.0
"""After the last kill it storms on for so long."""
ANSWER_SECONDS: Final = 30.0
"""What is still asked for must be answered within this time."""
SETTLE_SECONDS: Final = 30.0
"""Red packets and combos are over, the outbox is empty: longer than any of them lasts."""
SEE_SECONDS: Final = 30.0
"""All viewers have been shown all."""
VERIFY_SECONDS: Final = 60.0
VERIFY: Final = (sys.executable, "-m", "engine", "ledger", "verify")
_LOOK_SECONDS: Final = 0.1


def play(storm: Storm, command: tuple[str, ...], show: Show) -> StormRecord:
    """Run a storm. Ctrl-C ends the kills, and what there is is checked; another one ends everything.

    :param command: how to start a node, as `bench.kills.nodes.Node` wants it.
    """
    record = StormRecord(storm=asdict(storm))
    with Site(storm) as site:
        run = _Run(storm, command, site, record, show)
        try:
            trio.run(run.all)
        except BaseExceptionGroup as group:
            failed, rest = group.split(StormError)
            if rest is not None or failed is None:
                raise
            run.fault(_first(failed))
        run.conclude()
    return record


def _first(group: BaseExceptionGroup[BaseException]) -> str:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return str(error)


class _Run:
    def __init__(self, storm: Storm, command: tuple[str, ...], site: Site, record: StormRecord, show: Show) -> None:
        self._storm = storm
        self._site = site
        self._record = record
        self._show = show
        self._book = Book()
        self._boards: Boards = {}
        self._settled = False
        self._nodes = [
            Node(f"node{number}", site.directory / f"node{number}", sections, command)
            for number, sections in enumerate(site.sections)
        ]
        self._crowd = Crowd(storm, self._nodes, self._book, self._acknowledged)

    def fault(self, text: str, kind: Kind = Kind.ENGINE) -> None:
        """Something was wrong beside what the book can tell."""
        self._record.faults.append(Fault(kind, "all rooms", text))

    async def all(self) -> None:
        """Everything that needs the nodes."""
        async with trio.open_nursery() as nursery:
            with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
                kills, everything = trio.CancelScope(), nursery.cancel_scope

                async def listen() -> None:
                    async for _ in signals:
                        if self._record.partial:
                            everything.cancel()
                        self._record.partial = True
                        kills.cancel()

                nursery.start_soon(listen)
                for node in self._nodes:
                    await nursery.start(node.run)
                for node in self._nodes:
                    await node.listening()
                await nursery.start(self._crowd.run)
                with kills:
                    await self._kill_all()
                await self._settle()
                await self._verify()
                await self._stop()
                everything.cancel()

    def _acknowledged(self, node: int, life: int, asked_at: float) -> None:
        self._nodes[node].acknowledged(life, asked_at)

    # -- kills --------------------------------------------------------------------------------------------------------

    async def _kill_all(self) -> None:
        began = trio.current_time()
        kills = kills_of(self._storm)
        with self._show.task("kills", len(kills)) as progress:
            row(self._show.console, None)
            for number, (kill, following) in enumerate(zip_longest(kills, kills[1:]), 1):
                fallen = await self._kill(number, kill, following, began)
                self._record.kills.append(fallen)
                row(self._show.console, fallen)
                progress(number)
        await trio.sleep(CALM_SECONDS)

    async def _kill(self, number: int, kill: Kill, following: Kill | None, began: float) -> Fallen:
        """Kill at its moment, start again, and wait until it serves, or is to be killed while it starts."""
        node = self._nodes[kill.node]
        if not kill.moment.again:
            await node.serving()
            await trio.sleep(kill.seconds)
        second, at_ms = trio.current_time() - began, time.time_ns() // 1_000_000
        node.kill(kill)
        match following:
            case Kill(Moment.STARTING, seconds):
                await trio.sleep_until(node.started_at + seconds)
            case Kill(Moment.RETURNING, seconds):
                await node.listening()
                await trio.sleep(seconds)
            case _:
                await node.serving()
        down = node.listened_at - node.killed_at if kill.role == "node" else inf
        return Fallen(
            number,
            round(second, 3),
            kill.moment.value,
            round(kill.seconds * 1000, 1),
            node.name if kill.role == "node" else f"{kill.role} of {node.name}",
            _ms(down),
            _ms(node.served_at - node.started_at),
            self._book.acknowledged,
            self._book.retried,
            self._book.repeated,
            at_ms,
        )

    # -- afterwards ---------------------------------------------------------------------------------------------------

    async def _settle(self) -> None:
        """Wait until nothing more comes by itself, and everybody has been shown it. What is missing then is for the judge."""
        self._crowd.stop()
        began = trio.current_time()
        with trio.move_on_after(ANSWER_SECONDS):
            await self._crowd.idle.wait()
        left = "everything"
        rows: list[Kept] = []
        with trio.move_on_after(SETTLE_SECONDS):
            while left:
                await trio.sleep(_LOOK_SECONDS)
                rows = await trio.to_thread.run_sync(read_ledger, self._site.ledger)
                left = unsettled(rows)
        if left:
            self.fault(f"{SETTLE_SECONDS:g} s later there are still {left}", Kind.OUTBOX)
        self._record.figures["settled_seconds"] = round(trio.current_time() - began, 2)
        for _ in range(round(SEE_SECONDS / _LOOK_SECONDS)):
            if _all_shown(self._book, rows):
                break
            await trio.sleep(_LOOK_SECONDS)
        boards: dict[str, dict[str, int]] = {}
        with trio.move_on_after(ANSWER_SECONDS):
            for room in self._crowd.rooms:
                boards[room] = await self._crowd.board(room)
        for room in self._crowd.rooms.keys() - boards.keys():
            self.fault(f"{room} did not tell who gave most", Kind.BOARD)
        self._boards = boards
        self._settled = True

    async def _verify(self) -> None:
        """Have the ledger verified by its own command, against what each node has kept of the streams."""
        for node in self._nodes:
            options = ("--config", str(node.config), "--url", f"ws://127.0.0.1:{node.port}/ws")
            with trio.move_on_after(VERIFY_SECONDS) as limit:
                done = await trio.run_process(
                    [*VERIFY, *options], check=False, capture_stdout=True, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL
                )
                text = " ".join(done.stdout.decode(errors="replace").split())
                if done.returncode != 0:
                    self.fault(f"roomcast ledger verify, {node.name}: status {done.returncode}: {text[-500:]}", Kind.VERIFY)
                else:
                    self._record.notes.append(f"roomcast ledger verify, {node.name}: {text}")
            if limit.cancelled_caught:
                self.fault(f"roomcast ledger verify, {node.name}: no end within {VERIFY_SECONDS:g} s", Kind.VERIFY)

    async def _stop(self) -> None:
        """Stop the nodes as an operator does."""
        for node in self._nodes:
            status = await node.stop()
            if status != 0:
                self.fault(f"{node.name} did not stop in order: status {status}")

    def conclude(self) -> None:
        """What is known when all processes have ended."""
        record, book = self._record, self._book
        for node in self._nodes:
            for text in [*node.died, *node.errors()]:
                self.fault(f"{node.name}: {text}")
        record.reckon()
        counts = {name: getattr(book, name) for name in ("gifts", "packets", "shares", "retried", "repeated")}
        record.figures |= counts | {"delayed": book.delayed.total()}
        if not self._settled:
            record.notes.append("What was told and shown was not compared with the ledger.")
            return
        try:
            rows = read_ledger(self._site.ledger)
        except SQLAlchemyError as error:
            self.fault(f"the ledger cannot be read: {error}")
            return
        record.faults += judge(book, rows, self._boards, lasting=self._storm.redis)
        record.figures["between"] = _between(book, rows, [kill.at_ms for kill in record.kills])
        record.figures |= _figures(book, rows, self._boards)


def _ms(seconds: float) -> float | None:
    return round(seconds * 1000, 1) if seconds < inf else None


def _all_shown(book: Book, rows: list[Kept]) -> bool:
    numbers: dict[str, set[int]] = {}
    for each in rows:
        numbers.setdefault(each.room, set()).add(each.number)
    return all(numbers.get(watcher.room, set()) <= watcher.seen.keys() for watcher in book.watchers)


def _between(book: Book, rows: list[Kept], kills_ms: list[int]) -> int:
    """Requests that a kill met after they were booked and before whoever asked was told."""
    booked_ms = {(each.room, each.number): each.booked_ms for each in rows}
    first = [(asked.room, answers[0]) for asked, answers in book.answers.items()]
    spans = [(booked_ms.get((room, answer.entry), answer.at_ms), answer.at_ms) for room, answer in first]
    return sum(any(booked < killed < told for killed in kills_ms) for booked, told in spans)


def _figures(book: Book, rows: list[Kept], boards: Boards) -> dict[str, float]:
    shown = {room: [watcher for watcher in book.watchers if watcher.room == room] for room in boards}
    amounts = {(each.room, each.number): each.amount for each in rows if each.kind == GIFT}
    everywhere = {
        (room, entry) for room, watchers in shown.items() for entry in set.intersection(*(set(each.seen) for each in watchers))
    }
    return {
        "entries": len(rows),
        "ledger_sum": sum(amounts.values()),
        "shown_sum": sum(amounts.get(place, 0) for place in everywhere),
        "board_sum": sum(sum(board.values()) for board in boards.values()),
        "epochs": max(len(watcher.epochs) for watcher in book.watchers),
        "watchers": len(book.watchers),
        "shown": len(everywhere),
        "shown_again": sum(len(places) > 1 for watcher in book.watchers for places in watcher.seen.values()),
    }
