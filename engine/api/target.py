"""A request's target: from what stands in the request line to the path and query that an application sees.

Owns the percent-decoding of paths, and what becomes of a slash that belongs to a name. Pure.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import unquote_to_bytes

__all__ = ["SLASH", "Target", "parse_target"]

SLASH: Final = "\x1f"
"""Stands in a path's segment for a slash that belongs to a name: no name may hold it."""

_ABSOLUTE: Final = re.compile(rb"https?://[^/?#]*", re.IGNORECASE)

Target = tuple[str, bytes, bytes]
"""Decoded path, path as it came, query as it came."""


def parse_target(target: bytes) -> Target:
    """Take a request's target apart (RFC 9112 section 3.2): in origin form, absolute form or ``*``.

    Each segment of the path is decoded by itself. A slash in one (``%2F``) becomes `SLASH`, so that it does not look like the
    border of two. What is not UTF-8 is refused: another name than was meant would be taken for it.

    :raises ValueError: it has none of these forms, or holds what is not UTF-8, or the character of `SLASH`.
    """
    if not target.startswith(b"/") and target != b"*":
        absolute = _ABSOLUTE.match(target)
        if absolute is None:
            raise ValueError("the request's target is neither a path nor an address")
        target = target[absolute.end() :]
        if not target.startswith(b"/"):
            target = b"/" + target
    raw, _, query = target.partition(b"?")
    if b"%" in query:
        _text(query)
    if b"%" not in raw:
        return raw.decode("ascii", "replace"), raw, query
    return "/".join(map(_decoded, raw.split(b"/"))), raw, query


def _decoded(segment: bytes) -> str:
    text = _text(segment)
    if SLASH in text:
        raise ValueError("no name holds the character %1F")
    return text.replace("/", SLASH)


def _text(part: bytes) -> str:
    try:
        return unquote_to_bytes(part).decode()
    except UnicodeDecodeError:
        raise ValueError("the request's target is not UTF-8") from None
