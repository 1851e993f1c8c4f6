"""Who has come into a room at this edge, as far as the hub wants to know: arrivals, notable viewers, receipts of notices.

Owns what was not reported yet, the notable viewers who are here, and those with whom something is to go. Everybody else is only
a number, and costs nothing here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

import msgspec

from engine.edge.session import Session
from engine.link.messages import Arrivals, Left, Notable, Receipts, Roll, Up
from engine.schema import Author
from engine.settings import RoomSettings

__all__ = ["Attendance"]

_CHUNK: Final = 1_000
"""Users in one message to the hub."""
_RECEIPTS_MAX: Final = 100_000
"""Receipts of a room that wait for the hub; more of them are lost, which only says too little."""


class Attendance:
    """See the module's docstring."""

    __slots__ = ("_arrived", "_leavers", "_name", "_notable", "_outbox", "_receipts", "_receipts_count", "_settings")

    def __init__(self, name: str, settings: RoomSettings) -> None:
        self._name = name
        self._settings = settings
        self._arrived: list[str] = []
        self._leavers: dict[str, Session] = {}
        self._notable: dict[str, tuple[Notable, int]] = {}
        self._outbox: list[Up] = []
        self._receipts: dict[tuple[int, bool], dict[str, None]] = {}
        self._receipts_count = 0

    def adopt(self, settings: RoomSettings) -> None:
        """Take other settings: who comes from now on is notable by them."""
        self._settings = settings

    def enter(self, session: Session) -> None:
        """A viewer is in."""
        author = session.author
        assert author is not None  # it has joined
        self._arrived.append(author.id)
        self._note(session, author)

    def renewed(self, session: Session) -> None:
        """A viewer that is in has become something else."""
        assert session.author is not None  # it has joined
        self._forget(session)
        self._note(session, session.author)

    def _note(self, session: Session, author: Author) -> None:
        settings, standing = self._settings, session.standing
        if standing.role in settings.notable_roles or 0 < settings.notable_level <= standing.level:
            known, count = self._notable.get(author.id, (None, 0))
            if known is None:
                known = Notable(self._name, author, standing, session.secret, True)
                self._outbox.append(known)
            self._notable[author.id] = known, count + 1

    def mark(self, session: Session) -> None:
        """The hub is to be told when this viewer leaves: something of it is to go then."""
        self._leavers[session.secret] = session

    def leave(self, session: Session) -> None:
        """A viewer that was in is gone."""
        if self._leavers and self._leavers.get(session.secret) is session:
            del self._leavers[session.secret]
            self._outbox.append(Left(self._name, session.secret))
        self._forget(session)

    def _forget(self, session: Session) -> None:
        if not self._notable or session.author is None or session.author.id not in self._notable:
            return
        known, count = self._notable[session.author.id]
        if count > 1:
            self._notable[session.author.id] = known, count - 1
        else:
            del self._notable[session.author.id]
            self._outbox.append(msgspec.structs.replace(known, present=False))

    def receipt(self, user: str, offset: int, read: bool) -> None:
        """A user has a notice, or has read it."""
        if self._receipts_count < _RECEIPTS_MAX:
            users = self._receipts.setdefault((offset, read), {})
            self._receipts_count += user not in users
            users[user] = None

    def roll(self, offset: int, present: Iterable[Session]) -> None:
        """The hub asks who is here."""
        users = dict.fromkeys(session.author.id for session in present if session.author is not None)
        self._outbox += (Roll(self._name, offset, some) for some in _chunks(users))

    def report(self, linked: bool) -> list[Up]:
        """What the hub is to be told now.

        :param linked: whether there is one. If not, receipts wait for it; of the rest it is told anew (`announce`).
        """
        outbox, self._outbox = self._outbox, []
        if self._arrived:
            arrived, self._arrived = self._arrived, []
            outbox += (Arrivals(self._name, users) for users in _chunks(dict.fromkeys(arrived)))
        if self._receipts and linked:
            receipts, self._receipts, self._receipts_count = self._receipts, {}, 0
            for (offset, read), users in receipts.items():
                outbox += (Receipts(self._name, offset, read, some) for some in _chunks(users))
        return outbox

    def announce(self, present: Iterable[Session]) -> None:
        """A hub knows nothing of who is here."""
        self._arrived = [session.author.id for session in present if session.author is not None]
        gone = [each for each in self._outbox if isinstance(each, Left)]
        self._outbox = [*gone, *(known for known, _ in self._notable.values())]


def _chunks(users: Iterable[str]) -> Iterator[list[str]]:
    everybody = list(users)
    for start in range(0, len(everybody), _CHUNK):
        yield everybody[start : start + _CHUNK]
