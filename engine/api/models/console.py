"""What the console asks for: passes into rooms, and advice.

Owns these shapes. Pure.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from engine.api.models.common import Answer, Body

__all__ = ["AdviceAnswer", "AdviceLanguage", "AdvisedAnswer", "ChangeAnswer", "PassAnswer", "PassBody"]

AdviceLanguage = Literal["en", "zh"]


class PassBody(Body):
    """Where the pass is to lead."""

    room: Annotated[str, Field(min_length=1, max_length=128, examples=["大厅"])] | None = Field(
        None,
        description="Name of a room, for moderating there; that needs the scope moderate, too. Null: to the figures of all "
        "nodes, which a key for some rooms only may not see.",
    )


class PassAnswer(Answer):
    """A pass: what stands where a token goes when a viewer joins."""

    url: str = Field(description="Where viewers connect.", examples=["ws://127.0.0.1:8765/ws"])
    room: str = Field(description="The room to join; with a pass for moderating, the one behind it as well.")
    token: str = Field(description="The pass itself.", examples=["rcp_…"])
    expires: int = Field(description="Until when it lets in, at any node; Unix milliseconds.")
    ends: int = Field(
        description="Until when a connection lasts that was made with it; then it is closed with 4403. Unix milliseconds."
    )


class ChangeAnswer(Answer):
    """Exactly what to change."""

    setting: str = Field(description="Path in the config file, or the name of a kernel parameter or a command.")
    now: str = Field(description="What it is.")
    to: str = Field(description="What it should be, as it is written in the config file.")
    where: Literal["config", "kernel", "service", "product"] = Field(
        description="`service`: limits of the process; `product`: nothing to set, something to do."
    )
    restart: bool = Field(description="Whether it holds only after a restart.")


class AdviceAnswer(Answer):
    """One piece of advice."""

    cause: str = Field(
        description="What limits: `cpu`, `loop`, `descriptors`, `kernel`, `network`, `broker`, `database`, `last_mile`, "
        "`setting` or `product`."
    )
    rule: str = Field(description="Name of the rule, a stable identifier.", examples=["viewers_refused"])
    severity: Literal["fault", "limit", "hint"] = Field(
        description="`fault`: something is lost now; `limit`: that comes next; `hint`: it could be better."
    )
    what: str = Field(description="What is wrong, one sentence.")
    evidence: list[str] = Field(description="What it was seen by.", examples=[["edge.refused.503: 40 in 10 s"]])
    changes: list[ChangeAnswer] = Field(description="What to change; empty if nothing helps here.")
    effect: str = Field(description="What the change should do, in terms of the evidence.")
    watch: dict[str, Literal["falls", "rises", "stops"]] = Field(
        description="Counters that should move so, by their paths in the node's statistics or the room's certificate."
    )
    room: str = Field(description="That it is about; empty: the node.")


class AdvisedAnswer(Answer):
    """Advice, most urgent first."""

    since_seconds: float = Field(description="Over how long it was seen; less than asked for if more is not known.")
    advice: list[AdviceAnswer]
