"""An example of what a JSON Schema describes, for people to look at and to begin with.

Owns how one is chosen: the schema's own example, or else the least that is allowed. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

__all__ = ["resolved", "sample"]

_DEPTH: Final = 8
_BY_TYPE: Final[dict[str, Any]] = {"string": "…", "integer": 1, "number": 1, "boolean": True, "null": None}


def resolved(document: Mapping[str, Any], schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """A schema, or whatever else may be a reference, as it stands there; what stands beside the reference counts."""
    if "$ref" not in schema:
        return schema
    found: Any = document
    for step in schema["$ref"].removeprefix("#/").split("/"):
        found = found[step]
    return {**resolved(document, found), **{name: each for name, each in schema.items() if name != "$ref"}}


def sample(document: Mapping[str, Any], schema: Mapping[str, Any], depth: int = 0) -> Any:
    """An example.

    :param document: in which references point.
    """
    whole = resolved(document, schema)
    if whole.get("examples"):
        return whole["examples"][0]
    for name in ("example", "const", "default"):
        if name in whole:
            return whole[name]
    if "enum" in whole:
        return whole["enum"][0]
    if depth >= _DEPTH:
        return None
    if choices := whole.get("anyOf") or whole.get("oneOf"):
        return sample(document, choices[0], depth + 1)
    kind = whole.get("type")
    if kind == "object":
        required = whole.get("required", ())
        properties = whole.get("properties", {})
        wanted = [name for name in properties if name in required] or list(properties)
        return {name: sample(document, properties[name], depth + 1) for name in wanted}
    if kind == "array":
        return [sample(document, whole.get("items", {}), depth + 1)]
    if kind in ("integer", "number"):
        return max(_BY_TYPE[kind], whole.get("minimum", 0))
    return _BY_TYPE.get(str(kind))
