"""The envelope of a token: JSON Web Signature in its compact form (RFC 7515 sections 3.1, 5).

Owns taking one apart and putting one together. Must not know keys: who verifies chooses one by `Envelope.kid`, and that key's
algorithm must be what `Envelope.algorithm` says; the header never chooses an algorithm.

Strict, so that a token has one spelling: base64url without padding and without stray bits, no extension that would have to be
understood (``crit``, ``b64``).
"""

from __future__ import annotations

from base64 import b64encode
from binascii import Error, a2b_base64
from typing import Annotated, Any, Final

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

__all__ = ["Envelope", "NotReadable", "compact", "opened"]

_URL: Final = bytes.maketrans(b"-_+/", b"+/!!")
"""From base64url to base64 (RFC 4648 section 5); what is only in the latter becomes something that is in neither."""
_BASE64: Final = bytes.maketrans(b"+/", b"-_")


class NotReadable(ValueError):
    """This is no token in the form that is taken."""


class _Header(Struct, frozen=True, gc=False):
    alg: str
    kid: Annotated[str, Meta(max_length=256)] | None = None
    crit: Any | UnsetType = UNSET
    b64: Any | UnsetType = UNSET


class Envelope(Struct, frozen=True, gc=False):
    """A token taken apart; nothing of it is verified.

    :ivar kid: name of the key, empty if the header has none.
    :ivar signed: the bytes that the signature is about.
    """

    algorithm: str
    kid: str
    payload: bytes
    signed: bytes
    signature: bytes


_decode_header: Final = msgspec.json.Decoder(_Header).decode


def opened(token: bytes) -> Envelope:
    """Take a token apart. Raises `NotReadable`."""
    signed, dot, signature = token.rpartition(b".")
    head, _, payload = signed.partition(b".")
    if not dot or not head or not payload or b"." in payload:
        raise NotReadable("it has not three parts")
    try:
        header = _decode_header(_decoded(head))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise NotReadable("its header is not readable") from None
    if header.crit is not UNSET or header.b64 is not UNSET:
        raise NotReadable("its header asks for what is not understood here (crit, b64)")
    return Envelope(header.alg, header.kid or "", _decoded(payload), signed, _decoded(signature))


def compact(header: dict[str, Any], payload: bytes) -> bytes:
    """What is to be signed of a token: header and payload. The token is this, a dot, and the signature as `encoded`."""
    return encoded(msgspec.json.encode(header)) + b"." + encoded(payload)


def encoded(data: bytes) -> bytes:
    """Base64url without padding."""
    return b64encode(data).rstrip(b"=").translate(_BASE64)


def _decoded(part: bytes) -> bytes:
    try:
        data = a2b_base64(part.translate(_URL) + b"=" * (-len(part) % 4), strict_mode=True)
    except Error:
        raise NotReadable("it is not base64url") from None
    # The last character may hold bits that mean nothing.
    if encoded(data) != part:
        raise NotReadable("it is not base64url")
    return data
