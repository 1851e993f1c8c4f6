"""Whether what viewers were told and saw, and what is in the ledger, is one and the same.

Owns what is a fault, and its name. Pure: takes a history and the ledger's rows.

Nothing here asks the engine: sums, combos and draws are reckoned again from the entries.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Any, NamedTuple

from bench.kills.book import CLAIM, COMBO, END, GIFT, PACKET, SHARE, Book, Id, Watcher
from engine.ledger.split import verify

__all__ = ["Boards", "Fault", "Kept", "Kind", "judge", "unsettled"]

Boards = Mapping[str, Mapping[str, int]]
"""What each giver of a room has given in all, as the room tells it."""


class Kind(StrEnum):
    """What can be wrong."""

    LOST = "lost"
    """Acknowledged, but not in the ledger."""
    ALTERED = "altered"
    """In the ledger otherwise than asked for or acknowledged."""
    DOUBLED = "doubled"
    """One request has several entries."""
    TWO_ANSWERS = "two answers"
    """One request was acknowledged differently."""
    UNASKED = "unasked"
    """In the ledger, but nobody asked for it."""
    UNANSWERED = "unanswered"
    """Asked for again and again, without an answer to the end."""
    REFUSED = "refused"
    """Refused for good, though nothing was wrong with it."""
    HOLE = "hole"
    """A room's entries do not count from 1 without holes."""
    OUTBOX = "outbox"
    """Not known to be published, though there was time enough."""
    UNSEEN = "unseen"
    """In the ledger, but a viewer who was there was not shown it."""
    SHOWN_TWICE = "shown twice"
    """A viewer was shown an entry again where it must not be."""
    SHOWN_OTHERWISE = "shown otherwise"
    """A viewer was shown something else than what is in the ledger."""
    UNBOOKED = "unbooked"
    """A viewer was shown what is not in the ledger."""
    MISPLACED = "misplaced"
    """Acknowledged at another offset than it has, or recorded at another."""
    TWO_SHARES = "two shares"
    """A user has several shares of one red packet."""
    SUM = "sum"
    """Amounts do not add up."""
    COMBO = "combo"
    """A combo's numbers are not those of its gifts, or it has no end, or several."""
    PACKET = "packet"
    """A red packet is not divided as announced, or has no end, or several."""
    BOARD = "board"
    """A leaderboard tells other sums than the ledger."""
    STREAM = "stream"
    """What a viewer was told does not join up."""
    VERIFY = "verify"
    """The ledger's own command finds something wrong."""
    ENGINE = "engine"
    """A process ended by itself, did not come back, or reports an error."""


class Fault(NamedTuple):
    """Something that is wrong. ``text`` says what, for people."""

    kind: Kind
    room: str
    text: str


class Kept(NamedTuple):
    """One row of the ledger: what is booked, the event by which it is shown, and where that is; (0, 0): not known to be.

    :ivar user: who gave, made the red packet, or has the share.
    :ivar about: entry that this is about (`engine.ledger.tables`).
    :ivar booked_ms: when, Unix milliseconds.
    """

    room: str
    number: int
    kind: int
    user: str
    amount: int
    about: int
    event: Sequence[Any]
    epoch: int
    offset: int
    booked_ms: int = 0


def judge(book: Book, rows: Sequence[Kept], boards: Boards, *, lasting: bool) -> list[Fault]:
    """All faults of a storm that is over and has settled.

    :param rows: of all rooms.
    :param lasting: whether the stream outlives the processes that were killed.
    """
    ledger: dict[str, dict[int, Kept]] = defaultdict(dict)
    faults: list[Fault] = []
    for row in rows:
        if row.number in ledger[row.room]:
            faults.append(Fault(Kind.HOLE, row.room, f"entry {row.number} is there twice"))
        if row.event:
            ledger[row.room][row.number] = row
        else:
            faults.append(Fault(Kind.ALTERED, row.room, f"entry {row.number} has no event"))
    faults += _requests(book, ledger)
    for room, entries in ledger.items():
        numbers = sorted(entries)
        events = [entries[number].event for number in numbers]
        faults += (Fault(kind, room, text) for kind, text in _numbered(entries, numbers))
        faults += (Fault(kind, room, text) for kind, text in _gifts(events))
        faults += (Fault(kind, room, text) for kind, text in _packets(events))
    faults += _boards(ledger, boards)
    faults += _shown(book, ledger, lasting=lasting)
    return faults


def unsettled(rows: Sequence[Kept]) -> str:
    """What is still to come by itself, such as ends of red packets; empty if nothing is."""
    rows = [row for row in rows if row.event]
    open_packets = {(row.room, row.number) for row in rows if row.event[0] == PACKET}
    open_packets -= {(row.room, row.event[3]) for row in rows if row.event[0] == END}
    growing = Counter((row.room, row.event[8]) for row in rows if row.event[0] == GIFT)
    ended = {(row.room, row.event[3]) for row in rows if row.event[0] == COMBO}
    combos = sum(count > 1 and combo not in ended for combo, count in growing.items())
    waiting = sum(not row.epoch for row in rows)
    counts = {"red packets open": len(open_packets), "combos open": combos, "entries unpublished": waiting}
    return ", ".join(f"{count:,} {what}" for what, count in counts.items() if count)


# -- what was asked for and acknowledged ------------------------------------------------------------------------------


def _id_of(room: str, event: Sequence[Any]) -> Id | None:
    """Of the request that an event is the answer to; None: it comes by itself."""
    match event[0]:
        case kind if kind in (GIFT, PACKET, SHARE):
            return Id(room, kind, event[1][0], event[3])
    return None


def _amount_of(event: Sequence[Any]) -> int:
    amount: int = event[{GIFT: 6, PACKET: 4, SHARE: 5}[event[0]]]
    return amount


def _requests(book: Book, ledger: Mapping[str, Mapping[int, Kept]]) -> Iterator[Fault]:
    booked: dict[Id, list[Kept]] = defaultdict(list)
    for room, entries in ledger.items():
        for row in entries.values():
            if (asked := _id_of(room, row.event)) is not None:
                booked[asked].append(row)
    for asked, found in booked.items():
        where = f"{_name(asked)}: entries {', '.join(str(row.number) for row in found)}"
        if asked not in book.requests:
            yield Fault(Kind.UNASKED, asked.room, where)
            continue
        if len(found) > 1:
            yield Fault(Kind.TWO_SHARES if asked.kind == CLAIM else Kind.DOUBLED, asked.room, where)
        request, event = book.requests[asked], found[0].event
        amount = _amount_of(event)
        if request.amount not in (0, amount):
            yield Fault(Kind.ALTERED, asked.room, f"{where}: {amount:,} is in the ledger, {request.amount:,} was asked for")
        if not _holds(event, request.content):
            yield Fault(Kind.ALTERED, asked.room, f"{where}: {list(event)} is in the ledger, {request.content} was asked for")
        if asked in book.refused:
            yield Fault(Kind.REFUSED, asked.room, f"{where}: in the ledger, but refused for good: {book.refused[asked]}")
    for asked, answers in book.answers.items():
        if len({(answer.entry, answer.amount) for answer in answers}) > 1:
            told = ", ".join(f"entry {answer.entry} of {answer.amount:,}" for answer in answers)
            yield Fault(Kind.TWO_ANSWERS, asked.room, f"{_name(asked)}: {told}")
        found = booked.get(asked, [])
        for answer in dict.fromkeys(each._replace(at_ms=0) for each in answers):
            kept = next((row for row in found if row.number == answer.entry), None)
            if kept is None:
                yield Fault(Kind.LOST, asked.room, f"{_name(asked)}: acknowledged as entry {answer.entry}")
            elif _amount_of(kept.event) != answer.amount:
                text = f"{_amount_of(kept.event):,} is in the ledger, {answer.amount:,} was acknowledged"
                yield Fault(Kind.ALTERED, asked.room, f"{_name(asked)}: entry {answer.entry}: {text}")
    for asked in book.requests.keys() - book.answers.keys():
        if asked in book.refused:
            if asked.kind != CLAIM:
                yield Fault(Kind.REFUSED, asked.room, f"{_name(asked)}: {book.refused[asked]}")
        elif asked.kind != CLAIM:
            # A claim without an answer is one that came too late: the end of the packet tells everybody.
            yield Fault(Kind.UNANSWERED, asked.room, _name(asked))


def _holds(event: Sequence[Any], content: Sequence[Any]) -> bool:
    """Whether an event has the content that was asked for: a gift's id and count, a red packet's total, shares and split."""
    return tuple(event[4 : 4 + len(content)]) == tuple(content)


def _name(asked: Id) -> str:
    what = {GIFT: "gift", PACKET: "red packet", SHARE: "share of packet"}[asked.kind]
    return f"{what} {asked.ref} of {asked.user}"


# -- what is in the ledger --------------------------------------------------------------------------------------------


def _numbered(entries: Mapping[int, Kept], numbers: Sequence[int]) -> Iterator[tuple[Kind, str]]:
    if missing := set(range(1, numbers[-1] + 1)) - set(numbers):
        yield Kind.HOLE, f"no entries {', '.join(map(str, sorted(missing)[:10]))} of {numbers[-1]:,}"
    for number in numbers:
        row = entries[number]
        if _booked(row.event) != (row.kind, number, row.user, row.amount, row.about):
            yield Kind.ALTERED, f"entry {number} has an event that says otherwise: {row}"
        if not row.epoch:
            yield Kind.OUTBOX, f"entry {number} is not known to be published"


def _booked(event: Sequence[Any]) -> tuple[Any, ...]:
    """Kind, number, user, amount and what it is about, as an event tells them."""
    match event[0]:
        case 8:
            amount, about = event[6], event[8]
        case 9:
            amount, about = event[7], event[3]
        case 11:
            amount, about = event[4], event[2]
        case 12:
            amount, about = event[5], event[3]
        case 13:
            amount, about = event[6], event[3]
        case _:
            return ()
    return event[0], event[2], event[1][0], amount, about


def _gifts(events: Sequence[Sequence[Any]]) -> Iterator[tuple[Kind, str]]:
    """Running sums of givers, and combos."""
    given: Counter[str] = Counter()
    combos: dict[int, list[Sequence[Any]]] = {}
    ends: dict[int, Sequence[Any]] = {}
    for event in events:
        if event[0] == GIFT:
            _, author, entry, _, gift, count, amount, to, combo, combo_count, _, told = event[:12]
            given[author[0]] += amount
            if told != given[author[0]]:
                yield Kind.SUM, f"entry {entry} tells {told:,} as what {author[0]} has given, not {given[author[0]]:,}"
            members = combos.setdefault(combo, [])
            members.append(event)
            first = members[0]
            if first[2] != combo or (first[1][0], first[4], first[7]) != (author[0], gift, to) or combo in ends:
                yield Kind.COMBO, f"entry {entry} is not of the combo {combo}"
            elif combo_count != sum(each[5] for each in members):
                yield Kind.COMBO, f"entry {entry} counts {combo_count}, not {sum(each[5] for each in members)}, in its combo"
        elif event[0] == COMBO:
            _, _, entry, combo, _, _, count, amount = event[:8]
            if combo in ends:
                yield Kind.COMBO, f"combo {combo} ends twice: {ends[combo][2]}, {entry}"
            ends[combo] = event
            members = combos.get(combo, [])
            if (count, amount) != (sum(each[5] for each in members), sum(each[6] for each in members)):
                yield Kind.COMBO, f"entry {entry}: the totals of combo {combo} are not those of its gifts"
    for combo, members in combos.items():
        if len(members) > 1 and combo not in ends:
            yield Kind.COMBO, f"combo {combo} has no end"


def _packets(events: Sequence[Sequence[Any]]) -> Iterator[tuple[Kind, str]]:
    """Red packets, their shares and ends."""
    packets: dict[int, Sequence[Any]] = {}
    shares: dict[int, list[Sequence[Any]]] = defaultdict(list)
    ends: dict[int, Sequence[Any]] = {}
    for event in events:
        entry = event[2]
        if event[0] == PACKET:
            packets[entry] = event
        elif event[0] == SHARE:
            if event[3] in ends or event[3] not in packets:
                yield Kind.PACKET, f"entry {entry} is a share of {event[3]}, which is over or is none"
            shares[event[3]].append(event)
        elif event[0] == END:
            if event[3] in ends:
                yield Kind.PACKET, f"packet {event[3]} ends twice: {ends[event[3]][2]}, {entry}"
            ends[event[3]] = event
    for packet, announced in packets.items():
        (total, count, split), committed = announced[4:7], announced[12]
        claimed = shares[packet]
        if [each[4] for each in claimed] != list(range(1, len(claimed) + 1)) or len(claimed) > count:
            yield Kind.PACKET, f"packet {packet}: its shares are numbered {[each[4] for each in claimed]} of {count}"
        if packet not in ends:
            yield Kind.PACKET, f"packet {packet} has no end"
            continue
        reason, told, rest, seed = ends[packet][4:8]
        amounts = [each[5] for each in claimed]
        if sum(amounts) + rest != total:
            yield Kind.SUM, f"packet {packet}: shares of {sum(amounts):,} and a rest of {rest:,} are not its total of {total:,}"
        if told != len(claimed) or (reason == "emptied") != (told == count):
            yield Kind.PACKET, f"packet {packet} was {reason} with {told} of {count} shares claimed; there are {len(claimed)}"
        if not verify(bytes.fromhex(seed), committed, total, count, split, amounts):
            yield Kind.PACKET, f"packet {packet}: its shares do not follow from its seed"


def _boards(ledger: Mapping[str, Mapping[int, Kept]], boards: Boards) -> Iterator[Fault]:
    for room, board in boards.items():
        sums: Counter[str] = Counter()
        for row in ledger.get(room, {}).values():
            if row.event[0] == GIFT:
                sums[row.event[1][0]] += row.event[6]
        for user in sorted(sums.keys() | board.keys()):
            if sums[user] != board.get(user, 0):
                text = f"{user} has given {sums[user]:,} by the ledger, {board.get(user, 0):,} by the board"
                yield Fault(Kind.BOARD, room, text)


# -- what was shown ---------------------------------------------------------------------------------------------------


def _shown(book: Book, ledger: Mapping[str, Mapping[int, Kept]], *, lasting: bool) -> Iterator[Fault]:
    for room, entry, event, name in book.changed:
        yield Fault(Kind.SHOWN_OTHERWISE, room, f"entry {entry} came differently to {name}: {list(event)}")
    for (room, entry), event in book.shown.items():
        row = ledger.get(room, {}).get(entry)
        if row is None:
            yield Fault(Kind.UNBOOKED, room, f"entry {entry} was shown but is not in the ledger: {list(event)}")
        elif list(row.event) != list(event):
            text = f"entry {entry} is {list(row.event)} in the ledger, {list(event)} was shown"
            yield Fault(Kind.SHOWN_OTHERWISE, room, text)
    acknowledged = {(asked.room, answer.entry) for asked, answers in book.answers.items() for answer in answers}
    for watcher in book.watchers:
        yield from _watched(watcher, ledger.get(watcher.room, {}), acknowledged, lasting=lasting)
    yield from _placed(book, ledger)


def _watched(
    watcher: Watcher, entries: Mapping[int, Kept], acknowledged: set[tuple[str, int]], *, lasting: bool
) -> Iterator[Fault]:
    room, name = watcher.room, watcher.name
    for text in watcher.trouble:
        yield Fault(Kind.STREAM, room, f"{name}: {text}")
    if lasting and len(watcher.epochs) > 1:
        yield Fault(Kind.STREAM, room, f"{name}: there were {len(watcher.epochs)} epochs, though the stream outlived everybody")
    for number in entries:
        if number not in watcher.seen:
            known = "acknowledged " if (room, number) in acknowledged else ""
            hint = ", but for a snapshot of what was last" if number in watcher.hinted else ""
            yield Fault(Kind.UNSEEN, room, f"{name} was not shown the {known}entry {number}{hint}")
    for number, places in watcher.seen.items():
        again = len(places) > 1 if watcher.once else len({epoch for epoch, _ in places}) < len(places)
        if again:
            yield Fault(Kind.SHOWN_TWICE, room, f"{name} was shown entry {number} at {', '.join(map(_place, places))}")
    # Sums as this viewer would reckon them: each entry once.
    mine = sum(row.event[6] for number, row in entries.items() if number in watcher.seen and row.event[0] == GIFT)
    whole = sum(row.event[6] for row in entries.values() if row.event[0] == GIFT)
    if mine != whole:
        yield Fault(Kind.SUM, room, f"{name} was shown gifts of {mine:,}, the ledger has {whole:,}")


def _placed(book: Book, ledger: Mapping[str, Mapping[int, Kept]]) -> Iterator[Fault]:
    """Offsets that were acknowledged or recorded, against those at which viewers were shown the entry, as far as they were."""
    places: dict[tuple[str, int], set[tuple[int, int]]] = defaultdict(set)
    epochs: dict[str, set[int]] = defaultdict(set)
    for watcher in book.watchers:
        epochs[watcher.room] |= watcher.epochs
        for entry, shown in watcher.seen.items():
            places[watcher.room, entry].update(shown)
    for (room, entry), seen in places.items():
        in_epoch: dict[int, set[int]] = defaultdict(set)
        for epoch, offset in seen:
            in_epoch[epoch].add(offset)
        for offsets in in_epoch.values():
            if len(offsets) > 1:
                yield Fault(Kind.MISPLACED, room, f"entry {entry} is at the offsets {sorted(offsets)} of one epoch")
        row = ledger.get(room, {}).get(entry)
        if row is not None and row.epoch in in_epoch and row.offset not in in_epoch[row.epoch]:
            text = f"entry {entry} is recorded at {_place((row.epoch, row.offset))}, shown at {', '.join(map(_place, seen))}"
            yield Fault(Kind.MISPLACED, room, text)
    for asked, answers in book.answers.items():
        for answer in answers:
            where = places.get((asked.room, answer.entry), set())
            # Told of an epoch that has gone with the process before anybody was shown it: nothing to compare with.
            if len(epochs[asked.room]) == 1 and where and answer.offset not in {offset for _, offset in where}:
                text = f"entry {answer.entry} was acknowledged at {answer.offset}, shown at {', '.join(map(_place, where))}"
                yield Fault(Kind.MISPLACED, asked.room, text)


def _place(place: tuple[int, int]) -> str:
    return f"{place[0]}:{place[1]}"
