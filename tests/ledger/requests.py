"""Requests for tests: short ways to say them, and all kinds of them drawn.

Owns their defaults.
"""

from __future__ import annotations

from typing import Any

import msgpack
from hypothesis import strategies as st

from engine.ledger.values import Book, Booked, Claim, Correct, End, Entry, Finish, Give, Outcome, Pack, Rejected
from engine.schema import Author

__all__ = ["SEED", "books", "claim", "correct", "event", "give", "pack", "told"]

SEED = bytes(range(32))
ROOMS = ("hall", "房间")
USERS = ("ann", "bob", "cid")
GIFTS = ("rose", "car")


def give(key: str, user: str = "ann", **more: Any) -> Give:
    chosen: dict[str, Any] = {
        "room": "hall",
        "key": key,
        "stream": "life",
        "author": Author(user, user.upper()),
        "ref": 1,
        "gift": "rose",
        "price": 10,
        "count": 1,
        "receiver": "",
        "combo_ms": 0,
    }
    return Give(**{**chosen, **more})


def correct(key: str, entry: int, amount: int | None = None, **more: Any) -> Correct:
    return Correct(**{"room": "hall", "key": key, "author": Author("op"), "entry": entry, "amount": amount, **more})


def pack(key: str, total: int = 100, shares: int = 3, **more: Any) -> Pack:
    chosen: dict[str, Any] = {
        "room": "hall",
        "key": key,
        "author": Author("ann", "ANN"),
        "ref": 1,
        "total": total,
        "shares": shares,
        "split": "random",
        "opens": 0,
        "expires": 10_000,
        "followers": False,
        "phrase": "",
        "text": "新年快乐",
        "seed": SEED,
        "most": 20,
    }
    return Pack(**{**chosen, **more})


def claim(packet: int, user: str, room: str = "hall") -> Claim:
    return Claim(room=room, packet=packet, author=Author(user, user.upper()))


def event(entry: Entry) -> Any:
    """As a reader that knows no types sees it."""
    return msgpack.unpackb(entry.event)


def told(outcome: Outcome) -> tuple[Any, ...]:
    """As the model tells it."""
    match outcome:
        case Booked(entry, amount, repeated):
            return ("booked", entry.room, entry.number, amount, repeated)
        case Rejected(code=code):
            return ("rejected", code)


ENTRIES = st.integers(1, 12)
KEYS = st.integers(0, 11).map(lambda number: f"key {number}")
AUTHORS = st.builds(Author, st.sampled_from(USERS), st.sampled_from(("", "名", "name")))


def books(base_ms: int) -> st.SearchStrategy[Book]:
    """Any request, about few things, so that they meet. Times from ``base_ms``."""
    rooms = st.sampled_from(ROOMS)
    gives = st.builds(
        Give,
        room=rooms,
        key=KEYS,
        stream=st.sampled_from(("life", "later", "")),
        author=AUTHORS,
        ref=st.integers(1, 3),
        gift=st.sampled_from(GIFTS),
        price=st.integers(1, 9),
        count=st.integers(1, 3),
        receiver=st.sampled_from(("", "ann", "guest")),
        combo_ms=st.sampled_from((0, 100, 100, 200)),
    )
    corrects = st.builds(
        Correct,
        room=rooms,
        key=KEYS,
        author=AUTHORS,
        entry=ENTRIES,
        amount=st.none() | st.integers(-30, 10),
        reason=st.sampled_from(("", "错")),
    )
    packs = st.builds(
        Pack,
        room=rooms,
        key=KEYS,
        author=AUTHORS,
        ref=st.integers(1, 3),
        total=st.integers(1, 20),
        shares=st.integers(1, 4),
        split=st.sampled_from(("equal", "random")),
        opens=st.sampled_from((0, base_ms + 50)),
        expires=st.sampled_from((base_ms + 50, base_ms + 300)),
        followers=st.booleans(),
        phrase=st.just(""),
        text=st.just("恭喜发财"),
        seed=st.binary(min_size=32, max_size=32),
        most=st.integers(1, 3),
    )
    claims = st.builds(Claim, room=rooms, packet=ENTRIES, author=AUTHORS)
    ends = st.builds(End, room=rooms, packet=ENTRIES, reason=st.sampled_from(("expired", "cancelled")))
    finishes = st.builds(Finish, room=rooms, combo=ENTRIES)
    return st.one_of(gives, gives, gives, corrects, packs, claims, claims, ends, finishes)
