"""From the ledger to the stream: what was booked gets its offset, and again when a room's history was lost.

Owns the way of an entry to the broker: under a key that makes it harmless to repeat, red packets with the change of the room's
state that they are, and never before what the ledger has of earlier ones. Must not know who asked for what was booked.

A room that opens, or goes on in another epoch, is *restored* first: entries that the ledger has and the surviving history has
not come again, in the order of their numbers, before anybody is let in.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec
import trio

from engine.brokers.base import Broker, Pending, Position, Receipt, RecordFull, Unavailable
from engine.errors import Refused
from engine.hub.backfill import PAGE
from engine.hub.entries import Entry as StateEntry
from engine.hub.entries import field_of
from engine.hub.givers import KEPT
from engine.hub.known import entry_of
from engine.hub.room import HubRoom, Phase
from engine.hub.rooms import Rooms
from engine.hub.rules import kind_of
from engine.ledger.lane import Lane
from engine.ledger.values import Entry, Giver, Mark
from engine.schema import BACKSTAGE, EVERYWHERE, EventKind, PacketEndEvent, PacketEvent
from engine.settings import Settings

if TYPE_CHECKING:
    from engine.ledger.store import Store

__all__ = ["KEY", "Outbox"]

KEY: Final = "$ledger"
"""Session of the broker's keys of entries; no viewer's. The ref is the entry's number."""
_RETRY_SECONDS: Final = 1.0
"""Pause before a broker that was out of reach is asked again."""
_RESTORED: Final = 20_000
"""Most entries that come again when a history was lost, the newest."""

log = logging.getLogger("roomcast.hub")

_packet: Final = msgspec.msgpack.Decoder(PacketEvent).decode
_end: Final = msgspec.msgpack.Decoder(PacketEndEvent).decode


class _Past(NamedTuple):
    """What the ledger has of a room."""

    recent: list[Entry]
    packets: list[Entry]
    givers: list[Giver]


class Outbox:
    """See the module's docstring.

    :param spawn: begins a task that the hub owns.
    """

    def __init__(
        self, broker: Broker, rooms: Rooms, lane: Callable[[], Lane], settings: Settings, spawn: Callable[..., None]
    ) -> None:
        self._broker = broker
        self._rooms = rooms
        self._lane = lane
        self._spawn = spawn
        self._owed: dict[HubRoom, None] = {}
        self._origins: dict[str, tuple[int, int, float]] = {}
        """Epoch and offset after which a room's money was published again, and when."""
        self.adopt(settings)

    def adopt(self, settings: Settings) -> None:
        """Take other settings."""
        self._recent_ms = int(settings.ledger.recent_seconds * 1000)
        self._log_seconds = settings.room.log_seconds

    # -- what was booked ----------------------------------------------------------------------------------------------

    async def publish(self, entries: Sequence[Entry]) -> list[Mark]:
        """Publish entries, each room's in their order, and return where they are. Waits until the broker has them all."""
        async with AsyncExitStack() as stack:
            for name in dict.fromkeys(entry.room for entry in entries):
                room = self._rooms.get(name)
                if room is None or room.phase in (Phase.OPENING, Phase.RESTARTING):
                    # What the ledger has of earlier ones comes first.
                    await stack.enter_async_context(self._rooms.opened(name, settled=True))
            return await self._publish(entries)

    async def _publish(self, entries: Sequence[Entry]) -> list[Mark]:
        queues: dict[str, deque[Entry]] = {}
        for entry in entries:
            queues.setdefault(entry.room, deque()).append(entry)
        marks: list[Mark] = []
        while queues:
            if not await self._advance(queues, marks):
                await trio.sleep(_RETRY_SECONDS)
            queues = {room: queue for room, queue in queues.items() if queue}
        return marks

    async def _advance(self, queues: dict[str, deque[Entry]], marks: list[Mark]) -> bool:
        """One step of each room; returns whether the broker was there."""
        runs = {room: run for room, queue in queues.items() if (run := _run(queue))}
        outcomes: dict[str, Receipt | Unavailable] = {}
        if runs:
            outcomes = await self._broker.publish_all({room: [_pending(each) for each in run] for room, run in runs.items()})
        for room, queue in queues.items():
            if room not in runs:
                try:
                    outcomes[room] = await self._publish_packet(queue[0])
                except Unavailable as error:
                    outcomes[room] = error
        there = True
        for room, outcome in outcomes.items():
            if isinstance(outcome, Unavailable):
                log.warning("broker_unavailable", extra={"room": room, "error": str(outcome), "waiting": len(queues[room])})
                there = False
                continue
            queue = queues[room]
            marks += [Mark(room, queue.popleft().number, outcome.epoch, offset) for offset in outcome.offsets]
        return there

    async def _publish_packet(self, entry: Entry) -> Receipt:
        """A red packet, or its end: a change of the room's state."""
        pending = _pending(entry)
        if kind_of(entry.event) == EventKind.PACKET:
            field, value = field_of("packet", str(entry.number)), self._state(entry)
        else:
            field, value = field_of("packet", str(_end(entry.event).packet)), None
        try:
            await self._broker.amend(entry.room, field, value, event=pending)
        except RecordFull as error:
            # It is booked: everybody learns of it. Nobody can claim it; it goes back when it expires.
            log.error("packet_without_state", extra={"room": entry.room, "entry": entry.number, "error": str(error)})
        # Where it is; and if nothing changed, it is published now.
        return await self._broker.publish(entry.room, [pending])

    def _state(self, entry: Entry) -> bytes:
        """A red packet as the room's state has it."""
        packet = _packet(entry.event)
        value = {
            "author": [packet.author.id, packet.author.name],
            "total": packet.total,
            "shares": packet.shares,
            "split": packet.split,
            "opens": packet.opens,
            "expires": packet.expires,
            "followers": packet.followers,
            "phrase": packet.phrase,
            "text": packet.text,
            "commitment": packet.commitment,
        }
        room = self._rooms.get(entry.room)
        version = room.rules.record.revision + 1 if room is not None else 1
        return StateEntry("packet", str(entry.number), value, version, packet.author.id, "", version).encode()

    # -- what was lost ------------------------------------------------------------------------------------------------

    async def restore(self, room: HubRoom, position: Position) -> int:
        """A room is about to open, or to go on in another epoch, at a position: publish what it does not have, after that.
        Returns after which offset this was, also when it was not long ago that the room was open: who comes from an epoch that
        is over begins there. Raises `Unavailable`."""
        if room.name == EVERYWHERE or room.name.endswith(BACKSTAGE) or not self._lane().opened:
            return position.offset
        await self._restore_or_owe(room, position)
        epoch, offset, _ = self._origins.get(room.name, (0, 0, 0.0))
        return min(offset, position.offset) if epoch == position.epoch else position.offset

    async def _restore_or_owe(self, room: HubRoom, position: Position) -> None:
        if not self._owed:
            try:
                await self._restore(room, position)
            except Refused as refused:
                log.warning("money_not_restored", extra={"room": room.name, "error": str(refused)})
                self._spawn(self._restore_owed)
            else:
                return
        # Rooms go on without, and none waits for a database that does not answer; the money is in the ledger.
        self._owed[room] = None

    async def _restore_owed(self) -> None:
        """Restore the rooms that were opened while the ledger was out of reach."""
        while self._owed:
            await trio.sleep(_RETRY_SECONDS)
            for room in list(self._owed):
                if self._rooms.get(room.name) is room:
                    try:
                        await self._restore(room, room.position)
                    except (Refused, Unavailable):
                        break
                self._owed.pop(room, None)

    async def _restore(self, room: HubRoom, position: Position) -> None:
        name, board = room.name, room.till.board
        reading = board.reading()

        def read(store: Store) -> _Past:
            recent = store.recent(name, self._recent_ms, position.epoch, _RESTORED)
            packets = [entry for entry in store.packets(name) if entry.event]
            return _Past(recent, packets, store.givers(name, reading.stream, 0, KEPT))

        past = await self._lane().read(read)
        board.begin(reading, past.givers)
        room.rank()
        marks: list[Mark] = []
        if past.recent:
            marks = await self._recover(room, past.recent)
        asking = {entry.number: entry for entry in past.packets if _packet(entry.event).phrase}
        if asking:
            await self._listen(room, position.epoch, asking)
        again = {mark.number for mark in marks if mark.offset > position.offset}
        for entry in past.packets:
            if entry.number not in again and room.rules.entries.get("packet", str(entry.number)) is None:
                # Its event was kept, or is older; the record was lost.
                await self._broker.amend(name, field_of("packet", str(entry.number)), self._state(entry))

    async def _listen(self, room: HubRoom, epoch: int, packets: dict[int, Entry]) -> None:
        """Hear what was said in the room before, since these red packets asked for it."""
        for number, entry in packets.items():
            # Of another epoch: whatever is kept of this one is later, or was said just before.
            offset = entry.offset if entry.epoch == epoch else 0
            room.till.phrases.watch(number, _packet(entry.event).phrase, offset)
        if room.phase is not Phase.OPENING:
            # It has heard what was said.
            return
        after = min(entry.offset if entry.epoch == epoch else 0 for entry in packets.values())
        while True:
            head, events = await self._broker.history(room.name, after, PAGE)
            for offset, event in enumerate(events.events, events.first):
                room.till.listen(offset, event)
            if not events.events or events.last >= head.offset:
                return
            after = events.last

    async def _recover(self, room: HubRoom, recent: list[Entry]) -> list[Mark]:
        """Publish those of the entries that the history does not have; returns where all of them are."""
        head, kept = await self._kept(room.name, {entry.number for entry in recent})
        marks = [Mark(room.name, number, head.epoch, offset) for number, offset in kept.items()]
        again = [entry for entry in recent if entry.number not in kept and entry.event]
        if again:
            log.info("money_restored", extra={"room": room.name, "entries": len(again), "first": again[0].number})
            self._begins(room.name, head)
            marks += await self._publish(again)
        self._lane().mark(marks)
        return marks

    def _begins(self, name: str, head: Position) -> None:
        """What was lost is published again after this position."""
        now = trio.current_time()
        self._origins = {room: origin for room, origin in self._origins.items() if now - origin[2] < self._log_seconds}
        if self._origins.get(name, (0, 0, 0.0))[0] != head.epoch:
            self._origins[name] = head.epoch, head.offset, now

    async def _kept(self, name: str, numbers: set[int]) -> tuple[Position, dict[int, int]]:
        """Where the room stands, and the offsets of those entries that its history has."""
        kept: dict[int, int] = {}
        after = 0
        while True:
            head, events = await self._broker.history(name, after, PAGE)
            for offset, event in enumerate(events.events, events.first):
                entry = entry_of(event)
                if entry is not None and entry in numbers:
                    kept[entry] = offset
            if not events.events or events.last >= head.offset:
                return head, kept
            after = events.last


def _pending(entry: Entry) -> Pending:
    return Pending(entry.event, KEY, entry.number)


def _run(queue: deque[Entry]) -> list[Entry]:
    """What can be published at once: all up to the next red packet or end of one."""
    run: list[Entry] = []
    for entry in queue:
        if kind_of(entry.event) in (EventKind.PACKET, EventKind.PACKET_END):
            break
        run.append(entry)
    return run
