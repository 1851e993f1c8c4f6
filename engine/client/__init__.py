"""A viewer in Python, for programs on trio: `open_client`, and the items it yields.

`client` is what a program uses. Behind it `supervisor` holds the connection and comes back, `follower` judges the order of what
arrives, `state` and `counters` keep what the room is and counts, `items` are what a program sees and `reading` makes them,
`requests`, `claims` and `taps` are what it asked for and gave, `known` which entries of the ledger have come, `quality` what
came of all, `backoff` says when to come back, `dial` opens the connection. Must not import the server: a client runs on any
system.
"""

from engine.client.client import Client, Closed, RoundTrip, open_client
from engine.client.dial import Unreachable
from engine.client.items import (
    Author,
    Combo,
    Comment,
    Correction,
    Counters,
    Custom,
    Direct,
    Disconnected,
    Entry,
    Event,
    Gap,
    Gift,
    Giver,
    Givers,
    Held,
    Item,
    Moderated,
    Notice,
    Offer,
    Omitted,
    Packet,
    PacketEnd,
    Page,
    Paid,
    Position,
    Presence,
    Present,
    ProtocolViolation,
    Reconnected,
    Refusal,
    Share,
    Snapshot,
    State,
    Unknown,
)
from engine.client.known import LedgerEntries
from engine.client.options import Options
from engine.client.quality import Quality
from engine.client.requests import Uncertain

__all__ = [
    "Author",
    "Client",
    "Closed",
    "Combo",
    "Comment",
    "Correction",
    "Counters",
    "Custom",
    "Direct",
    "Disconnected",
    "Entry",
    "Event",
    "Gap",
    "Gift",
    "Giver",
    "Givers",
    "Held",
    "Item",
    "LedgerEntries",
    "Moderated",
    "Notice",
    "Offer",
    "Omitted",
    "Options",
    "Packet",
    "PacketEnd",
    "Page",
    "Paid",
    "Position",
    "Presence",
    "Present",
    "ProtocolViolation",
    "Quality",
    "Reconnected",
    "Refusal",
    "RoundTrip",
    "Share",
    "Snapshot",
    "State",
    "Uncertain",
    "Unknown",
    "Unreachable",
    "open_client",
]
