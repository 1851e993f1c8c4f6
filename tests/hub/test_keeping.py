"""What fails unforeseen begins again."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import trio
import trio.testing

from engine.hub.keeping import keep


async def test_a_task_that_fails_begins_again_and_the_nursery_lives(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    runs = 0

    async def run(*, task_status: Any) -> None:
        nonlocal runs
        runs += 1
        if runs == 1:
            raise KeyError("before it had started")
        task_status.started()
        if runs < 4:
            raise ExceptionGroup("of a nursery", [ValueError("later")])
        await trio.sleep_forever()

    with caplog.at_level(logging.ERROR):
        async with trio.open_nursery() as nursery:
            await nursery.start(keep, run)
            await trio.sleep(60)
            nursery.cancel_scope.cancel()
    assert runs == 4
    assert [record.message for record in caplog.records] == ["task_failed"] * 3


async def test_what_returns_is_over() -> None:
    async def run(*, task_status: Any) -> None:
        task_status.started()

    async with trio.open_nursery() as nursery:
        await nursery.start(keep, run)
