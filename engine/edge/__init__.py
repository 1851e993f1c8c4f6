"""The only code that touches viewer sockets.

`edge` composes it and is what the node sees; `listener` accepts, `admission` decides who may connect, `poller` watches every
socket, `session` is one viewer, `requests` answers what viewers send, `room` is one room here, `track` its log and cursors in
one codec, `fanout` shares the time between rooms.
"""

from engine.edge.edge import Edge, EdgeStatistics

__all__ = ["Edge", "EdgeStatistics"]
