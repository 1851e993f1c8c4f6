"""A viewer in Python, for programs on trio: `open_client`, and the items it yields.

`client` is what a program uses. Behind it `supervisor` holds the connection and comes back, `follower` judges the order of what
arrives, `state` and `counters` keep what the room is and counts, `items` are what a program sees and `reading` makes them,
`requests` and `taps` are what it asked for and gave, `backoff` says when to come back, `dial` opens the connection. Must not
import the server: a client runs on any system.
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
    Entry,
    Event,
    Gap,
    Held,
    Item,
    Moderated,
    Notice,
    Omitted,
    Page,
    Position,
    Presence,
    Present,
    ProtocolViolation,
    Reconnected,
    Refusal,
    Snapshot,
    State,
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
    "Entry",
    "Event",
    "Gap",
    "Held",
    "Item",
    "Moderated",
    "Notice",
    "Omitted",
    "Options",
    "Page",
    "Position",
    "Presence",
    "Present",
    "ProtocolViolation",
    "Reconnected",
    "Refusal",
    "RoundTrip",
    "Snapshot",
    "State",
    "Uncertain",
    "Unknown",
    "Unreachable",
    "open_client",
]
