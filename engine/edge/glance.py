"""What a message is, told from its first bytes, so that one that nobody wants costs no decoding.

Owns this one look. Pure.

A red packet draws more claims than all else that viewers send, and nearly all of them come too late. What looks like a claim is
one or is malformed; a claim that is written in an unusual way may look like none, and is decoded then.
"""

from __future__ import annotations

import re
from typing import Final

from engine.schema import Claim, Codec

__all__ = ["is_claim"]

_KIND: Final = int(Claim.__struct_config__.tag)  # type: ignore[arg-type]  # it has one, and it is a number
_PACKED: Final = bytes([_KIND])
_ARRAYS: Final = range(0x91, 0xA0)
"""First bytes of arrays of up to 15 elements (MessagePack, "array format family")."""
_written: Final = re.compile(rb"[ \t\n\r]*\[[ \t\n\r]*%d[ \t\n\r]*," % _KIND).match


def is_claim(codec: Codec, data: bytes) -> bool:
    """Whether a message begins as an `engine.schema.Claim` does."""
    if codec.text:
        return _written(data) is not None
    return data[1:2] == _PACKED and data[0] in _ARRAYS
