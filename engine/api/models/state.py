"""What a room is beyond what is said: attributes, cards, polls, pins.

Owns these shapes. Pure. What each kind of entry holds is for `engine.hub.kinds` to say; here are the bounds of the wire.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from engine.api.models.common import AMOUNT_MAX, Answer, Body, Expect

__all__ = ["AttributeBody", "CardBody", "EntryAnswer", "EntryBody", "PollBody", "StateAnswer"]

Key = Annotated[str, Field(description="Unique among those of its kind; empty where there is only one.", examples=["茶-1"])]
Line = Annotated[str, Field(max_length=256, examples=["龙井 🍵"])]
Whole = Annotated[int, Field(ge=-AMOUNT_MAX, le=AMOUNT_MAX)]


def _no_integer(value: Any) -> Any:
    # Which is too large, or it would have been taken for one: as a float it would be another number.
    if isinstance(value, int):
        raise ValueError(f"an integer is from -{AMOUNT_MAX} to {AMOUNT_MAX}")
    return value


Finite = Annotated[float, Field(allow_inf_nan=False), BeforeValidator(_no_integer)]
Link = Annotated[str, Field(max_length=1024, pattern=r"^(?:(?:https?:/)?/\S+)?$", examples=["https://example.com/tea"])]


class EntryAnswer(Answer):
    """One entry of a room's state."""

    kind: str = Field(description="`attribute`, `card`, `poll`, `question`, `pin`, `mode`, `life`, `notice` or `packet`.")
    key: Key
    value: dict[str, Any] = Field(examples=[{"title": "龙井 🍵", "price": "¥99"}])
    version: int = Field(description="To build on, as `expect`; larger than any it had before.", examples=[7])


class StateAnswer(Answer):
    """All of a room's state, what was changed last comes last."""

    entries: list[EntryAnswer]


class EntryBody(Body):
    """A change of an entry."""

    value: Annotated[
        dict[Annotated[str, Field(max_length=32)], Any],
        Field(
            max_length=32,
            description="The fields that change; what is left out stays as it is, or has its default.",
            examples=[{"title": "龙井 🍵"}],
        ),
    ]
    expect: Expect = -1


class AttributeBody(Body):
    """A fact of the product's own."""

    value: str | bool | Whole | Finite = Field(description="A text, a number or a boolean.", examples=["上海 🌃"])
    expect: Expect = -1


class CardBody(Body):
    """A product. What is left out stays as it is; a new one needs a title."""

    title: Line | None = Field(None, description="One line.")
    price: str | None = Field(None, max_length=64, description="As it is shown, with its currency.", examples=["¥99"])
    stock: int | None = Field(None, ge=0, le=AMOUNT_MAX, description="How many are left.", examples=[3])
    image: Link | None = Field(None, description="A path or http(s).")
    url: Link | None = Field(None, description="A path or http(s).")
    on_sale: bool | None = Field(None, description="Whether it can be bought.")
    now: bool | None = Field(None, description="It is what the host shows at this moment; at most one card is.")
    expect: Expect = -1


class PollBody(Body):
    """A choice for everybody."""

    question: Line = Field(description="One line.", examples=["下一首唱什么？🎵"])
    options: list[Line] = Field(
        min_length=2,
        max_length=16,
        description="Different ones; they do not change any more.",
        examples=[["月亮代表我的心", "甜蜜蜜"]],
    )
    closes_seconds: float = Field(
        0, ge=0, le=2_678_400, allow_inf_nan=False, description="Until it closes by itself; 0: it does not."
    )
    expect: Expect = -1
