"""The demo as it runs beside a node: crowd, audience, host, and somebody who tells them what happens.

Owns that they start together and end together. A part that fails begins again; the node does not notice.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final

import trio

from engine.api.pages import DEMO_ROOM
from engine.client import Options, items, open_client
from engine.demo.audience import Audience
from engine.demo.crowd import Crowd
from engine.demo.host import Host
from engine.demo.script import Script
from engine.errors import RoomcastError
from engine.node import Node

__all__ = ["Plan", "play"]

log = logging.getLogger("roomcast.demo")

_LISTENERS: Final = 7
"""Viewers who are whole clients, and tell how well they are served; the crowd does not look."""
_REPORT_SECONDS: Final = 12.0
"""A node takes no more than a report in five seconds from a viewer; the pauses between them vary by half."""
_AGAIN_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is to be seen.

    :ivar audience: simulated viewers.
    :ivar rate: comments a second of all of them, roughly.
    :ivar seed: of everything that is left to chance; None: another evening each time.
    :ivar pace: how many times faster than usual everything but comments goes.
    """

    audience: int = 200
    rate: float = 6.0
    seed: int | None = None
    pace: float = 1.0


async def play(node: Node, plan: Plan) -> None:
    """Fill the demo room until cancelled."""
    script, gifts = Script(plan.seed), node.gifts()
    host, port = node.edge.addresses[0]
    crowd = Crowd((_reachable(host), port), node.settings.edge.path, DEMO_ROOM)
    audience = Audience(
        crowd,
        script,
        viewers=max(plan.audience - 1 - _LISTENERS, 0),
        comments_per_second=plan.rate,
        gifts=gifts,
        pace=plan.pace,
    )
    master = Host(node, DEMO_ROOM, script, gifts={gift.id: gift for gift in gifts}, audience=plan.audience, pace=plan.pace)

    def happened(item: items.Item) -> None:
        audience.happened(item)
        match item:
            case items.Comment() | items.Gift() if not item.author.role and item.author.id not in crowd.users:
                if master.visited(item):
                    audience.greet(item.author)

    url = node.url.replace(f"//{_bracketed(host)}:", f"//{_bracketed(_reachable(host))}:", 1)

    async def listen(tell: Callable[[items.Item], None]) -> None:
        language = script.language()
        options = Options(quality=1.0, quality_seconds=_REPORT_SECONDS)
        async with open_client(url, room=DEMO_ROOM, name=script.name(language), options=options) as viewer:
            async for item in viewer:
                tell(item)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(crowd.run)
        nursery.start_soon(_steadily, lambda: listen(happened))
        for _ in range(min(_LISTENERS, plan.audience)):
            nursery.start_soon(_steadily, lambda: listen(lambda item: None))
        nursery.start_soon(master.run)
        nursery.start_soon(audience.run)


async def _steadily(part: Callable[[], Awaitable[None]]) -> None:
    """Do it again when it has failed."""
    while True:
        try:
            await part()
        except (RoomcastError, OSError) as error:
            log.debug("demo_again", extra={"error": str(error)})
        await trio.sleep(_AGAIN_SECONDS)


def _reachable(host: str) -> str:
    """An address of this machine for one on which it listens."""
    address = ip_address(host)
    if not address.is_unspecified:
        return host
    return "::1" if address.version == 6 else "127.0.0.1"


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
