"""How advice is printed for people, in English and Chinese.

Owns the form, and the words around advice: in English where they are said, in Chinese in a table below. Must not know where
advice comes from; what is advised, and how that is worded, is for `engine.advice` to say.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, Final

from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from engine.advice import Language
from engine.advice.words import say, told
from engine.commands.lines import clean

__all__ = ["show"]

_WIDTH: Final = 120
"""Columns where there is no terminal."""
_STYLES: Final = {"fault": "bold red", "limit": "bold yellow", "hint": "bold cyan"}
_CHINESE: Final = {
    "{node}, in the last {seconds:,.0f} s": "{node}，最近 {seconds:,.0f} 秒",
    "no node was asked: {why}; only settings and machine were looked at": "未询问任何节点：{why}；只查看了设置和这台机器",
    "it has no HTTP API (api.enabled)": "它没有 HTTP API（api.enabled）",
    "nothing to advise": "暂无建议",
    "the config file": "配置文件",
    "seen by": "依据",
    "change": "改动",
    "effect": "效果",
    "then": "之后",
    "{path} {promise}": "{path} {promise}",
    "falls": "减少",
    "rises": "增加",
    "stops": "不再增加",
    "in {file}; holds {when}": "写入 {file}；{when}生效",
    "after a restart": "重启后",
    "with `roomcast reload`": "执行 `roomcast reload` 后",
    "{line}   # now {now}": "{line}   # 现为 {now}",
    "sysctl -w {name}={to}   # now {now}; then `roomcast reload`": (
        "sysctl -w {name}={to}   # 现为 {now}；然后执行 `roomcast reload`"
    ),
    "{name}={to}   # now {now}; in the service's unit or container, then restart it": (
        "{name}={to}   # 现为 {now}；在服务的单元文件或容器中修改，然后重启服务"
    ),
    "{name}: {now} → {to}": "{name}：{now} → {to}",
}
_NAMES: Final[Mapping[Language, Mapping[str, str]]] = {
    "en": {"last_mile": "last mile"},
    "zh": {
        "fault": "故障",
        "limit": "瓶颈",
        "hint": "提示",
        "cpu": "CPU",
        "loop": "事件循环",
        "descriptors": "描述符",
        "kernel": "内核",
        "network": "网络",
        "broker": "消息代理",
        "database": "数据库",
        "last_mile": "最后一公里",
        "setting": "设置",
        "product": "业务方",
    },
}
"""Of severities and causes that are not called by themselves; as the console has them."""
_PROMISES: Final = {"falls": say("falls"), "rises": say("rises"), "stops": say("stops")}
_CATALOGUES: Final[Mapping[Language, Mapping[str, str]]] = {"en": {}, "zh": _CHINESE}
Tell = Callable[[str], str]


def show(answer: dict[str, Any], file: str, why: str, language: Language) -> None:
    """Print advice on standard output.

    :param answer: as of ``GET /v1/node/advice``, in this language, with the ``node`` that it came from; empty: none.
    :param file: that settings are in; empty: the one that is usual.
    :param why: no node was asked; empty: it has no API.
    """
    tell, names = partial(told, catalogue=_CATALOGUES[language]), _NAMES[language]
    console = Console(highlight=False, width=None if sys.stdout.isatty() else _WIDTH)
    if answer["node"]:
        head = say("{node}, in the last {seconds:,.0f} s", node=answer["node"], seconds=answer["since_seconds"])
        console.print(Text(tell(head), "dim"))
    else:
        reason = why or say("it has no HTTP API (api.enabled)")
        head = say("no node was asked: {why}; only settings and machine were looked at", why=reason)
        console.print(Text(tell(head), "yellow"))
    for advice in answer["advice"]:
        console.print()
        severity, cause = advice["severity"], advice["cause"]
        console.print(
            Text.assemble(
                (names.get(severity, clean(severity)), _STYLES.get(severity, "bold")),
                (f"  {names.get(cause, clean(cause))}", "bold"),
                (f"  {clean(advice['room'])}" if advice["room"] else ""),
                (f"  ({clean(advice['rule'])})", "dim"),
            )
        )
        console.print(_body(advice, file or tell(say("the config file")), tell))
    if not answer["advice"]:
        console.print(Text(tell(say("nothing to advise")), "green"))


def _body(advice: dict[str, Any], file: str, tell: Tell) -> RenderableType:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column()
    # As text: names of networks and rooms are no markup.
    grid.add_row("", Text(clean(advice["what"])))
    before = ""
    for name, words in _rows(advice, file):
        grid.add_row("" if name == before else tell(name), Text(clean(tell(words))))
        before = name
    return Padding(grid, (0, 0, 0, 2))


def _rows(advice: dict[str, Any], file: str) -> Iterator[tuple[str, str]]:
    yield from ((say("seen by"), each) for each in advice["evidence"])
    yield from ((say("change"), each) for each in _changes(advice["changes"], file))
    yield say("effect"), advice["effect"]
    for path, promise in advice["watch"].items():
        yield say("then"), say("{path} {promise}", path=path, promise=_PROMISES.get(promise, promise))


def _changes(changes: list[dict[str, Any]], file: str) -> Iterator[str]:
    """Those for the config file together, as they can be pasted."""
    ours = [change for change in changes if change["where"] == "config"]
    if ours:
        restart = any(change["restart"] for change in ours)
        when = say("after a restart") if restart else say("with `roomcast reload`")
        yield say("in {file}; holds {when}", file=file, when=when)
        sections: dict[str, list[str]] = {}
        for change in ours:
            section, _, name = change["setting"].rpartition(".")
            line = f"    {name} = {change['to']}"
            sections.setdefault(section, []).append(
                say("{line}   # now {now}", line=line, now=change["now"]) if change["now"] else line
            )
        for section, lines in sections.items():
            yield from (f"    [{section}]", *lines)
    for change in changes:
        name, now, to = change["setting"], change["now"], change["to"]
        match change["where"]:
            case "kernel":
                yield say("sysctl -w {name}={to}   # now {now}; then `roomcast reload`", name=name, to=to, now=now)
            case "service":
                yield say(
                    "{name}={to}   # now {now}; in the service's unit or container, then restart it", name=name, to=to, now=now
                )
            case "product":
                yield say("{name}: {now} → {to}", name=name, now=now, to=to)
