"""What ``roomcast serve`` tells those who started it: a few lines for people, or one JSON object a line for programs.

Owns the words. Must not know how a node works, nor in how many processes.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

from engine.access import anonymous_may
from engine.reload import COLD, Reloaded
from engine.settings import Settings

__all__ = ["STOPPING", "greeting", "http_url", "say", "tell_reloaded", "url_of"]

_MAY = {"write": "write", "read": "read", "none": "not enter"}

STOPPING = "stopping: telling viewers to come back elsewhere (again to hurry)"


def url_of(settings: Settings, host: str, port: int) -> str:
    """Where viewers connect."""
    return f"ws://{f'[{host}]' if ':' in host else host}:{port}{settings.edge.path}"


def http_url(host: str, port: int) -> str:
    """Where the product's servers call."""
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def greeting(settings: Settings, url: str, viewers_max: int, workers: int = 0, *, api: str | None = None) -> str:
    """For people: where it listens, and the limits they are most likely to meet.

    :param workers: edge processes; 0: it is one process.
    :param api: where its HTTP API is; None: it has none.
    """
    limits, room = settings.limits, settings.room
    comments = f"{limits.comments_per_second:g} comments/s (burst {limits.comments_burst}), {limits.comment_bytes:,} bytes each"
    shared = f", shared by {workers} edge processes" if workers else ""
    return f"""roomcast listens on {url}
  capacity   {viewers_max:,} viewers in {room.rooms_max:,} rooms{shared}
  a viewer   {comments}; {limits.likes_per_second:g} likes/s
  a room     ticks up to {room.tick_max_seconds:g} s, lag limit {room.lag_seconds:g} s, then {room.lag_policy}
  guests     may {_MAY[anonymous_may(settings.access)]}
  HTTP API   {_api(settings, api)}
stop with Ctrl-C"""


def tell_reloaded(reloaded: Reloaded, *, as_json: bool) -> None:
    """What has changed by reading the settings again, and what has not."""
    if as_json:
        say("reloaded", changed=reloaded.changed, restart=reloaded.restart)
        return
    print(f"settings read again: {', '.join(reloaded.changed) or 'nothing'} changed", flush=True)
    for path in reloaded.restart:
        print(f"  {path} needs a restart: {COLD[path]}", flush=True)


def _api(settings: Settings, url: str | None) -> str:
    if url is None:
        return "none (api.enabled)"
    return f"{url}/docs" if settings.api.keys else f"{url}/docs; nobody may call it yet: `roomcast key` makes a key"


def say(event: str, **facts: Any) -> None:
    """Print one line for programs. When nobody reads any more, nobody misses it."""
    try:
        print(json.dumps({"event": event, **facts}, ensure_ascii=False), flush=True)
    except BrokenPipeError:
        # The interpreter would try to flush again as it ends, and complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
