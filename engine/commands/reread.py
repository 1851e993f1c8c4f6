"""The process that reads settings again for a supervisor: a question on standard input, the answer on standard output.

Owns nothing: what is read is for `engine.config`, what is judged for `engine.rereading`. No command for people.
"""

from __future__ import annotations

import signal
import sys
from functools import partial
from pathlib import Path

import msgspec

from engine.config import load
from engine.reload import ReloadRefused
from engine.rereading import renew
from engine.workers.reread import Answer, Question

__all__ = ["main"]


def main() -> None:
    """Answer one question."""
    # A terminal, or whoever stops a container, signals all processes at once; this one ends soon.
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    question = msgspec.msgpack.decode(sys.stdin.buffer.read(), type=Question)
    source = question.source
    load_again = partial(load, Path(source.config) if source.config else None, overrides=source.overrides)
    try:
        settings, reloaded = renew(question.in_force, load_again)
    except ReloadRefused as refused:
        answer = Answer(None, faults=refused.faults)
    else:
        answer = Answer(settings, reloaded.changed, reloaded.restart)
    sys.stdout.buffer.write(msgspec.msgpack.encode(answer))


if __name__ == "__main__":
    main()
