"""Advice in Chinese: every sentence of every rule is told, with the same facts, and nothing else is changed."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from string import Formatter
from typing import Any, get_args

import pytest

import engine
from engine.advice import Language, plain, preview
from engine.advice.chinese import CHINESE
from engine.advice.values import Severity
from engine.advice.words import Words, say, told
from engine.api.models.console import AdviceLanguage
from engine.commands import advising
from engine.settings import Settings

from .looking import HEALTHY, MACHINE, look
from .test_rules import CASES, Case

ENGINE = Path(engine.__file__).parent
HAN = re.compile("[\u4e00-\u9fff]")
ENGLISH = re.compile(r"[A-Za-z]+,? [A-Za-z]+")
NAMED = re.compile(r"[a-z]+(?:[._][a-z]+)+|[A-Z_]{3,}|\d+|`[^`]+`")
"""What is the same in every language: paths, codes, numbers, commands."""
SAME = {"roomcast serve", "roomcast webhooks replay --all", "{ comments_per_second = 10.0 }", "node.workers = ", ", slow=…"}
"""Commands, and what is pasted."""


def sources(*paths: str) -> Iterator[tuple[Path, ast.Module]]:
    for path in paths:
        for file in sorted((ENGINE / path).rglob("*.py")) if (ENGINE / path).is_dir() else [ENGINE / path]:
            yield file, ast.parse(file.read_text(encoding="utf-8"))


def said(tree: ast.AST) -> list[ast.Call]:
    """Where something is said."""
    return [node for node in ast.walk(tree) if isinstance(node, ast.Call) and ast.unparse(node.func) == "say"]


def facts(template: str) -> list[tuple[str, str, str]]:
    """What stands in it, and how it is written."""
    fields = [(name, how or "", as_ or "") for _, name, how, as_ in Formatter().parse(template) if name is not None]
    return sorted(fields)


def literal(template: str) -> str:
    return re.sub(r"\{[^}]*\}", "", template)


CATALOGUES = pytest.mark.parametrize(
    ("path", "catalogue"),
    [("advice", CHINESE), ("commands/advising.py", advising._CHINESE)],
    ids=["advice", "doctor"],
)


@CATALOGUES
def test_every_template_is_in_the_catalogue_and_nothing_else_is(path: str, catalogue: dict[str, str]) -> None:
    templates = set()
    for file, tree in sources(path):
        calls = said(tree)
        for call in calls:
            (template,) = call.args
            assert isinstance(template, ast.Constant), f"{file.name}:{call.lineno}: no template that can be found"
            templates.add(template.value)
            given = {each.arg for each in call.keywords}
            assert given == {name for name, *_ in facts(template.value)}, f"{file.name}:{call.lineno}"
        # Nor is anything said by another name.
        names = [node for node in ast.walk(tree) if isinstance(node, ast.Name) and node.id == "say"]
        assert len(names) == len(calls), file.name
        imported = [each for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for each in node.names]
        assert not [each for each in imported if each.name == "say" and each.asname], file.name
        made = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and ast.unparse(node.func) == "Words"]
        assert not made or file.name == "words.py"
    assert templates == catalogue.keys()


@CATALOGUES
def test_the_facts_of_a_sentence_are_the_same_in_chinese(path: str, catalogue: dict[str, str]) -> None:
    for english, chinese in catalogue.items():
        assert facts(chinese) == facts(english)
        ours, theirs = NAMED.findall(literal(chinese)), NAMED.findall(literal(english))
        # What is a pronoun in English may be called by its name.
        assert {*ours} - {"CPU", "SDK"} == {*theirs} - {"CPU", "SDK"}, english
        text = NAMED.sub("", literal(chinese))
        assert not ENGLISH.search(text), chinese
        assert HAN.search(text) or not re.search("[a-z]", NAMED.sub("", literal(english))), chinese


@CATALOGUES
def test_chinese_is_written_as_it_is_on_the_console(path: str, catalogue: dict[str, str]) -> None:
    for english, chinese in catalogue.items():
        # A fact is a number or a name, unless it is words.
        words = re.sub(r"\{(?:what|manner|when|promise|line)\}", "字", chinese)
        text = re.sub(r"\{[^}]*\}", "x", words).replace("%", "x")
        assert not re.search(r"[\u4e00-\u9fff][A-Za-z0-9`]|[A-Za-z0-9`][\u4e00-\u9fff]", text), f"a space is missing: {chinese}"
        assert not re.search(r"[，。：；、（）] | [，。：；、（）]", text), f"a space too many: {chinese}"
        assert not re.search(r"[\u4e00-\u9fff] ?[,.:;()]|[,.:;()] ?[\u4e00-\u9fff]", text), f"half a width: {chinese}"
        assert chinese.endswith("。") == english.endswith("."), chinese


def test_rules_say_nothing_past_the_catalogue() -> None:
    for file, tree in sources("advice/rules", "advice/seen.py"):
        known = {id(node) for call in said(tree) for node in ast.walk(call)}
        known |= {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        known |= {id(each) for node in ast.walk(tree) if isinstance(node, ast.Assert) for each in ast.walk(node)}
        texts = [node for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
        spoken = {node.value for node in texts if id(node) not in known and " " in node.value.strip(" =")}
        assert spoken <= SAME, file.name


def both(case: Case, **more: Any) -> Iterator[tuple[Any, Any]]:
    """Advice of the rule, in English and in Chinese."""
    rule, counters, settings, *_ = case
    base = {path: pair for path, pair in HEALTHY.items() if "process" not in counters or not path.startswith("process")}
    english, chinese = (look(base | counters, settings, language=each, **more) for each in get_args(Language))
    assert [each.rule for each in english] == [each.rule for each in chinese]
    assert rule in [each.rule for each in english] or more
    yield from zip(english, chinese, strict=True)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[0]}-{case[3]}")
@pytest.mark.parametrize("machine", [MACHINE, MACHINE | {"memory_bytes": 1 << 26, "somaxconn": 128}], ids=["large", "small"])
def test_every_situation_is_told_in_chinese(case: Case, machine: dict[str, Any]) -> None:
    more = {} if machine is MACHINE else {"machine": machine}
    for english, chinese in both(case, **more):
        for text in (chinese.what, chinese.effect):
            assert type(text) is str
            assert HAN.search(text)
            assert not ENGLISH.search(text), text
        for before, now in zip(english.evidence, chinese.evidence, strict=True):
            assert sorted(re.findall(r"\d[\d,.]*", before)) == sorted(re.findall(r"\d[\d,.]*", now))
            assert " = " in now or "：" in now
        for before, now in zip(english.changes, chinese.changes, strict=True):
            if before.where in ("config", "kernel"):
                assert now == before, "can be pasted"
            else:
                assert not any(ENGLISH.search(text) for text in (now.setting, now.now, now.to) if text not in SAME), now
                assert not any(re.fullmatch("[a-z ]+", text) for text in (now.now, now.to)), now
                assert (now.where, now.restart) == (before.where, before.restart)
        # Machines know it by the same.
        same = {name: getattr(english, name) for name in ("what", "evidence", "changes", "effect")}
        assert replace(chinese, **same) == english


def test_settings_and_a_machine_are_judged_in_chinese() -> None:
    settings = plain(Settings()) | {"node.workers": 9, "edge.backlog": 9_999, "edge.host": "192.0.2.1"}
    english, chinese = preview(settings, MACHINE), preview(settings, MACHINE, "zh")
    assert [each.rule for each in chinese] == [each.rule for each in english]
    assert all(HAN.search(each.what + each.effect) for each in chinese)
    assert not any(HAN.search(each.what + each.effect) for each in english)


def test_what_is_called_by_name_is_called_as_on_the_console() -> None:
    words = (ENGINE / "web/console/words.js").read_text(encoding="utf-8").partition("const zh = ")[2]
    shown = dict(re.findall(r'(?:severity|cause)_(\w+): "([^"]+)"', words))
    assert advising._NAMES["zh"] == shown
    assert {*get_args(Severity), *(case[3] for case in CASES)} <= shown.keys()


def test_there_are_as_many_languages_everywhere() -> None:
    assert get_args(AdviceLanguage) == get_args(Language)
    assert advising._CATALOGUES.keys() == advising._NAMES.keys() == {*get_args(Language)}


def test_words_are_text_in_english_and_more_in_another_language() -> None:
    chinese = {"{who} has {n:,} of {what}": "{who} 有 {n:,} 个{what}", "gifts": "礼物"}
    words = say("{who} has {n:,} of {what}", who="{n}", n=1_000, what=say("gifts"))
    assert words == "{n} has 1,000 of gifts"
    assert isinstance(words, Words)
    assert told(words, {}) == str(words)
    assert type(told(words, {})) is str
    assert told(words, chinese) == "{n} 有 1,000 个礼物"
    assert told("gifts", chinese) == "gifts", "not said in English"
    with pytest.raises(KeyError):
        say("{who}")
