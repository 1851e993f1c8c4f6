"""Whether a room's money adds up by itself: entries, what everybody has given, combos, red packets.

Owns the arithmetic. Pure: it is done by every receiver with what it was shown, and again with what is in the ledger. Must not
know where the events come from.

Faults:

``entries``    the entries of a room do not count from 1 without holes
``given``      what a gift says its giver has given is not the sum of his gifts and their corrections
``combo``      a combo mixes gifts, miscounts, or its end says other totals than its gifts add up to
``packet``     a red packet's shares and its rest are not its total; its end does not say what was claimed; or its seed is not
               what was announced
``share``      somebody has two shares of one red packet, or a share has not the amount that follows from the seed
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Final

__all__ = ["audit"]

GIFT, COMBO, CORRECTION, PACKET, SHARE, END = range(8, 14)
"""Kinds of events."""
TOLD: Final = 20
"""Faults of a room told in full; they come in thousands, or not at all."""


@dataclass(slots=True)
class _Combo:
    """One that has begun."""

    key: tuple[str, str, str]
    gifts: int = 0
    count: int = 0
    amount: int = 0
    over: bool = False


@dataclass(slots=True)
class _Packet:
    """One that was made."""

    made: Sequence[Any]
    shares: list[Sequence[Any]] = field(default_factory=list)
    end: Sequence[Any] | None = None


def audit(events: Mapping[int, Sequence[Any]]) -> Iterator[str]:
    """What does not add up, each ``kind: what``; the first of them.

    :param events: of one room, all of them, by entry.
    """
    for number, text in enumerate(_faults(events), 1):
        if number > TOLD:
            return
        yield text


def _faults(events: Mapping[int, Sequence[Any]]) -> Iterator[str]:
    missing = sorted(set(range(1, max(events, default=0) + 1)) - set(events))
    if missing:
        yield f"entries: {len(missing)} of 1..{max(events)} are missing: {', '.join(map(str, missing[:10]))}"
    given: Counter[tuple[str, str]] = Counter()
    streams: dict[int, tuple[str, str]] = {}
    combos: dict[int, _Combo] = {}
    packets: dict[int, _Packet] = {}
    for entry in sorted(events):
        event = events[entry]
        match event:
            case [kind, [user, *_], _, _ref, gift, count, amount, to, combo, combo_count, _ms, sum_, *stream] if kind == GIFT:
                who = streams[entry] = user, stream[0] if stream else ""
                given[who] += amount
                if sum_ != given[who] and not missing:
                    yield f"given: entry {entry} says {sum_}, the giver's gifts are {given[who]}"
                yield from _belongs(combos, entry, combo, (user, gift, to), count, amount, combo_count)
            case [kind, _, _, corrected, user, amount, sum_, *_] if kind == CORRECTION:
                who = streams.get(corrected, (user, ""))
                given[who] += amount
                if sum_ != given[who] and not missing:
                    yield f"given: entry {entry} says {sum_}, the giver's gifts are {given[who]}"
            case [kind, [user, *_], _, combo, gift, to, count, amount] if kind == COMBO:
                yield from _ends(combos, entry, combo, (user, gift, to), count, amount)
            case [kind, *_] if kind == PACKET:
                packets[entry] = _Packet(event)
            case [kind, _, _, packet, *_] if kind in (SHARE, END):
                if packet not in packets:
                    yield f"packet: entry {entry} is of red packet {packet}, which was not made before"
                elif kind == SHARE:
                    packets[packet].shares.append(event)
                elif packets[packet].end is not None:
                    yield f"packet: red packet {packet} ends twice, again with entry {entry}"
                else:
                    packets[packet].end = event
            case _:
                yield f"entries: entry {entry} is no event about money: {event!r:.120}"
    for entry, found in combos.items():
        if found.gifts > 1 and not found.over and not missing:
            yield f"combo: the combo {entry} of {found.gifts} gifts has no end"
    for entry, packet in packets.items():
        yield from _divided(entry, packet)


def _belongs(
    combos: dict[int, _Combo], entry: int, combo: int, key: tuple[str, str, str], count: int, amount: int, combo_count: int
) -> Iterator[str]:
    known = combos.setdefault(combo, _Combo(key))
    if known.key != key:
        yield f"combo: entry {entry} of {key} belongs to the combo {combo} of {known.key}"
        return
    if (combo == entry) != (known.gifts == 0) or known.over:
        yield f"combo: entry {entry} belongs to the combo {combo}, which {'is over' if known.over else 'began elsewhere'}"
    known.gifts += 1
    known.count += count
    known.amount += amount
    if combo_count != known.count:
        yield f"combo: entry {entry} says {combo_count}, the combo {combo} is {known.count}"


def _ends(
    combos: dict[int, _Combo], entry: int, combo: int, key: tuple[str, str, str], count: int, amount: int
) -> Iterator[str]:
    known = combos.get(combo)
    if known is None or known.key != key:
        yield f"combo: entry {entry} ends the combo {combo} of {key}, which there is not"
        return
    if known.over:
        yield f"combo: the combo {combo} ends twice, again with entry {entry}"
    known.over = True
    if (count, amount) != (known.count, known.amount):
        yield (
            f"combo: entry {entry} says {count} gifts of {amount} in all, the combo {combo} is {known.count} of {known.amount}"
        )


def _divided(entry: int, packet: _Packet) -> Iterator[str]:
    _, _, _, _, total, count, split, *_, commitment = packet.made
    users = Counter(share[1][0] for share in packet.shares)
    if twice := [user for user, times in users.items() if times > 1]:
        yield f"share: {twice[0]} has {users[twice[0]]} shares of red packet {entry}"
    numbers = [share[4] for share in packet.shares]
    if numbers != list(range(1, len(numbers) + 1)) or len(numbers) > count:
        yield f"share: shares of red packet {entry} are numbered {numbers[:10]}… to {len(numbers)} of {count}"
    if packet.end is None:
        yield f"packet: red packet {entry} has no end"
        return
    _, _, _, _, reason, claimed, rest, seed = packet.end[:8]
    amount = sum(share[5] for share in packet.shares)
    if amount + rest != total:
        yield f"packet: shares of {amount} and a rest of {rest} are not the {total} of red packet {entry}"
    if claimed != len(packet.shares) or (reason == "emptied") != (claimed == count):
        yield f"packet: red packet {entry} ends as {reason} with {claimed} shares, {len(packet.shares)} of {count} were claimed"
    if sha256(bytes.fromhex(seed)).hexdigest() != commitment:
        yield f"packet: the seed of red packet {entry} is not the one that was announced"
        return
    # Here: a generator without red packets does not load the engine.
    from engine.ledger.split import shares

    drawn = shares(bytes.fromhex(seed), total, count, split)
    wrong = [(share[4], share[5]) for share in packet.shares if not 1 <= share[4] <= count or drawn[share[4] - 1] != share[5]]
    if wrong:
        number, had = wrong[0]
        due = drawn[number - 1] if 1 <= number <= count else "none"
        yield f"share: share {number} of red packet {entry} is {had}, by the seed it is {due} ({len(wrong)} wrong)"
