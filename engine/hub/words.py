"""Whether a text holds words that it must not hold, whatever they are disguised as.

Owns what a match is, and how one is found among a million words in microseconds. Pure. Must not know files, nor what is done
with a verdict.

**What matches.** Entries and texts are folded alike (`engine.folding`): case, width, accents, look-alikes and zero-width
characters do not count.

- An entry with a letter of a script that does not put spaces between words (Chinese, Japanese, Korean, Thai …) matches
  anywhere, whatever separators stand between its characters: "傻 逼", "傻*逼".
- Any other entry with letters or digits matches whole words: the characters before and after are not letters if the match ends
  in a letter, and not digits if it ends in a digit, so that "class" does not hold "ass", but "fuck666" and "你fuck你" do match.
  Where the entry has separators, as in "kill yourself", the text has some at all these places, or none. Between its other
  characters there is nothing; or, if it has at least three, one separator at each place ("f u c k"); or one sign other than
  hyphen and apostrophe, which join words in ordinary writing, at any of them ("fu*ck", but not "he'll").
- In such words of at least three characters digits and signs may stand for letters (`engine.folding.STAND_INS`), in the text
  or in the entry, as long as one letter is itself. What stands for a letter ends a word like one: no "ass" in "cl4ss".
- An entry without letters and digits, such as an emoji, matches where it is written.

**How.** A comment that matches nothing, the usual one, is folded and asked for in two hash tables: by the first two characters
at each place for entries that match anywhere, by its words for the others. Only what passes is looked at closely; a text that
is all disguise costs a few microseconds a character.

Rejected: Aho-Corasick automata (`ahocorasick_rs`). Building one holds the interpreter lock, in one piece, for 0.3 s with
100,000 words and 3 s with 500,000, and it cannot come from another process. In so many shards that none takes 50 ms, a comment
costs 6 µs with 100,000 words and 116 µs with 500,000 before it is folded; here 5 to 8 µs folding included, with either number,
and a table grows word by word.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from functools import cache, lru_cache
from itertools import chain, pairwise
from operator import add
from typing import Any, Final, Literal, NamedTuple

from engine.folding import ALPHABETIC, GLYPH, SIGN, SPACE, STAND_INS, UNSPACED, fold, origins
from engine.text import clean_line

__all__ = ["Action", "Verdict", "Words"]

Action = Literal["mask", "hold", "block"]

_STRENGTH: Final[dict[Action, int]] = {"mask": 1, "hold": 2, "block": 3}
_TOLD: Final = 5
"""Entries in a verdict: enough for a moderator to see why."""
_KEY_MAX: Final = 255
"""Folded characters of an entry: lengths are kept in bytes."""
_DISGUISED: Final = 3
"""Characters of a word that digits and separators may disguise. With two, an "iPhone 5s" would be bad company."""
_SELECTORS: Final = "\ufe0e\ufe0f"

_DROPPED: Final = f"{SPACE}{SIGN}@$"
_CLASSES: Final = [(each, letters[-1]) for stand_in, letters in STAND_INS.items() for each in stand_in + letters[:-1]]
"""One character for all that may mean the same: 1, i and l. Entries are found by it, then compared character by character."""

_UNSPACED: Final = re.compile(f"[{UNSPACED}]")
_GLYPHS: Final = re.compile(GLYPH)
_BETWEEN: Final = re.compile(f"[{SPACE}{SIGN}{UNSPACED}]+")
# These begin with few characters, so that the search jumps from one of them to the next.
_MIXED: Final = re.compile(f"[0-9@$](?:(?={ALPHABETIC})|(?<={ALPHABETIC}.)|(?<=[0-9@$]{{2}})(?<!\\d\\d))")
_SIGNED: Final = re.compile(rf"\.(?={GLYPH})(?<={GLYPH}\.)")
_SPELLED: Final = re.compile(f"[{SPACE}{SIGN}]{GLYPH}(?!{GLYPH})(?<=(?<!{GLYPH}){GLYPH}.{{2}})")


class Verdict(NamedTuple):
    """What the lists say of a text.

    :ivar action: the strongest that a match asks for; empty: nothing matched.
    :ivar text: with masked words as asterisks, one for each character as people count them.
    :ivar words: entries that matched, at most 5, those with the strongest action first.
    """

    action: Literal["", "mask", "hold", "block"]
    text: str
    words: tuple[str, ...]


class _Match(NamedTuple):
    """``entry`` of a list, by its number, between two indices of the original text."""

    first: int
    end: int
    number: int
    entry: str


class _Index:
    """Keys, found by their first characters.

    Holds strings and bytes only, which the garbage collector does not visit. An entry is a line, ``number TAB entry``, the
    entry left out where it is the key; entries with the same key are joined by line feeds.
    """

    __slots__ = ("_width", "_widths", "lines", "starts")

    def __init__(self, width: int) -> None:
        self._width = width
        self._widths: tuple[int, ...] = ()
        self.lines: dict[str, str] = {}
        self.starts: dict[str, bytes] = {}
        """Lengths of the keys that begin so; of shorter keys the whole."""

    def add(self, key: str, number: int, entry: str) -> bool:
        """Whether it is new."""
        line = f"{number}\t{entry}" if entry != key else _bare(number)
        known = self.lines.get(key)
        if known is not None and line in known.split("\n"):
            return False
        self.lines[key] = line if known is None else f"{known}\n{line}"
        start, length = key[: self._width], len(key)
        lengths = self.starts.get(start, b"")
        if length not in lengths:
            self.starts[start] = lengths + bytes((length,))
            if len(start) not in self._widths:
                self._widths += (len(start),)
        return True

    def find(self, text: str) -> list[tuple[int, int, str]]:
        """Where keys begin and end in a text, and which; for a width of at most 2."""
        found: list[tuple[int, int, str]] = []
        for width in self._widths:
            # Nearly all of the time is spent in this line, so that it is one.
            for start in self.starts.keys() & (text if width == 1 else map(add, text, text[1:])):
                first = text.find(start)
                while first >= 0:
                    self._find_from(text, first, start, found)
                    first = text.find(start, first + 1)
        return found

    def find_at(self, text: str, places: list[int]) -> list[tuple[int, int, str]]:
        """As `find`, for any width, but only those that begin at certain places."""
        found: list[tuple[int, int, str]] = []
        for width in self._widths:
            for first in places:
                start = text[first : first + width]
                if start in self.starts and len(start) == width:
                    self._find_from(text, first, start, found)
        return found

    def _find_from(self, text: str, first: int, start: str, found: list[tuple[int, int, str]]) -> None:
        for length in self.starts[start]:
            key = text[first : first + length]
            if key in self.lines and len(key) == length:
                found.append((first, first + length, key))

    def entries(self, key: str) -> Iterator[tuple[int, str]]:
        """Numbers of lists and entries of theirs."""
        for line in self.lines[key].split("\n"):
            number, _, entry = line.partition("\t")
            yield int(number), entry or key

    def shrink(self, count: int) -> bool:
        """Forget so many; whether any were left."""
        for table in (self.lines, self.starts):
            for _ in range(min(count, len(table))):
                table.popitem()
        return bool(self.lines or self.starts)


# Replacing one character after the other is several times as fast as `str.translate`.


def _compact(folded: str) -> str:
    """Without what stands between the characters of entries that match anywhere."""
    for each in _DROPPED:
        folded = folded.replace(each, "")
    return folded


def _classed(folded: str) -> str:
    for each, letter in _CLASSES:
        folded = folded.replace(each, letter)
    return folded


@cache
def _bare(number: int) -> str:
    return f"{number}\t"


class _Spelling(NamedTuple):
    """A folded text as words with whole-word entries see it: what can be part of one, and what stands between.

    :ivar glyphs: its characters.
    :ivar places: indices of theirs in the folded text.
    :ivar gaps: what separates each but the first from the one before.
    """

    glyphs: str
    places: list[int]
    gaps: list[str]


def _spelling(folded: str) -> _Spelling:
    places = [found.start() for found in _GLYPHS.finditer(folded)]
    return _Spelling(
        "".join([folded[place] for place in places]), places, [folded[one + 1 : next_] for one, next_ in pairwise(places)]
    )


@lru_cache(maxsize=1024)
def _spelled(entry: str) -> _Spelling:
    return _spelling(fold(entry))


class Words:
    """Entries of several lists, and texts judged by them.

    :param actions: what a match with an entry of each list asks for.
    """

    __slots__ = ("_actions", "_anywhere", "_counts", "_parts", "_signs", "_whole")

    def __init__(self, actions: Sequence[Action] = ()) -> None:
        self._actions = tuple(actions)
        self._counts = [0] * len(self._actions)
        self._anywhere, self._whole, self._signs = _Index(2), _Index(4), _Index(1)
        self._parts: set[str] = set()
        """The longest word of each entry that has several."""

    @property
    def counts(self) -> tuple[int, ...]:
        """Entries of each list; what a list says twice counts once."""
        return tuple(self._counts)

    def add(self, entry: str, number: int = 0) -> None:
        """Add an entry to a list. White space around it does not count, and one that shows nothing is left out.

        Raises ValueError if it is longer than 255 characters when folded.
        """
        entry = clean_line(entry)
        folded = fold(entry)
        if _UNSPACED.search(folded) is not None:
            index, key = self._anywhere, _compact(folded)
        elif _GLYPHS.search(folded) is not None:
            parts = _BETWEEN.split(_classed(folded))
            index, key = self._whole, "".join(parts)
            if len(parts) > 1:
                self._parts.add(max(parts, key=len))
        elif folded:
            index, key = self._signs, entry.rstrip(_SELECTORS)
        else:
            return
        if len(key) > _KEY_MAX:
            raise ValueError(f"{len(key)} characters, more than {_KEY_MAX}")
        self._counts[number] += index.add(key, number, entry)

    def entries(self) -> Iterator[tuple[int, str]]:
        """Numbers of lists and entries, in no order. Nothing may be added meanwhile."""
        for index in (self._anywhere, self._whole, self._signs):
            for key in index.lines:
                yield from index.entries(key)

    def shrink(self, count: int) -> bool:
        """Forget some ``count`` entries; whether any were left. To free a million at once would hold everybody up."""
        left = [index.shrink(count) for index in (self._anywhere, self._whole, self._signs)]
        for _ in range(min(count, len(self._parts))):
            self._parts.pop()
        return any(left) or bool(self._parts)

    def check(self, text: str) -> Verdict:
        """Judge a text that is in normal form, as `engine.text.clean` leaves it."""
        if not self._counts:
            return Verdict("", text, ())
        folded = fold(text)
        found: list[_Match] = []
        if self._anywhere.lines and not folded.isascii():
            found += self._find_anywhere(text, folded)
        if self._whole.lines and self._may_have_whole(folded):
            found += self._find_whole(text, folded)
        if self._signs.lines:
            found += self._find_signs(text)
        return self._judge(text, found) if found else Verdict("", text, ())

    def _judge(self, text: str, found: list[_Match]) -> Verdict:
        actions = self._actions
        found.sort(key=lambda match: (-_STRENGTH[actions[match.number]], match.first))
        masked = [(match.first, match.end) for match in found if actions[match.number] == "mask"]
        words = tuple(dict.fromkeys(match.entry for match in found))[:_TOLD]
        return Verdict(actions[found[0].number], _mask(text, masked) if masked else text, words)

    # -- anywhere ------------------------------------------------------------------------------------------------------

    def _find_anywhere(self, text: str, folded: str) -> list[_Match]:
        compact, index = _compact(folded), self._anywhere
        hits = [
            (first, end, key)
            for first, end, key in index.find(compact)
            # A mark makes another letter of the last one.
            if end == len(compact) or unicodedata.category(compact[end])[0] != "M"
        ]
        if not hits:
            return []
        origin = [at for at, character in zip(origins(text), folded, strict=True) if character not in _DROPPED]
        return [_Match(origin[first], origin[end - 1] + 1, *entry) for first, end, key in hits for entry in index.entries(key)]

    # -- whole words ---------------------------------------------------------------------------------------------------

    def _may_have_whole(self, folded: str) -> bool:
        """Whether there may be one. Where words end at separators only and none is spelled out, one must be there as it is."""
        if _GLYPHS.search(folded) is None:
            return False
        key = _classed(folded)
        parts = key.replace(SIGN, SPACE).split() if key.isascii() else _BETWEEN.split(key)
        return (
            not self._whole.lines.keys().isdisjoint(parts)
            or not self._parts.isdisjoint(parts)
            or (SIGN in folded and _SIGNED.search(folded) is not None)
            or _SPELLED.search(folded) is not None
            or _MIXED.search(folded) is not None
        )

    def _find_whole(self, text: str, folded: str) -> list[_Match]:
        spelling = _spelling(folded)
        glyphs, index = spelling.glyphs, self._whole
        key = _classed(glyphs)
        edges = [True, *map(_parted, glyphs, glyphs[1:], spelling.gaps), True]
        hits = [
            (first, end, entry)
            for first, end, found in index.find_at(key, [place for place, edge in enumerate(edges[:-1]) if edge])
            if edges[end]
            for entry in index.entries(found)
            if _matches(_spelled(entry[1]), spelling, first, end)
        ]
        if not hits:
            return []
        origin = origins(text)
        return [
            _Match(origin[spelling.places[first]], origin[spelling.places[end - 1]] + 1, *entry) for first, end, entry in hits
        ]

    # -- signs ---------------------------------------------------------------------------------------------------------

    def _find_signs(self, text: str) -> list[_Match]:
        index = self._signs
        return [_Match(first, end, *entry) for first, end, key in index.find(text) for entry in index.entries(key)]


def _is_letter(glyph: str) -> bool:
    return glyph not in "0123456789@$"


def _parted(one: str, other: str, gap: str) -> bool:
    """Whether a word may end between two characters."""
    return bool(gap) or not ((_is_letter(one) and _is_letter(other)) or (one.isdigit() and other.isdigit()))


def _matches(word: _Spelling, text: _Spelling, first: int, end: int) -> bool:
    """Whether the text has the word there, whose characters are of the same classes."""
    same = standing = 0
    for one, other in zip(word.glyphs, text.glyphs[first:end], strict=True):
        if one == other:
            same += _is_letter(one)
        elif _is_letter(one) and _is_letter(other):
            return False
        else:
            standing += 1
    if standing and (not same or end - first < _DISGUISED):
        return False
    return _ends(word, text, first, end) and _joins(word.gaps, text.gaps[first : end - 1])


def _ends(word: _Spelling, text: _Spelling, first: int, end: int) -> bool:
    """Whether what stands for a letter at either end is not part of a longer word."""
    if first and not text.gaps[first - 1] and _is_letter(word.glyphs[0]) and _is_letter(text.glyphs[first - 1]):
        return False
    return end == len(text.glyphs) or not (
        not text.gaps[end - 1] and _is_letter(word.glyphs[-1]) and _is_letter(text.glyphs[end])
    )


def _joins(word: list[str], text: list[str]) -> bool:
    """Whether what separates the characters in the text may do so in the word."""
    if any(gap.strip(SPACE + SIGN) for gap in text):
        return False
    breaks = [bool(gap) for at, gap in enumerate(text) if word[at]]
    inner = [gap for at, gap in enumerate(text) if not word[at]]
    if not any(inner):
        return all(breaks) or not any(breaks)
    if len(word) + 1 < _DISGUISED:
        return False
    return (all(breaks) and all(len(gap) == 1 for gap in inner)) or all(gap in ("", SIGN) for gap in inner)


def _mask(text: str, spans: list[tuple[int, int]]) -> str:
    covered = set(chain.from_iterable(range(*span) for span in spans))
    return "".join(each[0] if covered.isdisjoint(range(*each.span())) else "*" for each in _clusters().finditer(text))


@cache
def _clusters() -> Any:
    # Here: a megabyte or two that a node without lists need not have.
    import regex

    return regex.compile(r"\X")
