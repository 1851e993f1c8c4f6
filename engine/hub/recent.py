"""Who said what in a room of late, at whatever node.

Owns what slow mode, duplicates and fairness among authors are judged by. Fed from the room's stream, which is the same at every
hub, and from what this node has let pass and does not see in the stream yet. Pure: every time is the room's, in Unix
milliseconds, and an argument. Must not know the rules.

What is remembered is bounded by time and by number; who is beyond that has said nothing. A text is remembered by the hash of
what it looks like: normal form KC, case and white space do not count.
"""

from __future__ import annotations

import math
import unicodedata
from collections import OrderedDict
from typing import Final, NamedTuple

__all__ = ["SHARE_MS", "Recent"]

SHARE_MS: Final = 10_000
"""Time in which a comment's part in its author's share falls to 1/e."""
_FADED_MS: Final = 5 * SHARE_MS
"""Time after which it is nothing: less than a hundredth."""
_USERS: Final = 10_000
_TEXTS: Final = 65_536
_UNSEEN_MS: Final = 30_000
"""Time after which what was let pass and never seen counts no more: it was lost on its way."""


class _Said(NamedTuple):
    """What a user has said.

    :ivar time: of the last comment.
    :ivar share: of the user at that time.
    :ivar key: hash of that comment's session and ref if it was let pass here, else 0.
    """

    time: int
    share: float
    key: int


class _Unseen:
    """A comment on its way to its offset."""

    __slots__ = ("look", "ref", "session", "time")

    def __init__(self, session: str, ref: int, look: int, time: int) -> None:
        self.session = session
        self.ref = ref
        self.look = look
        self.time = time


class Recent:
    """See the module's docstring.

    :param window_ms: the longest time that is asked about; may be changed.
    :param users: of whom it is remembered when they spoke.
    :param texts: remembered, of all users; 0 if nobody asks for repetitions.
    """

    __slots__ = ("_sweep_at", "_texts", "_texts_max", "_unseen", "_users", "_users_max", "window_ms")

    def __init__(self, window_ms: int, users: int = _USERS, texts: int = _TEXTS) -> None:
        self.window_ms = window_ms
        self._users_max = users
        self._texts_max = texts
        # Both in order of time.
        self._users: OrderedDict[str, _Said] = OrderedDict()
        self._texts: OrderedDict[int, int] = OrderedDict()
        self._unseen: dict[str, list[_Unseen]] = {}
        self._sweep_at = 1_000

    def __len__(self) -> int:
        return len(self._users)

    # -- what is said -------------------------------------------------------------------------------------------------

    def note(self, user: str, ref: int, text: str, time_ms: int) -> None:
        """A comment in the room's stream. Each once, in order; those of this node, too."""
        look, key = self._look(user, text), 0
        unseen = next((each for each in self._unseen.get(user, ()) if each.ref == ref), None)
        if unseen is not None:
            key = hash((unseen.session, ref))
            if unseen.look != look:
                # Words were masked after it had been let pass.
                self._remember(unseen.look, time_ms)
            self._drop(user, unseen)
        self._remember(look, time_ms)
        self._users[user] = _Said(time_ms, self._faded(user, time_ms) + 1, key)
        self._users.move_to_end(user)
        oldest = time_ms - max(self.window_ms, _FADED_MS)
        while len(self._users) > self._users_max or next(iter(self._users.values())).time <= oldest:
            self._users.popitem(last=False)

    def accept(self, user: str, session: str, ref: int, text: str, now_ms: int) -> None:
        """A comment that was let pass here and is on its way to an offset. It counts from now on, until `note` or `withdraw`.
        One that is tried again counts once."""
        said = self._users.get(user)
        if said is not None and said.key == hash((session, ref)):
            # It has been seen, and will not be once more.
            return
        waiting = self._unseen.setdefault(user, [])
        waiting[:] = [each for each in waiting if (each.session, each.ref) != (session, ref) and not self._lost(each, now_ms)]
        waiting.append(_Unseen(session, ref, self._look(user, text), now_ms))
        if len(self._unseen) >= self._sweep_at:
            self._sweep(now_ms)

    def withdraw(self, user: str, session: str, ref: int) -> None:
        """It was given no offset."""
        for unseen in self._unseen.get(user, ()):
            if (unseen.session, unseen.ref) == (session, ref):
                self._drop(user, unseen)
                break

    def _look(self, user: str, text: str) -> int:
        if not self._texts_max:
            return 0
        folded = text.lower() if text.isascii() else unicodedata.normalize("NFKC", text).casefold()
        return hash((user, "".join(folded.split())))

    def _remember(self, look: int, time: int) -> None:
        if not self._texts_max:
            return
        self._texts[look] = time
        self._texts.move_to_end(look)
        oldest = time - max(self.window_ms, 1)
        while len(self._texts) > self._texts_max or next(iter(self._texts.values())) <= oldest:
            self._texts.popitem(last=False)

    def _drop(self, user: str, unseen: _Unseen) -> None:
        waiting = self._unseen[user]
        waiting.remove(unseen)
        if not waiting:
            del self._unseen[user]

    def _sweep(self, now_ms: int) -> None:
        for user in list(self._unseen):
            left = [each for each in self._unseen[user] if not self._lost(each, now_ms)]
            if left:
                self._unseen[user] = left
            else:
                del self._unseen[user]
        self._sweep_at = max(1_000, 2 * len(self._unseen))

    @staticmethod
    def _lost(unseen: _Unseen, now_ms: int) -> bool:
        return unseen.time <= now_ms - _UNSEEN_MS

    def _going(self, user: str, now_ms: int) -> list[_Unseen]:
        return [each for each in self._unseen.get(user, ()) if not self._lost(each, now_ms)]

    # -- what is asked ------------------------------------------------------------------------------------------------

    def tried(self, user: str, session: str, ref: int) -> bool:
        """Whether this very comment is on its way, or is the last one of the user and came through here: it is tried again
        because its sender has not learned what became of it, gets no second offset, and is not to be judged by itself."""
        if any((each.session, each.ref) == (session, ref) for each in self._unseen.get(user, ())):
            return True
        said = self._users.get(user)
        return said is not None and said.key == hash((session, ref))

    def wait_ms(self, user: str, slow_ms: int, now_ms: int) -> int:
        """How long the user has to wait for another comment, if ``slow_ms`` must lie between two; 0: not at all."""
        if not slow_ms:
            return 0
        last = max((each.time for each in self._going(user, now_ms)), default=None)
        said = self._users.get(user)
        if said is not None:
            last = said.time if last is None else max(last, said.time)
        # What is said to come later than now was seen by a clock that is ahead.
        return 0 if last is None else min(max(last + slow_ms - now_ms, 0), slow_ms)

    def repeats(self, user: str, text: str, window_ms: int, now_ms: int) -> bool:
        """Whether the user has said the same within this time, at most `window_ms`."""
        if not self._texts_max:
            return False
        look = self._look(user, text)
        time = self._texts.get(look)
        if time is not None and time > now_ms - window_ms:
            return True
        return any(each.look == look and each.time > now_ms - window_ms for each in self._going(user, now_ms))

    def share(self, user: str, now_ms: int) -> float:
        """Comments of the user of late: each counts 1 when it is made, and 1/e of it after `SHARE_MS`."""
        return self._faded(user, now_ms) + len(self._going(user, now_ms))

    def _faded(self, user: str, now_ms: int) -> float:
        said = self._users.get(user)
        return 0.0 if said is None else said.share * math.exp(min(said.time - now_ms, 0) / SHARE_MS)
