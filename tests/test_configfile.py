"""What is generated from the model of the settings agrees with it: the commented file, the JSON Schema, the numbers."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine import configfile
from engine.config import ConfigError, check, load
from engine.configcheck import value_of
from engine.configfile import SECTIONS, SETTINGS, Setting, number, toml_value
from engine.settings import (
    AccessSettings,
    ApiKey,
    ApiSettings,
    FeedSettings,
    GiftSettings,
    ModerationSettings,
    Network,
    QualitySettings,
    Settings,
    TokenKey,
    WordList,
)

# Hundreds of tests read them.
commented, json_schema = functools.cache(configfile.commented), functools.cache(configfile.json_schema)
EVERY = pytest.mark.parametrize("setting", SETTINGS.values(), ids=list(SETTINGS))


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return tmp_path / "roomcast.toml"


# -- the commented file -----------------------------------------------------------------------------------------------


def uncommented(text: str) -> str:
    return re.sub(r"^# ", "", text, flags=re.MULTILINE)


def test_the_commented_file_changes_nothing(config: Path) -> None:
    config.write_text(commented(), encoding="utf-8")
    assert load(config, environ={}) == Settings()
    assert tomllib.loads(commented()) == {section: {} for section in SECTIONS}


def test_the_commented_file_without_its_comment_marks_holds_every_default_and_the_examples(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config.write_text(uncommented(commented()), encoding="utf-8")
    monkeypatch.chdir(config.parent)
    with pytest.raises(ConfigError, match=r"^moderation\.lists\[0\]\.file = .*: cannot be read in .*: No such file"):
        load(config, environ={})
    Path("words.txt").touch()
    assert load(config, environ={}) == Settings(
        moderation=ModerationSettings(lists=(WordList(file="words.txt"),)),
        feeds={"readable": FeedSettings(comments_per_second=10.0)},
        gifts={"rose": GiftSettings(name="Rose", price=10)},
        access=AccessSettings(keys=(TokenKey(kid="2026-11", secret="at least 32 bytes that nobody can guess"),)),
        api=ApiSettings(keys=(ApiKey(name="backend", sha256="0" * 64),)),
        quality=QualitySettings(networks=(Network(name="a provider", addresses=("203.0.113.0/24", "2001:db8::/32")),)),
    )
    table = tomllib.loads(uncommented(commented()))
    beside = [each.path for each in SETTINGS.values() if not each.section]
    assert [
        path for key, names in table.items() for path in ([key] if key in beside else [f"{key}.{name}" for name in names])
    ] == [*SETTINGS]
    assert all(line == "" or line.startswith(("#", "[")) for line in commented().splitlines())


@EVERY
def test_every_setting_can_be_uncommented_alone(setting: Setting, config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = commented()
    if setting.model:
        head = re.search(rf"^# (\[+{re.escape(setting.path)}.*)$", text, re.MULTILINE)
        assert head is not None
        lines = [head[0]]
        for part in setting.parts:
            found = re.search(rf"^# {part.name} = .*$", text[head.end() :], re.MULTILINE)
            assert found is not None
            lines.append(found[0])
        config.write_text(uncommented("\n".join(lines)), encoding="utf-8")
        monkeypatch.chdir(config.parent)
        Path("words.txt").touch()
        assert len(value_of(setting, load(config, environ={}))) == 1
        return
    rest = itertools.dropwhile(lambda line: line != f"[{setting.section}]", text.splitlines())
    (line,) = [each for each in itertools.islice(rest, 250) if each.startswith(f"# {setting.name} = ")][:1]
    config.write_text(f"[{setting.section}]\n{line.removeprefix('# ')}\n", encoding="utf-8")
    assert load(config, environ={}) == Settings()


def test_the_commented_file_explains_each_setting_above_it() -> None:
    text = commented()
    assert (
        "\n## After SIGTERM, how long queued frames may take to reach viewers before the process ends.\n"
        "## A number of seconds, more than 0, at most 600; default 10.0\n"
        "# shutdown_seconds = 10.0\n"
    ) in text
    for section, model in SECTIONS.items():
        assert f"## {model.__doc__}\n[{section}]\n" in text
    assert max(map(len, text.splitlines())) <= 100


@EVERY
def test_every_setting_is_described_in_the_file_and_the_schema(setting: Setting) -> None:
    words = re.sub(r"\n## ", " ", commented())
    schema = json_schema()
    start = words.index(f"\n[{setting.section}]\n" if setting.section else f"\n# [{setting.path}.")
    for each in (setting, *setting.parts):
        assert each.description.endswith((".", ".)")), "a description is one or more sentences"
        assert each.description in (words[start:] if each.section else words)
    model = schema["$defs"][SECTIONS[setting.section].__name__] if setting.section else schema
    assert model["properties"][setting.name]["description"] == setting.description
    for part in setting.parts:
        properties = schema["$defs"][setting.model.__name__]["properties"]
        assert properties[part.name]["description"] == part.description


@EVERY
def test_every_default_is_within_its_own_bounds(setting: Setting) -> None:
    assert not [fault for fault in check(Settings()) if fault.path == setting.path]
    assert type(setting.default) is setting.kind or setting.choices or setting.is_list or setting.is_named


def test_every_field_of_the_model_is_a_setting() -> None:
    fields = [
        path
        for s in dataclasses.fields(Settings)
        for path in ([f"{s.name}.{f.name}" for f in dataclasses.fields(SECTIONS[s.name])] if s.name in SECTIONS else [s.name])
    ]
    assert list(SETTINGS) == fields
    for setting in SETTINGS.values():
        if setting.model:
            assert [part.name for part in setting.parts] == [field.name for field in dataclasses.fields(setting.model)]


# -- the schema -------------------------------------------------------------------------------------------------------


def test_the_schema_holds_types_bounds_choices_and_defaults() -> None:
    schema = json_schema()
    assert json.loads(json.dumps(schema)) == schema
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["additionalProperties"] is False
    edge = schema["$defs"]["EdgeSettings"]
    assert edge["additionalProperties"] is False
    assert edge["description"] == "Viewer connections."
    assert edge["properties"]["port"] == {
        "type": "integer",
        "title": "Port",
        "description": "TCP port; 0 lets the system choose.",
        "default": 8765,
        "minimum": 0,
        "maximum": 65535,
    }
    assert schema["$defs"]["RoomSettings"]["properties"]["lag_policy"]["enum"] == ["skip", "close"]


def of_tables() -> list[tuple[str, Setting]]:
    """Every setting that is no tables, with the name of the model that has it."""
    return [
        (model, each)
        for setting in SETTINGS.values()
        for model, each in (
            [(setting.model.__name__, part) for part in setting.parts]
            if setting.model
            else [(SECTIONS[setting.section].__name__, setting)]
        )
    ]


@pytest.mark.parametrize(("model", "setting"), of_tables(), ids=[f"{model}.{each.name}" for model, each in of_tables()])
def test_the_schema_agrees_with_the_model(model: str, setting: Setting) -> None:
    schema = json_schema()
    if setting.section:
        assert schema["properties"][setting.section] == {"$ref": f"#/$defs/{model}"}
    entry = schema["$defs"][model]["properties"][setting.name]
    kinds = {bool: "boolean", int: "integer", float: "number", str: "string"}
    if setting.required:
        assert setting.name in schema["$defs"][model]["required"]
    else:
        assert json.loads(json.dumps(setting.default)) == entry["default"]
    bounds = setting.annotation.__metadata__
    if setting.words:
        entry, word = entry["anyOf"]
        assert word == {"const": setting.words[0], "type": "string"}
        bounds = get_args(setting.annotation.__origin__)[0].__metadata__
    assert entry["type"] == ("array" if setting.is_list else kinds.get(setting.kind, "string"))
    if setting.choices:
        assert (entry["items"] if setting.is_list else entry)["enum"] == list(setting.choices)
    words = {"minimum": "ge", "maximum": "le", "exclusiveMinimum": "gt", "exclusiveMaximum": "lt"}
    assert {word: entry[word] for word in words if word in entry} == {
        word: getattr(bound, name) for word, name in words.items() for bound in bounds if hasattr(bound, name)
    }


def test_the_schema_has_the_tables_beside_and_in_the_sections() -> None:
    schema = json_schema()
    assert schema["properties"]["feeds"]["additionalProperties"] == {"$ref": "#/$defs/FeedSettings"}
    assert schema["$defs"]["ModerationSettings"]["properties"]["lists"]["items"] == {"$ref": "#/$defs/WordList"}
    assert (
        schema["$defs"]["WordList"]["additionalProperties"] is schema["$defs"]["FeedSettings"]["additionalProperties"] is False
    )


# -- numbers ----------------------------------------------------------------------------------------------------------


@given(st.integers(), st.floats(allow_nan=False))
def test_numbers_are_written_so_that_toml_reads_them_back(whole: int, fraction: float) -> None:
    assert tomllib.loads(f"a = {toml_value(whole)}\nb = {toml_value(fraction)}") == {"a": whole, "b": fraction}
    assert int(number(whole)) == whole


# -- layers -----------------------------------------------------------------------------------------------------------


def test_the_model_imports_no_validation_library() -> None:
    code = "import engine.settings, sys; print([n for n in sys.modules if n.partition('.')[0].startswith('pydantic')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "[]\n"
