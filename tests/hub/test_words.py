"""What a word list catches and what it leaves alone: disguises, ends of words, masks; against a model that tries everything."""

from __future__ import annotations

import random
import re
import unicodedata

import pytest
import regex
from hypothesis import given
from hypothesis import strategies as st

from bench.generator.corpus import CORPORA, lines
from engine.folding import ALPHABETIC, GLYPH, SIGN, SPACE, STAND_INS, UNSPACED, fold, origins
from engine.hub.words import Action, Verdict, Words
from engine.text import clean, clean_line

ACTIONS: tuple[Action, ...] = ("block", "mask", "hold")
CLUSTERS = regex.compile(r"\X")


def listed(*entries: str, action: Action = "block") -> Words:
    words = Words([action])
    for entry in entries:
        words.add(entry)
    return words


# -- folding -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "folded"),
    [
        ("Hello", "hello"),
        ("ＦＵＬＬ　ｗｉｄｔｈ１", "full width1"),
        ("𝕱𝖗𝖆𝖐𝖙𝖚𝖗 ⓒⓘⓡⓒⓛⓔ 🄰🅱", "fraktur circle ab"),
        ("Ünïcödé ø ł đ ᴀʙᴄ ﬁ ß", "unicode o l d abc fi ss"),
        ("раураl", "paypal"),
        ("αρρlε", "apple"),
        ("a\u200bb\u200d\u2060c\u0336\ufe0f\u00ad", "abc"),
        ("٣४９", "349"),
        ("ﾊﾞカ", "ハ\u3099カ"),
        ("㊙⼈", "秘人"),
        ("한국", "한국"),
        ("مُحَمَّد", "محمد"),
        ("a-b'c d\te", "a b c d e"),
        ("a*b.c，d。e_f…g™h", "a.b.c.d.e.f.g.h"),
        ("👍🏽", "."),
        ("@$5", "@$5"),
        ("你好", "你好"),
    ],
)
def test_what_looks_alike_becomes_alike(text: str, folded: str) -> None:
    assert fold(clean(text)) == folded


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_each_folded_character_has_an_origin(text: str) -> None:
    places = origins(text)
    assert len(places) == len(fold(text))
    assert places == sorted(places)
    assert all(fold(text[place]) for place in places)


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_folding_knows_no_case_and_no_width(text: str) -> None:
    assert fold(unicodedata.normalize("NFKD", text)) == fold(unicodedata.normalize("NFKD", text.casefold()))


# -- evasions ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("entry", "text"),
    [
        ("傻逼", "你是傻逼吗"),
        ("傻逼", "傻 逼"),
        ("傻逼", "傻*逼"),
        ("傻逼", "傻。。，！逼"),
        ("傻逼", "傻@逼"),
        ("傻逼", "傻\u200b逼"),
        ("傻逼", "傻😂逼👍"),
        ("傻 逼", "傻逼"),
        ("屌", "好屌啊"),
        ("加Q群", "加 q 群"),
        ("加q群", "加Ｑ群"),
        ("人民", "⼈民"),
        ("バカ", "ﾊﾞｶ"),
        ("바보", "이 바보야"),
        ("ควาย", "ไอ้ควายๆ"),
        ("fuck", "FuCk"),
        ("fuck", "what the fuck?!"),
        ("fuck", "ｆｕｃｋ"),
        ("fuck", "fυсk"),
        ("fuck", "𝓯𝓾𝓬𝓴"),
        ("fuck", "f\u200bu\u2060c\u200dk"),
        ("fuck", "f̶ü̶c̶k̶"),
        ("fuck", "f.u.c.k"),
        ("fuck", "f u c k you"),
        ("fuck", "f-u_c*k"),
        ("fuck", "f🔥u👍🏽c🔥k"),
        ("fuck", "fu*ck"),
        ("fuck", "他妈fuck了"),
        ("fuck", "🔥fuck🔥"),
        ("fuck", "fuck666"),
        ("fuck", "fuck™"),
        ("fuck", "@fuck"),
        ("FÜCK", "fuck"),
        ("ass", "a$$"),
        ("ass", "@ss"),
        ("ass", "a55 hat"),
        ("sex", "5ex"),
        ("hitler", "h1t1er"),
        ("h1tler", "hitler"),
        ("porn", "p0rn"),
        ("bitch", "🅱itch"),
        ("1488", "the 1488 thing"),
        ("1488", "x１４８８x"),
        ("kill yourself", "kill  yourself"),
        ("kill yourself", "Kill-Yourself!"),
        ("kill yourself", "killyourself"),
        ("kill yourself", "k.i.l.l y.o.u.r.s.e.l.f"),
        ("fu-ck", "fu ck"),
        ("дурак", "Ты ДУРАК!"),
        ("🖕", "go 🖕🏽 away"),
        ("❤️", "a ❤ b"),
    ],
)
def test_a_disguise_does_not_help(entry: str, text: str) -> None:
    assert listed(entry).check(clean(text)) == Verdict("block", clean(text), (entry,))


@pytest.mark.parametrize(
    ("entry", "text"),
    [
        ("ass", "class"),
        ("ass", "assume"),
        ("ass", "the grass as sure"),
        ("ass", "cl4ss"),
        ("ass", "cl@ss"),
        ("ass", "a$$et"),
        ("ass", "as s"),
        ("ass", "455"),
        ("ass", "a  s  s"),
        ("hell", "he'll be back"),
        ("hell", "shell"),
        ("whore", "who're you"),
        ("shit", "is hit"),
        ("fail", "fall"),
        ("eg", "e.g. this"),
        ("ss", "iPhone 5s"),
        ("sex", "in 1985ex"),
        ("1488", "14880"),
        ("1488", "l488"),
        ("fuck", "f你u你c你k"),
        ("kill yourself", "kill yo urself"),
        ("ab cd", "a bcd"),
        ("kill yourself", "kill them, yourself"),
        ("傻逼", "傻子逼人"),
        ("は", "ば"),
        ("바보", "바봇"),
        ("🖕", "👆"),
    ],
)
def test_ordinary_writing_is_left_alone(entry: str, text: str) -> None:
    assert listed(entry).check(clean(text)) == Verdict("", clean(text), ())


@pytest.mark.parametrize("corpus", CORPORA)
def test_comments_as_they_are_pass_unchanged(corpus: str) -> None:
    words = listed("傻逼", "fuck", "ass", "kill yourself", "🖕", "1488", action="mask")
    for line in lines(random.Random(1), corpus, 2_000):
        assert words.check(clean(line)) == Verdict("", clean(line), ())


# -- verdicts ----------------------------------------------------------------------------------------------------------


def test_without_entries_nothing_matches() -> None:
    for words in (Words(), Words(["block"])):
        assert words.check("anything 傻逼") == Verdict("", "anything 傻逼", ())


def test_the_strongest_action_counts_and_what_is_masked_is_masked_anyway() -> None:
    words = Words(ACTIONS)
    words.add("bad", 0)
    words.add("ugly", 1)
    words.add("odd", 2)
    assert words.check("an ugly thing") == Verdict("mask", "an **** thing", ("ugly",))
    assert words.check("ugly, odd") == Verdict("hold", "****, odd", ("odd", "ugly"))
    assert words.check("ugly, odd, bad") == Verdict("block", "****, odd, bad", ("bad", "odd", "ugly"))


def test_an_entry_of_two_lists_asks_for_both() -> None:
    words = Words(ACTIONS)
    words.add("Ugly", 1)
    words.add("ugly", 2)
    assert words.check("UGLY") == Verdict("hold", "****", ("ugly", "Ugly"))
    assert words.counts == (0, 1, 1)


def test_five_entries_are_told_at_most() -> None:
    verdict = listed(*"abcdefg", action="hold").check("g f e d c b a")
    assert verdict == Verdict("hold", "g f e d c b a", ("g", "f", "e", "d", "c"))


@pytest.mark.parametrize(
    ("entry", "text", "masked"),
    [
        ("傻逼", "你傻逼啊", "你**啊"),
        ("傻逼", "你傻*逼啊", "你***啊"),
        ("傻逼", "傻\u200d逼👨‍👩‍👧", "**👨‍👩‍👧"),
        ("傻逼", "傻\u200b逼", "***"),
        ("fuck", "oh f.u.c.k!", "oh *******!"),
        ("fuck", "f\u0336u\u0336c\u0336k\u0336 it", "**** it"),
        ("sex", "5ex5", "***5"),
        ("ass", "aß", "**"),
        ("바보", "바보야", "**야"),
        ("❤️", "I ❤️ you", "I * you"),
        ("🖕", "🖕🏽🖕", "**"),
        ("👨", "👨‍👩‍👧 👨", "* *"),
        ("哈", "哈哈哈", "***"),
    ],
)
def test_a_mask_is_as_long_as_people_see_the_word(entry: str, text: str, masked: str) -> None:
    assert listed(entry, action="mask").check(clean(text)).text == masked


def test_masks_overlap() -> None:
    assert listed("ab cd", "cd ef", action="mask").check("x ab cd ef y").text == "x ******** y"


def test_entries_that_show_nothing_are_left_out_and_what_is_said_twice_counts_once() -> None:
    words = listed("", "  ", "\u200b", "word", " Word\n", "word")
    assert words.counts == (2,)
    assert sorted(words.entries()) == [(0, "Word"), (0, "word")]


def test_an_entry_may_be_as_long_as_its_length_fits_a_byte() -> None:
    listed("a" * 255, "傻" * 255)
    for each in ("a", "傻", "🔥"):
        with pytest.raises(ValueError, match="256 characters, more than 255"):
            listed(each * 256)


def test_words_are_forgotten_bit_by_bit() -> None:
    words = listed("fuck", "kill yourself", "傻逼", "🖕", *(f"word{number}" for number in range(100)))
    rounds = 0
    while words.shrink(10):
        rounds += 1
    assert rounds in range(10, 12)
    assert words.check("fuck 傻逼 🖕 kill yourself") == Verdict("", "fuck 傻逼 🖕 kill yourself", ())


# -- against a model ---------------------------------------------------------------------------------------------------

SAME = {frozenset((stand_in, letter)) for stand_in, letters in STAND_INS.items() for letter in letters}
SAME |= {frozenset("@4"), frozenset("$5")}


def parts(folded: str) -> list[tuple[str, str, int]]:
    """Each character that may be part of a word, what separates it from the one before, and its place."""
    found: list[tuple[str, str, int]] = []
    gap = ""
    for place, character in enumerate(folded):
        if re.fullmatch(GLYPH, character):
            found.append((character, gap, place))
            gap = ""
        else:
            gap += character
    return found


def is_letter(character: str) -> bool:
    return re.fullmatch(ALPHABETIC, character) is not None


def goes_on(neighbour: str, end: tuple[str, str]) -> bool:
    """Whether a character that stands directly beside the end of a match makes it part of a longer word."""
    return (is_letter(neighbour) and any(map(is_letter, end))) or (neighbour.isdigit() and end[1].isdigit())


def whole_words(entry: str, text: str) -> list[tuple[int, int]]:
    """Places in a folded text, first and last, where an entry of whole words is: every stretch is tried."""
    word, said = parts(fold(entry)), parts(fold(text))
    found = []
    for first in range(len(said) - len(word) + 1):
        run = said[first : first + len(word)]
        pairs = [(mine[0], its[0]) for mine, its in zip(word, run, strict=True)]
        if any(mine != its and frozenset((mine, its)) not in SAME for mine, its in pairs):
            continue
        disguised = any(mine != its for mine, its in pairs)
        if disguised and (len(word) < 3 or not any(mine == its and is_letter(mine) for mine, its in pairs)):
            continue
        if first and not run[0][1] and goes_on(said[first - 1][0], pairs[0]):
            continue
        last = first + len(word)
        if last < len(said) and not said[last][1] and goes_on(said[last][0], pairs[-1]):
            continue
        gaps = [(mine[1], its[1]) for mine, its in zip(word[1:], run[1:], strict=True)]
        if any(set(its) - {SPACE, SIGN} for _, its in gaps):
            continue
        breaks = {bool(its) for mine, its in gaps if mine}
        inner = {its for mine, its in gaps if not mine}
        plain = inner <= {""} and len(breaks) < 2
        spelled = inner <= {SPACE, SIGN} and False not in breaks
        signed = inner <= {"", SIGN}
        if plain or (len(word) >= 3 and (spelled or (signed and inner != {""}))):
            found.append((run[0][2], run[-1][2]))
    return found


def anywhere(entry: str, text: str) -> list[tuple[int, int]]:
    """The same for an entry that matches anywhere."""
    key = [character for character in fold(entry) if character not in " .@$"]
    said = [(character, place) for place, character in enumerate(fold(text)) if character not in " .@$"]
    return [
        (said[first][1], said[first + len(key) - 1][1])
        for first in range(len(said) - len(key) + 1)
        if [character for character, _ in said[first : first + len(key)]] == key
        and not (first + len(key) < len(said) and unicodedata.category(said[first + len(key)][0]).startswith("M"))
    ]


def plainly(entry: str, text: str) -> list[tuple[int, int]]:
    """Stretches of the text, first and last index, that the entry matches."""
    folded = fold(entry)
    if re.search(f"[{UNSPACED}]", folded):
        places = anywhere(entry, text)
    elif parts(folded):
        places = whole_words(entry, text)
    else:
        key = entry.rstrip("\ufe0e\ufe0f")
        return [(first, first + len(key) - 1) for first in range(len(text)) if text.startswith(key, first)]
    origin = origins(text)
    return [(origin[first], origin[last]) for first, last in places]


def model(entries: list[tuple[int, str]], text: str) -> tuple[str, str, set[str]]:
    """Action, masked text, and all entries that match."""
    found = [(number, entry, span) for number, entry in entries for span in plainly(entry, text)]
    strength = ["mask", "hold", "block"]
    action = max((ACTIONS[number] for number, _, _ in found), key=strength.index, default="")
    hidden = {index for number, _, (first, last) in found if ACTIONS[number] == "mask" for index in range(first, last + 1)}
    masked = "".join("*" if hidden & set(range(*each.span())) else each[0] for each in CLUSTERS.finditer(text))
    return action, masked, {entry for _, entry, _ in found}


LETTERS = "aslito"
PIECES = st.sampled_from(
    [*LETTERS, *LETTERS, *"015@$4", *"傻逼你", " ", " ", "  ", *"-.*，'🔥", "ｓ", "а", "é", "ß", "\u200b", "ば", "は"]
)
TEXTS = st.lists(PIECES, max_size=14).map("".join).map(clean)
ENTRIES = st.lists(PIECES, min_size=1, max_size=4).map("".join).map(clean_line).filter(fold)


@given(st.lists(st.tuples(st.integers(0, 2), ENTRIES), max_size=12), TEXTS)
def test_verdicts_are_those_of_a_model_that_tries_everything(entries: list[tuple[int, str]], text: str) -> None:
    words = Words(ACTIONS)
    for number, entry in entries:
        words.add(entry, number)
    action, masked, matched = model(entries, text)
    verdict = words.check(text)
    assert (verdict.action, verdict.text) == (action, masked)
    assert set(verdict.words) <= matched
    assert len(verdict.words) == min(5, len(matched))


@given(ENTRIES, TEXTS, TEXTS)
def test_an_entry_meets_itself_beside_anything_but_itself(entry: str, before: str, after: str) -> None:
    text = clean(f"{before}  {entry}  {after}")
    assert listed(entry).check(text).action == "block"


@given(st.lists(ENTRIES, min_size=1, max_size=6), TEXTS)
def test_a_mask_touches_nothing_but_matches(entries: list[str], text: str) -> None:
    masked = listed(*entries, action="mask").check(text).text
    before, after = CLUSTERS.findall(text), CLUSTERS.findall(masked)
    assert len(before) == len(after)
    hidden = {index for entry in entries for first, last in plainly(entry, text) for index in range(first, last + 1)}
    at = 0
    for was, is_ in zip(before, after, strict=True):
        touched = bool(hidden & set(range(at, at + len(was))))
        assert is_ == ("*" if touched else was)
        at += len(was)
