"""Rooms: what they are called, how they stand, who may speak there.

Owns these shapes. Pure.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from engine.api.models.common import Answer, Body

__all__ = ["Life", "ModeAnswer", "ModeBody", "Mode", "RoomAnswer", "RoomBody", "RoomLineAnswer", "RoomsAnswer", "ViewersAnswer"]

Life = Literal["open", "closed", "archived"]
Mode = Literal["open", "followers", "staff", "emotes", "closed"]
Slow = Annotated[
    dict[
        Literal["viewer", "follower", "moderator", "host", "server"],
        Annotated[float, Field(ge=0, le=86_400, allow_inf_nan=False)],
    ],
    Field(description="Seconds between two comments of a user, by role.", examples=[{"viewer": 5, "follower": 2}]),
]


class RoomLineAnswer(Answer):
    """An open room in a list of them."""

    room: str = Field(description="Its name.", examples=["直播间 🎤"])
    epoch: int = Field(description="Another one than before: history was lost, and offsets begin anew.")
    offset: int = Field(description="Of its last event.")
    likes: int = Field(description="Given so far, at all nodes.")
    viewers: int = Field(description="There now, at all nodes.")


class RoomsAnswer(Answer):
    """Rooms that have viewers at this node, by name."""

    rooms: list[RoomLineAnswer]
    next: str | None = Field(description="For `after`, to get those that follow; null: there are none.")


class RoomAnswer(RoomLineAnswer):
    """A room as it stands."""

    totals: dict[str, Any] = Field(
        description="All totals that are not 0: `peak`, `unique` (viewers so far), `rate` (likes a second), `withheld`, "
        "`reactions`, `givers` (id, name and amount), `votes` (by `kind:key`) and `receipts` (by offset: came, read)."
    )
    refused: dict[str, int] = Field(description="Comments that its rules refused at this node, by the name of the code.")
    life: Life
    mode: Mode
    slow: Slow
    title: str
    stream: str = Field(description="Name of the present broadcast, for which leaderboards are kept.")


class RoomBody(Body):
    """What a room is called. What is left out stays as it is."""

    title: str | None = Field(None, max_length=256, description="One line.", examples=["新品发布 🎉"])
    stream: str | None = Field(
        None, max_length=64, description="Name of the broadcast that is on from now; another one begins a new leaderboard."
    )


class ModeBody(Body):
    """How people may speak."""

    mode: Mode = Field(
        description="`followers`: of the viewers only who follows the host; `staff`: hosts and moderators; `emotes`: viewers "
        "only emoji; `closed`: nobody."
    )
    slow: Slow | None = Field(None, description="What is left out stays as it is.")


class ModeAnswer(Answer):
    """How people may speak now."""

    mode: Mode
    slow: Slow


class ViewersAnswer(Answer):
    """Who watches, at all nodes."""

    now: int = Field(description="Viewers at this moment.")
    peak: int = Field(description="Most there ever were at once.")
    unique: int = Field(description="Different users who came so far: an estimate (HyperLogLog, standard error 1 %).")
