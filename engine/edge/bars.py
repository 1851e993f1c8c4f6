"""Who may not be in a room, as the hub said last.

Owns the times until when. Must not know sessions or sockets: it is asked about users and addresses.
"""

from __future__ import annotations

from engine.edge.admission import key_of, written
from engine.link.messages import Barred

__all__ = ["Bars"]


class Bars:
    """See the module's docstring."""

    __slots__ = ("_addresses", "_found", "_locate", "_users")

    def __init__(self, barred: Barred) -> None:
        self._users = barred.users
        self._addresses: dict[int, int] = {}
        for address, until in barred.addresses.items():
            key = key_of(address)
            if key is not None:
                self._addresses[key] = until
        self._locate = frozenset(barred.locate)
        self._found: set[tuple[str, int]] = set()

    def __bool__(self) -> bool:
        return bool(self._users or self._addresses or self._locate)

    def found(self, user: str, address: int | str | None) -> str | None:
        """A user is here: return its address, written, if that is to be told and has not been."""
        if user not in self._locate or not isinstance(address, int) or (user, address) in self._found:
            return None
        self._found.add((user, address))
        return written(address)

    def retry_after_ms(self, user: str, address: int | str | None, now_ms: int) -> int | None:
        """Milliseconds until a user at an address may be here, 0: never; None if it may.

        :param address: its key (`engine.edge.admission`); whatever else bars nobody.
        """
        until = self._users.get(user), self._addresses.get(address) if isinstance(address, int) else None
        left = [time and time - now_ms for time in until if time is not None and (not time or time > now_ms)]
        if not left:
            return None
        return 0 if 0 in left else max(left)
