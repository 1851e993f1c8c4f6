"""What browsers are given: the SDK, an ES module with its types; the demo room; the console; what the two share.

Owns where these files are, at which paths they belong, and as what they are served. Must not know who serves them. There is no
build step: what is in the repository is what a page loads, and what npm's tooling finds (``npm install ./engine/web/sdk``).
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["SDK", "Asset", "sdk_files", "site"]

_HERE: Final = Path(__file__).parent

SDK: Final = _HERE / "sdk"
"""Directory of the SDK; a package for npm."""

_PAGES: Final = {"demo": "/", "console": "/console"}
"""Directories with a page of their own, ``index.html``, and where it is."""
_DIRECTORIES: Final = ("demo", "console", "shared")

_TYPES: Final = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".png": "image/png",
    ".svg": "image/svg+xml; charset=utf-8",
    # Browsers do not load types; editors that fetch them read text.
    ".ts": "text/plain; charset=utf-8",
    ".webp": "image/webp",
    ".woff2": "font/woff2",
}


class Asset(NamedTuple):
    """One file as it is served. ``media_type`` with its charset."""

    content: bytes
    media_type: str


@cache
def sdk_files() -> Mapping[str, Asset]:
    """The SDK's files by their names (``roomcast.js``, ``roomcast.d.ts``, ``package.json``), read once."""
    return MappingProxyType(dict(_files(SDK)))


@cache
def site() -> Mapping[str, Asset]:
    """Every file by the path at which pages expect it, read once: the demo room at ``/``, the console at ``/console``, the SDK
    at ``/sdk/NAME``, the rest at ``/web/DIRECTORY/NAME``. What is not in it is not served."""
    found = {f"/sdk/{name}": asset for name, asset in sdk_files().items()}
    for directory in _DIRECTORIES:
        for name, asset in _files(_HERE / directory):
            page = _PAGES.get(directory) if name == "index.html" else None
            found[page or f"/web/{directory}/{name}"] = asset
    return MappingProxyType(found)


def _files(directory: Path) -> Iterator[tuple[str, Asset]]:
    if directory.is_dir():
        for path in sorted(directory.iterdir()):
            if path.suffix in _TYPES and not path.name.startswith("."):
                yield path.name, Asset(path.read_bytes(), _TYPES[path.suffix])
