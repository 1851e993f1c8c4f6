"""Of where order and history are kept.

Owns these sections. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from annotated_types import Ge, Gt, Le, doc

from engine.settings.strict import STRICT

__all__ = ["BrokerSettings", "RedisSettings"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerSettings:
    """Where offsets are assigned and history is kept."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT

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

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT

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
