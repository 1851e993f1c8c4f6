"""The entries of a room's state, as its record has them: each is one field.

Owns the fields' names and what stands in them. Pure. Must not know who may change what: `engine.hub.state` does.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Final

import msgspec
from msgspec import Struct

from engine.hub.kinds import KINDS, restored

__all__ = ["Entries", "Entry", "encode", "field_of", "key_of"]

_PREFIX: Final = "s:"

log = logging.getLogger("roomcast.hub")


class Entry(Struct, frozen=True):
    """One thing of a room's state.

    :ivar value: as `engine.hub.kinds` has it; not to be changed.
    :ivar owner: id of the user who created it.
    :ivar session: of the viewer with whom it goes; empty: it stays.
    :ivar born: version with which it was created, so that the votes for a poll are not those for one that had its key before.
    """

    kind: str
    key: str
    value: dict[str, Any]
    version: int
    owner: str = ""
    session: str = ""
    born: int = 0

    @property
    def tally(self) -> str:
        """Name of the tally of its votes; at most 96 characters."""
        return f"{self.kind}:{self.key}:{self.born}"

    def encode(self) -> bytes:
        """As it stands in the record."""
        return encode((self.version, self.owner, self.session, self.born, self.value))


class _Stored(Struct, array_like=True, frozen=True):
    version: int
    owner: str
    session: str
    born: int
    value: dict[str, Any]


encode: Final = msgspec.msgpack.Encoder().encode
"""Values as they stand in the record: MessagePack."""
_decode: Final = msgspec.msgpack.Decoder(_Stored).decode


def field_of(kind: str, key: str) -> str:
    """Name of an entry's field in the room's record; of no other entry's."""
    return f"{_PREFIX}{kind}:{key}"


def key_of(field: str) -> tuple[str, str] | None:
    """Kind and key of the entry in a field, None if it holds no entry."""
    if not field.startswith(_PREFIX):
        return None
    kind, colon, key = field[len(_PREFIX) :].partition(":")
    return (kind, key) if kind and colon else None


class Entries:
    """The entries of one room.

    :ivar limited: how many there are of those that ``room.state_entries`` limits.
    """

    __slots__ = ("_kinds", "_sessions", "_snapshot", "limited")

    def __init__(self) -> None:
        self._kinds: dict[str, dict[str, Entry]] = {}
        self._sessions: dict[str, dict[tuple[str, str], Entry]] = {}
        self._snapshot: list[tuple[str, str, Any, int]] | None = None
        self.limited = 0

    @classmethod
    def from_fields(cls, fields: Mapping[str, bytes]) -> Entries:
        """The entries in a room's record."""
        entries = cls()
        for field, value in fields.items():
            entries.apply(field, value)
        return entries

    def apply(self, field: str, value: bytes | None) -> None:
        """A field of the record was set, or deleted (None). Fields that hold no entry are left alone; what cannot be read is
        not there."""
        named = key_of(field)
        if named is None:
            return
        self._remove(*named)
        if value is not None:
            try:
                stored = _decode(value)
                kind = KINDS.get(named[0])
                held = restored(kind, stored.value) if kind is not None else stored.value
            except (msgspec.MsgspecError, UnicodeDecodeError):
                log.warning("state_unreadable", extra={"kind": named[0]})
                return
            self._add(Entry(*named, held, stored.version, stored.owner, stored.session, stored.born))

    def _add(self, entry: Entry) -> None:
        self._snapshot = None
        self._kinds.setdefault(entry.kind, {})[entry.key] = entry
        if entry.session:
            self._sessions.setdefault(entry.session, {})[entry.kind, entry.key] = entry
        self.limited += _limited(entry.kind)

    def _remove(self, kind: str, key: str) -> None:
        entry = self._kinds.get(kind, {}).pop(key, None)
        if entry is None:
            return
        self._snapshot = None
        if entry.session:
            mine = self._sessions[entry.session]
            del mine[kind, key]
            if not mine:
                del self._sessions[entry.session]
        self.limited -= _limited(kind)

    def __len__(self) -> int:
        return sum(map(len, self._kinds.values()))

    def get(self, kind: str, key: str) -> Entry | None:
        """One entry, None if it is not there."""
        return self._kinds.get(kind, {}).get(key)

    def of_kind(self, kind: str) -> list[Entry]:
        """All of a kind."""
        return list(self._kinds.get(kind, {}).values())

    def of_session(self, session: str) -> list[Entry]:
        """All that go with a viewer."""
        return list(self._sessions.get(session, {}).values())

    def of_tally(self, name: str) -> Entry | None:
        """The entry whose votes a tally counts (`Entry.tally`), None if there is none, or not any more."""
        kind, _, rest = name.partition(":")
        entry = self.get(kind, rest.rpartition(":")[0])
        return entry if entry is not None and entry.tally == name else None

    def snapshot(self) -> list[tuple[str, str, Any, int]]:
        """``(kind, key, value, version)`` of all entries that are known here, the same list until something changes; not to be
        changed. What was changed last comes last, at every hub."""
        if self._snapshot is None:
            # What a newer version keeps here may not be for viewers.
            shown = [
                (kind, entry.key, entry.value, entry.version) for kind in KINDS for entry in self._kinds.get(kind, {}).values()
            ]
            self._snapshot = sorted(shown, key=lambda each: (each[3], each[0], each[1]))
        return self._snapshot

    @property
    def life(self) -> str:
        """Whether the room is ``open``, ``closed`` or ``archived`` (`kinds.Life`)."""
        return self._life("state", "open")

    @property
    def stream(self) -> str:
        """Name of the present broadcast; empty if it has none (`kinds.Life`)."""
        return self._life("stream", "")

    def _life(self, name: str, default: str) -> str:
        entry = self.get("life", "")
        return entry.value[name] if entry is not None else default


def _limited(kind: str) -> bool:
    return kind not in KINDS or KINDS[kind].limited
