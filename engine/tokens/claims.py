"""What a token says: its claims, by name, with their shapes.

Owns the model. Pure. Claims that are not named here are left alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta, Struct

from engine.schema.fields import Attributes, Room, User

__all__ = ["Claims", "decode_claims"]

_Date = Annotated[float, Meta(ge=0, lt=2**53)]
"""NumericDate (RFC 7519 section 2): Unix seconds, with a fraction if need be."""
_Name = Annotated[str, Meta(max_length=256)]
"""Of a party, or of the token itself."""


class Claims(Struct, frozen=True, kw_only=True, gc=False):
    """The claims (RFC 7519 section 4.1, and ours); ``sub`` and ``exp`` must be there.

    :ivar sub: id of the user.
    :ivar exp: when it expires; ``nbf``: from when it holds; ``iat``: when it was issued, 0 if it does not say.
    :ivar iss: who issued it; ``aud``: for whom.
    :ivar jti: id of the token, by which it can be taken back.
    :ivar rooms: names; one that ends in ``*`` stands for all that begin so; None: all rooms.
    :ivar attributes: up to 8 small strings shown with what the user says; None: those that the viewer brings.
    """

    sub: User
    exp: _Date
    nbf: _Date = 0
    iat: _Date = 0
    iss: _Name = ""
    aud: _Name | Annotated[list[_Name], Meta(max_length=64)] = ""
    jti: _Name = ""
    name: Annotated[str, Meta(max_length=64)] = ""
    role: Literal["reader", "viewer", "moderator", "host", "server"] = "viewer"
    level: Annotated[int, Meta(ge=0, le=1_000_000)] = 0
    follower: bool = False
    rooms: Annotated[list[Room], Meta(max_length=256)] | None = None
    attributes: Attributes | None = None

    def covers(self, room: str) -> bool:
        """Whether the token is for this room."""
        return self.rooms is None or any(
            room.startswith(each[:-1]) if each.endswith("*") else room == each for each in self.rooms
        )

    def addresses(self, audience: str) -> bool:
        """Whether the token is for this audience."""
        return audience == self.aud if isinstance(self.aud, str) else audience in self.aud


decode_claims: Final[Callable[[bytes], Claims]] = msgspec.json.Decoder(Claims).decode
"""Claims from the payload of a token. Raises `msgspec.ValidationError` or `msgspec.DecodeError`."""
