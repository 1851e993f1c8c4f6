"""The engine as the product behind it has it: all its calls, wherever the hub lives and whatever loop the caller runs.

`backend` is what concerns the node, `room` one room, `carry` the way from the caller to the hub: the same call in a trio
program, in the HTTP API, from asyncio and from a plain thread.
"""

from engine.backend.backend import Backend, RoomLine
from engine.backend.backstage import Backstage
from engine.backend.carry import Carry, directly
from engine.backend.room import Room
from engine.backend.values import Held, Past, PastEvent, RoomStatistics, Sanctioned, StateEntry

__all__ = [
    "Backend",
    "Backstage",
    "Carry",
    "Held",
    "Past",
    "PastEvent",
    "Room",
    "RoomLine",
    "RoomStatistics",
    "Sanctioned",
    "StateEntry",
    "directly",
]
