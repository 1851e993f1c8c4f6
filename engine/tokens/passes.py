"""Passes: random texts that stand for claims for a short while, so that somebody can be let in where no token can be signed.

Owns the text and what can be read from it: until when it lets in, and under which name the claims are kept. Pure; who keeps the
claims is `engine.hub.passes`. The name is a digest: whoever reads the record, or a link, learns no pass, and to look one up by
its digest takes no time that would tell how much of a guess was right.
"""

from __future__ import annotations

from base64 import b64decode, urlsafe_b64encode
from hashlib import blake2b
from typing import Final

from engine.text import clean_line

__all__ = ["PASS", "PASS_SECONDS", "digest_of", "ends_of", "holder_of", "text_of"]

PASS: Final = "rcp_"
"""Begins every pass, and no token: a JSON Web Token begins with base64 of a brace."""
PASS_SECONDS: Final = 60
"""How long a pass lets in. A connection that was made with it lasts as long as the claims say."""
_TIME_BYTES: Final = 4
_RANDOM_BYTES: Final = 20
_CHARACTERS: Final = 32
_HOLDER_CHARACTERS: Final = 64


def text_of(ends: int, random: bytes) -> str:
    """A pass: ``rcp_`` and 32 characters.

    :param ends: Unix seconds until when it lets in; it is in the text so that one whose time is over can be told from one that
        has not come yet.
    :param random: 20 bytes.
    """
    if len(random) != _RANDOM_BYTES:
        raise ValueError(f"a pass has {_RANDOM_BYTES} random bytes")
    return PASS + urlsafe_b64encode(ends.to_bytes(_TIME_BYTES, "big") + random).decode()


def ends_of(text: str) -> int:
    """Until when it lets in, as it says itself, Unix seconds. Raises ValueError for what is no pass."""
    coded = text.removeprefix(PASS)
    if len(coded) != _CHARACTERS or coded == text:
        raise ValueError("it is no pass")
    return int.from_bytes(b64decode(coded, b"-_", validate=True)[:_TIME_BYTES], "big")


def digest_of(text: str) -> str:
    """The name under which its claims are kept: BLAKE2b-128 (RFC 7693), hexadecimal."""
    return blake2b(text.encode(), digest_size=16).hexdigest()


def holder_of(key: str) -> str:
    """The user that all are who have a pass by this API key; by it they can be sent out.

    :param key: its name.
    """
    return clean_line(f"key:{key}")[:_HOLDER_CHARACTERS]
