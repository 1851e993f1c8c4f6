"""What is generated from the model of the settings agrees with it: the commented file, the JSON Schema, the numbers."""

from __future__ import annotations

import dataclasses
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

from engine.config import check, load
from engine.configfile import SECTIONS, SETTINGS, Setting, commented, json_schema, number, toml_value
from engine.settings import Settings

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


def test_the_commented_file_without_its_comment_marks_holds_every_default(config: Path) -> None:
    config.write_text(uncommented(commented()), encoding="utf-8")
    assert load(config, environ={}) == Settings()
    table = tomllib.loads(uncommented(commented()))
    assert [f"{section}.{name}" for section, names in table.items() for name in names] == list(SETTINGS)
    assert all(line == "" or line.startswith(("#", "[")) for line in commented().splitlines())


@EVERY
def test_every_setting_can_be_uncommented_alone(setting: Setting, config: Path) -> None:
    lines = itertools.dropwhile(lambda line: line != f"[{setting.section}]", commented().splitlines())
    (line,) = [each for each in itertools.islice(lines, 200) if each.startswith(f"# {setting.name} = ")][:1]
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
    assert setting.description.endswith((".", ".)")), "a description is one or more sentences"
    words = re.sub(r"\n## ", " ", commented())
    start = words.index(f"\n[{setting.section}]\n")
    assert setting.description in words[start:]
    model = json_schema()["$defs"][SECTIONS[setting.section].__name__]
    assert model["properties"][setting.name]["description"] == setting.description


@EVERY
def test_every_default_is_within_its_own_bounds(setting: Setting) -> None:
    assert not [fault for fault in check(Settings()) if fault.path == setting.path]
    assert type(setting.default) is setting.kind or setting.choices or setting.is_list


def test_every_field_of_the_model_is_a_setting() -> None:
    fields = [f"{s.name}.{f.name}" for s in dataclasses.fields(Settings) for f in dataclasses.fields(SECTIONS[s.name])]
    assert list(SETTINGS) == fields


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


@EVERY
def test_the_schema_agrees_with_the_model(setting: Setting) -> None:
    schema = json_schema()
    assert schema["properties"][setting.section] == {"$ref": f"#/$defs/{SECTIONS[setting.section].__name__}"}
    entry = schema["$defs"][SECTIONS[setting.section].__name__]["properties"][setting.name]
    kinds = {bool: "boolean", int: "integer", float: "number", str: "string"}
    assert json.loads(json.dumps(setting.default)) == entry["default"]
    bounds = setting.annotation.__metadata__
    if setting.words:
        entry, word = entry["anyOf"]
        assert word == {"const": setting.words[0], "type": "string"}
        bounds = get_args(setting.annotation.__origin__)[0].__metadata__
    assert entry["type"] == ("array" if setting.is_list else kinds.get(setting.kind, "string"))
    words = {"minimum": "ge", "maximum": "le", "exclusiveMinimum": "gt", "exclusiveMaximum": "lt"}
    assert {word: entry[word] for word in words if word in entry} == {
        word: getattr(bound, name) for word, name in words.items() for bound in bounds if hasattr(bound, name)
    }


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
