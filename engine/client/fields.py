"""The fields of decoded messages, checked: an array and an index in, a value out.

Owns the types of fields. Pure. Readers accept elements they do not know at the end, and raise `ProtocolViolation`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NoReturn

from engine.client.items import Author, ProtocolViolation

__all__ = ["array", "boolean", "integer", "mapping", "read_author", "signed", "string", "violate"]


def violate(text: str) -> NoReturn:
    """Raise `ProtocolViolation`."""
    raise ProtocolViolation(text)


def integer(message: Sequence[Any], index: int, what: str, default: int | None = None) -> int:
    """An integer from 0 to 2^53 - 1; ``default`` if the message ends before it."""
    value = message[index] if index < len(message) else default
    if type(value) is not int or not 0 <= value < 2**53:
        violate(f"{what} must be an integer from 0 to 2^53 - 1, not {value!r:.60}")
    return value


def signed(message: Sequence[Any], index: int, what: str) -> int:
    """An integer between -2^53 and 2^53."""
    value = message[index] if index < len(message) else None
    if type(value) is not int or not -(2**53) < value < 2**53:
        violate(f"{what} must be an integer between -2^53 and 2^53, not {value!r:.60}")
    return value


def string(message: Sequence[Any], index: int, what: str, default: str | None = None) -> str:
    """A string; ``default`` if the message ends before it."""
    value = message[index] if index < len(message) else default
    if not isinstance(value, str):
        violate(f"{what} must be a string, not {value!r:.60}")
    return value


def boolean(message: Sequence[Any], index: int, what: str, default: bool | None = None) -> bool:
    """A boolean; ``default`` if the message ends before it."""
    value = message[index] if index < len(message) else default
    if not isinstance(value, bool):
        violate(f"{what} must be a boolean, not {value!r:.60}")
    return value


def array(message: Sequence[Any], index: int, what: str, default: Sequence[Any] | None = None) -> Sequence[Any]:
    """An array; ``default`` if the message ends before it."""
    value = message[index] if index < len(message) else default
    if not isinstance(value, (list, tuple)):
        violate(f"{what} must be an array, not {value!r:.60}")
    return value


def mapping(message: Sequence[Any], index: int, what: str, default: dict[Any, Any] | None = None) -> dict[Any, Any]:
    """A map; ``default`` if the message ends before it."""
    value = message[index] if index < len(message) else default
    if not isinstance(value, dict):
        violate(f"{what} must be a map, not {value!r:.60}")
    return value


def read_author(message: Sequence[Any], index: int) -> Author:
    """``[id, name?, attributes?, role?, level?]``."""
    author = array(message, index, "author")
    attributes = mapping(author, 2, "an author's attributes", {})
    if not all(isinstance(x, str) for pair in attributes.items() for x in pair):
        violate("an author's attributes must be a map of strings")
    name, role = string(author, 1, "name", ""), string(author, 3, "an author's role", "")
    return Author(string(author, 0, "author id"), name, attributes, role, integer(author, 4, "an author's level", 0))
