"""Which of several Sentinels' answers counts, against servers that say what they are told to."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio

from engine.brokers.redis.address import Address, Place
from engine.brokers.redis.sentinel import Sentinels

OLD, NEW = Address("10.0.0.1", 6379), Address("10.0.0.2", 6380)


class Fake:
    """A Sentinel.

    :ivar knows: configuration epoch and address of the primary; None: no such primary.
    :ivar silent: whether it takes questions and does not answer.
    """

    def __init__(self, epoch: int, address: Address) -> None:
        self.knows: tuple[int, Address] | None = (epoch, address)
        self.silent = False

    async def serve(self, stream: trio.SocketStream) -> None:
        async for data in stream:
            assert b"SENTINEL" in data
            assert b"MASTER" in data
            if self.silent:
                await trio.sleep_forever()
            await stream.send_all(self._answer())

    def _answer(self) -> bytes:
        if self.knows is None:
            return b"-ERR No such master with that name\r\n"
        epoch, address = self.knows
        fields = {"name": "primary", "ip": address.host, "port": str(address.port), "config-epoch": str(epoch)}
        words = [word for pair in fields.items() for word in pair]
        return b"".join([b"*%d\r\n" % len(words), *(b"$%d\r\n%b\r\n" % (len(word), word.encode()) for word in words)])


@asynccontextmanager
async def watching(*fakes: Fake) -> AsyncIterator[Sentinels]:
    async with trio.open_nursery() as nursery:
        addresses = []
        for fake in fakes:
            [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
            addresses.append(Address("127.0.0.1", listener.socket.getsockname()[1]))
            nursery.start_soon(trio.serve_listeners, fake.serve, [listener])
        yield Sentinels(Place("sentinel", tuple(addresses), primary="primary"))
        nursery.cancel_scope.cancel()


async def test_the_newest_configuration_counts_whoever_answers_first() -> None:
    fakes = [Fake(3, OLD), Fake(4, NEW), Fake(3, OLD)]
    async with watching(*fakes) as sentinels:
        assert await sentinels.find() == NEW


async def test_one_that_hangs_and_one_that_knows_nothing_are_passed_over() -> None:
    fakes = [Fake(3, OLD), Fake(3, OLD), Fake(3, NEW)]
    fakes[0].silent, fakes[1].knows = True, None
    async with watching(*fakes) as sentinels:
        assert await sentinels.find() == NEW


async def test_a_minority_cannot_lead_back_to_a_former_primary_but_all_that_were_set_up_anew_can() -> None:
    fakes = [Fake(4, NEW), Fake(4, NEW), Fake(3, OLD)]
    async with watching(*fakes) as sentinels:
        assert await sentinels.find() == NEW
        fakes[0].knows = fakes[1].knows = None
        with pytest.raises(OSError, match="former primary"):
            await sentinels.find()
        for fake in fakes:
            fake.knows = 0, OLD
        assert await sentinels.find() == OLD


async def test_nobody_who_knows_is_an_error_with_the_primarys_name() -> None:
    fake = Fake(1, NEW)
    fake.knows = None
    async with watching(fake) as sentinels:
        with pytest.raises(OSError, match="'primary'"):
            await sentinels.find()
