"""Runs Autobahn cases, through `kosoku`, against the echo server.

kosoku runs in a process of its own, because it lives on asyncio.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence

import trio

from .echo import serve_echo

__all__ = ["DECLINED", "run"]

DECLINED = ("13.3.", "13.5.")
"""Cases that ask for a window below 2^15 in our direction. Declined by design: a shared frame has one window."""

_RUN = """
import asyncio, json, os, sys
import kosoku
url, *cases = sys.argv[1:]
try:
    results = asyncio.run(kosoku.run_fuzzingclient(url, cases or None, concurrency=4))
except kosoku.FailureError as error:
    results = error.results
print(json.dumps([[each.case_id, each.passed, each.behavior.value, each.behavior_close.value] for each in results]), flush=True)
os._exit(0)
"""
# Without the last line kosoku's threads abort the process now and then, while the interpreter is ending.


async def run(cases: Sequence[str], seconds: float) -> tuple[set[str], dict[str, tuple[str, str]]]:
    """The cases that passed, and the verdicts (behaviour, closing) of those that did not.

    :param cases: ids or ``*`` globs; none: all.
    """
    with trio.fail_after(seconds):
        async with trio.open_nursery() as nursery:
            port: int = await nursery.start(serve_echo)
            command = [sys.executable, "-c", _RUN, f"ws://127.0.0.1:{port}", *cases]
            process = await trio.run_process(command, capture_stdout=True)
            nursery.cancel_scope.cancel()
    results = json.loads(process.stdout.splitlines()[-1])
    passed = {case for case, good, *_ in results if good}
    return passed, {case: (behaviour, closing) for case, good, behaviour, closing in results if not good}
