"""The ledger's store as tasks reach it: in one thread that writes and a few that read.

Owns the store, when it is opened and closed, and whether the database answers at present. Must not know what is booked. The
store's module, which loads SQLAlchemy, is imported when the ledger is really opened: nodes without money do not pay for it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol, TypeVar

import trio

from engine.ledger.errors import LedgerError

if TYPE_CHECKING:
    from engine.ledger.store import Store

__all__ = ["Keeper", "RunSync", "in_thread"]

T = TypeVar("T")

_READERS: Final = 4
"""Threads that may read at once: each has a connection."""
_HINT: Final = (
    "gifts and red packets are refused until it can be used, which is tried again by itself: look at ledger.url, at the rights "
    "to the file and the space on its disk, or whether the server runs"
)

log = logging.getLogger("roomcast.ledger")


class RunSync(Protocol):
    """Runs what blocks elsewhere. A call that has begun is waited for, cancelled or not: nobody else knows what it did."""

    async def __call__(self, do: Callable[[], T], limiter: trio.CapacityLimiter, /) -> T: ...


async def in_thread(do: Callable[[], T], limiter: trio.CapacityLimiter) -> T:
    """In a thread of trio's."""
    return await trio.to_thread.run_sync(do, limiter=limiter)


class Keeper:
    """See the module's docstring.

    :param answer_seconds: how long the database may take for a transaction.
    :param make: makes the store; None: `engine.ledger.store.Store` for ``url``.
    :ivar wanted: there is a ledger to be opened, or to be made.
    :ivar failure: why it cannot be written at present; empty: nothing is known that would be in the way.
    """

    def __init__(self, url: str, answer_seconds: float, make: Callable[[], Store] | None, run: RunSync) -> None:
        self._url = url
        self._make = partial(_make, url, answer_seconds) if make is None else make
        self._given = make is not None
        self._run = run
        self._store: Store | None = None
        self._open = self._closed = False
        self._writer = trio.CapacityLimiter(1)
        self._readers = trio.CapacityLimiter(_READERS)
        self.wanted = False
        self.failure = ""

    @property
    def shared(self) -> bool:
        """Whether other nodes may book in the same ledger."""
        return not self._url.startswith("sqlite:")

    @property
    def opened(self) -> bool:
        """Whether the ledger is open."""
        return self._open

    def look(self) -> None:
        """See whether there is a ledger already."""
        if self._url and not self.wanted:
            self.wanted = self._made().exists() if self._given else _exists(self._url)

    async def open(self) -> None:
        """Open the ledger, or make it, unless it is open. Raises `LedgerError`."""
        if not self._open:
            await self.write(lambda _: None)

    async def write(self, do: Callable[[Store], T]) -> T:
        """Run something in the thread that writes, and open the ledger before it if need be. Raises `LedgerError`."""
        try:
            done = await self._run(lambda: self._call(do), self._writer)
        except LedgerError as error:
            self._fails(str(error))
            raise
        self._fails("")
        return done

    async def read(self, do: Callable[[Store], T]) -> T:
        """Run something in a thread that reads. Raises `LedgerError`, at once while the ledger cannot be opened."""
        if not self._open:
            if self.failure:
                raise LedgerError(self.failure)
            await self.open()
        return await self._run(lambda: self._call(do), self._readers)

    async def close(self) -> None:
        """Close the ledger for good, once nothing is being written."""
        await self._run(self._close, self._writer)

    def _call(self, do: Callable[[Store], T]) -> T:
        """Raises nothing but `LedgerError`."""
        try:
            return do(self._ready())
        except LedgerError:
            raise
        except Exception as error:
            # Whatever else is wrong is for the operator to see; it costs who asked for it, and not the node with all its rooms.
            log.exception("ledger_broken")
            raise LedgerError(f"unexpected: {error!r}") from error

    def _made(self) -> Store:
        if self._store is None:
            self._store = self._make()
        return self._store

    def _ready(self) -> Store:
        if self._closed:
            raise LedgerError("the node is stopping")
        store = self._made()
        if not self._open:
            store.open()
            self._open = True
        return store

    def _close(self) -> None:
        self._closed = True
        self._open = False
        if self._store is not None:
            self._store.close()

    def _fails(self, failure: str) -> None:
        if failure and not self.failure:
            log.warning("ledger_unavailable", extra={"error": failure, "hint": _HINT})
        elif self.failure and not failure:
            log.info("ledger_available")
        self.failure = failure


def _make(url: str, answer_seconds: float) -> Store:
    from engine.ledger.store import Store

    return Store(url, answer_seconds=answer_seconds)


def _exists(url: str) -> bool:
    """As `Store.exists`, without loading what it needs."""
    if not url.startswith("sqlite:"):
        return True
    path = url.removeprefix("sqlite:///").partition("?")[0]
    return Path(path).is_file()
