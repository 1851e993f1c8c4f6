"""The engine inside another program: a FastAPI application under uvicorn, on uvloop, that embeds a node.

Owns that program, which takes the same arguments and says the same as `roomcast serve`, so that it can be measured in its
place. Usage: ``python -m bench.hosted --config FILE --json``.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import fastapi
import uvicorn

import engine
from engine.greeting import say

__all__ = ["main"]


def main() -> None:
    """Serve until a signal."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--json", action="store_true")
    settings = engine.load(parser.parse_args().config)

    @asynccontextmanager
    async def lifespan(app: fastapi.FastAPI) -> AsyncIterator[None]:
        async with engine.embed(settings) as node:
            host, port = node.addresses[0]
            say("listening", host=host, port=port, url=node.url, pid=os.getpid(), viewers_max=node.viewers_max)
            yield
            statistics = node.statistics
        say("stopped", statistics=dataclasses.asdict(statistics()))

    app = fastapi.FastAPI(lifespan=lifespan)

    @app.get("/")
    async def index() -> dict[str, str]:
        return {"is": "a product"}

    # uvicorn raises the signal that stopped it once more, when all is over.
    signal.signal(signal.SIGTERM, lambda *_: None)
    uvicorn.run(app, host="127.0.0.1", port=0, loop="uvloop", log_level="warning")


if __name__ == "__main__":
    main()
