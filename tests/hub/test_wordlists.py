"""Word lists from real files: what a file may be, and what happens when one changes."""

from __future__ import annotations

import logging
import os
import re
from pathlib import Path
from typing import Literal

import pytest
import trio
from trio.testing import MockClock

from engine.errors import RoomcastError
from engine.hub.wordlists import WordListError, WordLists
from engine.settings import ModerationSettings, WordList

Action = Literal["block", "mask", "hold"]


def put(file: Path, content: bytes) -> None:
    """Put a file into place as an operator should."""
    new = file.with_suffix(".new")
    new.write_bytes(content)
    new.replace(file)


def write(file: Path, *words: str) -> None:
    put(file, "\n".join(words).encode())


def settings(*lists: tuple[Path, Action]) -> ModerationSettings:
    return ModerationSettings(lists=tuple(WordList(file=str(file), action=action) for file, action in lists))


def blocked(lists: WordLists, *words: str) -> list[str]:
    return [word for word in words if lists.words.check(word).action == "block"]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "words.txt"


# -- what a file may be ------------------------------------------------------------------------------------------------


async def test_without_lists_nothing_is_held_against_anybody(nursery: trio.Nursery) -> None:
    lists = WordLists(ModerationSettings())
    await nursery.start(lists.run)
    assert lists.words.check("anything").action == ""


async def test_a_word_a_line_comments_and_empty_lines_are_left_out(file: Path) -> None:
    put(file, "\ufeff# a comment\r\none\r\n\r\n  two words \n#three\n 傻逼".encode())
    lists = WordLists(settings((file, "block")))
    await lists.load()
    assert lists.words.counts == (3,)
    assert blocked(lists, "one", "two words", "three", "傻 逼", "a comment") == ["one", "two words", "傻 逼"]


async def test_each_list_has_its_action(tmp_path: Path) -> None:
    actions: tuple[Action, ...] = ("mask", "block", "hold")
    files = [(tmp_path / action, action) for action in actions]
    for path, action in files:
        write(path, f"{action}word")
    lists = WordLists(settings(*files))
    await lists.load()
    assert [lists.words.check(f"{action}word").action for action in actions] == [*actions]


async def test_an_empty_file_is_a_list_without_words(file: Path) -> None:
    put(file, b"")
    lists = WordLists(settings((file, "block")))
    await lists.load()
    assert lists.words.counts == (0,)
    assert not blocked(lists, "word")


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"one\ntwo\nb\xffd\n", "line 3: not UTF-8 at byte 2 of the line"),
        (b"one\n" + b"a" * 256, "line 2: 256 characters, more than 255"),
        (b"one\n" + b" " * 4097, "line 2: 4,097 bytes, more than 4,096"),
        (b"a\nb\nc\nd\n", "line 4: more than 3 words"),
        (b"one\n" * 26_000, "104,000 bytes, more than 100,000"),
    ],
)
async def test_a_file_that_is_no_list_is_refused_with_its_name_and_the_line(file: Path, content: bytes, fault: str) -> None:
    put(file, content)
    lists = WordLists(settings((file, "block")), words_max=3, bytes_max=100_000)
    with pytest.raises(WordListError, match=re.escape(f"{file}") + ".*" + re.escape(fault)):
        await lists.run()
    assert issubclass(WordListError, RoomcastError)


async def test_what_is_not_a_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path, fault in (
        (tmp_path, "not a regular file"),
        (tmp_path / "pipe", "not a regular file"),
        (tmp_path / "no", "No such"),
    ):
        with pytest.raises(WordListError, match=re.escape(f"{path}: {fault}")):
            await WordLists(settings((path, "block"))).load()


# -- when it changes ---------------------------------------------------------------------------------------------------


async def test_a_changed_file_is_loaded_and_told(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "engine.hub.wordlists")
    write(file, "one", "two")
    lists = WordLists(settings((file, "block")))
    await lists.load()
    assert not await lists.look()
    write(file, "two", "three", "four")
    assert await lists.look()
    assert blocked(lists, "one", "two", "three") == ["two", "three"]
    assert not await lists.look()
    loaded = [record.__dict__ for record in caplog.records]
    assert [each["words"] for each in loaded] == [{str(file): 2}, {str(file): 3}]
    assert all(each["seconds"] >= 0 for each in loaded)


async def test_the_lists_that_did_not_change_stay(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    write(first, "one", "Fail", "kill yourself", "🖕")
    write(second, "two")
    lists = WordLists(settings((first, "block"), (second, "mask")))
    await lists.load()
    write(second, "three", "four")
    assert await lists.look()
    assert lists.words.counts == (4, 2)
    assert sorted(lists.words.entries()) == [
        (0, "Fail"), (0, "kill yourself"), (0, "one"), (0, "🖕"), (1, "four"), (1, "three")
    ]  # fmt: skip


async def test_while_a_file_is_unusable_its_old_words_stay_and_it_is_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    write(first, "one")
    write(second, "two")
    lists = WordLists(settings((first, "block"), (second, "block")))
    await lists.load()

    os.unlink(first)
    write(second, "three")
    assert await lists.look()
    assert blocked(lists, "one", "two", "three") == ["one", "three"]
    assert not await lists.look()

    put(first, b"f\xff\n")
    write(second, "four")
    assert await lists.look()
    assert not await lists.look()
    assert blocked(lists, "one", "two", "three", "four") == ["one", "four"]
    assert [record.levelname for record in caplog.records if record.levelno > logging.INFO] == ["ERROR", "ERROR"]
    errors = [record.__dict__["error"] for record in caplog.records if record.levelno > logging.INFO]
    assert errors == [f"{first}: No such file or directory", f"{first}, line 1: not UTF-8 at byte 2 of the line"]

    write(first, "five")
    assert await lists.look()
    assert blocked(lists, "one", "four", "five") == ["four", "five"]


async def test_a_list_that_cannot_be_used_at_first_changes_nothing(file: Path) -> None:
    write(file, "one")
    lists = WordLists(settings((file, "block"), (file.with_name("missing"), "block")))
    with pytest.raises(WordListError, match="missing"):
        await lists.load()
    assert not blocked(lists, "one")


async def test_the_files_are_looked_at_as_often_as_is_set(file: Path, mock_clock: MockClock) -> None:
    write(file, "one")
    lists = WordLists(settings((file, "block")))
    async with trio.open_nursery() as nursery:
        await nursery.start(lists.run)
        assert blocked(lists, "one", "two") == ["one"]
        write(file, "two", "three")
        mock_clock.jump(5.0)
        # In a thread, which no clock waits for; the test's deadline bounds it.
        while blocked(lists, "one", "two") != ["two"]:
            await trio.lowlevel.checkpoint()
        nursery.cancel_scope.cancel()


async def test_others_have_their_turn_while_a_long_list_is_loaded(file: Path) -> None:
    write(file, *(f"word{number}" for number in range(20_000)))
    lists = WordLists(settings((file, "block")))
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(others)
        await lists.load()
        write(file, *(f"other{number}" for number in range(20_000)), "end")
        turns = 0
        assert await lists.look()
        nursery.cancel_scope.cancel()
    assert turns > 30, "at least one while 512 words are freed"
    assert blocked(lists, "word7", "other7", "end") == ["other7", "end"]
