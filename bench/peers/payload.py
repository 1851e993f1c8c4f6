"""The text of one message: who published it, its number, when it was meant to be published, and seeded filler.

Owns how such a text is written and checked. Knows no server and no socket. A receiver that knows the seed recomputes the
whole text, so that any altered character shows.

``publisher.sequence.intended.checksum filler``, numbers in hexadecimal. Everything is ASCII without quotes, brackets and
backslashes: one character is one byte, also within JSON.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import NamedTuple
from zlib import crc32

__all__ = ["PAYLOAD_BYTES_MAX", "PAYLOAD_BYTES_MIN", "Claim", "Payloads"]

PAYLOAD_BYTES_MIN = 48
"""Room for the numbers of any match."""
PAYLOAD_BYTES_MAX = 16_000
"""With its envelope still within what every peer takes in one message."""
FILLER_BYTES = 65_536
_WORDS = "what a goal first time here greetings from the sea side louder please that was close again and again thank you all"


class Claim(NamedTuple):
    """What a text says about itself.

    :ivar sequence: counts this publisher's messages from 1.
    :ivar intended_ns: ``time.monotonic_ns()`` at which it was to be published.
    """

    publisher: int
    sequence: int
    intended_ns: int


class Payloads:
    """Writes and checks the texts of one match.

    :param seed: of filler and checksums.
    """

    __slots__ = ("_filler", "_seed")

    def __init__(self, seed: int) -> None:
        self._seed = crc32(seed.to_bytes(16, "little", signed=True))
        pick = random.Random(seed)
        words = pick.choices(_WORDS.split(), k=(FILLER_BYTES + PAYLOAD_BYTES_MAX) // 2)
        self._filler = " ".join(words)

    def write(self, claim: Claim, size: int) -> str:
        """The text that makes this claim, ``size`` bytes long (`PAYLOAD_BYTES_MIN` … `PAYLOAD_BYTES_MAX`)."""
        numbers = f"{claim.publisher:x}.{claim.sequence:x}.{claim.intended_ns:x}."
        start = (claim.publisher * 7919 + claim.sequence * 104_729) % FILLER_BYTES
        filler = self._filler[start : start + max(0, size - len(numbers) - 9)]
        return f"{numbers}{crc32(filler.encode(), crc32(numbers.encode(), self._seed)):08x} {filler}"

    def read(self, text: str) -> Claim | None:
        """The claim of a text, None unless every character is as its publisher wrote it."""
        publisher, _, rest = text.partition(".")
        sequence, _, rest = rest.partition(".")
        try:
            claim = Claim(int(publisher, 16), int(sequence, 16), int(rest.partition(".")[0], 16))
        except ValueError:
            return None
        return claim if self.write(claim, len(text)) == text else None

    def read_all(self, texts: Sequence[str]) -> tuple[Claim | None, ...]:
        """The claims of all texts of one frame."""
        return tuple(self.read(text) for text in texts)
