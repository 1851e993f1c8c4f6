"""A JSON Web Key Set (RFC 7517 section 5) of the product's: read from its file or address, and read again.

Owns reading, what a set may be, and when it is looked at. Must not know what a key verifies, nor who needs it. The last good
set stays until there is another; an address that does not answer is asked again after a pause that doubles.

httpx is imported when there is an address to ask.
"""

from __future__ import annotations

import logging
import stat
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

import msgspec
import trio

from engine.errors import RoomcastError
from engine.settings import AccessSettings
from engine.timing import Bell
from engine.tokens import KeyFault, public_members

if TYPE_CHECKING:
    import httpx

__all__ = ["KeySet", "KeySetFault", "keys_of"]

_BYTES_MAX: Final = 1 << 18
_KEYS_MAX: Final = 100
_ANSWER_SECONDS: Final = 10.0
_FIRST_SECONDS: Final = 1.0
"""Pause after the first failure."""
_HEADERS: Final = {"Accept": "application/json", "Accept-Encoding": "identity"}
"""What is compressed could become anything."""

log = logging.getLogger("roomcast.hub")


class KeySetFault(RoomcastError):
    """There is no key set to be had, or it is none."""


def keys_of(data: bytes) -> list[str]:
    """The keys of a set that can verify tokens, as `engine.tokens.Jwk` in JSON. Raises `KeySetFault`."""
    try:
        document = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise KeySetFault("it is not JSON") from None
    found = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(found, list):
        raise KeySetFault('it is not a JSON Web Key Set: {"keys": [...]}')
    if len(found) > _KEYS_MAX:
        raise KeySetFault(f"it has {len(found)} keys, more than {_KEYS_MAX}")
    keys: list[str] = []
    for number, each in enumerate(found):
        try:
            keys.append(msgspec.json.encode(public_members(each)).decode())
        except KeyFault as fault:
            log.info("key_not_used", extra={"number": number, "reason": str(fault)})
    return keys


class _Source(ABC):
    @abstractmethod
    async def read(self) -> bytes | None:
        """The set, None if it is as before. Raises `KeySetFault`."""


class _File(_Source):
    def __init__(self, path: str) -> None:
        self._path = trio.Path(path)
        self._version: tuple[int, int, int] | None = None

    async def read(self) -> bytes | None:
        try:
            found = await self._path.stat()
            version = found.st_mtime_ns, found.st_size, found.st_ino
            if version == self._version:
                return None
            if not stat.S_ISREG(found.st_mode) or found.st_size > _BYTES_MAX:
                raise KeySetFault(f"it is not a file of at most {_BYTES_MAX:,} bytes")
            data = await self._path.read_bytes()
        except OSError as error:
            raise KeySetFault(error.strerror or str(error)) from None
        self._version = version
        return data


class _Address(_Source):
    def __init__(self, url: str, client: httpx.AsyncClient) -> None:
        self._url = url
        self._client = client

    async def read(self) -> bytes:
        import httpx

        data = bytearray()
        with trio.move_on_after(_ANSWER_SECONDS) as patience:
            try:
                async with self._client.stream("GET", self._url, headers=_HEADERS) as answer:
                    if answer.status_code != httpx.codes.OK:
                        raise KeySetFault(f"the answer is HTTP {answer.status_code}")
                    # To its end or for as long as an answer may take: what iterates in httpcore cannot be left half-way.
                    async for chunk in answer.aiter_raw():
                        if len(data) <= _BYTES_MAX:
                            data += chunk
            except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:
                # The last one: a host with a label that is empty or too long, which shows when it is looked up.
                raise KeySetFault(f"{type(error).__name__}: {error}") from None
        if patience.cancelled_caught:
            raise KeySetFault(f"no answer within {_ANSWER_SECONDS:g} s")
        if len(data) > _BYTES_MAX:
            raise KeySetFault(f"it has more than {_BYTES_MAX:,} bytes")
        return bytes(data)


class KeySet:
    """See the module's docstring.

    :param changed: called when there are other keys.
    :ivar keys: of the last good set, as `keys_of`; None before there was one.
    :ivar failures: since the last good answer.
    """

    def __init__(self, settings: AccessSettings, changed: Callable[[], None]) -> None:
        self._settings = settings
        self._changed = changed
        self._scope = trio.CancelScope()
        self._bell = Bell()
        self.failures = 0
        self.keys: list[str] | None = None

    def adopt(self, settings: AccessSettings) -> None:
        """Take other settings. Another place of the set is read at once."""
        old, self._settings = self._settings, settings
        if settings.jwks == old.jwks:
            self._bell.ring()
            return
        self.keys = None
        self.failures = 0
        self._scope.cancel()

    async def run(self) -> None:
        """Read again and again until cancelled."""
        while True:
            with trio.CancelScope() as self._scope:
                if not self._settings.jwks:
                    await trio.sleep_forever()
                try:
                    async with _source(self._settings.jwks) as source:
                        while True:
                            await self._look(source)
                            await self._bell.wait_until(trio.current_time() + self.pause)
                except KeySetFault as fault:
                    self._failed(fault)
                    await self._bell.wait_until(trio.current_time() + self.pause)

    @property
    def pause(self) -> float:
        """Seconds until it is read again."""
        seconds = self._settings.jwks_seconds
        # The exponent is bounded because 2.0**1024 overflows.
        return min(seconds, _FIRST_SECONDS * 2.0 ** min(self.failures - 1, 32)) if self.failures else seconds

    async def _look(self, source: _Source) -> None:
        try:
            data = await source.read()
            keys = None if data is None else keys_of(data)
        except KeySetFault as fault:
            self._failed(fault)
            return
        if self._scope.cancel_called:
            # It has been read to its end, but from a place that counts no more.
            return
        self.failures = 0
        if keys is not None and keys != self.keys:
            self.keys = keys
            log.info("keys_read", extra={"jwks": self._settings.jwks, "keys": len(keys)})
            self._changed()

    def _failed(self, fault: KeySetFault) -> None:
        self.failures += 1
        stays = "its old keys stay" if self.keys is not None else "tokens signed with its keys are refused for now"
        facts = {"jwks": self._settings.jwks, "error": str(fault), "retry_seconds": self.pause, "hint": stays}
        log.warning("keys_not_read", extra=facts)


@asynccontextmanager
async def _source(jwks: str) -> AsyncIterator[_Source]:
    """Where it is read from while the block runs. Raises `KeySetFault`."""
    if "://" not in jwks:
        yield _File(jwks)
        return
    import httpx

    # A redirect could lead anywhere, to http:// as well; what is on this machine is not behind a proxy.
    try:
        made = httpx.AsyncClient(timeout=_ANSWER_SECONDS, trust_env=jwks.startswith("https:"))
    except (OSError, ValueError, ImportError) as error:
        raise KeySetFault(f"the environment names a proxy or certificates that cannot be used: {error}") from None
    async with made as client:
        yield _Address(jwks, client)
