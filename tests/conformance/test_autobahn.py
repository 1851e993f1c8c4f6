"""The Autobahn cases that apply pass. ``python -m tests.conformance --full`` runs every one of them."""

from __future__ import annotations

import pytest

from .autobahn import DECLINED, run

SECONDS = 110


@pytest.mark.parametrize("group", ["1.*", "2.*", "3.*", "4.*", "5.*", "6.*", "7.*", "10.*"])
async def test_protocol(group: str) -> None:
    passed, failed = await run([group], SECONDS)
    assert not failed
    assert passed


async def test_limits_sampled() -> None:
    passed, failed = await run(["9.1.1", "9.1.2", "9.2.2", "9.3.4", "9.4.4", "9.5.3", "9.6.3", "9.7.3", "9.8.3"], SECONDS)
    assert not failed
    assert len(passed) == 9


async def test_compression_sampled() -> None:
    cases = [f"12.{group}.{case}" for group in (1, 2, 4, 5) for case in (1, 5)]
    cases += [f"13.{group}.{case}" for group in (1, 2, 4, 6, 7) for case in (1, 5)]
    passed, failed = await run(cases, SECONDS)
    assert not failed
    assert len(passed) == len(cases)


async def test_smaller_windows_are_declined_and_nothing_else() -> None:
    passed, failed = await run([f"{group}*" for group in DECLINED], SECONDS)
    assert not passed
    assert failed.keys() == {f"{group}{case}" for group in DECLINED for case in range(1, 19)}
    assert {behaviour for behaviour, _ in failed.values()} == {"UNIMPLEMENTED"}
