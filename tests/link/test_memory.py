"""The link inside a process, in both its forms."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from engine.link import End, memory_link
from engine.link.messages import Down, Up

from .contract import LinkContract


class TestMemoryLink(LinkContract):
    @asynccontextmanager
    async def open(self) -> AsyncIterator[tuple[End[Up, Down], End[Down, Up]]]:
        yield memory_link()


class TestEncodedMemoryLink(LinkContract):
    @asynccontextmanager
    async def open(self) -> AsyncIterator[tuple[End[Up, Down], End[Down, Up]]]:
        yield memory_link(encoded=True)
