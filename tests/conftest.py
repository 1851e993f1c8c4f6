"""Around all tests: where they run, how long they may take, what they log, and that processes compile the engine once.

Owns the working directory, how far logging goes, and what Python and Hypothesis are told. Nothing is left in the checkout but
what Git ignores: a node that is not told otherwise makes its ledger where it runs.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

# A machine that is busy is no fault: pytest-timeout ends what hangs.
hypothesis.settings.register_profile("patient", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("patient")


@pytest.fixture(scope="session", autouse=True)
def compiled_once() -> Iterator[None]:
    """Processes keep what Python has compiled, also where the environment forbids it: that is half of their beginning."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
        yield


@pytest.fixture(scope="module", autouse=True)
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An empty working directory for the tests of each file."""
    before, here = Path.cwd(), tmp_path_factory.mktemp("cwd")
    os.chdir(here)
    yield here
    os.chdir(before)


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    """A command that a test runs in this process sets logging up for the whole process: the next test starts without that."""
    root = logging.getLogger()
    level, handlers = root.level, root.handlers[:]
    yield
    root.setLevel(level)
    for handler in root.handlers[:]:
        if handler not in handlers:
            root.removeHandler(handler)
