"""The text of a benchmark comment: who sent it, its number, when it was meant to be sent, and seeded filler.

Owns how such a text is written and checked. Knows neither rooms' offsets nor sockets. A receiver that knows the seed
recomputes the whole text, so that any altered character shows, in whichever process it arrives.

``room.sender.sequence.intended.checksum filler``, numbers in hexadecimal, everything ASCII: one character is one byte.
"""

from __future__ import annotations

import random
from typing import NamedTuple
from zlib import crc32

__all__ = ["BODY_BYTES_MIN", "Bodies", "Claim"]

BODY_BYTES_MIN = 48
"""Room for the numbers of any run of this generator."""
BODY_BYTES_MAX = 16_384
"""What the wire protocol allows."""
FILLER_BYTES = 65_536
_TEXT = (
    "wow nice hello lol love this song please again haha so good who is that from first time here good luck go team "
    "amazing what a shot play it louder greetings best stream ever can you see me now yes no maybe thanks"
)


class Claim(NamedTuple):
    """What a text says about itself.

    :ivar intended_ns: ``time.monotonic_ns()`` at which the schedule wanted it sent.
    """

    room: int
    sender: int
    sequence: int
    intended_ns: int


class Bodies:
    """Writes and checks the texts of one run.

    :param seed: of the filler and the checksums.
    :param size: length in bytes, at least `BODY_BYTES_MIN`.
    """

    __slots__ = ("_filler", "_seed", "size")

    def __init__(self, seed: int, size: int) -> None:
        self.size = size
        self._seed = crc32(seed.to_bytes(16, "little", signed=True))
        pick = random.Random(seed)
        vocabulary = _TEXT.split()
        words: list[str] = []
        length = 0
        while length < FILLER_BYTES + BODY_BYTES_MAX:
            words.append(pick.choice(vocabulary))
            length += len(words[-1]) + 1
        self._filler = " ".join(words)

    def write(self, claim: Claim, size: int = 0) -> str:
        """The text that makes this claim, in ``size`` bytes or the run's usual length."""
        room, sender, sequence, intended_ns = claim
        numbers = f"{room:x}.{sender:x}.{sequence:x}.{intended_ns:x}."
        start = (room * 31 + sender * 7919 + sequence * 104_729) % FILLER_BYTES
        filler = self._filler[start : start + max(0, (size or self.size) - len(numbers) - 9)]
        return f"{numbers}{crc32(filler.encode(), crc32(numbers.encode(), self._seed)):08x} {filler}"

    def read(self, body: object) -> Claim | None:
        """The claim of a text, None unless every character is as its sender wrote it."""
        if not isinstance(body, str):
            return None
        numbers = body.split(".", 4)
        if len(numbers) != 5:
            return None
        try:
            claim = Claim(*(int(number, 16) for number in numbers[:4]))
        except ValueError:
            return None
        return claim if self.write(claim, len(body)) == body else None
