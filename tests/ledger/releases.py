"""A ledger as each release left it: a few rows of everything, which later releases must go on with.

Owns the rows. The tables come from the release's own migrations. Rooms and people have no numbers here: the database gives
them.
"""

from __future__ import annotations

from typing import Any

__all__ = ["RELEASES"]

Rows = dict[str, list[dict[str, Any]]]

ANN = b"\x93\xa3ann\xa3\xe5\xae\x89\x80"
COMMITMENT = b"630dcd2966c4336691125448bbb25b4ff412a49c732db2c8abc1b8581bd710dd"


def entry(number: int, kind: int, person: int, amount: int, about: int, gift: str, count: int, stream: str) -> dict[str, Any]:
    what = {"amount": amount, "about": about, "gift": gift, "count": count, "stream": stream}
    return {"room": 1, "number": number, "kind": kind, "booked_ms": 1_000, "person": person, "other": 0, **what}


def shown(number: int, event: bytes, epoch: int = 0, offset: int = 0) -> dict[str, Any]:
    where = {"published_epoch": epoch, "published_offset": offset}
    return {"room": 1, "number": number, "event": event, "booked_ms": 1_000, **where}


def key(name: str, content: str, number: int) -> dict[str, Any]:
    return {"key": name, "content": bytes.fromhex(content), "room": 1, "number": number}


# A combo of two gifts, of which the first was published, and a red packet of two equal shares, of which one was claimed.
V0001: Rows = {
    "rooms": [{"name": "hall", "entries": 4, "booked_ms": 1_000}],
    "people": [{"id": "ann", "name": "安"}, {"id": "cid", "name": "CID"}],
    "entries": [
        entry(1, 8, 1, 10, 1, "rose", 1, "life"),
        entry(2, 8, 1, 10, 1, "rose", 1, "life"),
        entry(3, 11, 1, 10, 3, "", 2, ""),
        entry(4, 12, 2, 5, 3, "", 1, ""),
    ],
    "events": [
        shown(1, b"\x9d\x08" + ANN + b"\x01\x01\xa4rose\x01\n\xa0\x01\x01\xcd\x13\x88\n\xa4life", 7, 11),
        shown(2, b"\x9d\x08" + ANN + b"\x02\x01\xa4rose\x01\n\xa0\x01\x02\xcd\x13\x88\x14\xa4life"),
        shown(
            3, b"\x9d\x0b" + ANN + b"\x03\x01\n\x02\xa5equal\x00\xcd'\x10\xc2\xa0\xa6\xe7\xba\xa2\xe5\x8c\x85\xd9@" + COMMITMENT
        ),
        shown(4, b"\x96\x0c\x93\xa3cid\xa3CID\x80\x04\x03\x01\x05"),
    ],
    "keys": [
        key("first", "b6208134a5e85654dab14edb3b7942fb", 1),
        key("again", "b6208134a5e85654dab14edb3b7942fb", 2),
        key("packet", "082108cbb45fb9f5ec8ed073228b54bf", 3),
    ],
    "boards": [
        {"room": 1, "stream": "", "person": 1, "given": 20},
        {"room": 1, "stream": "life", "person": 1, "given": 20},
    ],
    "combos": [
        {
            "room": 1,
            "person": 1,
            "gift": "rose",
            "other": 0,
            "first": 1,
            "presses": 2,
            "count": 2,
            "amount": 20,
            "until_ms": 6_000,
            "author": ANN,
        }
    ],
    "packets": [
        {
            "room": 1,
            "number": 3,
            "person": 1,
            "author": ANN,
            "total": 10,
            "shares": 2,
            "split": "equal",
            "opens": 0,
            "expires": 10_000,
            "seed": bytes(range(32)),
            "claimed": 1,
            "paid": 5,
            "ended": 0,
            "reason": "",
        }
    ],
    "catalogue": [{"id": "rose", "name": "玫瑰", "price": 10, "effect": "", "combo_ms": 5_000}],
}

# One happening that was delivered, one that waits, and one that was put aside.
V0002: Rows = {
    **V0001,
    "webhook_rooms": [
        {"name": "hall", "told": 3, "sent": 2, "attempts": 1, "due_ms": 1_000, "life": "7 1 open\nlife", "peak": ""},
    ],
    "webhooks": [
        {
            "room": 1,
            "number": number,
            "type": "gift.given",
            "time_ms": 1_000,
            "key": "",
            "body": V0001["events"][0]["event"],
            "dead": dead,
            "attempts": 20 * dead,
            "reason": "status 500" if dead else "",
        }
        for number, dead in ((2, 1), (3, 0))
    ],
}

RELEASES = {"0001": V0001, "0002": V0002}
