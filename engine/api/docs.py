"""The documentation of the HTTP API as one page, made from the OpenAPI document.

Owns the page. It needs no script and asks no other machine for anything; the policy that goes with it forbids both. Must not
know routes: all it says is in the document.
"""

from __future__ import annotations

import json
import re
import shlex
from base64 import b64encode
from collections.abc import Iterator, Mapping
from hashlib import sha256
from html import escape
from typing import Any, Final
from urllib.parse import quote

from engine.api.openapi import METHODS
from engine.api.samples import resolved, sample

__all__ = ["POLICY", "page"]

_STYLE: Final = """
:root{color-scheme:light dark;--line:#8884;--soft:#8882;--link:light-dark(#0550ae,#79b8ff)}
*{box-sizing:border-box}
body{font:1rem/1.55 system-ui,sans-serif;margin:0 auto;max-width:60rem;padding:1rem}
a{color:var(--link)}
h1{font-size:1.7rem;margin:.5rem 0}
h2{border-bottom:1px solid var(--line);margin:2.5rem 0 .5rem;padding-bottom:.3rem;text-transform:capitalize}
h3{font-size:1rem;margin:0;overflow-wrap:anywhere}
nav ul{columns:24rem;list-style:none;padding:0}
nav li{break-inside:avoid;overflow-wrap:anywhere;padding-left:1rem;text-indent:-1rem}
article{border:1px solid var(--line);border-radius:.5rem;margin:1rem 0;padding:1rem}
code,pre{font-family:ui-monospace,monospace;font-size:.9em}
pre{background:var(--soft);border-radius:.4rem;overflow-x:auto;padding:.7rem}
.method{border:1px solid var(--line);border-radius:.3rem;font-size:.8rem;padding:.1rem .4rem}
.scope{color:light-dark(#555,#aaa);font-size:.9rem}
.table{overflow-x:auto}
table{border-collapse:collapse;width:100%}
td,th{border-top:1px solid var(--line);padding:.3rem .6rem .3rem 0;text-align:left;vertical-align:top}
td:first-child{white-space:nowrap}
summary{cursor:pointer}
""".strip()

POLICY: Final = (
    "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    f"style-src 'sha256-{b64encode(sha256(_STYLE.encode()).digest()).decode()}'"
)
"""Content-Security-Policy of the page: this style, and nothing else."""

_BASE: Final = "$ROOMCAST"
_MAX_FIELDS_DEPTH: Final = 3


_SITE: Final = (
    "<p>For people: the <a href='/'>demo room</a> and the <a href='/console'>console</a>. "
    "For pages of your own: the <a href='/sdk/roomcast.js'>browser SDK</a>, an ES module, with its "
    "<a href='/sdk/roomcast.d.ts'>types</a>.</p>"
)


def page(document: Mapping[str, Any], *, site: bool = True) -> str:
    """The page, in HTML.

    :param document: OpenAPI 3.1, as `engine.api.openapi.describe` makes it.
    :param site: the demo room, the console and the SDK are there, too (``api.pages``).
    """
    info = document["info"]
    groups = [(tag, list(_operations(document, tag["name"]))) for tag in document["tags"]]
    title = f"{info['title']} {info['version']}"
    body = "".join(
        (
            f"<h1>{escape(title)}</h1>{_prose(info.get('description', ''))}{_SITE if site else ''}",
            "<p>As a document for programs: <a href='/openapi.json'>OpenAPI 3.1</a>. "
            "A question mark is at what may be left out. The examples expect the address of the node and an API key:</p>"
            "<pre>export ROOMCAST=http://127.0.0.1:8780 ROOMCAST_KEY=rc_…</pre>",
            "<nav aria-label='Operations'>",
            *(_index(tag, operations) for tag, operations in groups),
            "<p><a href='#problems'>Problems</a></p></nav><main>",
            *(_section(document, tag, operations) for tag, operations in groups),
            _problems(document),
            "</main>",
        )
    )
    return (
        f"<!DOCTYPE html><html lang='en'><head><meta charset='utf-8'><title>{escape(title)}</title>"
        f"<meta name='viewport' content='width=device-width,initial-scale=1'><style>{_STYLE}</style></head>"
        f"<body>{body}</body></html>"
    )


_Operation = tuple[str, str, Mapping[str, Any]]
"""Method, path, and what is said of it."""


def _operations(document: Mapping[str, Any], tag: str) -> Iterator[_Operation]:
    for path, item in document["paths"].items():
        for method in METHODS:
            if method in item and item[method].get("tags", [""])[0] == tag:
                yield method.upper(), path, item[method]


def _index(tag: Mapping[str, Any], operations: list[_Operation]) -> str:
    entries = "".join(
        f"<li><a href='#{escape(operation['operationId'])}'><code>{method} {escape(path)}</code></a></li>"
        for method, path, operation in operations
    )
    return f"<p><a href='#tag-{escape(tag['name'])}'><strong>{escape(tag['name'])}</strong></a></p><ul>{entries}</ul>"


def _section(document: Mapping[str, Any], tag: Mapping[str, Any], operations: list[_Operation]) -> str:
    articles = "".join(_article(document, *operation) for operation in operations)
    name = escape(tag["name"])
    return f"<section id='tag-{name}'><h2>{name}</h2>{_prose(tag['description'])}{articles}</section>"


def _article(document: Mapping[str, Any], method: str, path: str, operation: Mapping[str, Any]) -> str:
    parameters = [resolved(document, each) for each in operation.get("parameters", ())]
    rows = [
        (each["name"], f"{each['in']}, {_shape(document, each['schema'])}", each.get("description", ""), each.get("required"))
        for each in parameters
    ]
    schema = _body(operation)
    parts = [
        f"<article id='{escape(operation['operationId'])}'>",
        f"<h3><span class='method'>{method}</span> <code>{escape(path)}</code></h3>",
        f"<p class='scope'>{_scopes(operation)}</p>",
        _prose(operation.get("description") or operation.get("summary", "")),
        _table(rows),
    ]
    if schema:
        parts.append(f"<h4>Body</h4>{_table(list(_fields(document, schema)))}")
    parts.append(f"<h4>Example</h4><pre>{escape(_curl(document, method, path, parameters, operation))}</pre>")
    parts += _answers(document, operation)
    return "".join((*parts, "</article>"))


def _scopes(operation: Mapping[str, Any]) -> str:
    security = operation.get("security")
    if not security:
        return "needs no key"
    named = " or ".join(
        f"<code>{escape(scope)}</code>"
        for scope in sorted({scope for each in security for scopes in each.values() for scope in scopes})
    )
    return f"needs the scope {named}{', if the operator wants one' if {} in security else ''}"


def _body(operation: Mapping[str, Any]) -> Mapping[str, Any]:
    content = operation.get("requestBody", {}).get("content", {})
    schema: Mapping[str, Any] = content.get("application/json", {}).get("schema", {})
    return schema


def _answers(document: Mapping[str, Any], operation: Mapping[str, Any]) -> Iterator[str]:
    for status, told in operation["responses"].items():
        answer = resolved(document, told)
        schema = answer.get("content", {}).get("application/json", {}).get("schema")
        if not status.startswith("2"):
            continue
        yield f"<h4>{escape(status)}</h4>"
        if schema:
            yield _table(list(_fields(document, schema)))
            text = json.dumps(sample(document, schema), ensure_ascii=False, indent=2)
            yield f"<details><summary>Such as</summary><pre>{escape(text)}</pre></details>"
        else:
            yield _prose(answer.get("description", ""))


_Row = tuple[str, str, str, Any]
"""Name, shape, what it is, whether it must be given."""


def _fields(document: Mapping[str, Any], schema: Mapping[str, Any], prefix: str = "", depth: int = 1) -> Iterator[_Row]:
    """The fields of a schema, those of what is in it after it."""
    whole = resolved(document, schema)
    required = whole.get("required", ())
    for name, each in whole.get("properties", {}).items():
        yield f"{prefix}{name}", _shape(document, each), resolved(document, each).get("description", ""), name in required
        inner, path = resolved(document, each), f"{prefix}{name}."
        if "items" in inner:
            inner, path = resolved(document, inner["items"]), f"{prefix}{name}[]."
        if depth < _MAX_FIELDS_DEPTH:
            yield from _fields(document, inner, path, depth + 1)
    for each in whole.get("anyOf", whole.get("oneOf", ())):
        if depth < _MAX_FIELDS_DEPTH:
            yield from _fields(document, each, prefix, depth + 1)
    if "items" in whole and not prefix:
        yield from _fields(document, whole["items"], "[].", depth + 1)


_BOUNDS: Final = (
    ("minimum", "at least {}"),
    ("exclusiveMinimum", "more than {}"),
    ("maximum", "at most {}"),
    ("exclusiveMaximum", "less than {}"),
    ("maxLength", "at most {} characters"),
    ("maxItems", "at most {}"),
)


def _shape(document: Mapping[str, Any], schema: Mapping[str, Any]) -> str:
    """A type and its bounds, in words."""
    whole = resolved(document, schema)
    choices = whole.get("anyOf") or whole.get("oneOf")
    if choices:
        return " or ".join(dict.fromkeys(_shape(document, each) for each in choices))
    if "const" in whole:
        return json.dumps(whole["const"], ensure_ascii=False)
    if "enum" in whole:
        return ", ".join(json.dumps(each, ensure_ascii=False) for each in whole["enum"])
    kind = str(whole.get("type", "any"))
    if kind == "array":
        kind = f"list of {_shape(document, whole.get('items', {}))}"
    told = [kind, *(words.format(whole[name]) for name, words in _BOUNDS if name in whole)]
    if whole.get("default") not in (None, "", [], {}):
        told.append(f"default {json.dumps(whole['default'], ensure_ascii=False)}")
    return ", ".join(told)


def _table(rows: list[_Row]) -> str:
    if not rows:
        return ""
    cells = "".join(
        f"<tr><td><code>{escape(name)}</code>{'' if required else '?'}</td>"
        f"<td>{escape(shape)}</td><td>{_inline(text)}</td></tr>"
        for name, shape, text, required in rows
    )
    return f"<div class='table'><table>{cells}</table></div>"


def _curl(
    document: Mapping[str, Any], method: str, path: str, parameters: list[Mapping[str, Any]], operation: Mapping[str, Any]
) -> str:
    """A command that can be pasted into a shell."""
    given = {each["name"]: quote(str(sample(document, each["schema"])), safe="") for each in parameters}
    filled = re.sub(r"{(\w+)}", lambda found: given[found[1]], path)
    wanted = (
        each["name"]
        for each in parameters
        if each["in"] == "query" and (each.get("required") or (method != "GET" and "examples" in each["schema"]))
    )
    query = "&".join(f"{name}={given[name]}" for name in wanted)
    lines = ["curl" if method == "GET" else f"curl -X {method}"]
    lines[0] += f' "{_BASE}{filled}{f"?{query}" if query else ""}"'
    if operation.get("security"):
        lines.append('-H "Authorization: Bearer $ROOMCAST_KEY"')
    if any(each["name"] == "Idempotency-Key" for each in parameters):
        lines.append('-H "Idempotency-Key: $(uuidgen)"')
    if schema := _body(operation):
        lines.append("-H 'Content-Type: application/json'")
        lines.append(f"-d {shlex.quote(json.dumps(sample(document, schema), ensure_ascii=False))}")
    return " \\\n  ".join(lines)


def _problems(document: Mapping[str, Any]) -> str:
    rows = "".join(
        f"<tr id='{escape(each['name'])}'><td><code>{escape(each['name'])}</code></td><td>{each.get('code', '')}</td>"
        f"<td>{each['status']}</td><td>{escape(each['title'])}</td></tr>"
        for each in document["x-problems"]
    )
    head = "<tr><th>name</th><th>code</th><th>status</th><th>title</th></tr>"
    return (
        "<section id='problems'><h2>Problems</h2><p>An answer that is none (RFC 9457) names its kind; codes are those that "
        "viewers get, too. 1 to 99: the same request may succeed later.</p>"
        f"<div class='table'><table>{head}{rows}</table></div>"
        f"<h4>Fields</h4>{_table(list(_fields(document, document['components']['schemas']['Problem'])))}</section>"
    )


def _prose(text: str) -> str:
    """Paragraphs."""
    return "".join(f"<p>{_inline(' '.join(each.split()))}</p>" for each in re.split(r"\n\s*\n", text) if each.strip())


def _inline(text: str) -> str:
    """One run of text, with what stands between backticks as code."""
    return re.sub(r"(`+)(.+?)\1", r"<code>\2</code>", escape(text))
