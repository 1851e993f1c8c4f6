"""Between edge and hub: one contract, so that both can live in one process or in several.

`messages` is what crosses, `memory` carries it inside a process, `unix` between processes of one machine.
"""

from engine.link.base import End
from engine.link.memory import memory_link

__all__ = ["End", "memory_link"]
