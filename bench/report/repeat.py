"""A record → the command that repeats its run, and the file it needs beside it.

Owns what of a record is the scenario's own and what was said on the command line. Must not know how anything is shown.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from bench.engineproc import to_toml
from bench.load import Load, load_fields
from bench.report.record import Record
from bench.scenario import common_sections, read_scenario, shipped

__all__ = ["Repeat", "repeat"]

CONFIG_FILE = "engine.toml"


@dataclass(frozen=True, slots=True, kw_only=True)
class Repeat:
    """How to run it again.

    :ivar command: for a shell.
    :ivar file: name of the file that the command reads, to be written first; empty when it needs none.
    :ivar content: of that file.
    """

    command: str
    file: str = ""
    content: str = ""


def repeat(record: Record) -> Repeat:
    """What was run, as far as the record tells; with which command an engine was started it does not."""
    words = ["roomcast-bench"]
    if record.scenario == "limit":
        words += ["limit", "--viewers", str(record.viewers)]
        words += _options(
            {name: record.load[name] for name in ("frame_bytes", "rounds", "processes", "seed") if name in record.load}
        )
        return _with_config(words, _unusual(record, {}))
    if record.scenario not in shipped():
        return _from_file(record)
    scenario = read_scenario(record.scenario)
    words += ["run", record.scenario, *_options(_deviating(record.load, scenario.load)), *_rounds(record)]
    return _with_config(words, _unusual(record, scenario.sections))


def _from_file(record: Record) -> Repeat:
    """A scenario that did not come with the package is written out as it was played."""
    file = f"{record.scenario.replace('/', '-') or 'scenario'}.toml"
    lines = [f"{name} = {_toml(value)}" for name, value in _deviating(record.load, Load()).items()]
    engine = to_toml({f"engine.{name}": section for name, section in _unusual(record, {}).items()})
    command = shlex.join(["roomcast-bench", "run", f"./{file}", *_rounds(record)])
    return Repeat(command=command, file=file, content="\n".join([f"text = {_toml(record.text)}", *lines, "", engine]).strip())


def _with_config(words: list[str], sections: Mapping[str, Mapping[str, Any]]) -> Repeat:
    if not sections:
        return Repeat(command=shlex.join(words))
    return Repeat(command=shlex.join([*words, "--config", CONFIG_FILE]), file=CONFIG_FILE, content=to_toml(sections).strip())


def _deviating(load: Mapping[str, Any], usual: Load) -> dict[str, Any]:
    same = asdict(usual)
    return {name: value for name, value in load.items() if name in same and value != same[name]}


def _toml(value: Any) -> str:
    """A value of a scenario: JSON writes all kinds but tables the way TOML reads them."""
    if isinstance(value, dict):
        return f"{{ {', '.join(f'{json.dumps(name)} = {json.dumps(share)}' for name, share in value.items())} }}"
    return json.dumps(value, ensure_ascii=False)


def _options(fields: Mapping[str, Any]) -> list[str]:
    words = []
    for name, value in fields.items():
        flag = name.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{flag}" if value else f"--no-{flag}")
        elif isinstance(value, dict):
            words += [f"--{flag}", ",".join(f"{kind}={_word(share)}" for kind, share in value.items())]
        else:
            words += [f"--{flag}", _word(value)]
    return words


def _word(value: Any) -> str:
    return f"{value:.15g}" if isinstance(value, float) else str(value)


def _rounds(record: Record) -> list[str]:
    return ["--rounds", str(len(record.rounds))] if len(record.rounds) > 1 else []


def _unusual(record: Record, scenario: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Settings that neither the benchmark nor the scenario brings by itself."""
    load = Load(**{name: value for name, value in record.load.items() if name in load_fields()})
    usual = common_sections(load)
    if record.scenario == "limit":
        usual["limits"] = usual["limits"] | {"comment_bytes": 16_384}
    found: dict[str, dict[str, Any]] = {}
    for section, settings in record.config.items():
        for name, value in settings.items() if isinstance(settings, dict) else ():
            own = scenario.get(section, {}).get(name, usual.get(section, {}).get(name))
            if value != own:
                found.setdefault(section, {})[name] = value
    return found
