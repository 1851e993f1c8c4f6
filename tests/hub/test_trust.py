"""What edges are told of tokens: keys of a set that is read again and again, and what was taken back."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from tokenmaking import jwk, key_set

from engine.brokers.base import Amended, Delivery, Record, Unavailable
from engine.brokers.memory import MemoryBroker
from engine.errors import Code, Refused
from engine.hub.keyset import KeySet
from engine.hub.passes import CONNECTED_SECONDS
from engine.hub.revocation import Revocation, revoked_in
from engine.hub.trust import Trusted
from engine.link.messages import Trust
from engine.schema import EVERYWHERE
from engine.settings import AccessSettings, BrokerSettings

from .harness import open_hub

NOW = 2_000_000_000_000


async def until(holds: Callable[[], bool]) -> None:
    with trio.fail_after(30):
        while not holds():  # noqa: ASYNC110  # a log says nothing when it grows
            await trio.sleep(0.005)


def names(keys: list[str] | None) -> list[str] | None:
    return None if keys is None else [json.loads(key)["kid"] for key in keys]


class Heard:
    """What a key set has said."""

    def __init__(self) -> None:
        self.changes = 0
        self.changed = trio.Event()

    def __call__(self) -> None:
        self.changes += 1
        self.changed.set()

    async def more(self) -> None:
        """Wait for another change."""
        with trio.fail_after(30):
            await self.changed.wait()
        self.changed = trio.Event()


@asynccontextmanager
async def reading(jwks: str, **more: Any) -> AsyncIterator[tuple[KeySet, Heard]]:
    heard = Heard()
    keys = KeySet(AccessSettings(jwks=jwks, **more), heard)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(keys.run)
        yield keys, heard
        nursery.cancel_scope.cancel()


# -- a file ------------------------------------------------------------------------------------------------------------


async def test_a_file_is_read_again_when_it_has_changed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "keys.json"

    def write(text: str) -> None:
        other = tmp_path / "other"
        other.write_text(text)
        other.rename(file)

    settings = AccessSettings(jwks=str(file), jwks_seconds=86_400)
    async with reading(str(file), jwks_seconds=86_400) as (keys, heard):
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert keys.keys is None
        write(key_set(jwk("RS256"), jwk("ES256")))
        keys.adopt(settings)
        await heard.more()
        assert names(keys.keys) == ["RS256-0", "ES256-0"]
        write(key_set(jwk("ES256"), jwk("EdDSA")))
        keys.adopt(settings)
        await heard.more()
        assert names(keys.keys) == ["ES256-0", "EdDSA-0"]
        for text in ("{", "[]"):
            write(text)
            keys.adopt(settings)
            await until(lambda: "keys_not_read" in caplog.text)
            caplog.clear()
        assert names(keys.keys) == ["ES256-0", "EdDSA-0"], "the last good ones"
        # The same again is no change.
        write(key_set(jwk("ES256"), jwk("EdDSA")))
        keys.adopt(settings)
        write(key_set())
        keys.adopt(settings)
        await heard.more()
        assert names(keys.keys) == []
        assert heard.changes == 3


async def test_another_place_of_the_set_is_read_at_once(tmp_path: Path) -> None:
    for name, algorithm in (("one", "RS256"), ("two", "ES256")):
        (tmp_path / name).write_text(key_set(jwk(algorithm)))
    async with reading(str(tmp_path / "one")) as (keys, heard):
        await heard.more()
        keys.adopt(AccessSettings(jwks=str(tmp_path / "two")))
        await heard.more()
        assert names(keys.keys) == ["ES256-0"]
        keys.adopt(AccessSettings())
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert keys.keys is None
        keys.adopt(AccessSettings(jwks=str(tmp_path / "one")))
        await heard.more()
        assert names(keys.keys) == ["RS256-0"]


# -- an address --------------------------------------------------------------------------------------------------------


class Site:
    """An HTTP server that answers as it is told.

    :ivar answer: status, headers and body.
    :ivar asked: requests that came.
    """

    def __init__(self) -> None:
        self.answer: tuple[int, dict[str, str], bytes] = (200, {}, b"")
        self.asked = 0
        self.silent = False

    async def serve(self, stream: trio.SocketStream) -> None:
        async with stream:
            data = b""
            while not data.endswith(b"\r\n\r\n"):
                chunk = await stream.receive_some(65_536)
                if not chunk:
                    return
                data += chunk
            self.asked += 1
            if self.silent:
                await trio.sleep_forever()
            status, headers, body = self.answer
            fields = {"Content-Length": str(len(body)), "Connection": "close", **headers}
            head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
            try:
                await stream.send_all(f"HTTP/1.1 {status} X\r\n{head}\r\n".encode() + body)
            except trio.BrokenResourceError:
                return


@asynccontextmanager
async def site() -> AsyncIterator[tuple[Site, str]]:
    made = Site()
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(trio.serve_tcp, made.serve, 0)
        port = listeners[0].socket.getsockname()[1]
        yield made, f"http://127.0.0.1:{port}/keys?x=1"
        nursery.cancel_scope.cancel()


BAD_ANSWERS: dict[str, tuple[int, dict[str, str], bytes]] = {
    "an error": (500, {}, key_set(jwk("ES256")).encode()),
    "elsewhere": (302, {"Location": "http://127.0.0.1:1/"}, b""),
    "not modified": (304, {}, b""),
    "too much": (200, {}, b" " * (1 << 18) + key_set(jwk("ES256")).encode()),
    "something else": (200, {"Content-Type": "text/html"}, b"<html>"),
    "less than announced": (200, {"Content-Length": "1000"}, key_set(jwk("ES256")).encode()),
    "compressed": (200, {"Content-Encoding": "gzip"}, b"\x1f\x8b" + b"\0" * 100),
    "no HTTP": (200, {"Bad Header": "\r\n"}, b""),
}


@pytest.mark.parametrize("what", BAD_ANSWERS)
async def test_an_address_that_answers_something_else_costs_no_key(what: str, caplog: pytest.LogCaptureFixture) -> None:
    async with site() as (server, url):
        server.answer = (200, {}, key_set(jwk("RS256")).encode())
        settings = AccessSettings(jwks=url, jwks_seconds=86_400)
        async with reading(url, jwks_seconds=86_400) as (keys, heard):
            await heard.more()
            server.answer = BAD_ANSWERS[what]
            keys.adopt(settings)
            await until(lambda: "keys_not_read" in caplog.text)
            assert names(keys.keys) == ["RS256-0"]
            server.answer = (200, {}, key_set(jwk("EdDSA")).encode())
            keys.adopt(settings)
            await heard.more()
            assert names(keys.keys) == ["EdDSA-0"]


async def test_who_does_not_answer_is_asked_again_less_and_less_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.hub.keyset._ANSWER_SECONDS", 0.02)
    pauses: list[float] = []
    async with site() as (server, url):
        server.silent = True
        async with reading(url, jwks_seconds=100.0) as (keys, heard):
            for number in range(1, 10):
                await until(lambda number=number: keys.failures == number)  # type: ignore[misc]
                pauses.append(keys.pause)
                keys.adopt(AccessSettings(jwks=url, jwks_seconds=100.0))
            assert pauses == [1, 2, 4, 8, 16, 32, 64, 100, 100]
            server.silent = False
            server.answer = (200, {}, key_set(jwk("EdDSA")).encode())
            await heard.more()
            assert names(keys.keys) == ["EdDSA-0"]


async def test_nobody_there_is_nothing_but_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    async with site() as (_, url):
        pass
    async with reading(url) as (keys, _):
        await until(lambda: "keys_not_read" in caplog.text)
        assert keys.keys is None


async def test_a_host_that_cannot_be_one_is_nothing_but_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    async with reading("https://keys..example/set") as (keys, _):
        await until(lambda: "keys_not_read" in caplog.text)
        assert keys.keys is None


async def test_an_environment_that_cannot_be_used_is_nothing_but_a_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere/ca.pem")
    (tmp_path / "keys").write_text(key_set(jwk("ES256")))
    async with reading("https://localhost:1/keys") as (keys, heard):
        await until(lambda: "keys_not_read" in caplog.text)
        keys.adopt(AccessSettings(jwks=str(tmp_path / "keys")))
        await heard.more()
        assert names(keys.keys) == ["ES256-0"]


# -- what was taken back -----------------------------------------------------------------------------------------------


class Book:
    """A broker in memory, the record as it is delivered, and a clock."""

    def __init__(self, **limits: int) -> None:
        self.now_ms = NOW
        self.record: Record | None = None
        self.broker = MemoryBroker(replace(BrokerSettings(), **limits), self.deliver, lambda: self.now_ms)
        self.revocation = Revocation(self.broker, lambda: self.record, lambda: self.now_ms)

    def deliver(self, delivery: Delivery) -> None:
        if isinstance(delivery, Record):
            self.record = delivery
        elif isinstance(delivery, Amended):
            assert self.record is not None
            fields = {name: value for name, value in self.record.fields.items() if name != delivery.field}
            more = {delivery.field: delivery.value} if delivery.value is not None else {}
            self.record = Record(EVERYWHERE, delivery.revision, fields | more)

    @property
    def revoked(self) -> dict[str, int]:
        assert self.record is not None
        return revoked_in(self.record.fields)


async def test_what_was_taken_back_is_remembered_for_its_time() -> None:
    book = Book()
    await book.broker.subscribe(EVERYWHERE)
    await book.revocation.revoke(token="t-1", seconds=60)
    book.now_ms += 1_999
    await book.revocation.revoke(token="t-2", user="anna", seconds=100)
    later = NOW + 1_999
    assert book.revoked == {"jti:t-1": NOW, "jti:t-2": later, "sub:anna": later}
    # For a shorter time: the longer one stands.
    await book.revocation.revoke(user="anna", seconds=1)
    book.now_ms += 99_000
    book.broker.sweep()
    assert book.revoked == {"jti:t-2": later, "sub:anna": later}
    book.now_ms += 1_001
    book.broker.sweep()
    assert book.revoked == {}


WRONG: tuple[dict[str, Any], ...] = (
    {},
    {"token": "x" * 257},
    {"user": "x" * 257},
    {"token": "t", "seconds": 0},
    {"user": "u", "seconds": -1},
    {"user": "u", "seconds": 1e12},
)


@pytest.mark.parametrize("wrong", WRONG)
async def test_what_cannot_be_taken_back_is_said(wrong: dict[str, Any]) -> None:
    with pytest.raises(Refused) as caught:
        await Book().revocation.revoke(**{"seconds": 60, **wrong})
    assert caught.value.code is Code.INVALID


async def test_too_many_and_a_broker_out_of_reach_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    book = Book(record_fields=1)
    await book.revocation.revoke(token="1", seconds=60)
    with pytest.raises(Refused) as caught:
        await book.revocation.revoke(token="2", seconds=60)
    assert caught.value.code is Code.STATE_FULL

    async def away(*_: object) -> int:
        raise Unavailable("away")

    monkeypatch.setattr(book.broker, "amend", away)
    with pytest.raises(Refused) as caught:
        await book.revocation.revoke(token="3", seconds=60)
    assert caught.value.code is Code.UNAVAILABLE


async def test_who_came_by_a_key_goes_with_it_and_of_who_cannot_be_sent_out_the_operator_is_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    book = Book(record_fields=1)
    await book.broker.subscribe(EVERYWHERE)
    await book.revocation.withdraw(["ops", "值班"])
    assert set(book.revoked) == {"sub:key:ops"}
    (said,) = caplog.records
    assert (said.getMessage(), said.levelname, vars(said)["key"]) == ("passes_not_withdrawn", "WARNING", "值班")


async def test_who_came_by_a_key_goes_when_the_broker_is_back(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: trio.testing.MockClock
) -> None:
    book = Book()
    await book.broker.subscribe(EVERYWHERE)
    amend = book.broker.amend

    async def away(*args: Any) -> int:
        if trio.current_time() < 100:
            raise Unavailable("away")
        return await amend(*args)

    monkeypatch.setattr(book.broker, "amend", away)
    await book.revocation.withdraw(["ops", "值班"])
    assert set(book.revoked) == {"sub:key:ops", "sub:key:值班"}
    assert trio.current_time() < 200


async def test_a_broker_that_stays_away_is_not_asked_when_nobody_can_be_there_any_more(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: trio.testing.MockClock
) -> None:
    book = Book()

    async def away(*args: Any) -> int:
        raise Unavailable("away")

    monkeypatch.setattr(book.broker, "amend", away)
    await book.revocation.withdraw(["ops"])
    assert trio.current_time() == CONNECTED_SECONDS


def test_what_others_have_written_in_the_record_is_left_alone() -> None:
    assert revoked_in({"x:ban:eve": b"1", "t:jti:a": b"rubbish", "t:sub:b": b"\x92\x01\x02"}) == {"sub:b": 1}


async def test_edges_are_told_when_something_is_new_and_when_they_come(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    file.write_text(key_set(jwk("ES256")))
    async with open_hub(access=AccessSettings(jwks=str(file))) as hub:
        edge = hub.edge()

        def told() -> list[Trust]:
            return [message for _, message in edge.got if isinstance(message, Trust)]

        await until(lambda: bool(told()))
        assert names(told()[-1].jwks) == ["ES256-0"]
        await hub.hub.revocation.revoke(user="anna", seconds=60)
        await until(lambda: bool(told()[-1].revoked))
        assert told()[-1].revoked.keys() == {"sub:anna"}
        assert told()[-1].jwks == told()[0].jwks
        late = hub.edge()
        await until(lambda: any(isinstance(message, Trust) for _, message in late.got))
        assert next(message for _, message in late.got if isinstance(message, Trust)) == told()[-1]
        assert hub.hub.trust.news is hub.hub.trust.news
        assert hub.hub.trust.news == told()[-1]


async def test_the_keys_of_a_set_that_was_taken_away_are_told_to_nobody(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    file.write_text(key_set(jwk("ES256")))
    told: list[Trust] = []
    trusted = Trusted(AccessSettings(jwks=str(file)), lambda: None, told.append)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trusted.run)
        await until(lambda: bool(told))
        trusted.adopt(AccessSettings())
        assert trusted.news is None
        nursery.cancel_scope.cancel()


def test_without_keys_and_revocations_nothing_is_said() -> None:
    told: list[Trust] = []
    trusted = Trusted(AccessSettings(), lambda: Record(EVERYWHERE, 1, {"x:ban:eve": b"1"}), told.append)
    trusted.changed()
    assert not told
    assert trusted.news is None
