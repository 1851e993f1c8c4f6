"""Entry of the console script: sees that what the benchmark needs is there, before anything else is imported.

Owns that one message.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec

__all__ = ["main"]


def main() -> None:
    """Run the command line, or say what is missing."""
    if find_spec("uvloop") is None:
        sys.exit("roomcast-bench needs uvloop: .ci/setup bench, or pip install 'roomcast[bench]'")
    from bench.cli import main as run

    run()
