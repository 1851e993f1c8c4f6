"""Types of fields that several messages have, with their bounds.

Owns the bounds that hold whatever an operator sets. Pure.
"""

from __future__ import annotations

from typing import Annotated, Any, Final

from msgspec import Meta

__all__ = ["DEPTH", "EXACT", "PROTO", "Attributes", "Int", "Key", "Name", "Ref", "Room", "Session", "Text", "User", "Value"]

Int = Annotated[int, Meta(ge=0, lt=2**53)]
"""Any number on the wire."""
Ref = Annotated[int, Meta(ge=1, lt=2**53)]
"""Chosen by the client, unique within its session; 0 is never one."""
Room = Annotated[str, Meta(min_length=1, max_length=128)]
Session = Annotated[str, Meta(min_length=16, max_length=64, pattern=r"\A[A-Za-z0-9_-]*\Z")]
"""Secret that makes a viewer the same one after a reconnect. From `Joined`; never shown to others."""
Name = Annotated[str, Meta(min_length=1, max_length=64)]
Text = Annotated[str, Meta(max_length=16_384)]
"""Outer bound; the operator's limit (``limits.comment_bytes``) lies below."""
Attributes = Annotated[
    dict[Annotated[str, Meta(min_length=1, max_length=32)], Annotated[str, Meta(max_length=128)]], Meta(max_length=8)
]
PROTO: Final = "__proto__"
"""What no key of a map may be that people choose: pages cannot decode it."""
User = Annotated[str, Meta(min_length=1, max_length=64)]
"""Id of a user, as in `Author`."""
Key = Annotated[str, Meta(max_length=64)]
"""Id of something in a room's state, unique among those of its kind."""
DEPTH: Final = 8
EXACT: Final = (-(2**53), 2**53)
Value = Annotated[dict[Annotated[str, Meta(max_length=32)], Any], Meta(max_length=32)]
"""A map of strings, numbers, booleans, and lists and maps of these, at most `DEPTH` deep; `engine.hub.state` knows what each
kind of state has."""
