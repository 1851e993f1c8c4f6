"""OpenTelemetry by the environment: the SDK's words, and silence without them."""

from __future__ import annotations

import logging
import subprocess
import sys

import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from engine.tracing import exporter_of, provider_of


def test_without_a_word_in_the_environment_nothing_is_loaded() -> None:
    code = "import sys, engine.tracing; engine.tracing.configure({}); print('opentelemetry.sdk' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"},
        {"OTEL_TRACES_EXPORTER": "console", "OTEL_SDK_DISABLED": "True"},
        {"OTEL_TRACES_EXPORTER": ""},
    ],
)
def test_who_wants_no_traces_gets_no_exporter(environ: dict[str, str]) -> None:
    assert exporter_of(environ) is None


def test_an_exporter_that_is_not_installed_is_told_and_does_no_harm(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "roomcast.node"):
        assert exporter_of({"OTEL_TRACES_EXPORTER": "pigeon"}) is None
    (line,) = caplog.records
    assert line.getMessage() == "tracing_off"
    assert vars(line)["exporter"] == "pigeon"


def test_an_exporter_is_found_by_its_name() -> None:
    assert type(exporter_of({"OTEL_TRACES_EXPORTER": "console"})).__name__ == "ConsoleSpanExporter"


@pytest.mark.parametrize(
    ("environ", "service"),
    [({}, "roomcast"), ({"OTEL_SERVICE_NAME": "chat"}, "chat"), ({"OTEL_RESOURCE_ATTRIBUTES": "service.name=talk"}, "talk")],
)
def test_spans_come_to_the_exporter_under_the_name_of_the_service(
    environ: dict[str, str], service: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environ.items():
        # The SDK reads them by itself.
        monkeypatch.setenv(name, value)
    exporter = InMemorySpanExporter()
    provider = provider_of(exporter, environ)
    provider.get_tracer("test").start_span("a request").end()
    provider.force_flush()
    (span,) = exporter.get_finished_spans()
    provider.shutdown()
    assert span.name == "a request"
    assert span.resource.attributes["service.name"] == service
