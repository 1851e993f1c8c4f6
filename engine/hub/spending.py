"""Whether a viewer may spend: what the product is asked before something is booked, in Python or else over HTTP.

Owns the question, and how long the answer may take. Must not know the ledger.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass

import trio

from engine.errors import Code, Refused
from engine.hooks.asking import Asking
from engine.hooks.call import NoAnswer
from engine.hub.consent import worded
from engine.settings import LedgerSettings

__all__ = ["Spend", "SpendHook", "Spending"]

log = logging.getLogger("roomcast.hub")


@dataclass(frozen=True, slots=True)
class Spend:
    """What a viewer is about to spend.

    :ivar key: names this purchase for good: asked again with the same one, because an answer got lost or the node died, the
        product must not charge again. It is the key of the ledger's entry, so that what was charged and never booked, because
        the viewer did not come back, is found by comparing (``roomcast ledger export``).
    :ivar gift: id; empty: a red packet.
    :ivar receiver: id of who gets it; empty: the host, or the room.
    """

    room: str
    user: str
    key: str
    gift: str
    count: int
    amount: int
    receiver: str


SpendHook = Callable[[Spend], Awaitable[str | None]]
"""Charges the viewer. Returns None when that is done, else why not, for the viewer to read. Whatever it raises counts as
not answered: the viewer is asked to try again."""


class Spending:
    """See the module's docstring.

    :ivar hook: the product's, in place of ``hooks.spend_url``; None: it has none.
    """

    def __init__(self, settings: LedgerSettings, asking: Asking) -> None:
        self.adopt(settings)
        self._asking = asking
        self.hook: SpendHook | None = None

    def adopt(self, settings: LedgerSettings) -> None:
        """Take other settings."""
        self._free = settings.spend == "free"
        self._seconds = settings.spend_seconds

    @property
    def asks(self) -> bool:
        """Whether the product is to be asked. Raises `Refused` if it should be and cannot."""
        if self._free:
            return False
        if self.hook is None and not self._asking.charges:
            raise Refused(Code.FORBIDDEN, "viewers cannot spend here (ledger.spend, node.on_spend, hooks.spend_url)")
        return True

    async def ask(self, spend: Spend) -> None:
        """Let the product charge the viewer. Raises `Refused`."""
        hook = self.hook
        try:
            if hook is None:
                refusal = await self._asking.charge(asdict(spend), spend.key, self._seconds)
            else:
                with trio.fail_after(self._seconds):
                    refusal = await hook(spend)
        except NoAnswer as error:
            log.warning("spend_not_answered", extra={"room": spend.room, "key": spend.key, "reason": str(error)})
            raise Refused(Code.UNAVAILABLE, "paying does not work at the moment", 1_000) from None
        except trio.TooSlowError:
            log.warning("spend_hook_slow", extra={"room": spend.room, "key": spend.key, "seconds": self._seconds})
            raise Refused(Code.UNAVAILABLE, "paying takes too long at the moment (ledger.spend_seconds)", 1_000) from None
        except Exception:
            # The product's code: whatever is wrong there, the room goes on.
            log.exception("spend_hook_failed", extra={"room": spend.room, "key": spend.key})
            raise Refused(Code.UNAVAILABLE, "paying does not work at the moment", 1_000) from None
        if refusal is not None:
            raise Refused(Code.UNPAID, worded(refusal, "the product does not take this payment"))
