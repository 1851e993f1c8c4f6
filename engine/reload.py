"""What a change of the settings means for a node that runs: what holds at once, and what needs a restart.

Owns which settings can change while viewers stay. Pure. The parts of a node take new settings by their ``adopt``; whether
settings are allowed, those in force after a reload as well, `engine.configcheck` says.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, Final

from engine.errors import RoomcastError
from engine.settings import Settings

__all__ = ["COLD", "HOT", "ReloadRefused", "Reloaded", "merge"]


@dataclass(frozen=True, slots=True)
class Reloaded:
    """What came of reading the settings again.

    :ivar changed: paths of the settings that hold from now on with another value, such as ``limits.comments_burst``.
    :ivar restart: paths of those that differ from what is in force and will hold after a restart.
    """

    changed: list[str]
    restart: list[str]


class ReloadRefused(RoomcastError):
    """The settings cannot be used, and nothing has changed. Its text is one line for each fault.

    :ivar faults: all of them; of each the path of the setting, or of the file, and what is wrong.
    """

    def __init__(self, faults: Iterable[tuple[str, str]]) -> None:
        self.faults = list(faults)
        super().__init__("\n".join(text for _, text in self.faults))


_SOCKETS: Final = "sockets are bound when the node starts"
_PROCESSES: Final = "processes are made so when the node starts"
_SERVER: Final = "connections to the server are opened with it, and every request and lease under way counts on it"

COLD: Final[dict[str, str]] = {
    "node.name": "it stands in what other systems have collected of this node since it started",
    "node.workers": _PROCESSES,
    "node.hang_seconds": _PROCESSES,
    "node.pin_cpus": _PROCESSES,
    "node.run_directory": "the node's processes and its operator meet there",
    "edge.host": _SOCKETS,
    "edge.port": _SOCKETS,
    # A client that hears nothing for two heartbeats comes back: with longer ones all viewers would leave, again and again.
    "room.heartbeat_seconds": "viewers were told when they joined",
    "room.created_only": "viewers are in rooms that nobody has created",
    # The number of a feed is part of what viewers have asked for and of what is in the logs.
    "feeds": "viewers are in feeds, which go by their numbers",
    "redis.url": "rooms live there",
    "redis.prefix": "rooms live there",
    "redis.connect_seconds": _SERVER,
    "redis.answer_seconds": _SERVER,
    "redis.lease_seconds": _SERVER,
    "ledger.url": "what was booked is there",
    "ledger.answer_seconds": "connections to the database are opened with it",
    "api.enabled": _SOCKETS,
    "api.host": _SOCKETS,
    "api.port": _SOCKETS,
}
"""Settings that need a restart, and why."""

_HOT: Final[dict[str, tuple[str, ...]]] = {
    "node": ("shutdown_seconds", "return_window_seconds"),
    "edge": (
        *("path", "origins", "compression", "trusted_proxies", "proxy_protocol", "backlog"),
        *("viewers_max", "viewers_per_address", "handshake_seconds", "join_seconds"),
        *("request_bytes", "message_bytes", "send_buffer_bytes", "private_bytes", "dead_peer_seconds", "slice_frames"),
    ),
    "room": (
        *("fanout_share", "tick_grid_seconds", "tick_max_seconds", "batch_bytes", "counters_seconds"),
        *("log_bytes", "log_seconds", "lag_seconds", "lag_policy", "linger_seconds", "recent_events"),
        *("reactions", "reactions_shown", "notable_roles", "notable_level", "receipts_audience"),
        *("state_entries", "state_bytes", "viewer_attributes", "rooms_max", "viewers_max"),
    ),
    "limits": (
        *("comment_bytes", "comment_characters", "comments_per_second", "comments_burst"),
        *("reads_per_second", "reads_burst", "likes_per_second", "likes_burst", "gifts_per_second", "gifts_burst"),
        *("messages_per_second", "messages_burst", "room_events_per_second", "room_bytes_per_second", "withhold"),
        *("exempt_users", "slow_seconds", "duplicate_seconds", "lifetime_seconds", "pending_events"),
    ),
    "access": (
        *("anonymous", "public_anonymous_writing", "secret", "keys", "jwks", "jwks_seconds", "issuer", "audience"),
        "token_in_query",
    ),
    "moderation": ("reload_seconds", "lists"),
    "broker": (
        *("history_events", "history_bytes", "history_seconds", "retry_keys", "record_fields", "record_bytes"),
        "tallies",
    ),
    "redis": ("totals_seconds", "compress_bytes", "wait_replicas"),
    "": ("gifts",),
    "ledger": (
        *("spend", "spend_seconds", "pending", "group", "recent_seconds", "givers_shown", "guests"),
        *("packet_seconds", "packet_shares", "packets_open"),
    ),
    "api": (
        *("keys", "body_bytes", "batch_events", "connections_max", "request_seconds", "idle_seconds"),
        *("requests_per_second", "requests_burst", "retry_keys", "retry_seconds", "public_metrics", "pages", "viewers_url"),
    ),
    "hooks": (
        *("secret", "comment_url", "gift_url", "red_packet_url", "join_url", "spend_url"),
        *("answer_seconds", "fallback", "batch", "in_flight", "pending", "breaker_failures", "breaker_seconds"),
        *("events_url", "events", "events_batch", "events_seconds", "retry_seconds", "retry_most_seconds", "attempts"),
    ),
    "quality": ("seconds", "networks", "networks_max", "directory"),
    "log": ("level", "format"),
}

HOT: Final[frozenset[str]] = frozenset(
    f"{section}.{name}" if section else name for section, names in _HOT.items() for name in names
)
"""Settings that can change while viewers stay."""


def merge(old: Settings, new: Settings) -> tuple[Settings, Reloaded]:
    """What is in force after a reload: of ``new`` what can change while viewers stay, else what is in force now."""
    reloaded = Reloaded([], [])
    return _merged(old, new, "", reloaded), reloaded


def _merged(old: Any, new: Any, prefix: str, reloaded: Reloaded) -> Any:
    hot: dict[str, Any] = {}
    for field in fields(old):
        path, before, after = f"{prefix}{field.name}", getattr(old, field.name), getattr(new, field.name)
        if is_dataclass(before):
            if (section := _merged(before, after, f"{path}.", reloaded)) is not before:
                hot[field.name] = section
        elif before == after:
            continue
        elif path in HOT:
            hot[field.name] = after
            reloaded.changed.append(path)
        else:
            reloaded.restart.append(path)
    return replace(old, **hot) if hot else old
