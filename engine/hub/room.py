"""One open room at the hub: which edges show it, what waits for its tick, what it last told them.

Owns the room's sequencer, batcher and state, and turns them into link messages. Must not know sockets or the broker; when
something is due is told by an argument.

Every time that is shown is the broker's and none is before one shown earlier. Between events it is read off a clock that
follows the broker's and may be ahead of an event that is still on its way; that one is shown as late as what came before it.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Collection
from dataclasses import replace
from enum import Enum
from operator import is_
from typing import Any, Final

import msgspec
import trio
from msgspec import structs

from engine.brokers.base import Amended, Events, Position, Record, Tally, Totals
from engine.hub.counts import Counts
from engine.hub.entries import key_of
from engine.hub.frames import RoomFrames
from engine.hub.port import Port
from engine.hub.rules import Rules, kind_of
from engine.hub.till import Till
from engine.link.messages import Backfill, Down, Expel, Packets, Redact, SharedSnapshot
from engine.room.batcher import Batcher, Collected, tick_seconds
from engine.room.feeds import Feeds
from engine.room.sequencer import Sequencer
from engine.room.state import RECEIPTS, RoomState
from engine.room.tail import Tail, tombstone
from engine.schema import BACKSTAGE, CONSOLE, EventKind, ModeratedEvent, OmittedReason, State
from engine.settings import Settings

__all__ = ["HubRoom", "Phase"]

_COUNTERS_SHARE: Final = 0.05
"""Share of a core for batches that carry nothing but counters: a count that is late by seconds hurts nobody, while in a
huge room that fills each such batch costs as much as a comment."""


_CONSOLE_RECENT: Final = 10
_RECEIPTED: Final = 64
"""Notices that receipts may come for, the newest."""
_ALARM_SECONDS: Final = 0.01
"""Least time between two looks at what vanishes: the room's clock is read in milliseconds."""

_decode_moderated: Final = msgspec.msgpack.Decoder(ModeratedEvent).decode
_decode_any: Final[Callable[[bytes], Any]] = msgspec.msgpack.Decoder().decode


class Phase(Enum):
    """How a room stands with the broker."""

    OPENING = "opening"
    """The broker's position is not known yet; what it delivers waits."""
    LIVE = "live"
    """What the broker delivers joins."""
    REPAIRING = "repairing"
    """A hole is being read from the broker's history; what comes after it waits."""
    RESTARTING = "restarting"
    """The broker is in another epoch; what it delivers waits until its position is known."""


class HubRoom:
    """State of one open room.

    :param clock: the broker's time in this room (`Broker.now_ms`).
    :ivar ports: the edges that show it, with their viewers.
    :ivar backstage: whether it is the room behind another one.
    :ivar behind: those of them that came back with an older position, and it; they are sent nothing else until they have
        everything up to `position`.
    :ivar wake: when `service` is to be called next, infinity if never.
    :ivar counts: what the broker is to be told.
    :ivar origin: offset after which this hub began to show this epoch, now or when the room was open before.
    :ivar rules: what holds here.
    :ivar till: what is known of its money.
    :ivar redactions: how often events went; what was read before one must not be shown after it.
    :ivar receipted: offsets of the last notices that ask for receipts.
    :ivar waiting: what is to be done when the room is live.
    :ivar early: what the broker delivered while the room was opening or restarting.
    :ivar peak: most viewers at once, over all nodes.
    :ivar life_told: of its life, and ``peak_told`` of its peak, what the product was told last (`engine.hub.webhooks`).
    """

    __slots__ = (
        "_alarm",
        "_barring",
        "_batcher",
        "_began_at",
        "_clock",
        "_framed_at",
        "_givers_shown",
        "_passed",
        "_sequencer",
        "_settings",
        "_shown_ms",
        "_tail",
        "_tallies",
        "_told",
        "backstage",
        "behind",
        "counts",
        "early",
        "frames",
        "life_told",
        "name",
        "origin",
        "peak",
        "peak_told",
        "phase",
        "ports",
        "receipted",
        "redactions",
        "rules",
        "state",
        "till",
        "waiting",
        "wake",
    )

    def __init__(self, name: str, settings: Settings, own: str, clock: Callable[[], int], rules: Rules, feeds: Feeds) -> None:
        self.name = name
        self._clock = clock
        self._shown_ms = 0
        self._settings = settings.room
        self.rules = rules
        self._tail = Tail(self._recent(settings))
        self.state = RoomState(name, settings.room, feeds, lambda: rules.entries.snapshot(), self._tail.recent)
        self.frames = RoomFrames(name, self.state, feeds)
        self.counts = Counts(own)
        self.ports: dict[Port, int] = {}
        self.behind: dict[Port, Position] = {}
        self._sequencer = Sequencer(Position(0, 0))
        self._passed = 0
        self.origin = 0
        self._began_at = 0.0
        self._batcher = Batcher(0, settings.room)
        self._framed_at = -math.inf
        self._tallies: dict[str, tuple[int, ...]] = {}
        self._alarm = math.inf
        self._told: set[int] = set()
        self.backstage = name.endswith(BACKSTAGE)
        self._barring = False
        self._givers_shown = settings.ledger.givers_shown
        self.till = Till()
        self.redactions = 0
        self.phase = Phase.OPENING
        self.early: list[Events] = []
        self.waiting: list[Callable[[], None]] = []
        self.wake = math.inf
        self.receipted: OrderedDict[int, None] = OrderedDict()
        self.peak = self.peak_told = 0
        self.life_told = ""

    def adopt(self, settings: Settings) -> None:
        """Take other settings."""
        self._settings = settings.room
        self._tail.adopt(self._recent(settings))
        self._batcher.limit = settings.room.batch_bytes
        self._givers_shown = settings.ledger.givers_shown
        self.state.adopt(settings.room)
        self.rules.adopt(settings)

    def _recent(self, settings: Settings) -> int:
        """Events that newcomers are shown. Those of the console are large."""
        return min(settings.room.recent_events, _CONSOLE_RECENT) if self.name == CONSOLE else settings.room.recent_events

    # -- edges --------------------------------------------------------------------------------------------------------

    @property
    def viewers(self) -> int:
        """Viewers at all edges of this hub."""
        return sum(self.ports.values())

    def attach(self, port: Port, known: Position) -> None:
        """An edge shows the room from now on; its viewers have everything up to ``known``, nothing if its epoch is 0."""
        self.ports.setdefault(port, 0)
        self.counts.begins(port.source(self.name))
        if known.epoch:
            self.behind[port] = known
        self.want()

    def detach(self, port: Port) -> None:
        """An edge does not show it any more."""
        if port in self.ports:
            self.counts.ends(port.source(self.name))
        self.ports.pop(port, None)
        self.behind.pop(port, None)
        self.want()

    def want(self) -> None:
        """Look again which variants the edges need."""
        self.frames.want(port.wants.get(self.name, ()) for port in self.ports)

    def send(self, message: Down) -> None:
        """To every edge of the room that has what came before."""
        for port in self.ports:
            if port not in self.behind:
                port.post(message)

    # -- events -------------------------------------------------------------------------------------------------------

    @property
    def position(self) -> Position:
        """What the edges have been given."""
        return Position(self._sequencer.epoch, self._sequencer.head - len(self._batcher))

    @property
    def head(self) -> int:
        """Last offset that was taken in, whether edges have been given it or not."""
        return self._sequencer.head

    @property
    def passed(self) -> int:
        """Grows by 1 with every offset, also where another epoch begins; for differences."""
        return self._passed + self._sequencer.head

    @property
    def missing(self) -> tuple[int, int] | None:
        """First and last offset of a hole in what the broker delivered."""
        return self._sequencer.missing

    def open(self, position: Position, now: float, origin: int) -> None:
        """Begin at the broker's position.

        :param origin: see `origin`.
        """
        self._sequencer = Sequencer(position)
        self.origin = origin
        self._began_at = now
        self._batcher = Batcher(position.offset, self._settings)
        self._tail.clear()
        self.frames.begin()
        self.receipted.clear()
        self._told.clear()
        self._framed_at = now
        self.phase = Phase.LIVE

    @property
    def recent_events(self) -> int:
        """Events before the position that newcomers are to be shown."""
        return self._settings.recent_events

    def recall(self, past: Events) -> None:
        """What the history has of the last events before the position."""
        if past.epoch == self._sequencer.epoch:
            count = self.position.offset - past.first + 1
            events, times = past.events[:count], past.times[:count]
            self._tail.add(past.first, events, times)
            self.rules.hear(Events(self.name, past.epoch, past.first, events, times))
            self._tail.expire(self._clock())

    def take_in(self, events: Events, now: float) -> list[int]:
        """Events from the broker; returns the offsets of notices among them that ask for receipts. Raises
        `engine.room.sequencer.EpochChanged`."""
        notices: list[int] = []
        for ready in self._sequencer.accept(events):
            ready = self._account(ready)
            self._batcher.add(ready, now, self.tick())
            self.rules.hear(ready)
            self._moderate(ready, [port for port in self.ports if port not in self.behind])
            for offset, event in enumerate(ready.events, ready.first):
                if kind_of(event) == EventKind.NOTICE and _decode_any(event)[4]:
                    self._receipt(offset)
                    notices.append(offset)
        return notices

    def _account(self, events: Events) -> Events:
        """Let the till hear what is said and paid; an entry that was shown before is not shown again."""
        heard = list(map(self.till.hear, range(events.first, events.last + 1), events.events))
        if all(map(is_, heard, events.events)):
            return events
        return Events(events.room, events.epoch, events.first, heard, events.times)

    def _moderate(self, events: Events, ports: Collection[Port]) -> None:
        """Do what moderators want among these events, as far as these edges are concerned. Backstage they are only told of."""
        if self.backstage:
            return
        for event in events.events:
            if kind_of(event) == EventKind.MODERATED:
                moderated = _decode_moderated(event)
                if moderated.action == "kick":
                    for port in ports:
                        port.post(Expel(self.name, moderated.user))
                elif moderated.offsets:
                    self._redact(moderated.offsets, OmittedReason.DELETED, ports)

    def _receipt(self, offset: int) -> None:
        self.receipted[offset] = None
        while len(self.receipted) > _RECEIPTED:
            self.receipted.popitem(last=False)

    def _redact(self, stretches: list[int], reason: OmittedReason, ports: Collection[Port]) -> None:
        """Let what stands at these offsets be gone, here and at these edges.

        :param stretches: first and last of each stretch, one after the other.
        """
        self.redactions += 1
        gone, known = tombstone(reason), self._tail.changes
        for first, last in zip(stretches[::2], stretches[1::2], strict=True):
            for offset in range(max(first, self.position.offset + 1), min(last, self._batcher.last) + 1):
                self._batcher.replace(offset, gone)
            self._tail.drop(first, last)
        for port in ports:
            port.post(Redact(self.name, self._sequencer.epoch, stretches, reason))
        if self._tail.changes != known:
            self.send_snapshot()

    def update(self, delivery: Totals | Tally) -> None:
        """Counters from the broker."""
        if isinstance(delivery, Totals):
            self.state.update(delivery, self._clock())
            self.peak = delivery.peak
        else:
            self._tallies[delivery.name] = delivery.counts
            self._count(delivery.name)

    def _recount(self, delivery: Record | Amended) -> None:
        """Entries may have come or gone whose votes are known."""
        if isinstance(delivery, Amended) and (named := key_of(delivery.field)) is not None and delivery.value is None:
            kind, key = named
            if kind == "notice" and key.isdecimal():
                # What is heard of it from now on is too late.
                self.receipted.pop(int(key), None)
            self.state.forget(f"{kind}:{key}")
            for tally in [tally for tally in self._tallies if tally.startswith(f"{kind}:{key}:")]:
                del self._tallies[tally]
        for tally in self._tallies:
            self._count(tally)

    def _count(self, tally: str) -> None:
        """Show a tally: of a notice, or for an entry that is there."""
        entry = self.rules.entries.of_tally(tally)
        if tally.startswith(RECEIPTS):
            self.state.tally(tally, self._tallies[tally])
        elif entry is not None:
            self.state.tally(f"{entry.kind}:{entry.key}", self._tallies[tally])

    def amend(self, delivery: Record | Amended) -> None:
        """The room's record, or a change of it, from the broker."""
        if self.rules.amend(delivery) and self.phase is not Phase.OPENING:
            self.bar()
        if self.till.amend(self.rules.entries) and self.phase is not Phase.OPENING:
            self.tell_packets()
        self._recount(delivery)
        self._set_alarm()

    def bar(self, port: Port | None = None) -> None:
        """Tell the edges, or one, who may not be here, whatever else they have."""
        message = self.rules.barred(self._clock())
        if message.users or message.addresses or message.locate or self._barring:
            self._barring = True
            for each in self.ports if port is None else (port,):
                each.post(message)

    def tell_packets(self, port: Port | None = None) -> None:
        """Tell the edges, or one, which red packets are open."""
        for each in self.ports if port is None else (port,):
            each.post(Packets(self.name, sorted(self.till.packets)))

    def rank(self) -> None:
        """Let viewers be told who gave most, if that has changed."""
        if self.till.board.changed:
            self.state.rank(self.till.board.shown(self._givers_shown))

    def tick(self) -> float:
        """Seconds from a first event to its batch: the slowest edge sets it."""
        settings = self._settings
        return max(
            (tick_seconds(viewers, port.seconds_per_frame, settings) for port, viewers in self.ports.items()),
            default=0.0,
        )

    # -- time ---------------------------------------------------------------------------------------------------------

    def time(self) -> int:
        """What is to be shown as the time now: before anything that waits."""
        if not len(self._batcher):
            waiting = (events.times[0] for events in self.early if events.times)
            self._shown_ms = max(self._shown_ms, next(waiting, self._clock()))
        return self._shown_ms

    def due(self) -> float:
        """When `service` has something to do."""
        if self._batcher.due is not None:
            # Counters cannot pass the events that wait; they go with them.
            return min(self._batcher.due, self._alarm)
        if not self.frames.variants:
            # Nobody is told anything.
            return self._alarm
        due = self._framed_at + self._settings.heartbeat_seconds
        if self.state.changed:
            due = min(due, self._framed_at + self._counters_seconds())
        return min(due, self._alarm)

    def _counters_seconds(self) -> float:
        cost = max((viewers * port.seconds_per_frame for port, viewers in self.ports.items()), default=0.0)
        return max(self._settings.counters_seconds, cost / _COUNTERS_SHARE)

    def service(self, now: float) -> None:
        """Send what is due: the tick's batch, counters, or a heartbeat."""
        if self._alarm <= now:
            self._vanish()
            self._set_alarm()
        if self.due() > now:
            return
        if self._batcher.due is not None:
            self.flush(now)
        else:
            head = self._batcher.last
            self._send_batch(Collected(head + 1, head, [], []), now)

    def _vanish(self) -> None:
        """Let what has expired be gone."""
        offsets = self._tail.expire(self._clock())
        if offsets:
            stretches = [each for offset in offsets for each in (offset, offset)]
            self._redact(stretches, OmittedReason.EXPIRED, [port for port in self.ports if port not in self.behind])
            self.send_snapshot()

    def overdue(self) -> list[int]:
        """Offsets of notices whose deadline has passed, each once."""
        now_ms = self._clock()
        overdue = [offset for offset, deadline in self.rules.deadlines() if deadline <= now_ms and offset not in self._told]
        self._told.update(overdue)
        return overdue

    def _set_alarm(self) -> None:
        """Wake when the next event is to vanish or the next notice is due."""
        times = [deadline for offset, deadline in self.rules.deadlines() if offset not in self._told]
        if self._tail.next_expiry:
            times.append(self._tail.next_expiry)
        seconds = max((min(times) - self._clock()) / 1000, _ALARM_SECONDS) if times else math.inf
        self._alarm = trio.current_time() + seconds

    def flush(self, now: float) -> None:
        """Send all that waits, whether it is due or not."""
        while (batch := self._batcher.take(now)) is not None:
            self._send_batch(batch, now)

    def _send_batch(self, batch: Collected, now: float) -> None:
        self._framed_at = now
        if not batch.times:
            self.time()
        elif batch.times[0] < self._shown_ms:
            batch = replace(batch, times=[max(time, self._shown_ms) for time in batch.times])
        self.rank()
        heartbeat = not batch.times and not self.state.changed
        self.send(self.frames.batch(self._sequencer.epoch, batch, heartbeat, self._clock(), self._shown_ms))
        self._shown_ms = max([self._shown_ms, *batch.times[-1:]])
        if batch.events:
            self._tail.add(batch.first, batch.events, batch.times)
            if self._tail.next_expiry:
                self._set_alarm()

    def send_snapshot(self, port: Port | None = None) -> None:
        """The state after `position`, for newcomers: to one edge, or to all."""
        if not self.frames.variants:
            return
        position = self.position
        frames = self.frames.snapshot(position, self.time(), self._revision)
        recent = trio.current_time() - self._began_at < self._settings.log_seconds
        origin = self.origin if recent else position.offset
        for each in self.ports if port is None else (port,):
            if each in self.behind:
                continue
            mine = {variant: frames[variant] for variant in each.wants[self.name]}
            opening = each.openings[self.name]
            each.post(SharedSnapshot(self.name, opening, position.epoch, position.offset, mine, origin))

    def begin_at(self, past: Backfill) -> Backfill:
        """A part of the past with the state before it: for who begins there, because its own epoch is over."""
        position = Position(past.epoch, past.after)
        return structs.replace(past, snapshot=self.state.snapshot_at(position, self.time(), past.variant))

    @property
    def _revision(self) -> tuple[int, int]:
        """Differs whenever a snapshot would, but for what is counted."""
        return self.rules.record.revision, self._tail.changes

    def told_state(self, ref: int) -> State:
        """What the room is now, for one viewer."""
        epoch, offset = self.position
        return State(ref, self.state.handle, epoch, offset, self.state.all_totals(), self.rules.entries.snapshot())

    # -- losses -------------------------------------------------------------------------------------------------------

    def give_up(self, before: int, now: float) -> None:
        """The broker does not have the offsets up to ``before``: tell everybody, and go on there."""
        first = self._sequencer.head + 1
        if before <= first:
            # They came while the broker was asked.
            return
        self.flush(now)
        self._sequencer.give_up(before)
        self._batcher.skip(before)
        self.send(self.frames.gap(self._sequencer.epoch, first, before - 1, "history"))

    def restart(self, position: Position, now: float, origin: int) -> None:
        """The history was lost: end the old epoch for everybody, and go on at ``position``."""
        self.peak = self.peak_told = 0
        self.flush(now)
        old = self.position
        self._passed += old.offset - position.offset
        self.open(position, now, origin)
        self.send(self.frames.restart(old, position, self.time(), self._revision))
        self.send_snapshot()

    # -- edges that came back -----------------------------------------------------------------------------------------

    def welcome(self, port: Port) -> bool:
        """Let an edge that came back go on with the others if it has what they have; return whether it does."""
        known = self.behind.get(port)
        if known is None:
            return True
        if known != self.position:
            return False
        del self.behind[port]
        self.send_snapshot(port)
        return True

    def begin_anew(self, port: Port, past: Events) -> None:
        """Tell an edge that came back with a position of another epoch that the room goes on in this one with ``past``."""
        old, here = self.behind[port], self.position
        new = self.behind[port] = Position(here.epoch, min(past.first - 1, here.offset))
        port.post(self.frames.restart(old, new, past.times[0] if past.times else self.time(), self._revision))

    def catch_up(self, port: Port, past: Events) -> None:
        """Give an edge that came back what follows its position, from the broker's history, up to what the others have."""
        epoch, known = self.behind[port]
        last = self.position.offset
        before = min(past.first, last + 1)
        if before > known + 1:
            port.post(self.frames.gap(epoch, known + 1, before - 1, "history"))
            known = before - 1
        count = min(past.last, last) - known
        if count > 0:
            events = Events(self.name, epoch, past.first, past.events[:count], past.times[:count])
            # What was deleted meanwhile may be in what the edge has.
            self._moderate(events, (port,))
            for frames in self.frames.past(events, port.wants[self.name], self._settings.batch_bytes, self._clock()):
                port.post(frames)
            known += count
        self.behind[port] = Position(epoch, known)
