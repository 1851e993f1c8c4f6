"""A span for each request, for those who trace with OpenTelemetry (https://opentelemetry.io/docs/specs/semconv/http/).

Owns the names of its attributes. Must not know what is done with spans: the program that runs the node sets up an SDK, or none;
without one nothing is done here. A span tells the route, never the path, which holds names.
"""

from __future__ import annotations

from typing import Any, Final

from starlette.types import Scope

try:
    from opentelemetry import context, propagate, trace
except ImportError:
    _INSTALLED = False
else:
    _INSTALLED = True

__all__ = ["Span", "Tracing", "tracing"]

_NAME: Final = "roomcast.api"


class Span:
    """One request under way; nested spans are its children."""

    __slots__ = ("_method", "_span", "_token")

    def __init__(self, span: Any, method: str) -> None:
        self._span = span
        self._method = method
        self._token = context.attach(trace.set_span_in_context(span))

    def end(self, route: str, status: int) -> None:
        """It has been answered.

        :param status: 0 if nothing was.
        """
        context.detach(self._token)
        self._span.update_name(f"{self._method} {route}".strip())
        if route:
            self._span.set_attribute("http.route", route)
        if status:
            self._span.set_attribute("http.response.status_code", status)
        if not status or status >= 500:
            self._span.set_status(trace.Status(trace.StatusCode.ERROR))
        self._span.end()


class Tracing:
    """Begins spans.

    :param provider: where they go; None: the one of the process, if there is one by then.
    """

    def __init__(self, provider: Any = None) -> None:
        self._provider = provider

    def begin(self, scope: Scope) -> Span | None:
        """A request has come. None if nobody wants to know."""
        provider = self._provider or trace.get_tracer_provider()
        if isinstance(provider, trace.ProxyTracerProvider | trace.NoOpTracerProvider):
            return None
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        method = scope["method"]
        span = provider.get_tracer(_NAME).start_span(
            method,
            context=propagate.extract(headers),
            kind=trace.SpanKind.SERVER,
            attributes={"http.request.method": method, "url.scheme": scope.get("scheme", "http")},
        )
        return Span(span, method)


def tracing(provider: Any = None) -> Tracing | None:
    """`Tracing`, or None where OpenTelemetry is not installed."""
    return Tracing(provider) if _INSTALLED else None
