"""`roomcast demo`: a node with a living room, for whoever looks for the first time.

Owns what it prints and that nothing of it stays. What is to be seen is `engine.demo`'s.
"""

from __future__ import annotations

import os
import secrets
import signal
import sys
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, Final

import trio
import typer

from engine.commands.arguments import ConfigOption, JsonOption
from engine.errors import RoomcastError

__all__ = ["demo"]

_KEY_BYTES: Final = 24
_SCREENS: Final = ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")
"""One of them is set where a browser has a screen of its own; elsewhere one would take the terminal."""


def demo(
    port: Annotated[int | None, typer.Option(help="TCP port of the pages (api.port).", show_default=False)] = None,
    viewers_port: Annotated[
        int | None, typer.Option("--viewers-port", help="TCP port of the viewers' side (edge.port).", show_default=False)
    ] = None,
    audience: Annotated[int, typer.Option(min=0, max=5_000, help="Simulated viewers.")] = 200,
    rate: Annotated[float, typer.Option(min=0.01, max=500, help="Comments a second of all of them.")] = 6.0,
    pace: Annotated[
        float, typer.Option(min=0.1, max=50, help="How many times faster than usual gifts, polls and red packets come.")
    ] = 1.0,
    seed: Annotated[int | None, typer.Option(help="The same one gives the same evening.", show_default=False)] = None,
    browser: Annotated[bool, typer.Option(help="Open the page.")] = True,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Look at it: a node on this machine with a simulated audience and a host, and its page in the browser.

    Comments, likes, gifts and red packets work, and so does the console, with a key that is made for this run. Everybody
    but you is simulated. Nothing is kept: the ledger is in a directory that is removed at the end.
    """
    from engine import logs
    from engine.commands.serve import run_node
    from engine.config import load
    from engine.demo.show import Plan
    from engine.demo.stage import free_port, staged

    given = {"api": {"port": port}, "edge": {"port": viewers_port}}
    settings = load(config, overrides=given)
    edge, api = settings.edge, settings.api
    if viewers_port is None:
        edge = replace(edge, port=free_port(edge.host, edge.port, but=port or 0))
    if port is None:
        api = replace(api, port=free_port(api.host, api.port, but=edge.port))
    for was, now in ((settings.edge.port, edge.port), (settings.api.port, api.port)):
        if was != now:
            print(f"port {was} is taken, {now} is not", file=sys.stderr)
    key = f"rc_{secrets.token_urlsafe(_KEY_BYTES)}"
    # Before the node listens to signals, too: whoever ends it, or closes its terminal, does what Ctrl-C does.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: signal.raise_signal(signal.SIGINT))
    with ExitStack() as stack:
        try:
            directory = stack.enter_context(TemporaryDirectory(prefix="roomcast-demo-"))
            settings = staged(replace(settings, edge=edge, api=api), Path(directory), key)
        except OSError as error:
            raise RoomcastError(f"no temporary file can be written: {error}") from None
        logs.configure(settings.log)
        plan = Plan(audience=audience, rate=rate, seed=seed, pace=pace)
        beside = partial(_beside, plan=plan, key=key, as_json=as_json, browser=browser)
        trio.run(run_node, settings, as_json, beside, None, partial(_invitation, key=key, audience=audience))


async def _beside(node: Any, *, plan: Any, key: str, as_json: bool, browser: bool) -> bool:
    from engine.demo.show import play
    from engine.greeting import say

    if as_json:
        say("demo", page=f"{node.api.url}/", console=_console(node, key), key=key, audience=plan.audience)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(play, node, plan)
        if browser and any(os.environ.get(name) for name in _SCREENS):
            nursery.start_soon(_open, f"{node.api.url}/")
    return False


def _console(node: Any, key: str) -> str:
    # Behind the number sign: it never leaves the browser.
    return f"{node.api.url}/console#key={key}"


def _invitation(node: Any, key: str, audience: int) -> str:
    return f"""roomcast demo
  room       {node.api.url}/
  console    {_console(node, key)}
  HTTP API   {node.api.url}/docs
  API key    {key} (for this run)
  viewers    {node.viewers_url()}; {audience} of them are simulated
nothing is kept; stop with Ctrl-C"""


async def _open(page: str) -> None:
    import webbrowser

    # Some wait until the browser has ended; nobody waits for that.
    await trio.to_thread.run_sync(webbrowser.open, page, abandon_on_cancel=True)
