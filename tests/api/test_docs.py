"""What the API says of itself: a document that is complete, and a page that needs nothing from elsewhere."""

from __future__ import annotations

import json
import re
import shlex
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from engine.api.docs import page
from engine.api.openapi import METHODS, TAGS
from engine.api.problems import CODES, NAMES
from engine.api.samples import sample
from engine.settings import LedgerSettings

from .calling import KEY, calling, settings

ELSEWHERE = {"/openapi.json", "/", "/console", "/sdk/roomcast.js", "/sdk/roomcast.d.ts"}
VOID = {"meta", "br", "hr", "img", "link", "input"}


class Page(HTMLParser):
    """What a page holds. Fails on tags that are not closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: Counter[str] = Counter()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.blocks: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.tags[tag] += 1
        self.ids += [str(given["id"])] if "id" in given else []
        self.links += [str(value) for name, value in attrs if name in ("href", "src", "action")]
        assert not any(name.startswith("on") or name == "style" for name, _ in attrs)
        if tag not in VOID:
            self.open.append(tag)
        if tag == "pre":
            self.blocks.append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "pre" in self.open:
            self.blocks[-1] += data


_READ: dict[str, str] = {}
"""What was read once; it never changes."""


async def read() -> tuple[dict[str, Any], Page, str]:
    if not _READ:
        async with calling() as called:
            for path in ("/openapi.json", "/docs"):
                _READ[path] = (await called.call("GET", path, key=None)).text
    return json.loads(_READ["/openapi.json"]), Page(_READ["/docs"]), _READ["/docs"]


def operations(document: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    return [(method, path, item[method]) for path, item in document["paths"].items() for method in METHODS if method in item]


async def test_every_operation_is_told_completely() -> None:
    document, _, _ = await read()
    assert document["openapi"].startswith("3.1")
    ids = Counter(operation["operationId"] for _, _, operation in operations(document))
    assert max(ids.values()) == 1
    for method, path, operation in operations(document):
        where = f"{method} {path}"
        assert operation["description"], where
        assert set(operation["tags"]) <= set(TAGS), where
        for status in ("4XX", "5XX"):
            schema = operation["responses"][status]["content"]["application/problem+json"]["schema"]
            assert schema == {"$ref": "#/components/schemas/Problem"}, where
        assert any(status.startswith("2") for status in operation["responses"]), where
        keys = [each for each in operation.get("parameters", ()) if each.get("$ref", "").endswith("IdempotencyKey")]
        assert len(keys) == (method != "get"), where
        assert ("401" in operation["responses"]) == ("security" in operation), where
    assert not re.search(r"HTTPValidationError|application/json.*ValidationError", str(document))
    assert document["components"]["securitySchemes"]["key"]["scheme"] == "bearer"


async def test_every_reference_leads_somewhere() -> None:
    document, _, text = await read()
    for reference in set(re.findall(r"'\$ref': '#/([^']+)'", str(document))):
        found: Any = document
        for step in reference.split("/"):
            found = found[step]
    assert "$ref" not in text


async def test_every_field_that_a_caller_gives_is_described() -> None:
    document, _, _ = await read()
    for method, path, operation in operations(document):
        for parameter in operation.get("parameters", ()):
            assert "$ref" in parameter or parameter.get("description"), (method, path, parameter)


async def test_the_page_needs_nothing_from_elsewhere() -> None:
    async with calling() as called:
        answer = await called.call("GET", "/docs")
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    assert "script" not in policy
    shown = Page(answer.text)
    assert not {"script", "img", "link", "iframe", "form", "object"} & set(shown.tags)
    assert all(link.startswith("#") or link in ELSEWHERE for link in shown.links)
    assert "url(" not in answer.text
    assert "@import" not in answer.text


async def test_the_page_has_every_operation_and_every_problem() -> None:
    document, shown, _ = await read()
    assert max(Counter(shown.ids).values()) == 1
    wanted = {operation["operationId"] for _, _, operation in operations(document)}
    problems = {code.name.lower() for code in CODES} | set(NAMES)
    assert wanted | problems | {"problems"} <= set(shown.ids)
    assert {link.removeprefix("#") for link in shown.links} - ELSEWHERE <= set(shown.ids)


async def test_every_example_can_be_sent(tmp_path: Path) -> None:
    ledger = LedgerSettings(url=f"sqlite:///{tmp_path / 'ledger.db'}")
    async with calling(settings(ledger=ledger)) as called:
        examples = [block for block in Page((await called.call("GET", "/docs")).text).blocks if block.startswith("curl")]
        document = (await called.call("GET", "/openapi.json")).json()
        assert len(examples) == len(operations(document))
        for number, example in enumerate(examples):
            text = example.replace("$ROOMCAST_KEY", KEY).replace("$(uuidgen)", str(number)).replace("$ROOMCAST", "http://api")
            words = shlex.split(text)
            method = words[words.index("-X") + 1] if "-X" in words else "GET"
            headers = dict(words[index + 1].split(": ", 1) for index, word in enumerate(words) if word == "-H")
            url = next(word for word in words if word.startswith("http://api"))
            body = words[words.index("-d") + 1] if "-d" in words else None
            answer = await called.client.request(method, url, headers=headers, content=body)
            # What it names may not be there, and a node that was not started from a file cannot read one again.
            assert answer.status_code < 300 or answer.status_code in (404, 409), (example, answer.text)


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({"type": "string", "examples": ["a"]}, "a"),
        ({"const": 3}, 3),
        ({"enum": ["x", "y"]}, "x"),
        ({"type": "integer", "minimum": 7}, 7),
        ({"anyOf": [{"type": "boolean"}, {"type": "null"}]}, True),
        ({"type": "array", "items": {"type": "null"}}, [None]),
        (
            {"type": "object", "required": ["a"], "properties": {"a": {"type": "string"}, "b": {"type": "string"}}},
            {"a": "…"},
        ),
        ({"type": "object", "properties": {"b": {"default": False}}}, {"b": False}),
        ({"$ref": "#/components/x"}, [1]),
    ],
)
def test_a_sample_is_the_least_that_is_allowed(schema: dict[str, Any], expected: Any) -> None:
    document = {"components": {"x": {"type": "array", "items": {"type": "integer"}}}}
    assert sample(document, schema) == expected


def test_a_schema_that_holds_itself_has_a_sample() -> None:
    tree = {"type": "object", "required": ["inner"], "properties": {"inner": {"$ref": "#/tree"}}}
    assert "inner" in sample({"tree": tree}, tree)


def test_whatever_a_document_says_is_text_on_the_page() -> None:
    evil = "<script>alert('1')</script>"
    operation = {"operationId": "x'><b>", "description": evil, "tags": ["t"], "responses": {"200": {"description": evil}}}
    document = {
        "info": {"title": evil, "version": evil, "description": evil},
        "tags": [{"name": "t", "description": evil}],
        "paths": {f"/{evil}": {"get": operation}},
        "components": {"schemas": {"Problem": {"properties": {evil: {"type": "string", "description": evil}}}}},
        "x-problems": [{"name": "p", "status": 400, "title": evil}],
    }
    shown = Page(page(document))
    assert "script" not in shown.tags
    assert "b" not in shown.tags
