"""What becomes of a text that somebody wrote, and how long people say it is."""

from __future__ import annotations

import subprocess
import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.generator.body import Bodies, Claim
from bench.generator.corpus import CORPORA
from engine.text import clean, clean_line, emotes_only, length, visible

FAMILY, SKIN, FLAG, ENGLAND = (
    "👨\u200d👩\u200d👧\u200d👦",
    "👋🏽",
    "🇩🇪",
    "🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f",
)
HARMFUL = "\x00\x07\x1b\x7f\x85\x9b\u2028\u202a\u202e\u2066\u2069\ufeff\u3164\u2800\u00ad"
TEXTS = st.text(st.characters(exclude_categories=("Cs",))) | st.text(
    st.sampled_from("ae가ㄱ\u1100\u1161\u0301\u0323\u05b0\r\n\t" + HARMFUL)
)


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("plain", "plain"),
        ("你好 👋", "你好 👋"),
        ("two\r\nlines\rand\u2028more", "two\nlines\nand\nmore"),
        ("a\tb", "a b"),
        ("e\u0301", "é"),
        ("\u1100\u1161", "가"),
        ("abc\u202egnp.exe", "abcgnp.exe"),
        ("\u2067שלום\u2069", "שלום"),
        ("\x1b[31mred\x07", "[31mred"),
        ("\u3164", ""),
        ("\ufeffbom", "bom"),
        ("a" + "\u0330" * 50 + "b", "a\u0330\u0330\u0330\u0330b"),
        ("\u200fמה\u200e?", "\u200fמה\u200e?"),
    ],
)
def test_what_may_do_harm_is_taken_out_and_the_rest_stays(text: str, cleaned: str) -> None:
    assert clean(text) == cleaned


@pytest.mark.parametrize("text", [FAMILY, SKIN, FLAG, ENGLAND, "❤️", "1️⃣", "กำลัง", "ế", "क्षि", "عربي", "\u200c"])
def test_what_languages_and_emoji_are_made_of_stays(text: str) -> None:
    assert clean(text) == unicodedata.normalize("NFC", text)


@given(TEXTS)
def test_a_clean_text_is_in_normal_form_harmless_and_stays_as_it_is(text: str) -> None:
    cleaned = clean(text)
    assert clean(cleaned) == cleaned
    assert unicodedata.is_normalized("NFC", cleaned)
    assert not set(cleaned) & set(HARMFUL)
    assert "\r" not in cleaned
    line = clean_line(text)
    assert clean_line(line) == line
    assert "\n" not in line
    assert line == line.strip()


@given(TEXTS)
def test_equal_texts_become_equal_bytes(text: str) -> None:
    assert clean(unicodedata.normalize("NFD", text)) == clean(unicodedata.normalize("NFC", text))


@pytest.mark.parametrize("corpus", sorted(CORPORA))
def test_what_the_benchmark_says_is_not_touched(corpus: str) -> None:
    for size in (0, 48, 100, 333):
        bodies = Bodies(1, size, corpus)
        for sequence in range(200):
            body = bodies.write(Claim(7, sequence, 12_345), 0)
            assert clean(body) == body


@pytest.mark.parametrize(
    ("text", "characters"),
    [
        ("", 0),
        ("abc", 3),
        ("你好", 2),
        ("e\u0301", 1),
        (FAMILY, 1),
        (SKIN * 3, 3),
        (FLAG * 2, 2),
        (ENGLAND, 1),
        ("กำลัง", 3),
        ("가", 1),
    ],
)
def test_length_is_what_people_count(text: str, characters: int) -> None:
    assert length(text, 0) == characters


@given(TEXTS, st.integers(0, 20))
def test_length_is_exact_where_it_matters(text: str, enough: int) -> None:
    exact = length(text, 0)
    assert exact <= len(text)
    assert (length(text, enough) > enough) == (exact > enough)


def test_short_comments_do_not_load_the_tables() -> None:
    program = "import sys; from engine.text import length; length('你好' * 250, 500); sys.exit('regex' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


@pytest.mark.parametrize("text", ["a", "你", "😀", "。", " a ", "\u200b你", "👨‍👩‍👧", "1"])
def test_what_shows_something_is_visible(text: str) -> None:
    assert visible(text)


@pytest.mark.parametrize("text", ["", " ", "\t\n", "\u3000", "\u200b\u200d\ufeff", "\u2028", "\x00\x1f", "\ue000"])
def test_what_shows_nothing_is_not(text: str) -> None:
    assert not visible(text)


@given(st.text(st.characters(categories=("Z", "C"))), st.text(st.characters(categories=("L", "N", "P", "S")), min_size=1))
def test_one_visible_character_is_enough(nothing: str, something: str) -> None:
    assert not visible(nothing)
    assert visible(nothing + something)
    assert visible(something + nothing)


@pytest.mark.parametrize(
    "text",
    [
        *(FAMILY, SKIN, FLAG, ENGLAND, "❤️", "❤", "1️⃣", "*️⃣", "🏳️\u200d⚧️", "👩\u200d❤️\u200d💋\u200d👨"),
        *(" 😀\n👍🏽👍 ", FLAG * 3, FAMILY + SKIN, "\U0001faff", "⚽\u3000🎉"),
    ],
)
def test_emoji_with_spaces_between_are_emotes(text: str) -> None:
    assert emotes_only(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " \n",
        "a",
        "1",
        "#",
        "你好",
        ":)",
        "😀!",
        "a😀",
        "😀1",
        "🇩",
        "🇩 🇪",
        "❤\ufe0e",
        "😀\u200d",
        "\u200d",
        "\ufe0f",
        "😀\ufe0f\ufe0f",
    ],
)
def test_anything_else_is_not(text: str) -> None:
    assert not emotes_only(text)


@given(st.lists(st.sampled_from([FAMILY, SKIN, FLAG, ENGLAND, "❤️", "1️⃣", " ", "\n"])), TEXTS)
def test_one_word_spoils_emotes(emotes: list[str], text: str) -> None:
    joined = "".join(emotes)
    assert emotes_only(joined) == bool(joined.strip())
    if any(unicodedata.category(character)[0] in "LNP" for character in text):
        assert not emotes_only(f"{joined} {text} {joined}")


@pytest.mark.parametrize("piece", ["🏽", "👩\u200d", "\U000e0067", "🇩", "1\ufe0f", " ", "😀"])
def test_looking_for_emotes_takes_no_longer_than_the_text(piece: str) -> None:
    # Nobody would live to see the end of trying every way to read it.
    assert not emotes_only("🏴" + piece * 4_000 + "a")
