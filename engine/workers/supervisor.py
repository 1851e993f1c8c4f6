"""The supervisor: one hub and several edges on one machine, from the first to the last.

Owns what outlives its children: the sockets where viewers and edges come, so that nobody who waits there is ever turned away,
the run directory, and the order in which processes start, are replaced and stop. Must not know what they do.

Order of replacing: the hub, where a broker outlives it, then the edges, one after the other. The hub's part is the one that no
viewer notices: a new program that does not run, or that the edges would not understand, is found out before anybody was asked
to move.

Order of stopping: the edges accept nobody, the hub publishes and hands over what was accepted, the edges fan it out and tell
their viewers to leave, the hub ends. ``node.shutdown_seconds`` bounds the whole; a second signal cuts it short.
"""

from __future__ import annotations

import logging
import os
import secrets
import signal
import socket
import sys
from contextlib import ExitStack
from itertools import count
from typing import Any, Final

import trio

from engine.edge.listener import open_listeners
from engine.errors import RoomcastError
from engine.greeting import STOPPING, greeting, http_url, say, tell_reloaded, url_of
from engine.listening import listen
from engine.machine import cores
from engine.reload import Reloaded, ReloadRefused
from engine.settings import Settings
from engine.totals import summed
from engine.workers import lines
from engine.workers.channel import Admit, Drain, Halt, Leave, Outcome, Start
from engine.workers.child import Child
from engine.workers.launch import Order, read_order
from engine.workers.place import Place, end
from engine.workers.reread import reread
from engine.workers.rundir import RunDirectory, directory_of
from engine.workers.watchdog import watch

__all__ = ["Supervisor", "main"]

_ENDING_SECONDS: Final = 20.0
"""For the edges of a killed supervisor to let go of its port; they drop tens of thousands of sockets first."""
_LOOK_AGAIN_SECONDS: Final = 0.1
_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR2)
"""Stop, stop, read the settings again, replace all processes."""

log = logging.getLogger("roomcast.workers")


class Supervisor:
    """See the module's docstring."""

    def __init__(self, order: Order) -> None:
        self._settings = order.settings
        self._source = order.source
        self._as_json = order.as_json
        cpus = sorted(os.sched_getaffinity(0))
        workers = order.settings.node.workers
        self._workers = cores() if workers == "auto" else workers
        self._cpus = cpus if order.settings.node.pin_cpus else []
        self._living: set[Child] = set()
        self._past: dict[str, dict[str, Any]] = {"hub": {}, "edge": {}}
        self._last: dict[str, list[dict[str, Any]]] = {"hub": [], "edge": []}
        self._incarnation = secrets.token_hex(8)
        self._reloading = trio.Lock()
        self._stopping = trio.Event()
        self._hurry = trio.CancelScope()
        self._fault = ""

    async def run(self) -> int:
        """Serve until a signal; return the exit status. Raises `RoomcastError` when it cannot begin."""
        with ExitStack() as stack:
            directory = RunDirectory(directory_of(self._settings.node.run_directory))
            await self._see_that_the_port_is_free(directory)
            listeners = self._listen(stack)
            host, port = listeners[0][0].getsockname()[:2]
            hub_listener = stack.enter_context(directory.entered())
            api = self._listen_for_the_api(stack)
            signals = stack.enter_context(trio.open_signal_receiver(*_SIGNALS))
            stack.enter_context(directory.announced(port))
            async with trio.open_nursery() as nursery:
                number = count()

                def asked(child: Child, question: int) -> None:
                    nursery.start_soon(self._answer, child, question, hub, edges)

                def place(role: str, sockets: list[socket.socket]) -> Place:
                    cpu = self._cpus[next(number) % len(self._cpus)] if self._cpus else -1
                    descriptors = [each.fileno() for each in sockets]
                    of_api = [each.fileno() for each in api] if role == "hub" else []
                    start = Start(
                        self._settings,
                        directory.socket_path,
                        descriptors,
                        self._incarnation,
                        cpu,
                        api=of_api,
                        viewers=(host, port),
                    )
                    return Place(role, start, nursery, self._living, self._retire, asked, self._give_up)

                hub = place("hub", [hub_listener])
                edges = [place("edge", sockets) for sockets in listeners]
                for each in (hub, *edges):
                    nursery.start_soon(each.keep)
                nursery.start_soon(watch, self._living, self._settings.node.hang_seconds)
                nursery.start_soon(self._obey, signals, hub, edges)
                where = api[0].getsockname()[:2] if api else None
                nursery.start_soon(self._announce, host, port, where, hub, edges)
                await self._stopping.wait()
                await self._drain(hub, edges)
                nursery.cancel_scope.cancel()
        if self._as_json:
            statistics = {role: summed(self._last[role], [self._past[role]]) for role in ("hub", "edge")}
            say("stopped", statistics={"name": self._settings.node.name or socket.gethostname(), **statistics})
        if self._fault:
            print(f"roomcast: given up: {self._fault}; the log says why", file=sys.stderr)
        return 1 if self._fault else 0

    async def _see_that_the_port_is_free(self, directory: RunDirectory) -> None:
        """Sockets that share a port would share it with those of another node, too. Raises `RoomcastError`."""
        edge = self._settings.edge
        patience = _ENDING_SECONDS if edge.port and directory.left_by_a_killed_one(edge.port) else 0.0
        deadline = trio.current_time() + patience
        while edge.port:
            try:
                for listener in open_listeners(edge):
                    listener.close()
                return
            except RoomcastError:
                if trio.current_time() >= deadline:
                    raise
                await trio.sleep(_LOOK_AGAIN_SECONDS)

    def _listen(self, stack: ExitStack) -> list[list[socket.socket]]:
        """The listening sockets of each edge."""
        edge = self._settings.edge
        listeners: list[list[socket.socket]] = []
        for _ in range(self._workers):
            port = listeners[0][0].getsockname()[1] if listeners else None
            listeners.append([stack.enter_context(each) for each in open_listeners(edge, port=port, shared=True)])
        return listeners

    def _listen_for_the_api(self, stack: ExitStack) -> list[socket.socket]:
        """The listening sockets of the HTTP API; none if there is none. They outlive a hub that is replaced."""
        settings = self._settings.api
        if not settings.enabled:
            return []
        return [stack.enter_context(each) for each in listen("api", settings.host, settings.port)]

    async def _announce(self, host: str, port: int, api: tuple[str, int] | None, hub: Place, edges: list[Place]) -> None:
        """Tell who started us when viewers can connect."""
        for each in (hub, *edges):
            await each.filled.wait()
        viewers_max = sum(each.child.viewers_max for each in edges if each.child is not None)
        url = url_of(self._settings, host, port)
        log.info("listening", extra={"url": url, "viewers_max": viewers_max, "workers": self._workers})
        if self._as_json:
            facts = {"host": host, "port": port, "url": url, "pid": os.getpid(), "viewers_max": viewers_max}
            say("listening", **facts, **({"api": api} if api else {}), processes=_processes((hub, *edges)))
        else:
            of_api = http_url(*api) if api is not None else None
            print(greeting(self._settings, url, viewers_max, self._workers, api=of_api), flush=True)

    async def _obey(self, signals: Any, hub: Place, edges: list[Place]) -> None:
        restarting = trio.CancelScope()
        restarting.cancel()
        async with trio.open_nursery() as nursery:
            async for number in signals:
                if number == signal.SIGHUP:
                    nursery.start_soon(self._reload, hub, edges)
                elif number == signal.SIGUSR2:
                    if not restarting.cancel_called:
                        log.warning("restart_under_way")
                        continue
                    restarting = trio.CancelScope()
                    nursery.start_soon(self._restart, hub, edges, restarting)
                elif self._stopping.is_set():
                    self._hurry.cancel()
                else:
                    if not self._as_json:
                        print(STOPPING, flush=True)
                    self._stopping.set()

    async def _restart(self, hub: Place, edges: list[Place], under_way: trio.CancelScope) -> None:
        """See the module's docstring."""
        outlived = bool(self._settings.redis.url)
        fate = "is replaced first" if outlived else "stays, it holds the memory broker's history"
        log.info("restarting", extra={"edges": len(edges), "hub": fate})
        places = [hub, *edges] if outlived else edges
        try:
            for each in places:
                if self._stopping.is_set():
                    return
                hand_over = self._hand_over_hub if each is hub else _hand_over_edge
                if not await each.replace(hand_over, self._settings.node.shutdown_seconds):
                    log.error("restart_failed", extra={"hint": "the new process does not do; the old one serves on"})
                    if self._as_json:
                        say("restart_failed", processes=_processes(places))
                    return
            log.info("restarted")
            if self._as_json:
                say("restarted", processes=_processes(places))
        finally:
            under_way.cancel()

    async def _answer(self, child: Child, question: int, hub: Place, edges: list[Place]) -> None:
        match await self._reload(hub, edges):
            case Reloaded() as reloaded:
                await child.send(Outcome(question, reloaded.changed, reloaded.restart))
            case ReloadRefused() as refused:
                await child.send(Outcome(question, faults=refused.faults))
            case error:
                await child.send(Outcome(question, error=str(error)))

    async def _reload(self, hub: Place, edges: list[Place]) -> Reloaded | RoomcastError:
        """Read the settings again, one at a time; returns what came of it."""
        async with self._reloading:
            try:
                reloaded = await self._renew(hub, edges)
            except RoomcastError as error:
                log.error("reload_refused", extra={"faults": str(error).splitlines()})
                if self._as_json:
                    say("reload_refused", faults=str(error).splitlines())
                return error
            log.info("settings_reloaded", extra={"changed": reloaded.changed, "restart": reloaded.restart})
            tell_reloaded(reloaded, as_json=self._as_json)
            return reloaded

    async def _renew(self, hub: Place, edges: list[Place]) -> Reloaded:
        """First the hub, which is the only one that may find something wrong with them. Raises `RoomcastError`."""
        settings, reloaded = await reread(self._source, self._settings)
        if objection := await hub.adopt(settings):
            raise ReloadRefused([("moderation.lists", objection)])
        self._settings = settings
        async with trio.open_nursery() as nursery:
            for edge in edges:
                nursery.start_soon(self._adopt, edge, settings)
        lines.configure(settings.log, "supervisor")
        return reloaded

    async def _adopt(self, edge: Place, settings: Settings) -> None:
        if objection := await edge.adopt(settings):
            log.error("settings_refused", extra={"child": edge.role, "fault": objection, "hint": "it keeps those it has"})

    async def _hand_over_hub(self, old: Child | None, successor: Child) -> bool:
        """Both accept edges from the same socket, so the successor begins when the old one has said its last. The edges wait
        there since it closed their links."""
        versions = {child.link for child in self._living if child.role == "edge" and child.ready.is_set()}
        if versions - {successor.link}:
            hint = "the edges that serve now would not understand the new hub: stop the node and start it again"
            log.error("link_version_changed", extra={"hub": successor.link, "edges": sorted(versions), "hint": hint})
            return False
        if old is not None:
            await old.send(Leave())
            with trio.move_on_after(self._settings.node.shutdown_seconds):
                await old.halted.wait()
            if not old.halted.is_set():
                old.kill()
                await old.ended.wait()
        await successor.send(Admit())
        return True

    def _give_up(self, fault: str) -> None:
        log.error("giving_up", extra={"fault": fault})
        self._fault = self._fault or fault
        self._stopping.set()

    def _retire(self, child: Child) -> None:
        if child.statistics is None:
            return
        if self._stopping.is_set():
            self._last[child.role].append(child.statistics)
        else:
            self._past[child.role] = summed([self._past[child.role]], [child.statistics])

    async def _drain(self, hub: Place, edges: list[Place]) -> None:
        """See the module's docstring."""
        seconds = self._settings.node.shutdown_seconds
        log.info("draining", extra={"seconds": seconds})
        for each in (hub, *edges):
            each.stop()
        for child in self._living:
            child.watched = False
        leaving = [child for child in self._living if child.role == "edge"]
        self._hurry.deadline = trio.current_time() + seconds
        with self._hurry:
            for child in leaving:
                await child.send(Halt())
            for child in leaving:
                await child.halted.wait()
            # Two, if one is being replaced.
            for child in [child for child in self._living if child.role == "hub"]:
                await child.send(Drain())
            for child in leaving:
                await child.ended.wait()
        if self._hurry.cancelled_caught:
            log.warning("drain_deadline", extra={"edges_left": len([child for child in leaving if not child.ended.is_set()])})
        async with trio.open_nursery() as nursery:
            for child in list(self._living):
                nursery.start_soon(end, child)


async def _hand_over_edge(old: Child | None, successor: Child) -> bool:
    if old is not None:
        await old.send(Leave())
    return True


def _processes(places: Any) -> list[dict[str, Any]]:
    return [{"pid": each.child.pid, "role": each.role} for each in places if each.child is not None]


def main() -> None:
    """Be the supervisor that the command line has made of its process."""
    order = read_order(int(sys.argv[-1]))
    lines.configure(order.settings.log, "supervisor")
    status = 1
    try:
        status = trio.run(Supervisor(order).run)
    except RoomcastError as error:
        print(f"roomcast: {error}", file=sys.stderr)
    sys.exit(status)


if __name__ == "__main__":
    main()
