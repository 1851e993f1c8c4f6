"""How people may speak in a room at present: what its mode and its life allow, and how long to wait between two comments.

Owns the reading of these two entries. Pure. Must not know who said what before: `engine.hub.rules` does.
"""

from __future__ import annotations

from typing import Final

from engine.access import Permission, Role, Standing
from engine.errors import Code, Refused
from engine.hub.state import Entries
from engine.settings import LimitSettings
from engine.text import emotes_only

__all__ = ["Mode"]

_STAFF: Final = frozenset(role.value for role in Role if role.permissions & (Permission.MODERATE | Permission.LEAD))


class Mode:
    """The mode of a room whose entries are these; make another one when they change.

    :ivar life: ``open``, ``closed`` or ``archived`` (`engine.hub.kinds.Life`).
    :ivar mode: see `engine.hub.kinds.Mode`.
    :ivar longest_slow_ms: longest time that anybody has to wait between two comments.
    """

    __slots__ = ("_slow_ms", "life", "longest_slow_ms", "mode")

    def __init__(self, entries: Entries, limits: LimitSettings) -> None:
        entry = entries.get("mode", "")
        self.life = entries.life
        self.mode: str = entry.value["mode"] if entry is not None else "open"
        named: dict[str, float] = entry.value["slow"] if entry is not None else {}
        viewer = named.get("viewer", limits.slow_seconds)
        slow = {**named, "viewer": viewer, "follower": named.get("follower", viewer)}
        self._slow_ms = {role: round(seconds * 1000) for role, seconds in slow.items()}
        self.longest_slow_ms = max(self._slow_ms.values())

    def check(self, standing: Standing, body: str, *, custom: bool = False) -> None:
        """Raise `Refused` (``ROOM_MODE``) if a comment, or a custom event, is not for this viewer to send now. The text begins
        with the name of the mode."""
        self.check_life(standing)
        mode, staff = self.mode, standing.role in _STAFF
        if mode == "closed" and standing.role != Role.SERVER.value:
            raise _refused("closed", "nobody may speak")
        if staff:
            return
        if mode == "staff":
            raise _refused(mode, "only hosts and moderators may speak")
        if mode == "followers" and not standing.follower:
            raise _refused(mode, "only who follows the host may speak")
        if mode == "emotes" and (custom or not emotes_only(body)):
            raise _refused(mode, "only emoji may be sent")

    def check_life(self, standing: Standing) -> None:
        """Raise `Refused` (``ROOM_MODE``) if the room's life does not let this viewer take part: speak, like or vote."""
        if self.life == "archived":
            raise _refused("archived", "the room is over")
        if self.life == "closed" and standing.role not in _STAFF:
            raise _refused("closed", "the room is closed")

    def slow_ms(self, standing: Standing) -> int:
        """Milliseconds between two comments of this viewer; 0: it need not wait."""
        if standing.role in _STAFF:
            return self._slow_ms.get(standing.role, 0)
        return self._slow_ms["follower" if standing.follower else "viewer"]


def _refused(mode: str, why: str) -> Refused:
    return Refused(Code.ROOM_MODE, f"{mode}: {why}")
