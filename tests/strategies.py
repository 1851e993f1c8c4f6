"""Values of the engine's message types, drawn from their own definitions.

Owns the way from a `msgspec` type to a hypothesis strategy: a field added to a message is tested without anybody thinking of
it. Asserts nothing.
"""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import strategies as st
from msgspec import inspect

__all__ = ["PLAIN", "WORDS", "plainly", "values"]

WORDS = st.one_of(st.text(max_size=20), st.sampled_from(("你好，主播", "🎉👨‍👩‍👧", "\x00", "é")))
"""Texts as people write them, and as nobody should."""
PLAIN = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(2**53) + 1, 2**53 - 1), WORDS),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(WORDS, inner, max_size=3)),
    max_leaves=6,
)
"""What both codecs can carry without a type of its own."""


def values(kind: Any) -> st.SearchStrategy[Any]:
    """Values that `msgspec` would accept for ``kind``."""
    return _strategy(inspect.type_info(kind))


def _strategy(info: inspect.Type) -> st.SearchStrategy[Any]:
    match info:
        case inspect.Metadata(type=inner):
            return _strategy(inner)
        case inspect.BoolType():
            return st.booleans()
        case inspect.IntType():
            return st.integers(
                info.ge if info.ge is not None else 0, info.lt - 1 if info.lt is not None else info.le or 2**53 - 1
            )
        case inspect.FloatType():
            return st.floats(0, 1e6)
        case inspect.NoneType():
            return st.none()
        case inspect.BytesType():
            return st.binary(max_size=40)
        case inspect.StrType(pattern=pattern):
            low, high = info.min_length or 0, info.max_length
            if pattern is not None:
                return st.from_regex(pattern).filter(lambda text: low <= len(text) <= (high or len(text)))
            return (
                WORDS.filter(lambda text: len(text) >= low) if high is None else st.text(min_size=low, max_size=min(high, 30))
            )
        case inspect.LiteralType(values=literals):
            return st.sampled_from(literals)
        case inspect.ListType():
            return st.lists(_strategy(info.item_type), max_size=4)
        case inspect.VarTupleType():
            return st.lists(_strategy(info.item_type), max_size=4).map(tuple)
        case inspect.TupleType():
            return st.tuples(*map(_strategy, info.item_types))
        case inspect.DictType():
            return st.dictionaries(_strategy(info.key_type), _strategy(info.value_type), max_size=min(info.max_length or 4, 4))
        case inspect.UnionType():
            return st.one_of(*map(_strategy, info.types))
        case inspect.StructType():
            return st.builds(info.cls, *(_strategy(field.type) for field in info.fields))
        case inspect.AnyType():
            return PLAIN
        case inspect.RawType() | inspect.CustomType(cls=msgspec.Raw):
            return st.just(msgspec.Raw(b"\x93\x00\x01\x02"))
    raise NotImplementedError(info)


def plainly(value: Any) -> Any:
    """A message as a reader that knows no types sees it: arrays, numbers, texts."""
    if isinstance(value, msgspec.Struct):
        tag = value.__struct_config__.tag
        fields = [plainly(getattr(value, name)) for name in value.__struct_fields__]
        return fields if tag is None else [tag, *fields]
    if isinstance(value, dict):
        return {key: plainly(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plainly(item) for item in value]
    return value
