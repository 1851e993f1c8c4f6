"""How a red packet is divided: the amounts of its shares, from a seed that is shown when it is over.

Owns the arithmetic. Pure. Anybody can recompute a draw: the commitment is published with the packet, the seed at its end.

The shares of a packet of ``total`` units and ``count`` shares, in any language with integers of 128 bits:

- The first share is number 1. Before each, ``left`` is what the ones before it have left of the total, ``remaining`` the
  number of shares that are not drawn, this one included.
- ``equal``: it is ``left / remaining``, rounded up. So the first ``total mod count`` are one unit larger than the others.
- ``random``, the last one: it is ``left``.
- ``random``, any other: ``digest = HMAC-SHA-256(key = seed, message = number as 8 bytes, big-endian)`` (RFC 2104); ``a`` is
  the integer of its first 16 bytes, ``b`` that of the other 16, both big-endian. ``spare = left - remaining`` is what there is
  beyond the one unit that each must have. ``widest = (2 × spare + a mod remaining) div remaining`` is the doubled average of
  that, rounded up or down by chance. The share is ``1 + b mod (widest + 1)``.
- The commitment is the SHA-256 of the seed, in lower-case hexadecimal.

Why the rounding is a draw, too: so ``widest`` is ``2 × spare / remaining`` on average, the share is ``left / remaining`` on
average, exactly, and every later one as well: no place in the queue is better than another. If it were rounded down, the first
two shares of 14 units for ten could only be 1. A share is less than twice the average of what is left, and as ``widest`` is at
most ``spare`` while two remain, every later one is at least 1.

Why there is no rejection: 128 bits modulo a number below 2^53 prefer no result by more than one part in 2^75.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from hmac import compare_digest, digest
from typing import Final, Literal

__all__ = ["Split", "commitment", "share", "shares", "verify"]

Split = Literal["equal", "random"]

_HALF: Final = 16
_NUMBER_BYTES: Final = 8


def commitment(seed: bytes) -> str:
    """What is published with the packet: SHA-256 (FIPS 180-4) of the seed, hexadecimal."""
    return sha256(seed).hexdigest()


def share(seed: bytes, number: int, left: int, remaining: int, split: Split) -> int:
    """The amount of one share, in constant time from what the shares before it have left.

    :param number: of the share, from 1.
    :param left: of the total, before this share.
    :param remaining: shares that are not drawn, this one included.
    :raises ValueError: there is no share, or less than one unit for each.
    """
    if remaining < 1 or left < remaining:
        raise ValueError(f"{left} units cannot be divided into {remaining} shares of at least 1")
    if split == "equal":
        return -(-left // remaining)
    if remaining == 1:
        return left
    drawn = digest(seed, number.to_bytes(_NUMBER_BYTES, "big"), "sha256")
    rounding = int.from_bytes(drawn[:_HALF], "big") % remaining
    widest = (2 * (left - remaining) + rounding) // remaining
    return 1 + int.from_bytes(drawn[_HALF:], "big") % (widest + 1)


def shares(seed: bytes, total: int, count: int, split: Split) -> list[int]:
    """All shares of a packet, in the order in which they are claimed: ``count`` amounts of at least 1, their sum is ``total``.

    :raises ValueError: as `share`.
    """
    amounts: list[int] = []
    left = total
    for number in range(1, count + 1):
        amounts.append(share(seed, number, left, count - number + 1, split))
        left -= amounts[-1]
    if left:
        raise ValueError(f"{total} units cannot be divided into {count} shares")
    return amounts


def verify(seed: bytes, committed: str, total: int, count: int, split: Split, claimed: Sequence[int]) -> bool:
    """Whether a packet was divided as it was announced, for whoever has its events.

    :param committed: the commitment that came with the packet.
    :param claimed: amounts of the shares that were claimed, by their numbers from 1; all, or fewer if it has expired.
    """
    if not compare_digest(commitment(seed).encode(), committed.encode()) or not 1 <= count <= total or len(claimed) > count:
        return False
    left = total
    for number, amount in enumerate(claimed, 1):
        if share(seed, number, left, count - number + 1, split) != amount:
            return False
        left -= amount
    return True
