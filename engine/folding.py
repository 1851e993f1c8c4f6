"""Texts as word lists see them: what looks alike becomes alike, what shows nothing goes, and each character keeps its place.

Owns the folding of single characters. Pure. Must not know lists, nor what a match is.

A text is folded one character at a time, so that every folded character has one origin: compatibility decomposition (NFKD,
UAX #15), case folding, decimal digits of every script as 0..9. Marks that stand upon Latin, Greek and Cyrillic letters, the
optional vowel signs of Hebrew and Arabic, and what shows nothing by itself (zero-width and format characters, variation
selectors, skin tones, fillers) go. Hangul syllables stay whole, and so do the marks that make another letter (voiced kana,
vowels of Indic scripts).

Letters that look like a Latin letter become that letter: those whose name in Unicode says so (small capitals, strokes, squared
letters), and the Cyrillic, Greek and other letters of `_ALIKE`, which UTS #39's confusables.txt lists as well. Where only the
capital looks alike, the small letter follows, because case does not count. Texts and list entries are folded alike, so that a
Russian word in a list still meets the Russian word in a text.

Everything that is neither letter, mark nor digit separates. A separator that joins or parts words in ordinary writing (white
space, hyphen, apostrophe) is `SPACE`, any other punctuation or symbol is `SIGN`: "he'll" is writing, "he*ll" is not. ``@`` and
``$`` stay, since they may stand for letters.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final

__all__ = ["ALPHABETIC", "GLYPH", "SIGN", "SPACE", "STAND_INS", "UNSPACED", "fold", "origins"]

SPACE: Final = " "
SIGN: Final = "."
UNSPACED: Final = (
    "\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff"  # Thai, Lao, Tibetan, Myanmar, Khmer
    "\u1100-\u11ff\u2e80-\ua4cf\ua960-\ua97f\uaa60-\uaa7f\uac00-\ud7ff\uf900-\ufaff"  # Hangul, kana, Han, Yi
    "\U00016f00-\U0001b2ff\U00020000-\U0003ffff"  # more of Tangut, kana and Han
)
"""Letters of scripts that put no space between words (Korean appends particles), as part of a regular expression's class."""
GLYPH: Final = f"[^{SPACE}{SIGN}{UNSPACED}]"
"""What a word of a script with spaces is made of, in a folded text: its letters and marks, digits, ``@`` and ``$``."""
ALPHABETIC: Final = f"[^{SPACE}{SIGN}{UNSPACED}0-9@$]"
STAND_INS: Final = {"0": "o", "1": "il", "3": "e", "4": "a", "5": "s", "7": "t", "@": "a", "$": "s"}
"""Digits and signs that people write for letters."""

_JOINING: Final = "'’‘ʼ′`´-‐‑‒–—"
_FILLERS: Final = "\u115f\u1160\u17b4\u17b5"
"""Letters that show nothing (Default_Ignorable_Code_Point)."""
_GONE: Final = re.compile(
    f"[{_FILLERS}\u0300-\u036f\u0483-\u0489\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f"  # marks on Latin letters
    "\u0591-\u05bd\u05bf-\u05c7\u0610-\u061a\u0640\u064b-\u0652\u0670\u06d6-\u06ed"  # optional signs, Hebrew and Arabic
    "\u180b-\u180f\ufe00-\ufe0f\U000e0100-\U000e01ef\U0001f3fb-\U0001f3ff]"  # variation selectors, skin tones
)
_ALIKE: Final = {
    ord(character): latin
    for latin, characters in {
        "a": "аαɑ",
        "b": "вьβ",
        "c": "с",
        "d": "ԁ",
        "e": "еε",
        "g": "ɡց",
        "h": "нһηհ",
        "i": "іιı",
        "j": "ј",
        "k": "кκ",
        "l": "ӏ",
        "m": "мμ",
        "n": "ո",
        "o": "оοօ",
        "p": "рρ",
        "q": "ԛ",
        "s": "ѕ",
        "t": "тτ",
        "u": "υս",
        "v": "ѵν",
        "w": "ԝ",
        "x": "хχ",
        "y": "уүγ",
        "z": "ζ",
    }.items()
    for character in characters
}
"""Cyrillic, Greek, Armenian and phonetic letters."""
_NAMED: Final = re.compile(r"LATIN (?:SMALL |CAPITAL )?LETTER (?:SMALL CAPITAL )?([A-Z])(?: WITH [A-Z ,-]+)?")
_REMEMBERED: Final = 1 << 16
"""Characters in the table, about 12 MB: more than any language has. Whoever sends the rest of Unicode fills no memory."""


class _Table(dict[int, str]):
    """Folded characters by code point, each computed when it is first seen; what `str.translate` asks."""

    def __missing__(self, code: int) -> str:
        folded = _fold(chr(code))
        if len(self) < _REMEMBERED:
            self[code] = folded
        return folded


def _fold(character: str) -> str:
    if unicodedata.category(character) == "Cf":
        return ""
    if "\uac00" <= character <= "\ud7a3":
        return character
    plain = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", character).casefold())
    folded = "".join(map(_alike, _GONE.sub("", plain)))
    glyphs = folded.replace(SPACE, "").replace(SIGN, "")
    if not glyphs:
        return folded[:1]
    # A sign for a whole word ("™", "㏂") would otherwise be letters that hide the end of the word before it.
    return SIGN if len(glyphs) > 1 and glyphs.isascii() and unicodedata.category(character)[0] == "S" else folded


def _alike(character: str) -> str:
    """One decomposed character as what it looks like."""
    if character in "@$":
        return character
    category = unicodedata.category(character)
    if category == "Nd":
        return str(unicodedata.decimal(character))
    if not character.isascii():
        # The names of squared letters end like those of letters.
        named = _NAMED.search(unicodedata.name(character, ""))
        if named is not None and named.end() == len(named.string):
            return named[1].lower()
        character = character.translate(_ALIKE)
    if category[0] in "LMN":
        return character
    return SPACE if category[0] in "ZC" or character in _JOINING else SIGN


_TABLE: Final = _Table()


def fold(text: str) -> str:
    """The folded text, to be compared and searched. Give it in normal form C, as `engine.text.clean` leaves it."""
    return text.translate(_TABLE)


def origins(text: str) -> list[int]:
    """For each character of ``fold(text)`` the index in ``text`` of the one that it comes from."""
    return [index for index, character in enumerate(text) for _ in _TABLE[ord(character)]]
