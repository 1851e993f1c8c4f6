"""The configurations as the README prints them.

Owns where they are and how they are marked: a fenced block, introduced by a comment with its name. Must not know what is in
them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import pytest

__all__ = ["ROOT", "block", "replaced"]

ROOT = Path(__file__).parents[1]
_README = ROOT / "README.md"


def block(name: str) -> str:
    """The text of the block introduced by ``<!-- name -->``. Fails the test when there is not exactly one."""
    found: list[str] = re.findall(
        rf"^<!-- {re.escape(name)} -->\n+```\w*\n(.*?)^```$", _README.read_text("utf-8"), re.MULTILINE | re.DOTALL
    )
    if len(found) != 1:
        pytest.fail(f"{_README.name} has {len(found)} blocks introduced by <!-- {name} -->, not 1", pytrace=False)
    return found[0]


def replaced(text: str, changes: Mapping[str, str]) -> str:
    """Replace each key by its value. Fails the test when a key is not there: the README and the test have parted."""
    for old, new in changes.items():
        if old not in text:
            pytest.fail(f"the configuration in {_README.name} does not say {old!r}", pytrace=False)
        text = text.replace(old, new)
    return text
