"""The only code that touches viewer sockets.

`edge` composes it and is what the node sees; `listener` accepts, `admission` decides who may connect, `poller` watches every
socket, `session` is one viewer, `requests` answers what viewers send, `held` keeps what only the hub can answer, `room` is one
room here, `track` its log and cursors in one feed and codec, `applause`, `attendance` and `bars` what else is known of who is
there, `fanout` shares the time between rooms.
"""

from engine.edge.edge import Edge, EdgeStatistics

__all__ = ["Edge", "EdgeStatistics"]
