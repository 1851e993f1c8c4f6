"""Types of fields that several calls have, and the bases of what they take and give.

Owns the bounds, which are those of the wire (`engine.schema.fields`). Pure.
"""

from __future__ import annotations

from typing import Annotated, Any, Final

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from engine import schema
from engine.access import attributes_of
from engine.schema.fields import EXACT
from engine.text import clean_line, visible

__all__ = [
    "AMOUNT_MAX",
    "Amount",
    "Answer",
    "Attributes",
    "AuthorBody",
    "Body",
    "DisplayName",
    "EventObject",
    "Expect",
    "Offset",
    "Position",
    "Reason",
    "Receiver",
    "RoomField",
    "Seconds",
    "UserId",
    "inlined",
    "named",
]

AMOUNT_MAX: Final = EXACT[1] - 1
"""Numbers stay below 2^53, so that JavaScript reads them exactly."""


class Body(BaseModel):
    """What a call takes."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Answer(BaseModel):
    """What a call gives."""

    model_config = ConfigDict(frozen=True)


def _identity(text: str) -> str:
    if not text.isprintable() or clean_line(text) != text or not visible(text):
        raise ValueError("must be printable, without white space around it")
    return text


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("must be printable")
    return text


def named(text: str) -> str:
    """A display name as it is shown. Raises ValueError for one that shows nothing."""
    text = clean_line(text)
    if not visible(text):
        raise ValueError("shows nothing")
    return text


RoomField = Annotated[str, Field(min_length=1, max_length=128, description="Name of the room.")]
UserId = Annotated[
    str,
    AfterValidator(_identity),
    Field(min_length=1, max_length=64, description="Id of a user, as in its token.", examples=["u-17"]),
]
Receiver = Annotated[
    str, AfterValidator(_printable), Field(max_length=64, description="Id of the user who gets it; empty: the host.")
]
DisplayName = Annotated[
    str,
    AfterValidator(lambda text: named(text) if text else text),
    Field(max_length=64, description="Name that is shown; one line.", examples=["小林 🌸"]),
]
Attributes = Annotated[
    dict[Annotated[str, Field(min_length=1, max_length=32)], Annotated[str, Field(max_length=128), AfterValidator(clean_line)]],
    Field(max_length=8, description="Small texts that are shown with each event of this user.", examples=[{"badge": "金牌"}]),
]
Offset = Annotated[int, Field(ge=1, le=AMOUNT_MAX, description="Of an event in the room.", examples=[1042])]
Amount = Annotated[int, Field(ge=1, le=AMOUNT_MAX, description="In the smallest unit of the product's money.", examples=[500])]
Seconds = Annotated[int, Field(ge=0, le=315_360_000, description="How long; 0: until it is taken back.", examples=[600])]
Reason = Annotated[
    str,
    AfterValidator(clean_line),
    Field(max_length=256, description="For the audit backstage; viewers do not see it.", examples=["刷屏 (spam)"]),
]
Expect = Annotated[
    int,
    Field(
        ge=-1,
        le=AMOUNT_MAX,
        description="Version of the entry on which this builds, 0: there must be none; -1: any. With another one nothing is "
        "changed, and the answer is 409.",
    ),
]
EventObject = Annotated[
    dict[str, Any],
    Field(
        description="The event: `type` names its kind, the other fields are those of the kind (`engine.schema`). One that was "
        "deleted or has vanished has the type `omitted`. A kind that is not known here: `type` is `unknown`, with `kind` and "
        "`fields`.",
    ),
]


class AuthorBody(Body):
    """Whom an event names."""

    id: UserId
    name: DisplayName = ""
    attributes: Attributes = {}

    def author(self) -> schema.Author:
        """As events carry it. Raises `Refused`."""
        return schema.Author(self.id, self.name, attributes_of(self.attributes))


class Position(Answer):
    """Where an event stands."""

    offset: int = Field(description="Offset of the event in the room.", examples=[1042])


def inlined(model: type[BaseModel]) -> dict[str, Any]:
    """The JSON Schema of a model with nothing to be looked up elsewhere."""
    whole = model.model_json_schema()
    definitions = whole.pop("$defs", {})

    def replaced(part: Any) -> Any:
        if isinstance(part, dict):
            if "$ref" in part:
                rest = {name: value for name, value in part.items() if name != "$ref"}
                return {**replaced(definitions[part["$ref"].rpartition("/")[2]]), **rest}
            return {name: replaced(value) for name, value in part.items()}
        return [replaced(each) for each in part] if isinstance(part, list) else part

    found: dict[str, Any] = replaced(whole)
    return found
