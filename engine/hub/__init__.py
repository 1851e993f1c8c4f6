"""What a room means: the side of the link where events are accepted, ordered by the broker, batched and encoded.

`hub` serves links and runs the ticks, `room` is one open room there, `publisher` brings events and totals to the broker,
`intake` is what waits for it, `upstream` keeps the rooms in line with the broker, `port` is one edge as the hub sees it,
`backfill` makes frames of the past, `returning` brings an edge up that comes back over a new link, `hubs` chooses the broker.
"""

from engine.hub.hub import Hub, HubStatistics

__all__ = ["Hub", "HubStatistics"]
