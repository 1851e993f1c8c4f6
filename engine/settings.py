"""Every setting of a node: its type, unit, default, bounds and effect.

Owns the model, as plain frozen data that an edge process can hold without importing a validation library. Must not know
where values come from; `engine.config` reads files and the environment, validates and explains.

Units are part of the name: ``_seconds``, ``_bytes``, ``_per_second``. Sizes of kernel objects are what is asked for; Linux
doubles ``SO_SNDBUF``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal

from annotated_types import Ge, Gt, Le, doc

__all__ = [
    "AccessSettings",
    "BrokerSettings",
    "EdgeSettings",
    "FeedSettings",
    "GiftSettings",
    "LedgerSettings",
    "LimitSettings",
    "LogSettings",
    "ModerationSettings",
    "NodeSettings",
    "RedisSettings",
    "RoomSettings",
    "Settings",
    "WordList",
]

_STRICT: dict[str, Any] = {"extra": "forbid"}


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSettings:
    """The process as a whole."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT

    name: Annotated[str, doc("Name of this node in logs and statistics; empty means the host's name.")] = ""
    shutdown_seconds: Annotated[
        float,
        Gt(0),
        Le(600),
        doc("After SIGTERM, how long queued frames may take to reach viewers before the process ends."),
    ] = 10.0
    return_window_seconds: Annotated[
        float,
        Ge(0),
        Le(600),
        doc("Viewers told to leave come back at a random moment within this window, not all at once."),
    ] = 10.0
    workers: Annotated[
        Annotated[int, Ge(0), Le(256)] | Literal["auto"],
        doc(
            "Edge processes that share the viewers, beside one hub process and a supervisor; "
            'limits of connections and viewers then hold for each edge process. 0 serves in one process. "auto": one per core.'
        ),
    ] = 0
    hang_seconds: Annotated[
        float,
        Ge(0),
        Le(3600),
        doc(
            "With workers, a process whose event loop stands still for so long is killed and replaced. "
            "Must exceed the longest pause that the machine may make, such as a snapshot of it. 0 means never."
        ),
    ] = 30.0
    pin_cpus: Annotated[bool, doc("With workers, keep each process on one core.")] = False
    run_directory: Annotated[
        str,
        doc(
            "With workers, directory for the pid file and the hub's socket, readable by this user only. "
            "Empty means roomcast in $XDG_RUNTIME_DIR, or roomcast-UID in the directory for temporary files."
        ),
    ] = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeSettings:
    """Viewer connections."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT

    host: Annotated[
        str, doc("Address to listen on. Loopback by default: TLS and the public side belong to a proxy in front.")
    ] = "127.0.0.1"
    port: Annotated[int, Ge(0), Le(65535), doc("TCP port; 0 lets the system choose.")] = 8765
    path: Annotated[str, doc("Path of the WebSocket endpoint.")] = "/ws"
    backlog: Annotated[
        int, Ge(16), Le(65535), doc("Connections the kernel queues before accept; net.core.somaxconn caps it.")
    ] = 4096
    viewers_max: Annotated[
        int,
        Ge(0),
        doc("Connections served at once; above it 503 with Retry-After. 0 means derived from the descriptor limit."),
    ] = 0
    viewers_per_address: Annotated[
        int,
        Ge(0),
        Le(10_000_000),
        doc("Connections from one IPv4 address or IPv6 /64; above it the answer is 429. Loopback is exempt. 0 means no limit."),
    ] = 256
    handshake_seconds: Annotated[float, Gt(0), Le(300), doc("Time for the upgrade request to arrive completely.")] = 10.0
    join_seconds: Annotated[float, Gt(0), Le(300), doc("Time from the upgrade, or from leaving a room, to joining one.")] = 15.0
    request_bytes: Annotated[int, Ge(1024), Le(1 << 20), doc("Largest upgrade request; above it the answer is 431.")] = 16_384
    message_bytes: Annotated[int, Ge(256), Le(1 << 20), doc("Largest message a viewer may send, after inflating.")] = 16_384
    send_buffer_bytes: Annotated[
        int,
        Ge(4096),
        Le(16 << 20),
        doc("SO_SNDBUF of each viewer: kernel memory that a viewer who stopped reading can hold."),
    ] = 65_536
    private_bytes: Annotated[
        int, Ge(1024), Le(1 << 20), doc("Replies waiting for one viewer; beyond it the viewer is closed.")
    ] = 16_384
    dead_peer_seconds: Annotated[
        float,
        Ge(5),
        Le(3600),
        doc("TCP_USER_TIMEOUT: unacknowledged data closes the connection. Must exceed room.lag_seconds."),
    ] = 60.0
    slice_frames: Annotated[
        int,
        Ge(1),
        Le(65536),
        doc("Sends between two checkpoints of the fan-out. Smaller: fairer. Larger: less overhead."),
    ] = 512
    compression: Annotated[bool, doc("Offer permessage-deflate (RFC 7692) without context takeover.")] = True
    origins: Annotated[
        tuple[str, ...], doc('Origins a browser may come from, such as "https://live.example.com"; empty means any.')
    ] = ()
    trusted_proxies: Annotated[
        tuple[str, ...], doc('Networks, such as "10.0.0.0/8", whose X-Forwarded-For and PROXY headers are believed.')
    ] = ()
    proxy_protocol: Annotated[
        bool, doc("Require a PROXY protocol v2 header on connections from trusted_proxies, which must not be empty.")
    ] = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RoomSettings:
    """How a room batches, remembers and treats slow viewers."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT

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

    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT

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
class AccessSettings:
    """Who may do what."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT

    anonymous: Annotated[
        Literal["write", "read", "none"],
        doc("What viewers without a token may do. Guests name themselves; their ids are the server's."),
    ] = "write"
    secret: Annotated[
        str,
        doc(
            "Key of the tokens (JWT, HS256) that say who a viewer is and what it may do; at least 32 bytes. "
            "Empty: there are none. Better in the environment (ROOMCAST_ACCESS__SECRET) than in a file."
        ),
    ] = field(default="", repr=False)
    public_anonymous_writing: Annotated[
        bool,
        doc('Confirms anonymous = "write" while edge.host is not loopback; the node refuses to start without it.'),
    ] = False


@dataclass(frozen=True, slots=True, kw_only=True)
class WordList:
    """Words that comments must not hold."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT

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

    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT

    reload_seconds: Annotated[
        float, Ge(0.1), Le(3_600), doc("How often their files are looked at; a changed one is loaded without a pause.")
    ] = 5.0
    lists: Annotated[
        tuple[WordList, ...], doc("Word lists. Full-width and look-alike characters count as what they look like.")
    ] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedSettings:
    """A choice of what happens in a room, which a viewer can take instead of everything."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT

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


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerSettings:
    """Where offsets are assigned and history is kept."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT

    history_events: Annotated[
        int,
        Ge(0),
        Le(1_000_000_000),
        doc("Events kept per room. Of the three history limits the one reached first applies; 0 keeps nothing."),
    ] = 10_000
    history_bytes: Annotated[int, Ge(0), Le(1 << 40), doc("Bytes of events kept per room.")] = 8 << 20
    history_seconds: Annotated[float, Ge(0), Le(31_536_000), doc("Age at which an event leaves the history.")] = 3_600.0
    retry_keys: Annotated[
        int,
        Ge(0),
        Le(1_000_000_000),
        doc("Requests remembered per room to recognise a retry; 0 means that no retry is recognised."),
    ] = 20_000
    record_fields: Annotated[
        int, Ge(0), Le(1_000_000), doc("Fields in a room's record: attributes, mutes and bans. Beyond it new ones are refused.")
    ] = 4_096
    record_bytes: Annotated[
        int, Ge(0), Le(64 << 20), doc("Bytes of names and values in a room's record. Every node with the room holds a copy.")
    ] = 262_144
    tallies: Annotated[
        int,
        Ge(0),
        Le(10_000),
        doc("Tallies in a room, of polls, questions and notices with receipts that are there. Beyond it new ones are refused."),
    ] = 1_024


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisSettings:
    """The Redis (7 or later) or Valkey that orders, stores and spreads events for many nodes."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT

    url: Annotated[
        str,
        doc(
            "Where it is; empty keeps events in the process. redis://[user:password@]host:port/db, rediss:// for TLS, "
            "unix:///path, redis+sentinel://host:port,host:port/name of the primary, redis+cluster://host:port,host:port."
        ),
    ] = ""
    prefix: Annotated[str, doc("Begins every key; systems that share a server have one each.")] = "roomcast"
    connect_seconds: Annotated[float, Gt(0), Le(60), doc("How long connecting may take.")] = 2.0
    answer_seconds: Annotated[
        float,
        Gt(0),
        Le(60),
        doc("How long an answer may take, reconnecting included; later than that, senders are told to try again."),
    ] = 2.0
    lease_seconds: Annotated[
        float, Ge(1), Le(3_600), doc("How long the viewers of a node that has vanished are still counted.")
    ] = 30.0
    totals_seconds: Annotated[float, Ge(0), Le(60), doc("Totals of a room are spread to other nodes at most this often.")] = (
        0.25
    )
    compress_bytes: Annotated[
        int,
        Ge(0),
        Le(1 << 30),
        doc("Events published at once that are larger are compressed on their way to the server and to other nodes. 0: never."),
    ] = 1_024
    wait_replicas: Annotated[
        int, Ge(0), Le(16), doc("Replicas that must have an event before its sender is told (WAIT); 0 waits for none.")
    ] = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class GiftSettings:
    """Something that viewers can give."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT

    name: Annotated[str, doc("Shown to viewers; at most 64 characters.")]
    price: Annotated[int, Ge(1), Le(10**12), doc("Of one, in the smallest unit of the product's money.")]
    effect: Annotated[
        str, doc("Names to clients what they are to show, in at most 128 characters; the engine does not look at it.")
    ] = ""
    combo_seconds: Annotated[
        float, Ge(0), Le(60), doc("Gifts of one giver to one receiver, each within this time of the one before, are one combo.")
    ] = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerSettings:
    """Where gifts and red packets are booked, and what may be."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT

    url: Annotated[
        str,
        doc(
            "sqlite:///path for one node (relative to the working directory; sqlite:////path is absolute), "
            "postgresql://user:password@host/database for any number, and with redis.url. The file is made when money is first "
            "used. Empty: there is no money."
        ),
    ] = field(default="sqlite:///roomcast-ledger.db", repr=False)
    spend: Annotated[
        Literal["hook", "free"],
        doc(
            '"hook": the product is asked before a viewer\'s gift or red packet is booked (node.on_spend); without a hook '
            'viewers cannot give. "free": viewers give without being asked for money.'
        ),
    ] = "hook"
    spend_seconds: Annotated[float, Gt(0), Le(60), doc("How long the product may take to answer.")] = 5.0
    answer_seconds: Annotated[
        float,
        Gt(0),
        Le(60),
        doc("How long the database may take for a transaction; later than that, senders are told to try again."),
    ] = 5.0
    pending: Annotated[
        int, Ge(1), Le(1_000_000), doc("Gifts and claims that may wait to be booked; above it senders are told to retry.")
    ] = 50_000
    group: Annotated[int, Ge(1), Le(10_000), doc("Most that are booked in one transaction.")] = 1_000
    recent_seconds: Annotated[
        float,
        Ge(0),
        Le(86_400),
        doc(
            "When a room's history was lost, the last money in it comes again: what was booked within this time of the room's "
            "last entry. At least room.lag_seconds."
        ),
    ] = 60.0
    givers_shown: Annotated[int, Ge(0), Le(100), doc("Givers of most whom everybody in the room is told.")] = 10
    packet_seconds: Annotated[
        float,
        Ge(1),
        Le(2_592_000),
        doc("Longest time until what is left of a red packet goes back, and the default."),
    ] = 86_400.0
    packet_shares: Annotated[int, Ge(1), Le(1_000_000), doc("Most shares that a red packet may have.")] = 10_000
    packets_open: Annotated[int, Ge(1), Le(1_000), doc("Red packets that may be open in a room at once.")] = 20
    guests: Annotated[
        bool, doc("Guests may claim red packets. Whoever has no token is another user with every session, and can claim again.")
    ] = False


@dataclass(frozen=True, slots=True, kw_only=True)
class LogSettings:
    """What the process writes about itself, to standard error."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT

    level: Annotated[Literal["debug", "info", "warning", "error"], doc("Least important line that is written.")] = "info"
    format: Annotated[Literal["auto", "console", "json"], doc('"auto": console on a terminal, otherwise json.')] = "auto"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All sections of the config file."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT

    node: NodeSettings = field(default_factory=NodeSettings)
    edge: EdgeSettings = field(default_factory=EdgeSettings)
    room: RoomSettings = field(default_factory=RoomSettings)
    limits: LimitSettings = field(default_factory=LimitSettings)
    access: AccessSettings = field(default_factory=AccessSettings)
    moderation: ModerationSettings = field(default_factory=ModerationSettings)
    feeds: Annotated[dict[str, FeedSettings], doc("Feeds by name, at most 15, such as [feeds.readable].")] = field(
        default_factory=dict
    )
    broker: BrokerSettings = field(default_factory=BrokerSettings)
    redis: RedisSettings = field(default_factory=RedisSettings)
    gifts: Annotated[dict[str, GiftSettings], doc("What can be given, by id, such as [gifts.rose].")] = field(
        default_factory=dict
    )
    ledger: LedgerSettings = field(default_factory=LedgerSettings)
    log: LogSettings = field(default_factory=LogSettings)
