"""What each kind of a room's state holds: its fields, their bounds, and how a value follows from the one before.

Owns single values. Pure: time is an argument. Must not know who changes them, nor what else there is (`engine.hub.state`).

A change names the fields that it changes. What it leaves out stays as it is; in a new entry it has its default. Unknown fields
are refused. A value may come back as it was told: what only the server sets is taken as long as it is the same. Texts are
cleaned (`engine.text`) before their lengths are looked at.
"""

from __future__ import annotations

from math import isfinite
from typing import Annotated, Any, ClassVar, Final, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from engine.errors import Code, Refused
from engine.text import clean, clean_line, visible

__all__ = [
    "KINDS",
    "POLL_MS_MAX",
    "Asker",
    "Attribute",
    "Card",
    "Life",
    "Mode",
    "Notice",
    "Packet",
    "Pin",
    "Poll",
    "Question",
    "Shape",
    "invalid",
    "poll_closed",
    "restored",
    "value_after",
]

POLL_MS_MAX: Final = 31 * 86_400_000
"""Longest time that a poll with an end may be open."""

Count = Annotated[int, Meta(ge=0, lt=2**53)]
Whole = Annotated[int, Meta(gt=-(2**53), lt=2**53)]
Line = Annotated[str, Meta(max_length=256)]
Url = Annotated[str, Meta(max_length=1024, pattern=r"\A(?:(?:https?:/)?/\S+)?\Z")]
"""Empty, a path, or of the web: nothing that a browser would run."""
Seconds = Annotated[float, Meta(ge=0, le=86_400)]


class Shape(Struct, forbid_unknown_fields=True, kw_only=True):
    """A value of some kind.

    :cvar limited: whether entries of it count for ``room.state_entries``.
    """

    limited: ClassVar[bool] = True

    def settle(self, given: dict[str, Any], old: dict[str, Any], now_ms: int) -> None:
        """Put the fields in order, and raise `Refused` for what their bounds cannot tell.

        :param given: what the change names.
        :param old: the value before; empty if there was none.
        """


class Attribute(Shape):
    """A fact of the product's own.

    :ivar value: a text, a finite number (integers within 2^53) or a boolean.
    """

    value: str | Whole | float | bool

    def settle(self, given: dict[str, Any], old: dict[str, Any], now_ms: int) -> None:
        """See `Shape`."""
        if isinstance(self.value, float) and not isfinite(self.value):
            # JSON knows no other.
            raise invalid("value", "must be finite")


class Card(Shape):
    """A product.

    :ivar title: one line that shows something, at most 256 characters.
    :ivar price: as it is shown, with its currency; at most 64 characters.
    :ivar stock: how many are left; left out: not told.
    :ivar image: as ``url``: empty, a path or http(s), at most 1024 characters.
    :ivar on_sale: whether it can be bought.
    :ivar now: it is what the host shows at this moment; at most one card is, and it is on sale.
    """

    title: Line
    price: Annotated[str, Meta(max_length=64)] = ""
    stock: Count | UnsetType = UNSET
    image: Url = ""
    url: Url = ""
    on_sale: bool = True
    now: bool = False

    def settle(self, given: dict[str, Any], old: dict[str, Any], now_ms: int) -> None:
        """See `Shape`."""
        self.title = _line("title", self.title)
        self.price = clean_line(self.price)
        if self.now and not self.on_sale:
            if given.get("now"):
                raise invalid("now", "the card is not on sale")
            self.now = False


class Poll(Shape):
    """A choice for everybody. Votes are counted elsewhere.

    :ivar question: one line that shows something, at most 256 characters.
    :ivar options: 2 to 16 different ones, likewise; they do not change any more.
    :ivar open: whether votes are taken. What is closed stays closed.
    :ivar closes: Unix milliseconds at which it closes by itself, at most `POLL_MS_MAX` from now; 0: never.
    :ivar closes_ms: only in a change: the same from now on.
    """

    question: Line
    options: Annotated[list[Line], Meta(min_length=2, max_length=16)]
    open: bool = True
    closes: Count = 0
    closes_ms: Annotated[int, Meta(ge=0, le=POLL_MS_MAX)] | UnsetType = UNSET

    def settle(self, given: dict[str, Any], old: dict[str, Any], now_ms: int) -> None:
        """See `Shape`."""
        self.question = _line("question", self.question)
        self.options = [_line("options", option) for option in self.options]
        if len(set(self.options)) < len(self.options):
            raise invalid("options", "two are the same")
        if self.closes_ms is not UNSET:
            self.closes = now_ms + self.closes_ms if self.closes_ms else 0
            self.closes_ms = UNSET
        moved = self.closes != old.get("closes", 0)
        if not old and not self.open:
            raise invalid("open", "a poll begins open")
        if old and self.options != old["options"]:
            raise invalid("options", "they do not change once the poll is there")
        if old and poll_closed(old, now_ms):
            if given.get("open") or moved:
                raise invalid("open" if given.get("open") else "closes", "the poll is closed")
            self.open = False
        elif moved and self.closes and not now_ms < self.closes <= now_ms + POLL_MS_MAX:
            raise invalid("closes", "must be within 31 days from now")


class Asker(Struct, forbid_unknown_fields=True):
    """Who asked: id and display name."""

    id: str
    name: str


class Question(Shape):
    """What a viewer asks the host; others vote for it.

    :ivar body: as asked; as ``author`` and ``time`` (Unix milliseconds) it does not change.
    :ivar answered: whether the host has come to it; then no votes are taken.
    """

    body: str
    author: Asker
    time: Count
    answered: bool = False

    def settle(self, given: dict[str, Any], old: dict[str, Any], now_ms: int) -> None:
        """See `Shape`."""
        for name, value in msgspec.to_builtins(self).items():
            if name != "answered" and value != old.get(name, value):
                raise invalid(name, "does not change")


class Pin(Shape):
    """A comment or notice that stays in sight.

    :ivar offset: of the event.
    :ivar event: as in `engine.schema.Batch`; the server puts it there, whatever a client says.
    """

    offset: Annotated[int, Meta(ge=1, lt=2**53)]
    event: list[Any] = []


class Mode(Shape):
    """How people may speak; its key is empty.

    :ivar mode: ``open``; ``followers``: of the viewers only who follows the host; ``staff``: hosts and moderators; ``emotes``:
        viewers only emoji; ``closed``: nobody.
    :ivar slow: seconds between two comments of a user by role; ``follower`` is a viewer who follows the host. Viewers whom it
        does not name wait for ``limits.slow_seconds``, followers as viewers, others not at all.
    """

    limited: ClassVar[bool] = False
    mode: Literal["open", "followers", "staff", "emotes", "closed"] = "open"
    slow: dict[Literal["viewer", "follower", "moderator", "host", "server"], Seconds] = {}


class Life(Shape):
    """Whether the room goes on; its key is empty.

    :ivar state: ``open``; ``closed``: only hosts and moderators speak, and nothing else of the viewers counts; ``archived``:
        nobody may enter, and nothing changes but this.
    :ivar title: of the room, one line of at most 256 characters.
    :ivar stream: name of the present broadcast, one line of at most 64 characters. Another one begins a new leaderboard; one
        that was there before goes on with its own.
    """

    limited: ClassVar[bool] = False
    state: Literal["open", "closed", "archived"] = "open"
    title: Line = ""
    stream: Annotated[str, Meta(max_length=64)] = ""

    def settle(self, given: dict[str, Any], old: dict[str, Any], now_ms: int) -> None:
        """See `Shape`."""
        self.title = clean_line(self.title)
        self.stream = clean_line(self.stream)


class Notice(Shape):
    """A notice that wants receipts; viewers see it, so that those who come late know to send theirs.

    :ivar offset: of the notice.
    :ivar deadline: Unix milliseconds at which it is told who has not read it; 0: never.
    :ivar receipts: whether clients are to send them.
    """

    limited: ClassVar[bool] = False
    offset: Annotated[int, Meta(ge=1, lt=2**53)]
    deadline: Count = 0
    receipts: bool = True


class Packet(Shape):
    """A red packet that is not over (`engine.schema.PacketEvent`); its key is its entry. Only the ledger sets it.

    :ivar author: id and name of who made it.
    """

    limited: ClassVar[bool] = False
    author: Annotated[list[str], Meta(min_length=2, max_length=2)]
    total: Count
    shares: Count
    split: str
    opens: Count
    expires: Count
    followers: bool = False
    phrase: str = ""
    text: str = ""
    commitment: str = ""


KINDS: Final[dict[str, type[Shape]]] = {
    shape.__name__.lower(): shape for shape in (Attribute, Card, Poll, Question, Pin, Mode, Life, Notice, Packet)
}
"""By name on the wire."""


def value_after(shape: type[Shape], given: dict[str, Any], old: dict[str, Any], now_ms: int) -> dict[str, Any]:
    """The value that a change makes of the old one (empty: a new entry). Raises `Refused`: ``INVALID`` with the field,
    ``EMPTY`` for a text that must show something."""
    # What is stored may be of a newer version, with fields that are unknown here: they stay.
    kept = _known(shape, old)
    try:
        made = msgspec.convert({**kept, **{name: _clean(value) for name, value in given.items()}}, shape)
    except msgspec.ValidationError as error:
        raise Refused(Code.INVALID, f"value: {error}") from None
    made.settle(given, kept, now_ms)
    return {**old, **msgspec.to_builtins(made)}


def restored(shape: type[Shape], stored: dict[str, Any]) -> dict[str, Any]:
    """A value as it is stored, maybe by another version: with defaults for what it lacks; what is unknown here stays. Raises
    `msgspec.ValidationError` for what is none."""
    return {**stored, **msgspec.to_builtins(msgspec.convert(_known(shape, stored), shape))}


def poll_closed(value: dict[str, Any], now_ms: int) -> bool:
    """Whether a poll takes no votes any more."""
    return not value["open"] or 0 < value["closes"] <= now_ms


def invalid(field: str, why: str) -> Refused:
    """A field that is not as it has to be."""
    return Refused(Code.INVALID, f"{field}: {why}")


def _known(shape: type[Shape], value: dict[str, Any]) -> dict[str, Any]:
    return {name: value[name] for name in shape.__struct_fields__ if name in value}


def _clean(value: Any) -> Any:
    # No deeper: no kind has texts there that a client may set.
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, list):
        return [clean(each) if isinstance(each, str) else each for each in value]
    return value


def _line(field: str, text: str) -> str:
    text = clean_line(text)
    if not visible(text):
        raise Refused(Code.EMPTY, f"{field}: shows nothing")
    return text
