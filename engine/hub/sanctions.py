"""Who is muted, shadow-muted or banned: in one room, or everywhere.

Owns the fields of a record that say so. Pure: time is an argument, and an end is exact though the field goes later. Must not
know what follows from it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Final

import msgspec
from msgspec import Struct

__all__ = ["Sanction", "Sanctions", "encode", "field"]

_PREFIX: Final = "x:"
_KINDS: Final = ("mute", "shadow", "ban", "address", "locate")
"""Of the last two: an address is banned; a user is banned whose address is to be found."""

log = logging.getLogger("roomcast.hub")


class Sanction(Struct, array_like=True, frozen=True, gc=False):
    """One of them.

    :ivar until: Unix milliseconds; 0: for good.
    :ivar actor: id of the moderator.
    """

    until: int
    actor: str = ""
    reason: str = ""

    def holds(self, now_ms: int) -> bool:
        """Whether it is not over."""
        return not self.until or now_ms < self.until


_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final[Callable[[bytes], Sanction]] = msgspec.msgpack.Decoder(Sanction).decode


def encode(until: int, actor: str, reason: str) -> bytes:
    """A sanction as it stands in a record."""
    return _encode(Sanction(until, actor, reason))


def field(kind: str, subject: str) -> str:
    """Name of a sanction's field in a record; of no other's.

    :param kind: ``mute``, ``shadow`` or ``ban`` of a user; ``address``: a ban of one; ``locate``: a user is banned, and its
        address is to be banned, too.
    :raises ValueError: there is no such kind.
    """
    if kind not in _KINDS:
        raise ValueError(f"no kind of sanction: {kind!r}")
    return f"{_PREFIX}{kind}:{subject}"


class Sanctions:
    """The sanctions in one record. Where they are asked for, those of a second one (``everywhere``) can hold, too.

    :ivar any: whether there are any, over or not.
    """

    __slots__ = ("_kinds", "any")

    def __init__(self) -> None:
        self._kinds: dict[str, dict[str, Sanction]] = {kind: {} for kind in _KINDS}
        self.any = False

    @classmethod
    def from_fields(cls, fields: Mapping[str, bytes]) -> Sanctions:
        """The sanctions in a record."""
        sanctions = cls()
        for name, value in fields.items():
            sanctions.apply(name, value)
        return sanctions

    def apply(self, field: str, value: bytes | None) -> bool:
        """A field of the record was set, or deleted (None). Returns whether it holds a sanction; what cannot be read is not
        there."""
        if not field.startswith(_PREFIX):
            return False
        kind, _, subject = field[len(_PREFIX) :].partition(":")
        if kind not in _KINDS:
            return False
        self._kinds[kind].pop(subject, None)
        if value is not None:
            try:
                self._kinds[kind][subject] = _decode(value)
            except (msgspec.MsgspecError, UnicodeDecodeError):
                log.warning("sanction_unreadable", extra={"kind": kind})
        self.any = any(self._kinds.values())
        return True

    def __len__(self) -> int:
        return sum(map(len, self._kinds.values()))

    def listed(self, now_ms: int) -> Iterator[tuple[str, str, Sanction]]:
        """Kind, subject and sanction of all that are not over."""
        for kind, subjects in self._kinds.items():
            for subject, sanction in subjects.items():
                if sanction.holds(now_ms):
                    yield kind, subject, sanction

    def get(self, kind: str, subject: str) -> Sanction | None:
        """One of them, whether it is over or not."""
        return self._kinds[kind].get(subject)

    def muted(self, user: str, now_ms: int, everywhere: Sanctions | None = None) -> int | None:
        """Until when a user may not speak, 0: for good; None if it may."""
        return self._until("mute", user, now_ms, everywhere)

    def banned(self, user: str, now_ms: int, everywhere: Sanctions | None = None) -> int | None:
        """Until when a user may not be in the room, 0: for good; None if it may."""
        return self._until("ban", user, now_ms, everywhere)

    def shadowed(self, user: str, now_ms: int, everywhere: Sanctions | None = None) -> bool:
        """Whether nobody else is to see what a user says."""
        return self._until("shadow", user, now_ms, everywhere) is not None

    def barred(self, now_ms: int, everywhere: Sanctions | None = None) -> tuple[dict[str, int], dict[str, int]]:
        """Users, and addresses, that may not be in the room, with the time until when; 0: for good."""
        return self._holding("ban", now_ms, everywhere), self._holding("address", now_ms, everywhere)

    def locate(self, now_ms: int, everywhere: Sanctions | None = None) -> list[str]:
        """Users whose address is to be found."""
        return sorted(self._holding("locate", now_ms, everywhere))

    def _until(self, kind: str, subject: str, now_ms: int, everywhere: Sanctions | None) -> int | None:
        holding = [
            each.until
            for sanctions in (self, everywhere)
            if sanctions is not None and (each := sanctions._kinds[kind].get(subject)) is not None and each.holds(now_ms)
        ]
        return _latest(holding) if holding else None

    def _holding(self, kind: str, now_ms: int, everywhere: Sanctions | None) -> dict[str, int]:
        held = {subject: each.until for subject, each in self._kinds[kind].items() if each.holds(now_ms)}
        if everywhere is not None:
            for subject, until in everywhere._holding(kind, now_ms, None).items():
                held[subject] = _latest((held.get(subject, until), until))
        return held


def _latest(ends: Collection[int]) -> int:
    return 0 if 0 in ends else max(ends)
