"""Of rooms: how they batch and remember, what may be sent, what is shown to whom.

Owns these sections. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from annotated_types import Ge, Gt, Le, doc

from engine.settings.strict import STRICT

__all__ = ["FeedSettings", "LimitSettings", "ModerationSettings", "RoomSettings", "WordList"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RoomSettings:
    """How a room batches, remembers and treats slow viewers."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT

    fanout_share: Annotated[
        float,
        Gt(0),
        Le(0.95),
        doc("Share of a core that sending a room's frames may take. The tick grows with the room to keep it."),
    ] = 0.7
    tick_grid_seconds: Annotated[
        float,
        Ge(0),
        Le(1),
        doc("Ticks are rounded up to its multiples, and steady input is read at them: rooms and viewers share wake-ups."),
    ] = 0.02
    tick_max_seconds: Annotated[
        float, Gt(0), Le(10), doc("Longest time from a first event to its batch, however large the room.")
    ] = 1.0
    batch_bytes: Annotated[int, Ge(1024), Le(16 << 20), doc("A batch is closed early when its events reach this size.")] = (
        262_144
    )
    counters_seconds: Annotated[
        float,
        Ge(0.05),
        Le(60),
        doc("When only likes or the viewer count changed, a batch for them goes out this often at most."),
    ] = 1.0
    heartbeat_seconds: Annotated[float, Ge(1), Le(300), doc("A silent room sends one empty batch this often.")] = 25.0
    log_bytes: Annotated[
        int,
        Ge(65536),
        Le(1 << 40),
        doc("Finished frames kept in memory per room and codec. Returning viewers may add half. At least 4 times batch_bytes."),
    ] = 8 << 20
    log_seconds: Annotated[
        float, Ge(1), Le(86_400), doc("Age at which a finished frame leaves memory. At least lag_seconds.")
    ] = 120.0
    lag_seconds: Annotated[
        float,
        Gt(0),
        Le(86_400),
        doc("Age of a viewer's next frame at which lag_policy applies. Below edge.dead_peer_seconds, at most log_seconds."),
    ] = 20.0
    lag_policy: Annotated[
        Literal["skip", "close"], doc('"skip": go on live after an explicit gap. "close": disconnect, resumable.')
    ] = "skip"
    linger_seconds: Annotated[
        float, Ge(0), Le(3600), doc("A room without viewers is kept this long, so that returning ones resume.")
    ] = 30.0
    recent_events: Annotated[int, Ge(0), Le(1_000), doc("Events before it that a newcomer is shown.")] = 20
    reactions: Annotated[
        tuple[str, ...], doc("Reactions that viewers may give besides likes; at most 64. Others do not count.")
    ] = ("❤️", "👍", "👏", "😂", "😮", "😢", "🔥", "🎉")
    reactions_shown: Annotated[int, Ge(0), Le(64), doc("The most given of them, whose totals viewers are told.")] = 8
    notable_roles: Annotated[
        tuple[Literal["viewer", "moderator", "host"], ...],
        doc("Roles whose coming and going is an event; of everybody else only counts are told."),
    ] = ("moderator", "host")
    notable_level: Annotated[
        int, Ge(0), Le(1_000_000), doc("Viewers of this level or above are notable, too. 0: level does not matter.")
    ] = 0
    state_entries: Annotated[
        int, Ge(0), Le(10_000), doc("Attributes, cards, polls, questions and pins of a room; a newcomer is told all of them.")
    ] = 256
    state_bytes: Annotated[int, Ge(64), Le(65_536), doc("Largest of them, in bytes of MessagePack.")] = 2_048
    viewer_attributes: Annotated[
        int, Ge(0), Le(100), doc("Attributes that one viewer may have set in a room. Hosts and moderators: any number.")
    ] = 0
    receipts_audience: Annotated[
        int, Ge(0), Le(1_000_000), doc("Up to so many users it is told who has not read a notice; above it only how many.")
    ] = 1_000
    created_only: Annotated[bool, doc("Rooms must be created before anybody can join them.")] = False
    rooms_max: Annotated[int, Ge(1), Le(10_000_000), doc("Rooms open at once on this node.")] = 20_000
    viewers_max: Annotated[int, Ge(0), Le(10_000_000), doc("Viewers of one room on this node. 0 means no limit.")] = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitSettings:
    """What one viewer, and one room, may send."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT

    comment_bytes: Annotated[int, Ge(1), Le(16_384), doc("Longest comment, in bytes of UTF-8.")] = 2_000
    comment_characters: Annotated[
        int, Ge(1), Le(16_384), doc("Longest comment, in characters as people count them: an emoji of seven parts is one.")
    ] = 2_000
    comments_per_second: Annotated[float, Gt(0), Le(1e9), doc("Comments and custom events of one viewer, on average.")] = 2.0
    comments_burst: Annotated[
        int, Ge(1), Le(1_000_000_000), doc("Comments and custom events a viewer who was silent may send at once.")
    ] = 10
    reads_per_second: Annotated[
        float,
        Gt(0),
        Le(1e9),
        doc("Pages of the past, and looks at the state, of one viewer, on average. Hosts and moderators: any number."),
    ] = 2.0
    reads_burst: Annotated[
        int, Ge(1), Le(1_000_000_000), doc("Pages and looks at the state that a viewer who asked for none may have at once.")
    ] = 10
    likes_per_second: Annotated[
        float, Gt(0), Le(1e9), doc("Likes of one viewer that count, on average; what is above is not counted.")
    ] = 20.0
    likes_burst: Annotated[int, Ge(1), Le(1_000_000_000), doc("Likes a viewer who was silent may send at once.")] = 200
    gifts_per_second: Annotated[
        float, Gt(0), Le(1e9), doc("Gifts, red packets and claims of shares of one viewer, on average.")
    ] = 20.0
    gifts_burst: Annotated[
        int, Ge(1), Le(1_000_000_000), doc("Gifts, red packets and claims that a viewer who made none may send at once.")
    ] = 100
    messages_per_second: Annotated[float, Gt(0), Le(1e9), doc("WebSocket frames of any kind from one viewer, on average.")] = (
        20.0
    )
    messages_burst: Annotated[
        int, Ge(8), Le(1_000_000_000), doc("Frames a viewer who was silent may send at once; one who exceeds it is closed.")
    ] = 200
    room_events_per_second: Annotated[
        float,
        Ge(0),
        Le(1e9),
        doc("What is said in one room, at all nodes together; above it comments are withheld and counted. 0 means no limit."),
    ] = 0.0
    room_bytes_per_second: Annotated[float, Ge(0), Le(1e12), doc("The same in bytes of events. 0 means no limit.")] = 0.0
    withhold: Annotated[
        Literal["newest", "sampled", "authors", "levels"],
        doc(
            "Which comments are withheld when a room is beyond its budget. "
            '"newest": those that come when it is used up. "sampled": evenly. "authors": of those who said most of late. '
            '"levels": of viewers with lower levels.'
        ),
    ] = "authors"
    exempt_users: Annotated[
        tuple[str, ...],
        doc("Ids of users whose comments are never withheld, slowed or searched for words, as those of hosts and moderators."),
    ] = ()
    slow_seconds: Annotated[
        float, Ge(0), Le(86_400), doc("Slow mode: time between two comments of one viewer, unless the room sets its own.")
    ] = 0.0
    duplicate_seconds: Annotated[
        float, Ge(0), Le(3_600), doc("Time within which a viewer may not say the same again. 0: it may.")
    ] = 0.0
    lifetime_seconds: Annotated[float, Ge(0), Le(31_536_000), doc("Longest lifetime that a vanishing comment may have.")] = (
        86_400.0
    )
    pending_events: Annotated[
        int, Ge(1), Le(1_000_000_000), doc("Events a node holds unpublished; above it senders are told to retry.")
    ] = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class WordList:
    """Words that comments must not hold."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT

    file: Annotated[
        str, doc("One word or phrase a line, UTF-8; lines that begin with # are comments. Relative to the working directory.")
    ]
    action: Annotated[
        Literal["block", "mask", "hold"],
        doc('"block": the comment is refused. "mask": the word becomes asterisks. "hold": a moderator decides.'),
    ] = "block"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModerationSettings:
    """What comments may hold."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT

    reload_seconds: Annotated[
        float, Ge(0.1), Le(3_600), doc("How often their files are looked at; a changed one is loaded without a pause.")
    ] = 5.0
    lists: Annotated[
        tuple[WordList, ...], doc("Word lists. Full-width and look-alike characters count as what they look like.")
    ] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedSettings:
    """A choice of what happens in a room, which a viewer can take instead of everything."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT

    comments_per_second: Annotated[
        float, Ge(0), Le(1e6), doc("Comments and custom events of it, so that they can be read. 0: all.")
    ] = 0.0
    kinds: Annotated[
        tuple[Literal["comment", "custom", "notice", "presence"], ...],
        doc("Kinds of events in it; what the room is, what moderators do, and money always are."),
    ] = ("comment", "custom", "notice", "presence")
    roles: Annotated[
        tuple[Literal["viewer", "moderator", "host", "server"], ...], doc("Only from these; empty: from everybody.")
    ] = ()
    users: Annotated[tuple[str, ...], doc("From these users, too, whatever their role.")] = ()
