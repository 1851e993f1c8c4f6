"""Rooms with money: settings, the ledger as it is found afterwards, and what viewers' streams must hold.

Owns an independent reading of the events about money and of how a red packet is drawn, from their descriptions alone. Must not
know what is tested.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import trio

from engine.ledger.store import Store
from engine.ledger.values import Entry
from engine.node import Node
from engine.settings import GiftSettings, Settings

from .people import SECRET, live
from .processes import clean_environment
from .viewers import PATIENCE, Paid, Viewer

__all__ = [
    "CORRECTION",
    "CAR",
    "END",
    "FINISH",
    "GIFT",
    "GIFTS",
    "PACKET",
    "ROSE",
    "SHARE",
    "combos_are_right",
    "drawn",
    "environment",
    "has_paid",
    "in_ledger",
    "named",
    "of_kind",
    "packet_is_right",
    "shop",
    "sqlite",
    "until_entry",
    "until_published",
]

GIFT, FINISH, CORRECTION, PACKET, SHARE, END = range(8, 14)
_FIELDS = {
    GIFT: ("ref", "gift", "count", "amount", "to", "combo", "combo_count", "combo_ms", "given", "stream"),
    FINISH: ("combo", "gift", "to", "count", "amount"),
    CORRECTION: ("corrected", "user", "amount", "given", "reason", "stream"),
    PACKET: ("ref", "total", "shares", "split", "opens", "expires", "followers", "phrase", "text", "commitment"),
    SHARE: ("packet", "number", "amount"),
    END: ("packet", "reason", "claimed", "rest", "seed"),
}
ROSE, CAR = "玫瑰🌹", "car"
GIFTS = {
    ROSE: GiftSettings(name="一朵玫瑰 🌹", price=10, effect="rose", combo_seconds=1.0),
    CAR: GiftSettings(name="跑车🏎️", price=5_000, combo_seconds=0),
}
_LIVELY = {
    "ROOMCAST_ACCESS__SECRET": SECRET,
    "ROOMCAST_ACCESS__ANONYMOUS": "write",
    "ROOMCAST_LEDGER__SPEND": "free",
    "ROOMCAST_LIMITS__COMMENTS_BURST": "1000000",
    "ROOMCAST_LIMITS__GIFTS_BURST": "1000000",
    "ROOMCAST_LIMITS__MESSAGES_BURST": "1000000",
    "ROOMCAST_LIMITS__READS_BURST": "1000000",
    "ROOMCAST_NODE__RETURN_WINDOW_SECONDS": "0",
    "ROOMCAST_NODE__SHUTDOWN_SECONDS": "2",
    "ROOMCAST_ROOM__TICK_GRID_SECONDS": "0.002",
}
_ANY = 10_000
"""More entries than any test books."""


def shop(url: str, *, gifts: dict[str, GiftSettings] | None = None, **sections: dict[str, Any]) -> Settings:
    """Settings with gifts that viewers need not pay for, changed by section as in `live`."""
    sections["limits"] = {"gifts_per_second": 1e6, "gifts_burst": 1_000_000, **sections.get("limits", {})}
    sections["ledger"] = {"url": url, "spend": "free", **sections.get("ledger", {})}
    return replace(live(**sections), gifts=GIFTS if gifts is None else gifts)


def environment(url: str, **more: str) -> dict[str, str]:
    """The same for a node in a process of its own; sections changed by their variables."""
    gifts = json.dumps({gift: asdict(each) for gift, each in GIFTS.items()}, ensure_ascii=False)
    variables = _LIVELY | {"ROOMCAST_LEDGER__URL": url, "ROOMCAST_GIFTS": gifts} | more
    return clean_environment(**variables)


def sqlite(directory: Path) -> str:
    """Where a ledger for one node is, in a directory."""
    return f"sqlite:///{directory / '账本.db'}"


def in_ledger(url: str, room: str) -> tuple[list[Entry], list[Entry]]:
    """All entries of a room, and those of all rooms that are not known to be published, as the ledger has them."""
    store = Store(url)
    try:
        return store.recent(room, 2**52, -1, _ANY), store.outbox(_ANY)
    finally:
        store.close()


async def until_published(node: Node) -> None:
    """Wait until all that a node has booked is in the stream, and that is written down."""
    with trio.fail_after(PATIENCE):
        while (lane := node.statistics().hub.money.lane).outbox or lane.marks_waiting or lane.waiting:
            await trio.lowlevel.checkpoint()


def named(event: Sequence[Any]) -> dict[str, Any]:
    """The fields of an event about money by their names."""
    kind, author, entry, *fields = event
    return {"kind": kind, "user": author[0], "entry": entry, **dict(zip(_FIELDS[kind], fields, strict=False))}


def of_kind(viewer: Viewer, kind: int) -> list[dict[str, Any]]:
    """What was shown to a viewer of this kind, each entry once, in order."""
    return [named(event) for event in viewer.money.values() if event[0] == kind]


def has_paid(viewer: Viewer, paid: Paid) -> dict[str, Any]:
    """What a viewer was shown of what somebody was answered."""
    event = viewer.events[paid.offset]
    assert event[2] == paid.entry, "the answer names another entry than the stream"
    fields = named(event)
    assert fields["total" if event[0] == PACKET else "amount"] == paid.amount
    return fields


async def until_entry(*viewers: Viewer, entries: Iterable[int]) -> None:
    """Receive until these entries were shown to all of these viewers."""
    wanted = set(entries)
    async with trio.open_nursery() as nursery:
        for viewer in viewers:
            nursery.start_soon(_until_all, viewer, wanted)


async def _until_all(viewer: Viewer, wanted: set[int]) -> None:
    try:
        await viewer.until(lambda: wanted <= viewer.money.keys())
    except trio.TooSlowError:
        missing, last = sorted(wanted - viewer.money.keys()), max(viewer.money, default=0)
        raise AssertionError(f"{viewer.user} at {viewer.position} is not shown {missing}; the last was {last}") from None


def combos_are_right(viewer: Viewer, *, ended: bool) -> int:
    """Whatever gifts became one combo: the sums grow exactly, and those of more than one gift end once, with these totals.
    Returns how many such there are.

    :param ended: whether all are over.
    """
    open_combos: dict[int, list[dict[str, Any]]] = {}
    over: set[int] = set()
    for fields in map(named, sorted(viewer.money.values(), key=lambda event: event[2])):
        if fields["kind"] == GIFT:
            combo = open_combos.setdefault(fields["combo"], [])
            combo.append(fields)
            assert combo[0]["entry"] == fields["combo"], "a combo is named for its first gift"
            assert {(each["user"], each["gift"], each["to"]) for each in combo} == {
                (fields["user"], fields["gift"], fields["to"])
            }
            assert fields["combo_count"] == sum(each["count"] for each in combo)
            assert fields["combo"] not in over, "a combo that is over does not go on"
        elif fields["kind"] == FINISH:
            combo = open_combos[fields["combo"]]
            assert len(combo) > 1, "a single gift is no combo"
            assert fields["combo"] not in over, "a combo ends once"
            assert fields["count"] == sum(each["count"] for each in combo)
            assert fields["amount"] == sum(each["amount"] for each in combo)
            assert (fields["user"], fields["gift"], fields["to"]) == tuple(combo[0][name] for name in ("user", "gift", "to"))
            over.add(fields["combo"])
    combos = {first for first, combo in open_combos.items() if len(combo) > 1}
    assert over == combos if ended else over <= combos
    return len(combos)


def drawn(seed: bytes, total: int, count: int, split: str) -> list[int]:
    """All shares of a red packet in the order in which they are claimed, as they are described."""
    shares: list[int] = []
    left = total
    for number in range(1, count + 1):
        remaining = count - number + 1
        if split == "equal":
            share = (left + remaining - 1) // remaining
        elif remaining == 1:
            share = left
        else:
            digest = hmac.new(seed, number.to_bytes(8, "big"), hashlib.sha256).digest()
            a, b = int.from_bytes(digest[:16], "big"), int.from_bytes(digest[16:], "big")
            widest = (2 * (left - remaining) + a % remaining) // remaining
            share = 1 + b % (widest + 1)
        shares.append(share)
        left -= share
    return shares


def packet_is_right(viewer: Viewer, packet: int) -> dict[str, int]:
    """A red packet that is over was divided as it was announced: each user once, the sum exact. Returns who has what."""
    made = named(viewer.money[packet])
    shares = [fields for fields in of_kind(viewer, SHARE) if fields["packet"] == packet]
    (end,) = [fields for fields in of_kind(viewer, END) if fields["packet"] == packet]
    seed = bytes.fromhex(end["seed"])
    assert hashlib.sha256(seed).hexdigest() == made["commitment"]
    assert [fields["number"] for fields in shares] == list(range(1, end["claimed"] + 1))
    assert [fields["amount"] for fields in shares] == drawn(seed, made["total"], made["shares"], made["split"])[: len(shares)]
    assert sum(fields["amount"] for fields in shares) + end["rest"] == made["total"]
    won = {fields["user"]: fields["amount"] for fields in shares}
    assert len(won) == len(shares), "each user has one share"
    if end["reason"] == "emptied":
        assert (end["claimed"], end["rest"]) == (made["shares"], 0)
    return won
