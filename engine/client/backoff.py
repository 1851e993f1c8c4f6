"""When to come back after a lost connection, and whether.

Owns the judgement of close codes and the delays between attempts. Pure: randomness comes in, time does not occur.

The delays are exponential with full jitter: a random part of a ceiling that doubles. Without the jitter everybody whom
one fault has disconnected would come back at the same moments.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from engine.errors import Close

__all__ = ["ABNORMAL", "Backoff", "Loss", "judge"]

ABNORMAL = 1006
"""Stands for a connection that ended without a close frame (RFC 6455 section 7.4.1)."""

_NO_STATUS = 1005
_SERVICE_RESTART, _TRY_AGAIN_LATER, _BAD_GATEWAY = 1012, 1013, 1014
"""Registered with IANA after RFC 6455; proxies send them."""

_PATIENCE = 8
"""How much longer than usual to wait when the server asked for a pause: its reason outlives a quarter of a second."""


@dataclass(frozen=True, slots=True)
class Loss:
    """How a connection was lost, as far as it matters for coming back.

    :ivar final: do not come back.
    :ivar patient: come back after a longer pause.
    :ivar after_seconds: not before, as the server asked.
    :ivar window_seconds: at a random moment within, as the server asked.
    """

    final: bool = False
    patient: bool = False
    after_seconds: float = 0.0
    window_seconds: float = 0.0


def judge(code: int, after_seconds: float = 0.0, window_seconds: float = 0.0, *, renewable: bool = False) -> Loss:
    """What a close code means for coming back; a code not known means what its band means (`engine.errors.Close`).

    :param renewable: there can be another token.
    """
    if code == Close.TOKEN_EXPIRED and renewable:
        return Loss(False, False, after_seconds, window_seconds)
    if 4200 <= code < 4400 or code in (Close.INTERNAL, _TRY_AGAIN_LATER):
        return Loss(False, True, after_seconds, window_seconds)
    at_once = 4000 <= code < 4200 or code in (Close.GOING_AWAY, _NO_STATUS, ABNORMAL, _SERVICE_RESTART, _BAD_GATEWAY)
    return Loss(not at_once, False, after_seconds, window_seconds)


class Backoff:
    """Delays of consecutive attempts.

    :param base_seconds: ceiling of the first delay.
    :param cap_seconds: largest ceiling.
    :ivar attempts: delays given since the last `reset`.
    """

    def __init__(self, random: Random, base_seconds: float = 0.25, cap_seconds: float = 20.0) -> None:
        self.attempts = 0
        self._random = random
        self._base = base_seconds
        self._cap = cap_seconds

    def reset(self) -> None:
        """An attempt succeeded."""
        self.attempts = 0

    def delay(self, loss: Loss) -> float:
        """Seconds to wait before the next attempt."""
        # The exponent is bounded because 2.0**1024 overflows; 2^64 times any sensible base is above any cap.
        ceiling = min(self._cap, self._base * 2.0 ** min(self.attempts, 64))
        self.attempts += 1
        pause = min(self._cap, _PATIENCE * ceiling) if loss.patient else 0.0
        return max(loss.after_seconds, pause) + self._random.uniform(0.0, max(loss.window_seconds, ceiling))
