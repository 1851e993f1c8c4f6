"""What a room means: the side of the link where events are accepted, ordered by the broker, batched and encoded.

`hub` serves links and the broker, `room` is one open room there, `intake` is what waits to be published.
"""

from engine.hub.hub import Hub, HubStatistics

__all__ = ["Hub", "HubStatistics"]
