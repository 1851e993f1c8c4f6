"""Passes that let somebody in, known to all nodes: fields of the record that holds in all rooms.

Owns these fields and how many there are, in all and of one user, so that nobody who asks again and again keeps others out.
Time comes from the hub. They go by themselves when a pass lets nobody in any more. What is kept is the digest of a pass, never
the pass.
"""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import Final, Literal, NamedTuple

import msgspec
import trio
from msgspec import Struct, structs

from engine.brokers.base import Broker, RecordFull, Unavailable
from engine.errors import Code, Refused
from engine.hub.room import HubRoom
from engine.schema import EVERYWHERE
from engine.tokens import Claims
from engine.tokens.claims import decode_claims
from engine.tokens.passes import PASS_SECONDS, digest_of, text_of

__all__ = ["CONNECTED_SECONDS", "EACH_MAX", "OUT_MAX", "Pass", "Passes", "passes_in"]

OUT_MAX: Final = 256
"""Passes at once, of all nodes: some 70 kB of a record that must have room for bans and tokens that were taken back, too."""
EACH_MAX: Final = 64
"""Of these for one user, which all who have the same key are."""
CONNECTED_SECONDS: Final = 3_600.0
_PREFIX: Final = "pass:"
_RANDOM_BYTES: Final = 20
_ARRIVAL_SECONDS: Final = 5.0
"""For what was written into the record to come here."""
_RETRY_MS: Final = 1_000


class Pass(NamedTuple):
    """A pass.

    :ivar expires_ms: Unix milliseconds until when it lets in.
    :ivar ends_ms: until when a connection lasts that was made with it.
    """

    text: str
    expires_ms: int
    ends_ms: int


class _Made(Struct):
    """What counts passes of a user."""

    sub: str = ""


_user_of: Final[Callable[[bytes], _Made]] = msgspec.json.Decoder(_Made).decode


class Passes:
    """See the module's docstring.

    :param everywhere: the room whose record holds in all rooms, open and live.
    :param now_ms: Unix milliseconds, by the clock that looks at tokens.
    """

    def __init__(
        self, broker: Broker, everywhere: Callable[[], AbstractAsyncContextManager[HubRoom]], now_ms: Callable[[], int]
    ) -> None:
        self._broker = broker
        self._everywhere = everywhere
        self._now_ms = now_ms
        self._under_way: Counter[str] = Counter()

    async def issue(
        self,
        user: str,
        room: str,
        role: Literal["reader", "moderator"],
        *,
        name: str = "",
        level: int = 0,
        jti: str = "",
        seconds: float = CONNECTED_SECONDS,
    ) -> Pass:
        """Make a pass for this user and room, at all nodes, and return when the edges of this one are being told.

        :param name: shown with the user; ``level`` as its product ranks it.
        :param jti: id of a token, with which the pass is taken back; the user's being taken back does it, too.
        :param seconds: how long a connection lasts that was made with it.
        :raises Refused: ``BAD_ROOM`` for a name that would stand for many; ``INVALID``; ``RATE_LIMITED``, `OUT_MAX` are out, or
            `EACH_MAX` of this user, and each goes when its minute is over; ``STATE_FULL``; ``UNAVAILABLE``.
        """
        if room.endswith("*"):
            raise Refused(Code.BAD_ROOM, "a pass is for one room, and a name that ends in * stands for all that begin so")
        async with self._everywhere() as everywhere, self._place(user, everywhere):
            now = self._now_ms() / 1000
            ends = int(now) + PASS_SECONDS
            claims = Claims(sub=user, exp=now + seconds, iat=now, jti=jti, name=name, role=role, level=level, rooms=[room])
            text = text_of(ends, secrets.token_bytes(_RANDOM_BYTES))
            value = msgspec.json.encode({name: each for name, each in structs.asdict(claims).items() if each})
            try:
                # As edges will: what they cannot read is a pass that never comes.
                decode_claims(value)
            except msgspec.ValidationError as error:
                raise Refused(Code.INVALID, f"a pass: {error}") from None
            with trio.move_on_after(_ARRIVAL_SECONDS):
                try:
                    revision = await self._broker.amend(EVERYWHERE, f"{_PREFIX}{digest_of(text)}", value, PASS_SECONDS * 1000)
                except RecordFull as error:
                    raise Refused(Code.STATE_FULL, str(error)) from None
                except Unavailable as error:
                    raise Refused(Code.UNAVAILABLE, str(error), _RETRY_MS) from None
                await everywhere.rules.reached(revision)
                return Pass(text, ends * 1000, int(claims.exp * 1000))
            raise Refused(Code.UNAVAILABLE, "the pass was written down but is not known here yet", _RETRY_MS)

    @asynccontextmanager
    async def _place(self, user: str, everywhere: HubRoom) -> AsyncIterator[None]:
        """For one more, counted with those that are not in the record yet. Raises `Refused`."""
        out = _users_in(everywhere.rules.record.fields) + self._under_way
        for count, most, whose in ((out.total(), OUT_MAX, ""), (out[user], EACH_MAX, " for this user")):
            if count >= most:
                raise Refused(Code.RATE_LIMITED, f"{most} passes were made{whose} in the last {PASS_SECONDS} s", _RETRY_MS)
        self._under_way[user] += 1
        try:
            yield
        finally:
            self._under_way -= Counter([user])


def passes_in(fields: Mapping[str, bytes]) -> dict[str, str]:
    """The passes of a record, as in `engine.link.messages.Trust`."""
    return {name[len(_PREFIX) :]: value.decode(errors="replace") for name, value in fields.items() if name.startswith(_PREFIX)}


def _users_in(fields: Mapping[str, bytes]) -> Counter[str]:
    """How many passes of each user a record holds."""
    users: Counter[str] = Counter()
    for name, value in fields.items():
        if name.startswith(_PREFIX):
            made = _Made()
            # One that cannot be read was made by another version, and counts as any.
            with suppress(msgspec.MsgspecError, UnicodeDecodeError):
                made = _user_of(value)
            users[made.sub] += 1
    return users
