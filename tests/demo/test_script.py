"""What the simulated people say: whole lines, in their language, by chance that can be repeated."""

from __future__ import annotations

import re
from typing import get_args

import pytest

from engine.demo import lines
from engine.demo.lines import Language
from engine.demo.script import Script, language_of, spoken
from engine.settings import LimitSettings

LANGUAGES: tuple[Language, ...] = get_args(Language)
TABLES = {name: table for name, table in vars(lines).items() if isinstance(table, dict) and set(table) == set(LANGUAGES)}
GIVEN = {"name": "{tea}", "gift": "Rose", "amount": "7", "option": "Oolong"}


def test_there_are_some_dozens_of_lines_in_each_language() -> None:
    assert len(TABLES) > 8
    for language in LANGUAGES:
        assert len(TABLES["CHAT"][language]) >= 36
        assert all(len(set(table[language])) == len(table[language]) for table in TABLES.values())


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_line_is_whole_and_short(language: Language) -> None:
    script = Script(1)
    for table in TABLES.values():
        for line in table[language]:
            said = script.line({language: (line,)}, language, **GIVEN)
            # What somebody is called is left as it is, whatever it looks like.
            assert not re.search(r"[{}]", said.replace("{tea}", ""))
            assert 0 < len(said) <= 80
            assert said == said.strip()
    assert len(said.encode()) < LimitSettings().comment_bytes


def test_who_writes_chinese_is_answered_so() -> None:
    script = Script(2)
    assert [language_of(each) for each in ("hello", "你好", "", "héllo", "wow 好")] == ["en", "zh", "en", "en", "zh"]
    chinese = [line for line in TABLES["CHAT"]["zh"] if re.search(r"[a-z]{3}", line.replace("{tea}", ""))]
    assert [line for line in chinese if "{" not in line] == []
    assert all(language_of(script.chat("en")) == "en" for _ in range(200))
    assert all(language_of(name) == "zh" and len(name) <= 64 for name in (script.name("zh") for _ in range(200)))


def test_the_same_seed_gives_the_same_evening() -> None:
    def evening(seed: int | None) -> list[object]:
        script = Script(seed)
        return [(script.language(), script.name("en"), script.chat("zh"), script.pause(2), script.about(3)) for _ in range(50)]

    assert evening(7) == evening(7) != evening(8)
    assert evening(None) != evening(None)


def test_nobody_says_what_was_just_said() -> None:
    script = Script(3)
    said = [script.chat("en") for _ in range(1_000)]
    assert all(len(set(said[at : at + 20])) == 20 for at in range(len(said) - 20))


def test_there_are_enough_names_for_a_room() -> None:
    script = Script(4)
    assert len({script.name(script.language()) for _ in range(300)}) > 150


@pytest.mark.parametrize(
    ("label", "english", "chinese"),
    [
        ("Rose 玫瑰", "Rose", "玫瑰"),
        ("Tea cup 茶杯", "Tea cup", "茶杯"),
        ("rose", "rose", "rose"),
        ("玫瑰", "玫瑰", "玫瑰"),
    ],
)
def test_of_a_label_in_two_languages_one_is_spoken(label: str, english: str, chinese: str) -> None:
    assert (spoken(label, "en"), spoken(label, "zh")) == (english, chinese)
