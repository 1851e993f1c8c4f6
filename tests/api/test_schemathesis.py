"""The HTTP API as its own document says, by somebody who believes every word of that: a real node, over TCP."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import requests
import schemathesis
import trio
from hypothesis import HealthCheck, Phase, given, seed
from hypothesis import settings as hypothesis_settings
from hypothesis.errors import Unsatisfiable
from schemathesis import APIOperation, BaseSchema, GenerationMode
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    allow_header_conformance,
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

from engine.node import open_node
from engine.settings import LedgerSettings

from .calling import KEY, settings

EXAMPLES = {GenerationMode.POSITIVE: 4, GenerationMode.NEGATIVE: 2}
"""Of each call; those that are wrong take longer to think of."""
CONFORMANCE = [
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    unsupported_method,
    allow_header_conformance,
]
GIFT: Any = {"name": "Rose", "price": 10}


class Served:
    """A node in a thread of its own."""

    def __init__(self, directory: Path) -> None:
        ledger = LedgerSettings(url=f"sqlite:///{directory / 'ledger.db'}")
        made = settings(ledger=ledger, enabled=True, requests_per_second=1e6, requests_burst=1_000_000)
        self._settings = replace(made, gifts={})
        self._ready = threading.Event()
        self._thread = threading.Thread(target=trio.run, args=(self._run,))
        self.url = ""

    async def _run(self) -> None:
        self._stop = trio.Event()
        self._token = trio.lowlevel.current_trio_token()
        try:
            async with open_node(self._settings) as node:
                assert node.api is not None
                self.url = node.api.url
                self._ready.set()
                await self._stop.wait()
        finally:
            self._ready.set()

    def __enter__(self) -> Served:
        self._thread.start()
        assert self._ready.wait(30)
        assert self.url
        return self

    def __exit__(self, *_: object) -> None:
        trio.from_thread.run_sync(self._stop.set, trio_token=self._token)
        self._thread.join(30)
        assert not self._thread.is_alive()


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[BaseSchema, requests.Session]]:
    """The document as it is served, and a session in which to call what it says."""
    with Served(tmp_path_factory.mktemp("api")) as served, requests.Session() as session:
        session.headers["Authorization"] = f"Bearer {KEY}"
        schema = schemathesis.openapi.from_url(f"{served.url}/openapi.json")
        # The session has the right key, whatever is made up; who has none is for the authorisation matrix.
        schema.config.generation.with_security_parameters = False
        schema.config.generation.allow_extra_parameters = False
        assert session.put(f"{served.url}/v1/gifts/rose", json=GIFT, timeout=30).ok
        yield schema, session


def operations(schema: BaseSchema) -> list[APIOperation[Any, Any, Any, Any]]:
    return [each.ok() for each in schema.get_all_operations() if isinstance(each, Ok)]


def explore(
    operation: APIOperation[Any, Any, Any, Any], session: requests.Session, mode: GenerationMode, checks: list[Any]
) -> None:
    """Call it with what its document allows, or with what it does not."""

    @seed(7)
    @hypothesis_settings(
        max_examples=EXAMPLES[mode],
        database=None,
        deadline=None,
        derandomize=False,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def calls(case: Any) -> None:
        answer = case.call(session=session, timeout=30)
        assert answer.status_code < 500, (case.as_curl_command(), answer.text)
        case.validate_response(answer, checks=checks)

    calls()


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
def test_answers_are_as_documented_and_none_is_a_fault(api: tuple[BaseSchema, requests.Session], mode: GenerationMode) -> None:
    schema, session = api
    # Not that what is allowed is accepted: that names can be told from each other is no schema's to say.
    checks = CONFORMANCE if mode is GenerationMode.POSITIVE else [*CONFORMANCE, negative_data_rejection]
    explored = 0
    for operation in operations(schema):
        # Of some nothing can be wrong.
        with suppress(Unsatisfiable):
            explore(operation, session, mode, checks)
            explored += 1
    assert explored > len(operations(schema)) * 0.8
