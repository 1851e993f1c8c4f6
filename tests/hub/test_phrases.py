"""Who has said what a red packet asks for, against a plain model; and which texts say a phrase."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule
from strategies import WORDS

from engine.hub.phrases import Phrases


def says(phrase: str, body: str) -> bool:
    phrases = Phrases()
    phrases.watch(7, phrase, 0)
    phrases.hear(1, "ann", body)
    return phrases.said(7, "ann")


@pytest.mark.parametrize(
    ("phrase", "body"),
    [
        ("恭喜发财", "恭喜发财"),
        ("恭喜发财", "主播恭喜发财！！！🎉"),
        ("恭喜发财！", "恭喜 发财"),
        ("  Happy New Year ", "happy  new\nyear"),
        ("GO1314", "ｇｏ１３１４"),
        ("cafe", "CAFÉ"),
        ("лето", "ЛЕТО!"),
        ("re\u0301sume", "Résumé"),
        ("hi", "this"),
        ("go 🎉", "go"),
        ("🎉", "la 🎉!"),
        ("❤️", "❤"),
        ("❤", "I ❤️ you"),
        ("666", "６６６６"),
        ("!!!", "wow!!! wow"),
        ("!!!", "！！！"),
        ("\u200b", "x"),
    ],
)
def test_a_comment_says_a_phrase_as_people_read_it(phrase: str, body: str) -> None:
    assert says(phrase, body)


@pytest.mark.parametrize(
    ("phrase", "body"),
    [("恭喜发财", "恭喜"), ("恭喜发财", ""), ("🎉", "!"), ("🎉", "🎊"), ("!!!", "wow!!"), ("happy", "happ")],
)
def test_other_comments_do_not(phrase: str, body: str) -> None:
    assert not says(phrase, body)


@given(WORDS, WORDS, WORDS)
def test_whoever_says_it_in_a_sentence_has_said_it(before: str, phrase: str, after: str) -> None:
    # A mark at the beginning would go with the letter before it.
    assert says(phrase, f"{before} {phrase} {after}")


def test_what_was_said_before_the_red_packet_does_not_count() -> None:
    phrases = Phrases()
    phrases.watch(3, "go", 10)
    for offset, user in ((9, "ann"), (10, "bob"), (11, "cat")):
        phrases.hear(offset, user, "go")
    assert [user for user in ("ann", "bob", "cat") if phrases.said(3, user)] == ["cat"]
    # In another epoch.
    phrases.watch(3, "go", 0)
    phrases.hear(1, "dan", "go")
    assert [user for user in ("ann", "bob", "cat", "dan") if phrases.said(3, user)] == ["cat", "dan"]


def test_nobody_is_listened_to_when_nothing_is_watched() -> None:
    phrases = Phrases()
    seen = [bool(phrases)]
    phrases.watch(3, "go", 0)
    seen.append(bool(phrases))
    phrases.hear(1, "ann", "go")
    assert phrases.said(3, "ann")
    assert not phrases.said(4, "ann")
    phrases.unwatch(3)
    phrases.unwatch(3)
    assert [*seen, bool(phrases)] == [False, True, False]
    assert (phrases.said(3, "ann"), len(phrases)) == (False, 0)


def test_so_many_are_remembered_and_no_more() -> None:
    phrases = Phrases(users=3)
    phrases.watch(1, "go", 0)
    phrases.watch(2, "go", 0)
    for offset, user in enumerate("ab", 1):
        phrases.hear(offset, user, "go")
    assert len(phrases) == 3
    assert [(packet, user) for packet in (1, 2) for user in "ab" if phrases.said(packet, user)] == [
        (1, "a"), (1, "b"), (2, "a")
    ]  # fmt: skip
    phrases.unwatch(1)
    phrases.hear(3, "b", "go")
    assert phrases.said(2, "b")


class Saying(RuleBasedStateMachine):
    """Red packets as a plain map to phrase, offset and who has said it."""

    def __init__(self) -> None:
        super().__init__()
        self.phrases = Phrases()
        self.model: dict[int, tuple[str, int, set[str]]] = {}
        self.offset = 0

    @rule(packet=st.integers(1, 3), phrase=st.sampled_from(("go", "发财", "🎉")))
    def watch(self, packet: int, phrase: str) -> None:
        if packet in self.model:
            phrase = self.model[packet][0]
        self.phrases.watch(packet, phrase, self.offset)
        self.model[packet] = (phrase, self.offset, self.model[packet][2] if packet in self.model else set())

    @rule(packet=st.integers(1, 3))
    def unwatch(self, packet: int) -> None:
        self.phrases.unwatch(packet)
        self.model.pop(packet, None)

    @rule(
        user=st.sampled_from("abc"),
        body=st.sampled_from(("", "go!", "恭喜发财", "let's go 🎉", "Go 发财")),
        ago=st.integers(0, 3),
    )
    def hear(self, user: str, body: str, ago: int) -> None:
        self.offset += 1
        offset = max(self.offset - ago, 1)
        self.phrases.hear(offset, user, body)
        for phrase, since, users in self.model.values():
            if offset > since and phrase in body.lower():
                users.add(user)

    def teardown(self) -> None:
        assert bool(self.phrases) is bool(self.model)
        assert len(self.phrases) == sum(len(users) for _, _, users in self.model.values())
        for packet in range(1, 4):
            said = {user for user in "abc" if self.phrases.said(packet, user)}
            assert said == (self.model[packet][2] if packet in self.model else set())


TestSaying = Saying.TestCase
TestSaying.settings = settings(max_examples=50, stateful_step_count=20, deadline=None)
