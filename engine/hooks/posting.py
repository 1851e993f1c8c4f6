"""One signed POST to an address of the product, and its answer: in full, bounded, or not at all.

Owns the connections, what every request carries, and the loading of the HTTP client: in a thread, when there is somebody to
talk to, because it takes a tenth of a second. It is used without what its sessions add: redirects, cookies, proxies and
credentials of the environment, decompression without a bound. Must not know what is said, nor what an answer means.
"""

from __future__ import annotations

import logging
import ssl
from base64 import b64encode
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import unquote, urlsplit

import trio

from engine.hooks.signing import headers as signed

if TYPE_CHECKING:
    import httpx

__all__ = ["Posted", "Poster", "Unsent", "poster", "shown"]

_KEEP_SECONDS: Final = 4.0
"""How long an idle connection is kept: less than most servers do, so that few are closed under a request that sets out."""


log = logging.getLogger("roomcast.hooks")


class Unsent(Exception):
    """There is no answer. The text says why, without anything that the product has written."""


class Posted(NamedTuple):
    """An answer.

    :ivar body: None: it is longer than was asked for, or compressed, which was not asked for.
    """

    status: int
    body: bytes | None


class Poster:
    """Made by `poster`."""

    def __init__(self, transport: httpx.AsyncHTTPTransport, traces: _Traces | None) -> None:
        self._transport = transport
        self._traces = traces

    async def post(
        self,
        url: str,
        body: bytes,
        *,
        keys: Sequence[bytes],
        message: str,
        now: int,
        most: int,
        headers: Mapping[str, str] | None = None,
    ) -> Posted:
        """Send JSON. How long it may take is the caller's.

        :param keys: of the signature; ``message`` the id of the request, ``now`` Unix seconds.
        :param most: bytes that the answer may have.
        :raises Unsent: there was none.
        """
        import httpx

        carried = {
            "content-type": "application/json",
            "accept": "application/json",
            "accept-encoding": "identity",
            "user-agent": "roomcast",
            **_authorization(url),
            **(headers or {}),
            **signed(list(keys), message, now, body),
        }
        with self._traces.request(carried) if self._traces is not None else nullcontext():
            try:
                request = httpx.Request("POST", url, headers=carried, content=body)
                return await _answer(await self._transport.handle_async_request(request), most)
            except (httpx.TransportError, httpx.InvalidURL, UnicodeError) as error:
                # The last one: a host with a label that is empty or too long, which shows when it is looked up.
                raise Unsent(type(error).__name__) from None


async def _answer(response: httpx.Response, most: int) -> Posted:
    import httpx

    stream, body = response.stream, bytearray()
    assert isinstance(stream, httpx.AsyncByteStream)
    try:
        async for part in stream:
            if len(body) <= most:
                body += part
            if len(body) > most:
                # The rest cannot be read then. To leave the loop would leave the client's generators unfinished.
                await stream.aclose()
    except httpx.TransportError:
        if len(body) <= most:
            raise
    finally:
        await stream.aclose()
    plain = response.headers.get("content-encoding", "identity") == "identity"
    return Posted(response.status_code, bytes(body) if plain and len(body) <= most else None)


def _authorization(url: str) -> dict[str, str]:
    """Of a URL with a user (RFC 7617)."""
    parts = urlsplit(url)
    if parts.username is None:
        return {}
    user, password = unquote(parts.username), unquote(parts.password or "")
    return {"authorization": f"Basic {b64encode(f'{user}:{password}'.encode()).decode()}"}


def shown(url: str) -> str:
    """A URL without what may be secret in it: user, password and query."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()


@asynccontextmanager
async def poster() -> AsyncIterator[Poster]:
    """Have connections while the block runs."""
    context, traces = await trio.to_thread.run_sync(_load)
    import httpx

    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None, keepalive_expiry=_KEEP_SECONDS)
    async with httpx.AsyncHTTPTransport(verify=context, trust_env=False, limits=limits) as transport:
        yield Poster(transport, traces)


def _load() -> tuple[Any, _Traces | None]:
    """What takes long: the client, the certificates that are trusted, and, if it is there, OpenTelemetry."""
    import httpx

    try:
        context = httpx.create_ssl_context()
    except OSError as error:
        # Whoever names certificates wants no others: then nobody is trusted, and the node goes on without an answer over TLS.
        hint = "SSL_CERT_FILE or SSL_CERT_DIR in the environment: without them no https:// address can be reached"
        log.error("certificates_unreadable", extra={"error": str(error), "hint": hint})
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    return context, _Traces() if find_spec("opentelemetry") is not None else None


class _Traces:
    """A span for each request, and the way for the product to continue its trace (W3C Trace Context)."""

    def __init__(self) -> None:
        from opentelemetry import propagate, trace

        self._inject = propagate.inject
        self._tracer = trace.get_tracer("roomcast")
        self._kind = trace.SpanKind.CLIENT

    def request(self, headers: dict[str, str]) -> AbstractContextManager[Any]:
        span = self._tracer.start_as_current_span("roomcast.hook", kind=self._kind)
        return _Injected(span, lambda: self._inject(headers))


class _Injected:
    """Enters a span, and injects it while it is the present one."""

    def __init__(self, span: AbstractContextManager[Any], inject: Callable[[], None]) -> None:
        self._span = span
        self._inject = inject

    def __enter__(self) -> None:
        self._span.__enter__()
        self._inject()

    def __exit__(self, *error: Any) -> None:
        self._span.__exit__(*error)
