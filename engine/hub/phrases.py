"""Who has said what a red packet asks for, since it was made.

Owns the comparison, and the users who have said it, of one room. Pure. Must not know what else a red packet asks for, nor
whether it is open.

A comment says a phrase if it holds it, as people read it: case, accents, width, look-alike characters, white space and
punctuation do not count (`engine.folding`). Of a phrase that is nothing but signs, such as an emoji, these count; one that
shows nothing is said by every comment. A short phrase is found in longer words, too: whoever asks for "hi" gets it.

At most a million users are remembered, over all red packets of the room; whoever says the phrase after that has not said it.
That is several times what the largest room holds, about 100 MB, and ends with the red packets.
"""

from __future__ import annotations

import unicodedata
from typing import Final

from engine.folding import SIGN, SPACE, fold
from engine.text import clean, visible

__all__ = ["Phrases"]

_USERS: Final = 1_000_000
_SEPARATORS: Final = {ord(SPACE): None, ord(SIGN): None}
_PRESENTATION: Final = "\ufe0f"
"""Asks for the coloured form of a sign, which most keyboards add and some do not (UTS #51)."""


class _Watched:
    """One phrase.

    :ivar letters: of the phrase; empty if it is nothing but ``signs``.
    :ivar offset: of the red packet; what was said before does not count.
    """

    __slots__ = ("letters", "offset", "signs", "users")

    def __init__(self, phrase: str, offset: int) -> None:
        self.letters = _letters(phrase)
        self.signs = _signs(phrase)
        self.offset = offset
        self.users: set[str] = set()


class Phrases:
    """See the module's docstring. It is true while there is any phrase to listen for: only then `hear` need be called.

    :param users: that are remembered.
    """

    __slots__ = ("_count", "_limit", "_watched")

    def __init__(self, users: int = _USERS) -> None:
        self._limit = users
        self._count = 0
        self._watched: dict[int, _Watched] = {}

    def __bool__(self) -> bool:
        return bool(self._watched)

    def __len__(self) -> int:
        """Users that are remembered, one for each red packet whose phrase it has said."""
        return self._count

    def watch(self, packet: int, phrase: str, offset: int) -> None:
        """Listen from now on. Of one that is watched already only the offset changes: the room may be in another epoch.

        :param packet: entry of the red packet.
        :param offset: of its event in the room; 0: all that is heard is later.
        """
        watched = self._watched.get(packet)
        if watched is None:
            self._watched[packet] = _Watched(phrase, offset)
        else:
            watched.offset = offset

    def unwatch(self, packet: int) -> None:
        """Forget it."""
        watched = self._watched.pop(packet, None)
        if watched is not None:
            self._count -= len(watched.users)

    def hear(self, offset: int, user: str, body: str) -> None:
        """A comment in the room's stream; one that is heard again does no harm."""
        letters = signs = None
        for watched in self._watched.values():
            if offset <= watched.offset or user in watched.users or self._count >= self._limit:
                continue
            if watched.letters:
                letters = _letters(body) if letters is None else letters
                said = watched.letters in letters
            else:
                signs = _signs(body) if signs is None else signs
                said = watched.signs in signs
            if said:
                watched.users.add(user)
                self._count += 1

    def said(self, packet: int, user: str) -> bool:
        """Whether a user has said the phrase of a red packet that is watched."""
        watched = self._watched.get(packet)
        return watched is not None and user in watched.users


def _letters(text: str) -> str:
    """What is left of a text when nothing counts but letters, marks and digits."""
    return fold(clean(text)).translate(_SEPARATORS)


def _signs(text: str) -> str:
    """A text as signs are compared."""
    plain = unicodedata.normalize("NFKC", clean(text)).casefold()
    return "".join(each for each in plain if each != _PRESENTATION and visible(each))
