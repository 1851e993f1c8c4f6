"""What people write, made safe to show to others: normal form, nothing that controls a screen, length as people count it.

Owns the rules for a single text. Pure. Must not know who wrote it, nor where it goes.

A text is stored and shown in Unicode's normal form C (UAX #15), so that equal texts are equal bytes. What may do harm on other
people's screens is taken out: control characters, characters that reorder what stands beside them (UAX #9: embeddings,
overrides, isolates), invisible fillers, and marks piled upon one character beyond what any language needs. Emoji sequences,
variation selectors, and the marks of right-to-left writing (LRM, RLM, ALM) stay.
"""

from __future__ import annotations

import re
import unicodedata
from functools import cache
from typing import Any, Final

__all__ = ["clean", "clean_line", "emotes_only", "length", "visible"]

_MARKS_MAX: Final = 4
"""Marks upon one character. Languages need up to three (Vietnamese and Hebrew decomposed, Thai)."""
_FILLERS: Final = "\u00ad\u034f\u115f\u1160\u17b4\u17b5\u180e\u2800\u3164\ufeff\uffa0"
"""Letters and spaces that show nothing: they pass for a name or a comment that seems to be there."""
_HARM: Final = (
    "\x00-\x08\x0b-\x1f\x7f-\x9f"  # C0 and C1 controls but tab and line feed
    "\u2028\u2029"  # line and paragraph separators
    "\u202a-\u202e\u2066-\u2069"  # embeddings, overrides, isolates
    "\u206a-\u206f\ufff9-\ufffb"  # deprecated format characters, annotations
    f"{_FILLERS}"
)
_MARKS: Final = "\u0300-\u036f\u0483-\u0489\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f"
_HARMFUL: Final = re.compile(f"[{_HARM}]")
_SUSPECT: Final = re.compile(f"[\t{_HARM}{_MARKS}]")
"""What most texts have none of; one look then is enough."""
_NEWLINES: Final = re.compile("\r\n?|\x85|\u2028|\u2029")
_PILE: Final = re.compile(f"([{_MARKS}]{{{_MARKS_MAX}}})[{_MARKS}]+")
_SPACES: Final = re.compile(r"\s+")


def clean(text: str) -> str:
    """A text of one or more lines, safe to show. Cleaning twice changes nothing more."""
    if _SUSPECT.search(text) is None and unicodedata.is_normalized("NFC", text):
        return text
    text = _HARMFUL.sub("", _NEWLINES.sub("\n", text)).replace("\t", " ")
    return _PILE.sub(r"\1", unicodedata.normalize("NFC", text))


def clean_line(text: str) -> str:
    """A text of one line, such as a name: as `clean`, every stretch of white space a single space, none around it."""
    return _SPACES.sub(" ", clean(text)).strip()


def length(text: str, enough: int) -> int:
    """Characters as people count them: extended grapheme clusters (UAX #29). Counted only if there may be more than
    ``enough``; otherwise some number up to it."""
    if len(text) <= enough:
        return len(text)
    return sum(1 for _ in _clusters().finditer(text))


@cache
def _clusters() -> Any:
    # Here: a megabyte or two that a process needs not have whose viewers write short comments.
    import regex

    return regex.compile(r"\X")


def emotes_only(text: str) -> bool:
    """Whether a text is emoji, at least one, with nothing but white space between them (UTS #51 section 1.4.9: sequences of
    skin tones, ZWJ, keycaps, flags and tags are emoji; digits, and what is to look like text, are not)."""
    return _emotes().fullmatch(text) is not None


@cache
def _emotes() -> Any:
    import regex

    flag = r"\p{RI}\p{RI}"
    keycap = r"[0-9#*]\uFE0F?\u20E3"
    # What is reserved for emoji to come is Extended_Pictographic already.
    single = r"(?![0-9#*]|\p{RI})[\p{Emoji}\p{Extended_Pictographic}]"
    modified = rf"{single}(?:\p{{Emoji_Modifier}}|\uFE0F\u20E3?|[\U000E0020-\U000E007E]++\U000E007F)?+"
    # Possessive: a modifier is an emoji, too, and trying both ways at each would take forever.
    emoji = rf"(?:{flag}|{keycap}|{modified}(?:\u200D{modified})*+(?!\uFE0E))"
    return regex.compile(rf"\s*+(?:{emoji}\s*+)++")


def visible(text: str) -> bool:
    """Whether a text shows anything: more than white space, control and format characters (Unicode categories Z*, C*)."""
    # No comprehension: it is over at the first character of nearly every text.
    for character in text:  # noqa: SIM110
        if unicodedata.category(character)[0] not in "ZC":
            return True
    return False
