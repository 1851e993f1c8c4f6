"""Where a room's events get their offsets, are kept, and are spread to every node that has viewers there.

`base` is the contract, written before its implementations; `memory` is the embedded default.
"""

from engine.brokers.base import Broker, Events, History, Pending, Position, Receipt, Totals
from engine.brokers.memory import MemoryBroker

__all__ = ["Broker", "Events", "History", "MemoryBroker", "Pending", "Position", "Receipt", "Totals"]
