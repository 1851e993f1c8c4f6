"""Signatures of what is sent to the product: Standard Webhooks (https://www.standardwebhooks.com), symmetric, version 1.

Owns the form of secrets and signatures. Pure. The receiver recomputes HMAC-SHA256 over ``id.timestamp.body``, compares in
constant time, and refuses what is older than it wants; libraries for that exist in most languages.
"""

from __future__ import annotations

import binascii
import hmac
import secrets
from base64 import b64decode, b64encode
from collections.abc import Mapping
from typing import Final

__all__ = ["LEEWAY_SECONDS", "headers", "keys_of", "make_secret", "verified"]

_PREFIX: Final = "whsec_"
_VERSION: Final = "v1"
_BYTES: Final = 24
"""Least length of a secret (Standard Webhooks: 24 to 64 bytes)."""
LEEWAY_SECONDS: Final = 300
"""How old a message may be for a receiver that takes the usual value."""


def make_secret() -> str:
    """A new secret."""
    return _PREFIX + b64encode(secrets.token_bytes(32)).decode()


def keys_of(secret: str) -> list[bytes]:
    """The keys in a setting of one or more secrets. Raises ValueError, without the secret, for what is none."""
    keys = []
    for each in secret.split():
        try:
            key = b64decode(each.removeprefix(_PREFIX), validate=True) if each.startswith(_PREFIX) else b""
        except binascii.Error:
            key = b""
        if len(key) < _BYTES:
            raise ValueError(f"must be {_PREFIX} and base64 of at least {_BYTES} bytes, as `roomcast key --webhooks` makes it")
        keys.append(key)
    return keys


def _signature(key: bytes, message: str, timestamp: int, body: bytes) -> str:
    signed = b".".join((message.encode(), str(timestamp).encode(), body))
    return f"{_VERSION},{b64encode(hmac.digest(key, signed, 'sha256')).decode()}"


def headers(keys: list[bytes], message: str, timestamp: int, body: bytes) -> dict[str, str]:
    """The headers of one request.

    :param message: its id, without a full stop.
    :param timestamp: Unix seconds.
    """
    return {
        "webhook-id": message,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(_signature(key, message, timestamp, body) for key in keys),
    }


def verified(keys: list[bytes], given: Mapping[str, str], body: bytes, now: float) -> bool:
    """Whether a request with these headers is genuine and new, as a receiver that knows one of the keys decides.

    :param given: headers by lower-case name.
    :param now: Unix seconds.
    """
    message, timestamp = given.get("webhook-id", ""), given.get("webhook-timestamp", "")
    if not timestamp.isascii() or not timestamp.isdigit() or abs(now - int(timestamp)) > LEEWAY_SECONDS:
        return False
    wanted = [_signature(key, message, int(timestamp), body).encode() for key in keys]
    found = [each.encode() for each in given.get("webhook-signature", "").split(" ")]
    return any(hmac.compare_digest(one, other) for one in wanted for other in found)
