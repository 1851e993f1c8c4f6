"""OpenTelemetry for a node that the command line runs: where spans go, as the SDK's own environment variables say.

Owns the process's tracer provider. Must not know who makes spans (`engine.api.tracing`). There are no settings: operators have
one way to say this to all their services (https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/).
A program that embeds the engine sets up its SDK itself. Without the SDK, or a word in the environment, nothing is loaded.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from importlib.metadata import entry_points
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

__all__ = ["configure", "exporter_of", "provider_of"]

_SERVICE: Final = "roomcast"
_ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_GROUP: Final = "opentelemetry_traces_exporter"
"""Entry points by which exporters are found: ``console`` comes with the SDK, ``otlp`` with packages of their own."""

log = logging.getLogger("roomcast.node")


def configure(environ: Mapping[str, str] = os.environ) -> None:
    """Send the process's spans where the environment says, from now on; nothing if it says nothing."""
    if exporter := exporter_of(environ):
        from opentelemetry import trace

        trace.set_tracer_provider(provider_of(exporter, environ))


def exporter_of(environ: Mapping[str, str]) -> Any:
    """A new exporter as the environment wants it; None if it wants none, or one that is not there, which is logged."""
    wanted = environ.get("OTEL_TRACES_EXPORTER", "otlp" if any(map(environ.get, _ENDPOINTS)) else "none").strip() or "none"
    if wanted == "none" or environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return None
    found = [] if find_spec("opentelemetry") is None else list(entry_points(group=_GROUP, name=wanted))
    if not found:
        hint = "install opentelemetry-sdk and the package of the exporter, such as opentelemetry-exporter-otlp-proto-http"
        log.warning("tracing_off", extra={"exporter": wanted, "hint": hint})
        return None
    return found[0].load()()


def provider_of(exporter: Any, environ: Mapping[str, str]) -> TracerProvider:
    """A provider whose spans go to an exporter in batches, from a thread of its own, the last ones when the process ends."""
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    named = environ.get("OTEL_SERVICE_NAME") or "service.name=" in environ.get("OTEL_RESOURCE_ATTRIBUTES", "")
    provider = TracerProvider(resource=Resource.create({} if named else {"service.name": _SERVICE}))
    provider.add_span_processor(BatchSpanProcessor(exporter))
    return provider
