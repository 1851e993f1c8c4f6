"""The browser SDK as files: small, without anything that it needs, with types that say what there is."""

from __future__ import annotations

import gzip
import json
import re
import subprocess
from pathlib import Path

from engine.schema import EventKind
from engine.web import SDK, sdk_files

from .visitors import NODE

SOURCE = (SDK / "roomcast.js").read_text(encoding="utf-8")
TYPES = (SDK / "roomcast.d.ts").read_text(encoding="utf-8")
BYTES = 8_192


def names(pattern: str, text: str) -> set[str]:
    return set(re.findall(pattern, text, re.MULTILINE))


def test_what_a_page_loads_is_small_and_all_there_is() -> None:
    assert len(gzip.compress(SOURCE.encode(), 9)) <= BYTES
    assert not names(r"^import .*|\bimport\(.*", SOURCE)
    assert not names(r"innerHTML\s*=|\beval\(|new Function\(|document\.write|insertAdjacentHTML", SOURCE)


def test_the_types_name_what_the_module_exports_and_nothing_else() -> None:
    exported = r"^export (?:async )?(?:const|function|class) (\w+)"
    assert names(exported, SOURCE) == names(exported, TYPES) == {"join", "readEvent", "Room", "RoomcastError"}
    room, typed = (text[text.index("export class Room ") :] for text in (SOURCE, TYPES))
    members = names(r"^\t(?:async |get )?([a-z]\w*)(?:\(.*\) \{| = .*;)$", room) | {"ready"}
    assert members == names(r"^  (?:readonly )?([a-z]\w*)[(:<]", typed[: typed.index("\n}\n")]) | {"constructor"}


def test_the_types_name_every_kind_of_event() -> None:
    kinds = names(r'^\t\["(\w+)"', SOURCE)
    assert kinds == {re.sub(r"_(\w)", lambda found: found[1].upper(), kind.name.lower()) for kind in EventKind}
    assert kinds < names(r'readonly type: "(\w+)"', TYPES)


def test_npm_installs_it_where_there_is_no_network(tmp_path: Path) -> None:
    npm = NODE.parents[1] / "lib/node_modules/npm/bin/npm-cli.js"
    install: list[str | Path] = [
        NODE,
        npm,
        "install",
        "--offline",
        "--no-audit",
        "--no-fund",
        "--cache",
        tmp_path / "cache",
        SDK,
    ]
    subprocess.run(install, cwd=tmp_path, capture_output=True, timeout=60, check=True)
    (tmp_path / "page.mjs").write_text('import { join, Room } from "roomcast"; console.log(typeof join, typeof Room);')
    done = subprocess.run([NODE, "page.mjs"], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "function function\n"


def test_npm_finds_the_module_and_its_types() -> None:
    package = json.loads((SDK / "package.json").read_text(encoding="utf-8"))
    entry = package["exports"]["."]
    assert {entry["types"].removeprefix("./"), entry["default"].removeprefix("./")} == set(package["files"])
    assert package["type"] == "module"
    code = 'import("roomcast").then((m) => console.log(Object.keys(m).join()))'
    done = subprocess.run([NODE, "-e", code], cwd=SDK, capture_output=True, text=True, timeout=60, check=True)
    assert sorted(done.stdout.strip().split(",")) == ["Room", "RoomcastError", "join", "readEvent"]


def test_who_serves_the_files_is_told_as_what() -> None:
    files = sdk_files()
    assert set(files) == {"roomcast.js", "roomcast.d.ts", "package.json"}
    assert files["roomcast.js"].content.decode() == SOURCE
    assert files["roomcast.js"].media_type.startswith("text/javascript")
