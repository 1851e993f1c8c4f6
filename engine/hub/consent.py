"""What the product is asked about what viewers want, and what its verdict means for them.

Owns how a viewer's request becomes a question, and a verdict the answer to the viewer. Must not know how the product is asked
(`engine.hooks.asking`), nor how what it allows is done.

Who answers for the room is not asked about. Nobody is while the hub stops: what has been asked by then is waited for.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from hashlib import blake2b
from itertools import count
from typing import Any, Final

from engine.errors import Code, Refused
from engine.hooks.asking import UNANSWERED, Asking
from engine.hooks.values import Change, Hold, Kind, Question, Refuse, Verdict
from engine.hub.actor import Actor
from engine.hub.rules import STAFF, Judgement
from engine.ledger import values
from engine.link.messages import Knock, Say, Standing
from engine.settings import LimitSettings
from engine.text import clean, clean_line, length, visible

__all__ = ["Consent", "worded"]

_RETRY_MS: Final = 1_000
_REASON_CHARACTERS: Final = 200
"""Of a product's reason, what is shown."""
_DECLINED: Final = "this is not allowed here"
_HELD: Final = "the product wants it to be looked at"


def worded(reason: str, otherwise: str) -> str:
    """A reason that the product gave, as it may be shown: on one line, and not long."""
    reason = clean_line(reason)[:_REASON_CHARACTERS]
    return reason if visible(reason) else otherwise


class Consent:
    """See the module's docstring. Methods raise `Refused` where the product does, or cannot be asked.

    :param now_ms: Unix milliseconds.
    :ivar asking: how the product is asked.
    :ivar stopping: whether nobody is to be asked any more.
    """

    def __init__(self, asking: Asking, limits: LimitSettings, now_ms: Callable[[], int]) -> None:
        self.asking = asking
        self._limits = limits
        self._now_ms = now_ms
        self._incarnation = secrets.token_hex(6)
        self._numbers = count(1)
        self.stopping = False

    def adopt(self, limits: LimitSettings) -> None:
        """Take other settings."""
        self._limits = limits

    def needed(self, kind: Kind, standing: Standing) -> bool:
        """Whether the product is to be asked. Raises `Refused` if it should be and the hub stops."""
        if not self.asking.asks(kind) or standing.role in STAFF:
            return False
        if self.stopping:
            raise Refused(Code.UNAVAILABLE, "the node is stopping", _RETRY_MS)
        return True

    # -- questions ------------------------------------------------------------------------------------------------------

    async def speech(self, room: str, actor: Actor, say: Say, judged: Judgement) -> Judgement:
        """About a comment or custom event, as the room's rules would have it."""
        details: dict[str, Any] = {}
        if say.name:
            details["name"] = say.name
        if say.reply_to:
            details["reply_to"] = say.reply_to
        if say.mentions:
            details["mentions"] = say.mentions
        if say.lifetime_ms:
            details["lifetime_ms"] = say.lifetime_ms
        verdict = await self._ask("comment", room, actor, _key(actor), judged.body, details)
        if isinstance(verdict, Change):
            return judged._replace(body=self._text(verdict.body, custom=bool(say.name)))
        if isinstance(verdict, Hold):
            return judged._replace(hold=(*judged.hold, worded(verdict.reason, _HELD)))
        return judged

    async def gift(self, actor: Actor, book: values.Give) -> None:
        """About a gift."""
        details = {"gift": book.gift, "count": book.count, "amount": book.price * book.count, "to": book.receiver}
        _no_hold(await self._ask("gift", book.room, actor, book.key, "", details))

    async def packet(self, actor: Actor, book: values.Pack) -> None:
        """About a red packet."""
        details = {"total": book.total, "shares": book.shares, "phrase": book.phrase}
        _no_hold(await self._ask("red_packet", book.room, actor, book.key, book.text, details))

    async def entry(self, knock: Knock) -> None:
        """About somebody who wants to enter."""
        details = {"address": knock.address, "follower": knock.standing.follower}
        _no_hold(await self._ask("join", knock.room, Actor(knock.author, knock.standing), "", "", details))

    async def _ask(self, kind: Kind, room: str, actor: Actor, key: str, body: str, details: dict[str, Any]) -> Verdict:
        author, standing = actor.author, actor.standing
        question = Question(
            id=f"{self._incarnation}-{next(self._numbers)}",
            kind=kind,
            room=room,
            user=author.id,
            key=key,
            time=self._now_ms(),
            name=author.name,
            role=standing.role,
            level=standing.level,
            attributes=author.attributes,
            body=body,
            details=details,
        )
        verdict = await self.asking.ask(question)
        if verdict is UNANSWERED:
            raise Refused(Code.UNAVAILABLE, UNANSWERED.reason, _RETRY_MS)
        if isinstance(verdict, Refuse):
            raise Refused(Code.DECLINED, worded(verdict.reason, _DECLINED))
        return verdict

    def _text(self, body: str, *, custom: bool) -> str:
        """A text of the product's, treated as one that a viewer sent (`engine.edge.requests`)."""
        limits = self._limits
        if len(body.encode()) > limits.comment_bytes:
            raise Refused(Code.TOO_LONG, f"what the product made of it has more than {limits.comment_bytes} bytes")
        if custom:
            return body
        body = clean(body)
        if not visible(body):
            raise Refused(Code.EMPTY, "what the product made of it shows nothing")
        if length(body, limits.comment_characters) > limits.comment_characters:
            raise Refused(Code.TOO_LONG, f"what the product made of it has more than {limits.comment_characters} characters")
        return body


def _no_hold(verdict: Verdict) -> None:
    """No moderator decides on what is not said."""
    if isinstance(verdict, Hold):
        raise Refused(Code.DECLINED, worded(verdict.reason, _DECLINED))


def _key(actor: Actor) -> str:
    """A session is a secret; this stands for it."""
    if not actor.session:
        return ""
    return f"{blake2b(actor.session.encode(), digest_size=12, person=b'question').hexdigest()}/{actor.ref}"
