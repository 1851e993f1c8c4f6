"""A viewer in Python, for programs on trio: `open_client`, and the items it yields.

`client` holds the connection and comes back, `follower` judges the order of what arrives, `items` are what a program sees,
`requests` are what it asked for, `backoff` says when to come back, `dial` opens the connection. Must not import the server: a
client runs on any system.
"""

from engine.client.client import Client, Closed, RoundTrip, open_client
from engine.client.dial import Unreachable
from engine.client.items import (
    Author,
    Comment,
    Counters,
    Custom,
    Direct,
    Disconnected,
    Gap,
    Item,
    Omitted,
    Position,
    ProtocolViolation,
    Reconnected,
    Refusal,
    Snapshot,
    Unknown,
)
from engine.client.options import Options
from engine.client.requests import Uncertain

__all__ = [
    "Author",
    "Client",
    "Closed",
    "Comment",
    "Counters",
    "Custom",
    "Direct",
    "Disconnected",
    "Gap",
    "Item",
    "Omitted",
    "Options",
    "Position",
    "ProtocolViolation",
    "Reconnected",
    "Refusal",
    "RoundTrip",
    "Snapshot",
    "Uncertain",
    "Unknown",
    "Unreachable",
    "open_client",
]
