"""Who is called what, says what and waits how long: chance with a seed.

Owns every random choice about words and times. Pure: knows no room, no socket and no clock.
"""

from __future__ import annotations

from collections import deque
from random import Random
from re import search, sub
from typing import Final

from engine.demo.lines import (
    CHAT,
    FIRST_NAMES,
    INITIALS,
    NAMES,
    WORDS,
    ZH_AFTER,
    ZH_BEFORE,
    Language,
    Lines,
)

__all__ = ["Script", "language_of", "spoken"]

_FRESH: Final = 30
"""Lines that are not said again before so many others were."""
_TRIES: Final = 20


def language_of(*texts: str) -> Language:
    """The language in which somebody who wrote this is answered."""
    return "zh" if any(search(r"[\u3400-\u9fff]", text) for text in texts) else "en"


def spoken(label: str, language: Language) -> str:
    """The part of a label in two languages, such as ``Rose 玫瑰``, that somebody says."""
    parts = label.split()
    own = [part for part in parts if language_of(part) == language]
    return " ".join(own or parts)


class Script:
    """See the module's docstring.

    :param seed: the same one gives the same choices in the same order; None: others each time.
    :ivar random: for other choices.
    """

    def __init__(self, seed: int | None = None) -> None:
        self.random = Random(seed)
        self._said: deque[str] = deque(maxlen=_FRESH)

    def language(self) -> Language:
        """Of somebody in the audience."""
        return "en" if self.random.random() < 0.5 else "zh"

    def name(self, language: Language) -> str:
        """Of somebody in the audience. Two may be called the same, as people are."""
        choice = self.random.choice
        if language == "zh":
            return choice(ZH_BEFORE) + choice(ZH_AFTER)
        return choice(NAMES) if self.random.random() < 0.25 else f"{choice(FIRST_NAMES)} {choice(INITIALS)}."

    def chat(self, language: Language) -> str:
        """Something that was not said a moment ago."""
        return self.line(CHAT, language)

    def line(self, lines: Lines, language: Language, **words: str) -> str:
        """One of these lines, with its places filled: by what is given, else by one of the words for it."""
        text = ""
        for _ in range(_TRIES):
            text = self._filled(self.random.choice(lines[language]), language, words)
            if text not in self._said:
                break
        self._said.append(text)
        return text

    def pause(self, per_second: float) -> float:
        """Seconds until the next of what happens so often on average, one independent of the other."""
        return self.random.expovariate(per_second)

    def about(self, seconds: float) -> float:
        """Roughly so many seconds."""
        return seconds * self.random.uniform(0.75, 1.25)

    def _filled(self, text: str, language: Language, words: dict[str, str]) -> str:
        # One pass: what somebody is called may look like a place.
        return sub(r"\{(\w+)\}", lambda found: words[found[1]] if found[1] in words else self._word(found[1], language), text)

    def _word(self, place: str, language: Language) -> str:
        return self.random.choice(WORDS[place][language])
