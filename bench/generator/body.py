"""The text of a benchmark comment: who sent it, its number, when it was meant to be sent, and a line as people write it.

Owns how such a text is written and checked. Knows neither rooms' offsets nor sockets. A receiver that knows the seed
recomputes the whole text, so that any altered character shows, in whichever process it arrives.

``sender.sequence.intended.checksum line``, numbers in hexadecimal, the intended time in microseconds of the run. The room
is part of the checksum: a text that shows up in another room is a fault.
"""

from __future__ import annotations

import random
from typing import Final, NamedTuple
from zlib import crc32

from bench.generator.corpus import lines

__all__ = ["BODY_BYTES_MAX", "BODY_BYTES_MIN", "Bodies", "Claim"]

BODY_BYTES_MIN: Final = 48
"""Room for the numbers of any run of this generator."""
BODY_BYTES_MAX: Final = 16_384
"""What the wire protocol allows."""
LINES: Final = 4096
"""Different lines in a run."""


class Claim(NamedTuple):
    """What a text says about itself.

    :ivar intended_us: microseconds after the run's beginning at which the schedule wanted it sent.
    """

    sender: int
    sequence: int
    intended_us: int


class Bodies:
    """Writes and checks the texts of one run.

    :param seed: of the lines and the checksums.
    :param size: length in bytes, at least `BODY_BYTES_MIN`; 0: as long as a line happens to be.
    :param corpus: ``mixed``, ``chinese``, ``english`` or ``emoji``.
    """

    __slots__ = ("_filler", "_lines", "_seed", "size")

    def __init__(self, seed: int, size: int, corpus: str = "mixed") -> None:
        self.size = size
        self._seed = crc32(seed.to_bytes(16, "little", signed=True))
        self._lines = lines(random.Random(seed), corpus, LINES)
        filler = " ".join(self._lines).encode()
        self._filler = filler * (1 + 2 * BODY_BYTES_MAX // len(filler)) if size else b""

    def write(self, claim: Claim, room: int, size: int = 0) -> str:
        """The text that makes this claim, in ``size`` bytes or the run's usual length."""
        sender, sequence, intended_us = claim
        numbers = f"{sender:x}.{sequence:x}.{intended_us:x}."
        number = sender * 7919 + sequence * 104_729
        size = size or self.size
        line = self._cut(number, size - len(numbers) - 9) if size else self._lines[number % LINES]
        return f"{numbers}{crc32(line.encode(), crc32(b'%d.%s' % (room, numbers.encode()), self._seed)):08x} {line}"

    def _cut(self, number: int, size: int) -> str:
        """Exactly ``size`` bytes of the filler, padded where a character would be cut in two."""
        start = number % (len(self._filler) - BODY_BYTES_MAX)
        text = self._filler[start : start + max(0, size)].decode(errors="ignore")
        return text + "." * (max(0, size) - len(text.encode()))

    def read(self, body: object, room: int) -> Claim | None:
        """The claim of a text, None unless every character is as its sender wrote it."""
        if not isinstance(body, str):
            return None
        numbers = body.split(".", 3)
        if len(numbers) != 4:
            return None
        try:
            claim = Claim(int(numbers[0], 16), int(numbers[1], 16), int(numbers[2], 16))
        except ValueError:
            return None
        return claim if self.write(claim, room, len(body.encode()) if self.size else 0) == body else None
