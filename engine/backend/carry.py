"""The way from a caller to the hub.

Owns the contract. The hub lives in a trio loop, its callers may live elsewhere: under asyncio, in another thread. All that a
`engine.backend.Room` or `engine.backend.Backend` does goes through one function, so that neither knows where it is called.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import ParamSpec, Protocol, TypeVar

__all__ = ["Carry", "directly"]

P = ParamSpec("P")
T = TypeVar("T")


class Carry(Protocol):
    """Runs ``do(*args, **kwargs)`` in the hub's loop and returns, or raises, what it does."""

    async def __call__(self, do: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """If the caller is cancelled, so is what it waits for."""
        ...


async def directly(do: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """For callers in the hub's own loop."""
    return await do(*args, **kwargs)
