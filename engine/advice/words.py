"""Words that can be told in another language: a template, and the facts that stand in it.

Owns how the two are kept together. Must not know any language but English, which rules are written in, nor what is said. Pure.

A text that is none of these is no language's: a path, a command, what is pasted into a config file.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["Words", "say", "told"]


class Words(str):
    """As a string, what they are in English. Made by `say`.

    :ivar template: as of `str.format`, in English.
    :ivar facts: by name; those that are words themselves are told in the same language.
    """

    __slots__ = ("facts", "template")

    template: str
    facts: Mapping[str, Any]

    def __new__(cls, template: str, facts: Mapping[str, Any]) -> Words:
        made = super().__new__(cls, template.format_map(facts))
        made.template, made.facts = template, facts
        return made


def say(template: str, /, **facts: Any) -> Words:
    """Words, each template written out where it is said: so a test finds them all. Raises `KeyError` if a fact is missing."""
    return Words(template, facts)


def told(text: str, catalogue: Mapping[str, str]) -> str:
    """A text in another language; what is no words, or not in the catalogue, as it is.

    :param catalogue: templates by those in English; none: in English.
    """
    if not isinstance(text, Words):
        return text
    facts = {name: told(fact, catalogue) if isinstance(fact, str) else fact for name, fact in text.facts.items()}
    return catalogue.get(text.template, text.template).format_map(facts)
