"""Situations that need a part of the machine for themselves, each in a process that has it (`advice.seclusion`).

Owns what happens in them. ``python -m advice.secluded SITUATION DIRECTORY …`` brings a node into one, follows its advice, and
prints what it has seen as JSON; it fails when the advice has not helped.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import trio
import trio.testing
from e2e.transports import request, upgrade
from e2e.viewers import COMMENT, MSGPACK, Viewer, open_viewer

from engine.advice import Advice, Change, advise
from engine.brokers.base import Pending
from engine.schema import MSGPACK as ENCODER
from engine.schema import Author, CommentEvent

from .seclusion import NEAR, Quota, Wire
from .situations import ROOM, Site, helped, until

Situation = Callable[..., Awaitable[dict[str, Any]]]
_SECRET = "0123456789abcdef0123456789abcdef"


class Machine(Site):
    """A node whose machine may be changed, too.

    :ivar group: that its process is in.
    """

    group: Quota | None = None

    async def apply(self, changes: list[Change]) -> None:
        """Kernel parameters are set to what is advised; a quota is lifted."""
        for change in changes:
            if change.where == "kernel":
                tune(change.setting, change.to)
            elif change.setting == "cpu.max":
                assert self.group is not None
                self.group.lift()
        await super().apply(changes)
        if any(change.restart and change.where == "service" for change in changes):
            await self.restart()


def alone() -> None:
    """What follows is for a network that is not that of whoever has started this."""
    assert os.stat("/proc/self/ns/net").st_ino != os.stat(f"/proc/{os.getppid()}/ns/net").st_ino


def tune(parameter: str, value: str) -> None:
    """Set a parameter of the network."""
    Path("/proc/sys", *parameter.split(".")).write_text(value)


async def queue(directory: Path) -> dict[str, Any]:
    """Sixty connections at once, where the kernel queues sixteen whatever the node asks for."""
    alone()
    tune("net.core.somaxconn", "16")

    async def rush(site: Site) -> None:
        parts = urlsplit(site.node.url)
        with ExitStack() as stack:
            # Nobody accepts meanwhile: the node in this loop waits for its turn.
            for _ in range(60):
                sock = stack.enter_context(socket.socket())
                sock.setblocking(False)
                sock.connect_ex((parts.hostname, parts.port))
        await trio.testing.wait_all_tasks_blocked()
        await until(lambda: not site.node.vitals()["edge"]["connections"])

    async with Machine(directory, {}) as site:
        return asdict(await helped(site, "backlog_capped", rush))


async def guests(directory: Path) -> dict[str, Any]:
    """A guest writes at a node that the whole network, such as it is, can reach."""

    async def write(site: Site) -> int:
        parts = urlsplit(site.node.url)
        async with open_viewer("raw", f"ws://127.0.0.1:{parts.port}{parts.path}") as viewer:
            await viewer.join(ROOM)
            return (await viewer.ask(COMMENT, viewer.handle, "我是主播")).code

    def given(site: Site) -> list[Advice]:
        now = site.observe()
        return [each for each in advise(now, now) if each.rule == "guests_write"]

    alone()
    settings = {"edge.host": "0.0.0.0", "access.anonymous": "write", "access.public_anonymous_writing": True}
    async with Machine(directory, settings) as site:
        before = await write(site)
        (advice,) = given(site)
        (secret,) = [change for change in advice.changes if change.where == "product"]
        # What the product does: it chooses one.
        chosen = Change(secret.setting, secret.now, f'"{_SECRET}"')
        await site.apply([chosen, *(change for change in advice.changes if change is not secret)])
        return {"advice": asdict(advice), "codes": [before, await write(site)], "silent": not given(site)}


async def wire(directory: Path) -> dict[str, Any]:
    """A burst for viewers who are not on this machine, as far as its kernel can see."""

    async def burst(site: Site) -> None:
        parts = urlsplit(site.node.url)
        sock = trio.socket.from_stdlib_socket(there.socket())
        await sock.connect((parts.hostname, parts.port))
        async with trio.SocketStream(sock) as stream:
            viewer = Viewer(await upgrade(stream, request(site.node.url, MSGPACK, deflate=True)), MSGPACK)
            await viewer.join(ROOM)
            said = Pending(ENCODER.encode(CommentEvent(Author("anna"), 0, "太好看了！" * 100)))
            outcomes = await site.node.publish_many([(ROOM, said)] * 100)
            await viewer.until_offset(outcomes[-1].offset)

    alone()
    with Wire() as there:
        # A hundredth of a second between observations: what is much in one is little enough for a test.
        settings = {"edge.host": NEAR, "access.anonymous": "read", "edge.compression": False}
        async with Machine(directory, settings, apart=0.01) as site:
            return asdict(await helped(site, "uncompressed", burst))


async def share(directory: Path, group: str) -> dict[str, Any]:
    """A lively room on a tenth of a core."""

    async def chat(site: Site) -> None:
        viewer = await site.viewer()
        begun = time.process_time()
        while time.process_time() - begun < 0.03:
            await viewer.comment("弹")

    given = Quota(Path(group))
    given.enter()
    async with Machine(directory, {}) as site:
        site.group = given
        given.limit(0.1)
        return asdict(await helped(site, "throttled", chat))


SITUATIONS: dict[str, Situation] = {each.__name__: each for each in (queue, guests, wire, share)}


if __name__ == "__main__":
    name, where, *more = sys.argv[1:]
    print(json.dumps(trio.run(lambda: SITUATIONS[name](Path(where), *more))))
