"""The config file, the environment and the command line: what is accepted, and the words for what is not."""

from __future__ import annotations

import dataclasses
import os
import pickle
import sys
from pathlib import Path
from typing import Any

import hypothesis
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.config import ConfigError, Fault, check, load, report
from engine.configcheck import value_of
from engine.configfile import SECTIONS, SETTINGS, Setting, commented, toml_value
from engine.ledger.address import ledger_fault
from engine.settings import (
    AccessSettings,
    EdgeSettings,
    FeedSettings,
    GiftSettings,
    LedgerSettings,
    LimitSettings,
    ModerationSettings,
    NodeSettings,
    RedisSettings,
    RoomSettings,
    Settings,
    WordList,
)
from engine.workers.channel import Start
from engine.workers.launch import Order


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return tmp_path / "roomcast.toml"


def faults(path: Path | None, environ: dict[str, str] | None = None, **overrides: Any) -> list[Fault]:
    """The faults of a configuration that must have some, with the file's folder taken out of their sources."""
    with pytest.raises(ConfigError) as caught:
        load(path, environ=environ or {}, overrides=overrides)
    found = caught.value.faults
    if path is None:
        return list(found)
    return [dataclasses.replace(each, source=each.source.replace(str(path), path.name)) for each in found]


def get(settings: Settings, path: str) -> Any:
    return value_of(SETTINGS[path], settings)


def changed(values: dict[str, Any]) -> Settings:
    """Settings that differ from the defaults in these paths."""
    sections: dict[str, Any] = {}
    for section, model in SECTIONS.items():
        own = {path.partition(".")[2]: each for path, each in values.items() if path.startswith(f"{section}.")}
        sections[section] = model(**own)
    return Settings(**sections, **{path: each for path, each in values.items() if "." not in path})


def values_of(setting: Setting) -> st.SearchStrategy[Any]:
    """Values that the setting's own type and bounds allow."""
    texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
    if setting.model:
        given = {part.name: values_of(part) for part in setting.parts if part.required or part.name != "action"}
        table = st.fixed_dictionaries(given).map(lambda fields: setting.model(**fields))
        if setting.is_named:
            return st.dictionaries(texts | st.sampled_from(["readable", "hosts only"]), table, max_size=4)
        return st.lists(table, max_size=3).map(tuple)
    if setting.name == "file":
        return st.sampled_from([__file__, "/no/such/file", "words\0.txt", "/"])
    if setting.choices and setting.is_list:
        return st.lists(st.sampled_from(setting.choices), max_size=3).map(tuple)
    if setting.choices:
        return st.sampled_from(setting.choices)
    if setting.is_list:
        near = st.sampled_from(["https://a.example", "http://[::1]:8080", "10.0.0.0/8", "fd00::1"])
        return st.lists(near | texts, max_size=3).map(tuple)
    if setting.kind is bool:
        return st.booleans()
    if setting.kind is str:
        return st.sampled_from(["x" * 32, "127.0.0.1", "::1", "localhost", "0.0.0.0", "/", "/live/ws"]) | texts
    names = ("ge", "gt", "le")
    bounds = setting.annotation.__metadata__
    limits = {name: getattr(each, name) for each in bounds for name in names if hasattr(each, name)}
    low, high = limits.get("ge", limits.get("gt")), limits.get("le")
    if setting.kind is int:
        return st.integers(low if low is not None else -(2**63), high if high is not None else 2**63)
    return st.floats(low, high, exclude_min="gt" in limits, allow_nan=False, allow_infinity=False)


SOME_SETTING = st.sampled_from(list(SETTINGS.values()))
SOME_VALUE = SOME_SETTING.flatmap(lambda setting: st.tuples(st.just(setting.path), values_of(setting)))


# -- one fault at a time ---------------------------------------------------------------------------------------------

BAD_VALUES: list[tuple[str, str, Any, str, str]] = [
    # setting, TOML, value, problem, suggestion
    ("edge.port", "70000", 70000, "must be at most 65535", ""),
    ("edge.port", "-1", -1, "must be at least 0", ""),
    ("edge.port", '"9000"', "9000", "must be a whole number, from 0 to 65535", "9000"),
    ("edge.port", '"nine"', "nine", "must be a whole number, from 0 to 65535", ""),
    ("edge.port", "9000.0", 9000.0, "must be a whole number, from 0 to 65535", "9000"),
    ("edge.port", "9000.5", 9000.5, "must be a whole number, from 0 to 65535", ""),
    ("edge.port", "true", True, "must be a whole number, from 0 to 65535", ""),
    ("edge.port", "[1]", [1], "must be a whole number, from 0 to 65535", ""),
    ("edge.port", "{ a = 1 }", {"a": 1}, "must be a whole number, from 0 to 65535", ""),
    ("edge.request_bytes", "2_000_000", 2_000_000, "must be at most 1_048_576", ""),
    ("edge.request_bytes", "1e4", 1e4, "must be a whole number of bytes, from 1024 to 1_048_576", "10000"),
    ("edge.handshake_seconds", "0", 0, "must be more than 0", ""),
    ("edge.handshake_seconds", '"1"', "1", "must be a number of seconds, more than 0, at most 300", "1.0"),
    ("edge.handshake_seconds", "true", True, "must be a number of seconds, more than 0, at most 300", ""),
    ("room.fanout_share", "1", 1, "must be at most 0.95", ""),
    ("room.counters_seconds", "0.01", 0.01, "must be at least 0.05", ""),
    ("room.log_seconds", "inf", float("inf"), "must be a finite number of seconds, from 1 to 86400", ""),
    ("room.rooms_max", "0", 0, "must be at least 1", ""),
    ("limits.likes_per_second", '"x"', "x", "must be a number per second, more than 0, at most 1_000_000_000", ""),
    ("edge.compression", "1", 1, "must be true or false", "true"),
    ("edge.compression", '"no"', "no", "must be true or false", "false"),
    ("edge.compression", "2", 2, "must be true or false", ""),
    ("node.name", "5", 5, "must be a string", ""),
    ("node.workers", "-1", -1, 'must be a whole number, from 0 to 256, or "auto"', ""),
    ("node.workers", '"Auto"', "Auto", 'must be a whole number, from 0 to 256, or "auto"', '"auto"'),
    ("node.workers", '"4"', "4", 'must be a whole number, from 0 to 256, or "auto"', "4"),
    ("node.workers", "true", True, 'must be a whole number, from 0 to 256, or "auto"', ""),
    ("node.name", '"two\\nlines"', "two\nlines", "must be printable text on one line", ""),
    ("room.lag_policy", '"Skip"', "Skip", 'must be "skip" or "close"', '"skip"'),
    ("room.lag_policy", '"drop"', "drop", 'must be "skip" or "close"', ""),
    ("log.level", "3", 3, 'must be "debug", "info", "warning" or "error"', ""),
    ("edge.origins", '"https://a.example"', "https://a.example", "must be a list of strings", '["https://a.example"]'),
    ("room.notable_roles", '"host"', "host", 'must be a list of "viewer", "moderator" or "host"', '["host"]'),
    ("room.reactions", "{}", {}, "must be a list of strings", ""),
    ("feeds", "5", 5, "must be tables by name, [feeds.NAME]", ""),
    ("feeds", "[{}]", [{}], "must be tables by name, [feeds.NAME]", ""),
    ("moderation.lists", "{ file = 'a' }", {"file": "a"}, "must be a list of tables, [[moderation.lists]]", ""),
    ("moderation.lists", '"words.txt"', "words.txt", "must be a list of tables, [[moderation.lists]]", ""),
    ("edge.host", '"example.com"', "example.com", 'must be an IP address or "localhost"', ""),
    ("edge.host", '"[::1]"', "[::1]", 'must be an IP address or "localhost"', '"::1"'),
    ("edge.path", '"ws"', "ws", 'must start with "/"', '"/ws"'),
    ("edge.path", '""', "", 'must start with "/"', ""),
    ("edge.path", '"/ws?a"', "/ws?a", 'must be ASCII without space, "?" and "#", else no request matches it', ""),
    ("edge.path", '"/直播"', "/直播", 'must be ASCII without space, "?" and "#", else no request matches it', ""),
]


@pytest.mark.parametrize(("path", "text", "value", "problem", "suggestion"), BAD_VALUES)
def test_a_bad_value_is_named_with_what_is_allowed(
    config: Path, path: str, text: str, value: Any, problem: str, suggestion: str
) -> None:
    section, _, name = path.rpartition(".")
    config.write_text(f"[{section}]\n{name} = {text}\n" if section else f"{name} = {text}\n")
    assert faults(config) == [Fault(path, value, problem, "roomcast.toml", suggestion)]


ORIGIN = 'must be scheme, host and, unless it is the usual one, port, such as "https://live.example.com"'
NETWORK = 'must be a network, such as "10.0.0.0/8", or one address'


@pytest.mark.parametrize(
    ("name", "element", "problem", "suggestion"),
    [
        ("origins", "https://a.example/", ORIGIN, '"https://a.example"'),
        ("origins", "HTTPS://A.example:443/chat", ORIGIN, '"https://a.example"'),
        ("origins", "a.example", ORIGIN, ""),
        ("origins", "*", ORIGIN, ""),
        ("origins", "https://直播.example", ORIGIN, ""),
        ("trusted_proxies", "10.0.0.1/8", NETWORK, '"10.0.0.0/8"'),
        ("trusted_proxies", "10.0.0.0/33", NETWORK, ""),
        ("trusted_proxies", "proxy.internal", NETWORK, ""),
        ("trusted_proxies", 3, "must be a string", ""),
        ("notable_roles", "Moderator", 'must be "viewer", "moderator" or "host"', '"moderator"'),
        ("notable_roles", 3, 'must be "viewer", "moderator" or "host"', ""),
        ("reactions", "", "must show something and have at most 32 characters", ""),
        ("reactions", "\u200b", "must show something and have at most 32 characters", ""),
        ("reactions", "x" * 33, "must show something and have at most 32 characters", ""),
        ("reactions", "👍", "must not be listed twice", ""),
    ],
)
def test_a_bad_element_is_named_by_its_index(config: Path, name: str, element: Any, problem: str, suggestion: str) -> None:
    good = {"origins": "http://localhost:8080", "trusted_proxies": "::1", "notable_roles": "host", "reactions": "👍"}[name]
    section = "edge" if f"edge.{name}" in SETTINGS else "room"
    config.write_text(f"[{section}]\n{name} = {toml_value([good, element])}\n")
    assert faults(config) == [Fault(f"{section}.{name}[1]", element, problem, "roomcast.toml", suggestion)]


def test_origins_as_browsers_write_them_are_accepted() -> None:
    origins = ("https://a.example", "http://[::1]:8080", "null", "capacitor://localhost", "http://a_b.example")
    assert check(changed({"edge.origins": origins})) == []


@pytest.mark.parametrize(
    ("text", "path", "value", "problem", "suggestion"),
    [
        ("[edge]\nprot = 1", "edge.prot", 1, "there is no such setting", "edge.port"),
        ("[edge]\nPort = 1", "edge.Port", 1, "there is no such setting", "edge.port"),
        ("[edge]\nlag_seconds = 1", "edge.lag_seconds", 1, "there is no such setting", "room.lag_seconds"),
        ("[room]\nhistory_event = 1", "room.history_event", 1, "there is no such setting", "broker.history_events"),
        ("[edge]\nunheard_of = 1", "edge.unheard_of", 1, "there is no such setting", ""),
        ("port = 1", "port", 1, "there is no such setting", "edge.port"),
        ("[egde]\nport = 1", "egde", {"port": 1}, "there is no such section", "[edge]"),
        ("[feed.x]", "feed", {"x": {}}, "there is no such section", "[feeds.NAME]"),
        ("[zzz]", "zzz", {}, "there is no such section", ""),
        ("edge = 5", "edge", 5, "must be a section, [edge], with settings below it", ""),
        ("[[edge]]", "edge", [{}], "must be a section, [edge], with settings below it", ""),
    ],
)
def test_what_does_not_exist_is_named_with_what_was_meant(
    config: Path, text: str, path: str, value: Any, problem: str, suggestion: str
) -> None:
    config.write_text(text)
    assert faults(config) == [Fault(path, value, problem, "roomcast.toml", suggestion)]


# -- files that cannot be read ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "where", "problem"),
    [
        (b"[edge]\nport = \n", ", line 2, column 8", "is not valid TOML: Invalid value"),
        (b"[edge]\r\nport = 1\r\nport = 2\r\n", ", line 3, column 9", "is not valid TOML: Cannot overwrite a value"),
        (b"[edge]\norigins = [", ", line 2, column 12", "is not valid TOML: Invalid value"),
        (b'[edge]\npath = """x', ", line 2, column 12", "is not valid TOML: Unterminated string"),
        (b"[edge]\npath = '\xe5\xe4'\n", ", line 2, column 9", "byte 0xe5 is not UTF-8, which TOML requires"),
        ('name = "直播'.encode() + b"\xff", ", line 1, column 11", "byte 0xff is not UTF-8, which TOML requires"),
        (b"a = " + b"[" * 20_000, "", "arrays or tables are nested too deeply"),
    ],
)
def test_a_file_that_is_not_toml_is_named_with_line_and_column(config: Path, data: bytes, where: str, problem: str) -> None:
    config.write_bytes(data)
    assert faults(config) == [Fault("", None, problem, f"roomcast.toml{where}")]


def test_a_missing_file_tells_how_to_make_one(config: Path) -> None:
    assert faults(config) == [
        Fault("", None, 'does not exist; "roomcast init" writes a file with every setting', "roomcast.toml")
    ]


def test_a_directory_is_not_a_file(tmp_path: Path) -> None:
    assert faults(tmp_path) == [Fault("", None, "cannot be read: Is a directory", tmp_path.name)]


def test_a_byte_order_mark_and_windows_line_ends_are_accepted(config: Path) -> None:
    config.write_bytes(b"\xef\xbb\xbf[edge]\r\nport = 9000\r\n")
    assert load(config, environ={}).edge.port == 9000


def test_an_unreadable_file_hides_no_fault_of_the_environment_and_invents_none(config: Path) -> None:
    # That the lag limit is too long cannot be known: the file may set the other one.
    environ = {"ROOMCAST_EDGE__PORT": "-1", "ROOMCAST_ROOM__LAG_SECONDS": "90"}
    assert [each.path for each in faults(config, environ)] == ["", "edge.port"]


# -- tables by name and lists of them ---------------------------------------------------------------------------------


def test_every_fault_in_tables_is_named_with_its_path(config: Path) -> None:
    config.write_text(
        """
        [feeds.readable]
        coments_per_second = 10
        kinds = ["comment", "gifts"]
        [feeds."two words"]
        comments_per_second = -1
        users = "me"
        [feeds]
        plain = 3
        [[moderation.lists]]
        action = "drop"
        [[moderation.lists]]
        fil = "words.txt"
        [moderation]
        reload_seconds = 0
        """
    )
    found = faults(config)
    assert {each.source for each in found} == {"roomcast.toml"}
    assert [str(each).removesuffix(" (roomcast.toml)") for each in found] == [
        "feeds.readable.coments_per_second = 10: there is no such setting; did you mean feeds.readable.comments_per_second?",
        'feeds.readable.kinds[1] = "gifts": must be "comment", "custom", "notice" or "presence"',
        'feeds."two words".comments_per_second = -1: must be at least 0',
        'feeds."two words".users = "me": must be a list of strings; did you mean ["me"]?',
        "feeds.plain = 3: must be a table of settings",
        'moderation.lists[0].action = "drop": must be "block", "mask" or "hold"',
        'moderation.lists[0] = {action = "drop"}: must have file',
        'moderation.lists[1].fil = "words.txt": there is no such setting; did you mean moderation.lists[1].file?',
        'moderation.lists[1] = {fil = "words.txt"}: must have file',
        "moderation.reload_seconds = 0: must be at least 0.1",
    ]


FEEDS = {
    "readable": FeedSettings(comments_per_second=10.0),
    "hosts only": FeedSettings(kinds=("notice",), roles=("host",), users=("u-7",)),
}


@pytest.mark.parametrize(
    "text",
    [
        '{readable = {comments_per_second = 10}, "hosts only" = {kinds = ["notice"], roles = ["host"], users = ["u-7"]}}',
        '{"readable": {"comments_per_second": 10}, "hosts only": {"kinds": ["notice"], "roles": ["host"], "users": ["u-7"]}}',
        toml_value(FEEDS),
    ],
)
def test_tables_in_the_environment_replace_those_of_the_file(config: Path, text: str) -> None:
    config.write_text("[feeds.other]\n")
    assert load(config, environ={}).feeds == {"other": FeedSettings()}
    assert load(config, environ={"ROOMCAST_FEEDS": text}).feeds == FEEDS
    assert load(config, environ={}, overrides={"feeds": text}).feeds == FEEDS
    words = WordList(file=str(config), action="mask")
    environ = {"ROOMCAST_MODERATION__LISTS": toml_value([words, {"file": str(config)}])}
    assert load(config, environ=environ).moderation.lists == (words, WordList(file=str(config)))


def test_tables_are_reported_by_what_deviates_in_them(config: Path) -> None:
    config.write_text(f"[feeds.all]\n[feeds.readable]\ncomments_per_second = 10\n[[moderation.lists]]\nfile = '{config}'\n")
    assert report(config, environ={}) == (
        0,
        f"{config} is valid; 2 settings deviate from the defaults:\n"
        f'moderation.lists = [{{file = "{config}"}}] (default []; {config})\n'
        f"feeds = {{all = {{}}, readable = {{comments_per_second = 10.0}}}} (default {{}}; {config})",
    )


@pytest.mark.parametrize("name", ["", " x", "x ", "a\nb", "\u200b", "x" * 65])
def test_a_feed_has_a_name_that_can_be_shown(name: str) -> None:
    (fault,) = check(Settings(feeds={"ok": FeedSettings(), name: FeedSettings()}))
    assert fault.problem == "must have a name of 1 to 64 printable characters, without white space around it"


def test_there_are_at_most_fifteen_feeds() -> None:
    feeds = {f"feed {number}": FeedSettings() for number in range(16)}
    (fault,) = check(Settings(feeds=feeds))
    assert (fault.path, fault.problem) == ("feeds", "must be at most 15, not 16")
    feeds.popitem()
    assert check(Settings(feeds=feeds)) == []


def test_there_are_at_most_sixty_four_reactions() -> None:
    reactions = tuple(f":{number}:" for number in range(65))
    (fault,) = check(changed({"room.reactions": reactions}))
    assert (fault.path, fault.problem) == ("room.reactions", "must be at most 64, not 65")
    assert check(changed({"room.reactions": reactions[:64]})) == []


def test_a_word_list_that_cannot_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "words.txt").touch()
    os.mkfifo(tmp_path / "pipe")
    monkeypatch.chdir(tmp_path)
    lists = tuple(
        WordList(file=file) for file in ("words.txt", f"{tmp_path}/none.txt", str(tmp_path), "pipe", "none.txt", "a\0")
    )
    assert [(each.path, each.problem) for each in check(Settings(moderation=ModerationSettings(lists=lists)))] == [
        ("moderation.lists[1].file", "cannot be read: No such file or directory"),
        ("moderation.lists[2].file", "cannot be read: it is not a file"),
        ("moderation.lists[3].file", f"cannot be read in {tmp_path}: it is not a file"),
        ("moderation.lists[4].file", f"cannot be read in {tmp_path}: No such file or directory"),
        ("moderation.lists[5].file", f"cannot be read in {tmp_path}: embedded null byte"),
    ]


def test_tables_made_in_python_are_checked_as_strictly_as_a_file(tmp_path: Path) -> None:
    broken: Any = {"a": {}, "b": FeedSettings(comments_per_second="1", roles=["host"])}  # type: ignore[arg-type]
    settings = Settings(feeds=broken, moderation=ModerationSettings(lists=[WordList(file="x")]))  # type: ignore[arg-type]
    assert list(map(str, check(settings))) == [
        'moderation.lists = [{file = "x"}]: must be a tuple in Python',
        "feeds.a = {}: must be a FeedSettings in Python",
        'feeds.b.comments_per_second = "1": must be a number per second, from 0 to 1_000_000; did you mean 1.0?',
        'feeds.b.roles = ["host"]: must be a tuple of strings in Python',
    ]


@hypothesis.settings(deadline=None)
@given(st.data())
def test_any_settings_survive_the_way_to_other_processes(data: st.DataObject) -> None:
    settings = changed(data.draw(st.lists(SOME_VALUE, max_size=6).map(dict)))
    settings = dataclasses.replace(
        settings,
        feeds=data.draw(values_of(SETTINGS["feeds"])),
        gifts=data.draw(values_of(SETTINGS["gifts"])),
        moderation=ModerationSettings(lists=data.draw(values_of(SETTINGS["moderation.lists"]))),
    )
    order = Order(settings, True)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(order), type=Order) == order
    start = Start(settings, "/run/socket", [3], "node")
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(start), type=Start) == start


# -- the secret -------------------------------------------------------------------------------------------------------

SECRET = "hush-hush"


@pytest.mark.parametrize(
    ("text", "environ"),
    [
        (f"[access]\nsecret = '{SECRET}'", {}),
        (f"[access]\nsecret = ['{SECRET}']", {}),
        (f"[access]\nsecret = {{a = '{SECRET}'}}", {}),
        (f"[access]\nsecrt = '{SECRET}'", {}),
        (f"[access]\nSECRET_KEY = '{SECRET}'", {}),
        (f"[acces]\nsecret = '{SECRET}'", {}),
        (f"[[access]]\nsecret = '{SECRET}'", {}),
        (f"secret = '{SECRET}'", {}),
        ("", {"ROOMCAST_ACCESS__SECRET": SECRET}),
        ("", {"ROOMCAST_ACCESS__SECRETS": SECRET}),
        ("", {"ROOMCAST_ACESS__SECRET": SECRET}),
        ("", {"ROOMCAST_ACCESS__SECRET": f"{SECRET}\udcff" + "x" * 32}),
        (f"[redis]\nurl = ['redis://:{SECRET}@host']", {}),
        (f"[ledger]\nurl = 'postgres://money:{SECRET}@host/db'", {}),
        (f"[ledger]\nurl = ['postgresql://money:{SECRET}@host/db']", {}),
        (f"[ledger]\nuri = 'postgresql://money:x/{SECRET}@host/db'", {}),
        (f"[leger]\nurl = 'postgresql://host/db?sslmode=require&password={SECRET}&user=x'", {}),
        ("", {"ROOMCAST_LEDGER__URL": f"postgresql://money:{SECRET}@host:port/db"}),
        (f"[redi]\nurl = 'redis://:{SECRET}@host'", {}),
    ],
)
def test_no_fault_shows_a_secret(config: Path, text: str, environ: dict[str, str]) -> None:
    config.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load(config, environ=environ)
    for shown in (str(caught.value), repr(caught.value), repr(caught.value.faults)):
        assert SECRET not in shown
    assert "***" in str(caught.value) or "…" in str(caught.value)


def test_a_short_secret_is_named() -> None:
    (fault,) = check(Settings(access=AccessSettings(secret="x" * 31)))
    assert str(fault) == 'access.secret = "***": must have at least 32 bytes, such as from `openssl rand -hex 32`'
    assert check(Settings(access=AccessSettings(secret="直" * 11))) == []


def test_the_report_and_the_settings_do_not_show_the_secret(config: Path) -> None:
    config.write_text(f"[access]\nsecret = '{SECRET * 4}'\n")
    assert report(config, environ={}) == (
        0,
        f'{config} is valid; 1 setting deviates from the defaults:\naccess.secret = "***" (default ""; {config})',
    )
    settings = load(config, environ={})
    assert settings.access.secret == SECRET * 4
    assert SECRET not in repr(settings)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (f"postgresql://money:{SECRET}@db/roomcast", "postgresql://money:…@db/roomcast"),
        (f"postgresql://:{SECRET}/{SECRET}@db:5432/roomcast", "postgresql://:…@db:5432/roomcast"),
        (f"postgresql://db/roomcast?password={SECRET}&user=x", "postgresql://db/roomcast?password=…&user=x"),
        ("postgresql://money@db:5432/roomcast", "postgresql://money@db:5432/roomcast"),
    ],
)
def test_nobody_is_shown_the_password_of_the_ledger(config: Path, url: str, shown: str) -> None:
    config.write_text(f"[ledger]\nurl = '{url}'\n")
    status, text = report(config, environ={})
    default = '"sqlite:///roomcast-ledger.db"'
    assert text == (
        f'{config} is valid; 1 setting deviates from the defaults:\nledger.url = "{shown}" (default {default}; {config})'
    ) or (status == 1 and SECRET not in text)
    assert SECRET not in repr(Settings(ledger=LedgerSettings(url=url)))


# -- money ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("money.db", "must be sqlite:///path or postgresql://user:password@host/database"),
        ("mysql://host/db", "must be sqlite:///path or postgresql://user:password@host/database"),
        ("postgres://host/db", "it begins with postgresql://"),
        ("postgresql+psycopg://host/db", "must be sqlite:///path"),
        ("sqlite://money.db", "has two slashes and must have three"),
        ("sqlite://", "money is kept in a file"),
        ("sqlite:///", "money is kept in a file"),
        ("sqlite:///:memory:", "money is kept in a file"),
        ("postgresql://host:port/db", "the host or the port is none"),
        ("postgresql://[::1/db", "the host or the port is none"),
        ("postgresql://host:0/db", "the port is missing"),
        ("postgresql://host", "the database is missing"),
        ("postgresql://host/", "the database is missing"),
        ("sqlite:///a\nb", "must be printable"),
    ],
)
def test_a_ledger_that_is_none_is_named(url: str, problem: str) -> None:
    (fault,) = check(Settings(ledger=LedgerSettings(url=url)))
    assert (fault.path, fault.value) == ("ledger.url", "…")
    assert problem in fault.problem


def test_postgresql_needs_its_client(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    (fault,) = check(Settings(ledger=LedgerSettings(url="postgresql://host/db")))
    assert fault.problem == "needs the PostgreSQL client: pip install 'roomcast[postgresql]'"
    assert check(Settings()) == []


@pytest.mark.parametrize("name", ["", " x", "x ", "a\nb", "\u200b", "x" * 65, "\udcff"])
def test_a_gift_has_an_id_and_a_name_that_can_be_shown(name: str) -> None:
    (fault,) = check(Settings(gifts={"ok": ROSE, name: ROSE}))
    assert (fault.value, "id of 1 to 64" in fault.problem) == (name, True)
    (fault,) = check(Settings(gifts={"ok": dataclasses.replace(ROSE, name=name)}))
    assert (fault.path, fault.value, "1 to 64" in fault.problem) == ("gifts.ok.name", name, True)


def test_the_effect_of_a_gift_is_bounded() -> None:
    assert check(Settings(gifts={"ok": dataclasses.replace(ROSE, effect="x" * 128)})) == []
    for effect in ("x" * 129, "a\nb"):
        (fault,) = check(Settings(gifts={"ok": dataclasses.replace(ROSE, effect=effect)}))
        assert fault.path == "gifts.ok.effect"


def test_all_gifts_fit_into_one_answer() -> None:
    (fault,) = check(Settings(gifts={f"rose {number}": ROSE for number in range(350)}))
    assert fault.path == "gifts"
    assert "more than edge.private_bytes (16384)" in fault.problem


@pytest.mark.parametrize(
    ("redis", "url", "why"),
    [
        ("", "", "ledger.url is empty"),
        ("redis://127.0.0.1", "", "ledger.url is empty"),
        ("redis://127.0.0.1", "sqlite:///money.db", "with redis.url the ledger must be PostgreSQL (ledger.url)"),
        ("", "sqlite:///money.db", None),
        ("", "postgresql://host/db", None),
        ("redis://127.0.0.1", "postgresql://host/db", None),
    ],
)
def test_money_needs_a_ledger_that_all_nodes_share(redis: str, url: str, why: str | None) -> None:
    settings = Settings(redis=RedisSettings(url=redis), ledger=LedgerSettings(url=url))
    told = ledger_fault(settings)
    assert told is None if why is None else told is not None and why in told
    # Whoever uses no money need not know.
    assert check(settings) == []
    faults = check(dataclasses.replace(settings, gifts={"rose": ROSE}))
    assert [(each.path, each.problem) for each in faults] == ([("gifts", f"cannot be given: {told}")] if told else [])


# -- rules between settings -------------------------------------------------------------------------------------------

ROSE = GiftSettings(name="Rose", price=10)
LEDGERS = (
    "",
    "sqlite:///money.db",
    "sqlite:////var/lib/roomcast/money.db",
    "postgresql://money:p%2Fw@db.example:5433/roomcast",
    "postgresql:///roomcast",
    "postgresql://[::1]/roomcast?sslmode=require",
)
BROKEN_RULES: list[tuple[dict[str, Any], str, str]] = [
    ({"edge.dead_peer_seconds": 20.0}, "edge.dead_peer_seconds", "must be more than room.lag_seconds (20.0)"),
    (
        {"edge.dead_peer_seconds": 300.0, "room.lag_seconds": 200.0, "ledger.recent_seconds": 200.0},
        "room.log_seconds",
        "must be at least room.lag_seconds (200.0)",
    ),
    (
        {"edge.dead_peer_seconds": 300.0, "room.lag_seconds": 60.5},
        "ledger.recent_seconds",
        "must be at least room.lag_seconds (60.5)",
    ),
    (
        {"edge.proxy_protocol": True},
        "edge.proxy_protocol",
        "needs edge.trusted_proxies, the networks whose PROXY headers are believed",
    ),
    ({"room.tick_max_seconds": 0.005}, "room.tick_grid_seconds", "must be at most room.tick_max_seconds (0.005)"),
    (
        {"room.log_bytes": 65536},
        "room.log_bytes",
        "must be at least 1_048_576, 4 times room.batch_bytes (262_144)",
    ),
    (
        {"edge.host": "0.0.0.0"},
        "access.anonymous",
        'lets everybody write who reaches edge.host ("0.0.0.0"); bind edge.host to loopback behind a proxy, '
        "or set access.public_anonymous_writing = true if that is meant",
    ),
]


@pytest.mark.parametrize(("values", "path", "problem"), BROKEN_RULES)
def test_settings_that_do_not_go_together_are_named(values: dict[str, Any], path: str, problem: str) -> None:
    settings = changed(values)
    assert check(settings) == [Fault(path, get(settings, path), problem)]


@pytest.mark.parametrize(
    "values",
    [
        {"edge.dead_peer_seconds": 20.5},
        {"edge.dead_peer_seconds": 300.0, "room.lag_seconds": 120.0, "ledger.recent_seconds": 120.0},
        {"edge.dead_peer_seconds": 300.0, "room.lag_seconds": 120.0, "ledger.url": ""},
        {"ledger.recent_seconds": 20.0},
        {"redis.url": "redis://127.0.0.1"},
        {"redis.url": "redis://127.0.0.1", "ledger.url": "postgresql://127.0.0.1/money", "gifts": {"rose": ROSE}},
        {"gifts": {"x" * 64: ROSE, "花 🌹": ROSE}},
        {"gifts": {f"rose {number}": ROSE for number in range(250)}},
        *({"ledger.url": url} for url in LEDGERS),
        {"room.tick_grid_seconds": 1.0},
        {"room.log_bytes": 1 << 20},
        {"edge.host": "::1"},
        {"edge.host": "localhost"},
        {"edge.host": "127.8.9.10"},
        {"edge.host": "::", "access.public_anonymous_writing": True},
        {"edge.host": "::", "access.anonymous": "read"},
        {"edge.host": "192.0.2.1", "access.anonymous": "none"},
        {"edge.proxy_protocol": True, "edge.trusted_proxies": ("127.0.0.1", "fd00::/8")},
    ],
)
def test_settings_that_just_go_together_are_accepted(values: dict[str, Any]) -> None:
    assert check(changed(values)) == []


def test_a_rule_names_the_source_of_each_setting_it_is_about(config: Path) -> None:
    config.write_text("[room]\nlag_seconds = 90\n[ledger]\nurl = ''\n")
    (fault,) = faults(config)
    assert fault.source == "edge.dead_peer_seconds: default, room.lag_seconds: roomcast.toml"
    (fault,) = faults(config, {"ROOMCAST_EDGE__DEAD_PEER_SECONDS": "80"})
    assert str(fault) == (
        "edge.dead_peer_seconds = 80.0: must be more than room.lag_seconds (90.0) (edge.dead_peer_seconds: "
        "environment ROOMCAST_EDGE__DEAD_PEER_SECONDS, room.lag_seconds: roomcast.toml)"
    )


def test_a_rule_is_silent_about_values_that_are_wrong_themselves(config: Path) -> None:
    rest = "\n[room]\nlag_seconds = 90\n[ledger]\nurl = ''\n"
    config.write_text(f'[edge]\ndead_peer_seconds = "600"{rest}')
    assert [each.path for each in faults(config)] == ["edge.dead_peer_seconds"]
    config.write_text(f"[edge]\ndead_peer_second = 600{rest}")
    assert [each.path for each in faults(config)] == ["edge.dead_peer_second"]
    config.write_text(f"[egde]\ndead_peer_seconds = 600{rest}")
    assert [each.path for each in faults(config)] == ["egde"]


# -- everything at once -----------------------------------------------------------------------------------------------


def test_all_faults_of_all_sources_come_at_once_one_line_each(config: Path) -> None:
    config.write_text('[edge]\nport = 70000\nprot = 1\n[log]\nlevel = "all"\n[room]\nlag_seconds = 130\n')
    environ = {"ROOMCAST_EDGE__BACKLOG": "some", "ROOMCAST_NODE__NAM": "a"}
    with pytest.raises(ConfigError) as caught:
        load(config, environ=environ, overrides={"limits": {"comment_bytes": 0}})
    assert str(caught.value).replace(str(config), "roomcast.toml").splitlines() == [
        "edge.port = 70000: must be at most 65535 (roomcast.toml)",
        "edge.prot = 1: there is no such setting; did you mean edge.port? (roomcast.toml)",
        'log.level = "all": must be "debug", "info", "warning" or "error" (roomcast.toml)',
        'edge.backlog = "some": must be a whole number, from 16 to 65535 (environment ROOMCAST_EDGE__BACKLOG)',
        'node.nam = "a": there is no such setting; did you mean ROOMCAST_NODE__NAME? (environment ROOMCAST_NODE__NAM)',
        "limits.comment_bytes = 0: must be at least 1 (command line)",
        "edge.dead_peer_seconds = 60.0: must be more than room.lag_seconds (130.0) "
        "(edge.dead_peer_seconds: default, room.lag_seconds: roomcast.toml)",
        "room.log_seconds = 120.0: must be at least room.lag_seconds (130.0) "
        "(room.log_seconds: default, room.lag_seconds: roomcast.toml)",
        "ledger.recent_seconds = 60.0: must be at least room.lag_seconds (130.0) "
        "(ledger.recent_seconds: default, room.lag_seconds: roomcast.toml, ledger.url: default)",
    ]


def test_a_wrong_value_counts_even_where_a_later_source_replaces_it(config: Path) -> None:
    config.write_text("[edge]\nport = 70000\n")
    assert [each.path for each in faults(config, {"ROOMCAST_EDGE__PORT": "9000"})] == ["edge.port"]


def test_a_fault_stays_one_printable_line_whatever_it_repeats(config: Path) -> None:
    config.write_text('"a\\nb\\u202e" = 1\n[node]\nname = [' + '"x", ' * 1000 + "]\n")
    environ = {"ROOMCAST_EDGE__\udcff": "\udcff", "ROOMCAST_NODE__NAME": "\udcff\n"}
    with pytest.raises(ConfigError) as caught:
        load(config, environ=environ)
    lines = str(caught.value).split("\n")
    assert len(lines) == len(caught.value.faults) == 3
    assert all(line.isprintable() and len(line) < 400 for line in lines)


def test_undecodable_bytes_of_the_environment_are_not_a_name() -> None:
    (fault,) = faults(None, {"ROOMCAST_NODE__NAME": "\udcff"})
    assert str(fault) == (r'node.name = "\udcff": must be printable text on one line (environment ROOMCAST_NODE__NAME)')


def test_a_config_error_survives_pickling(config: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(config, environ={})
    assert pickle.loads(pickle.dumps(caught.value)).faults == caught.value.faults


# -- sources ----------------------------------------------------------------------------------------------------------


def test_without_any_source_there_are_the_defaults() -> None:
    assert load(environ={}) == Settings()


def test_later_sources_win(config: Path) -> None:
    config.write_text("[edge]\nport = 1\nbacklog = 101\nslice_frames = 1001\n[log]\nlevel = 'debug'\n")
    environ = {"ROOMCAST_EDGE__BACKLOG": "102", "ROOMCAST_EDGE__SLICE_FRAMES": "1002"}
    settings = load(config, environ=environ, overrides={"edge": {"slice_frames": 1003, "port": None}})
    assert settings.edge == EdgeSettings(port=1, backlog=102, slice_frames=1003)
    assert settings.log.level == "debug"


def test_a_whole_number_stands_for_a_fraction_and_becomes_one(config: Path) -> None:
    config.write_text("[edge]\nhandshake_seconds = 3\n")
    assert repr(load(config, environ={}).edge.handshake_seconds) == "3.0"


@pytest.mark.parametrize(
    ("variable", "text", "path", "value"),
    [
        ("ROOMCAST_EDGE__PORT", "9000", "edge.port", 9000),
        ("ROOMCAST_EDGE__PORT", " 9_000 ", "edge.port", 9000),
        ("ROOMCAST_EDGE__HANDSHAKE_SECONDS", "2", "edge.handshake_seconds", 2.0),
        ("ROOMCAST_EDGE__HANDSHAKE_SECONDS", "2.5e-1", "edge.handshake_seconds", 0.25),
        ("ROOMCAST_EDGE__COMPRESSION", "false", "edge.compression", False),
        ("ROOMCAST_EDGE__COMPRESSION", "0", "edge.compression", False),
        ("ROOMCAST_EDGE__COMPRESSION", "YES", "edge.compression", True),
        ("ROOMCAST_ROOM__LAG_POLICY", "close", "room.lag_policy", "close"),
        ("ROOMCAST_NODE__NAME", "12", "node.name", "12"),
        ("ROOMCAST_NODE__NAME", "", "node.name", ""),
        ("ROOMCAST_NODE__WORKERS", "auto", "node.workers", "auto"),
        ("ROOMCAST_NODE__WORKERS", "4", "node.workers", 4),
        ("ROOMCAST_EDGE__ORIGINS", "[]", "edge.origins", ()),
        ("ROOMCAST_EDGE__ORIGINS", '["http:\\/\\/a", "http://b"]', "edge.origins", ("http://a", "http://b")),
        ("ROOMCAST_EDGE__ORIGINS", "['http://a',\n 'http://b',]", "edge.origins", ("http://a", "http://b")),
    ],
)
def test_the_environment_sets_every_type(variable: str, text: str, path: str, value: Any) -> None:
    found = get(load(environ={variable: text}), path)
    assert found == value
    assert type(found) is type(value)
    section, name = path.split(".")
    assert get(load(environ={}, overrides={section: {name: text}}), path) == value


LIST = "must be a list of strings"
FINITE = "must be a finite number per second, more than 0, at most 1_000_000_000"
UNKNOWN = "there is no such setting"


@pytest.mark.parametrize(
    ("variable", "text", "path", "problem", "suggestion"),
    [
        ("ROOMCAST_EDGE__PORT", "70000", "edge.port", "must be at most 65535", ""),
        ("ROOMCAST_EDGE__PORT", "", "edge.port", "must be a whole number, from 0 to 65535", ""),
        ("ROOMCAST_EDGE__COMPRESSION", "maybe", "edge.compression", "must be true or false", ""),
        ("ROOMCAST_LIMITS__LIKES_PER_SECOND", "nan", "limits.likes_per_second", FINITE, ""),
        ("ROOMCAST_ROOM__LAG_POLICY", "clos", "room.lag_policy", 'must be "skip" or "close"', '"close"'),
        ("ROOMCAST_EDGE__ORIGINS", "", "edge.origins", LIST, "[]"),
        ("ROOMCAST_EDGE__ORIGINS", "http://a, http://b", "edge.origins", LIST, '["http://a", "http://b"]'),
        ("ROOMCAST_EDGE__ORIGINS", "[http://a]", "edge.origins", LIST, '["http://a"]'),
        ("ROOMCAST_EDGE__ORIGINS", "7", "edge.origins", LIST, '["7"]'),
        ("ROOMCAST_EDGE__PROT", "1", "edge.prot", UNKNOWN, "ROOMCAST_EDGE__PORT"),
        ("ROOMCAST_edge__port", "1", "edge.port", UNKNOWN, "ROOMCAST_EDGE__PORT"),
        ("ROOMCAST__EDGE__PORT", "1", "_edge.port", UNKNOWN, "ROOMCAST_EDGE__PORT"),
        ("ROOMCAST_ROOOM__VIEWERS_MAX", "1", "rooom.viewers_max", UNKNOWN, "ROOMCAST_ROOM__VIEWERS_MAX"),
        ("ROOMCAST_A__B__C", "1", "a.b.c", UNKNOWN, ""),
        ("ROOMCAST_FEEDS__READABLE", "{}", "feeds.readable", UNKNOWN, "ROOMCAST_FEEDS"),
        ("ROOMCAST_FEEDS", "readable", "feeds", "must be tables by name, [feeds.NAME]", ""),
        ("ROOMCAST_FEEDS", "", "feeds", "must be tables by name, [feeds.NAME]", ""),
        ("ROOMCAST_MODERATION__LISTS", "a.txt", "moderation.lists", "must be a list of tables, [[moderation.lists]]", ""),
    ],
)
def test_a_bad_variable_is_named(variable: str, text: str, path: str, problem: str, suggestion: str) -> None:
    assert faults(None, {variable: text}) == [Fault(path, text, problem, f"environment {variable}", suggestion)]


def test_variables_that_others_set_are_left_alone() -> None:
    others = {"ROOMCAST_PORT": "tcp://10.0.0.1:8765", "ROOMCAST_CONFIG": "x", "XROOMCAST_EDGE__PORT": "1", "PATH": "/"}
    assert load(environ=others) == Settings()


def test_faults_of_the_command_line_are_named() -> None:
    assert faults(None, edge={"port": "x", "prot": 1}, node=3) == [
        Fault("edge.port", "x", "must be a whole number, from 0 to 65535", "command line"),
        Fault("edge.prot", 1, "there is no such setting", "command line", "edge.port"),
        Fault("node", 3, "must be a section, [node], with settings below it", "command line"),
    ]


# -- settings made in Python ------------------------------------------------------------------------------------------


def test_the_defaults_are_valid() -> None:
    assert check(Settings()) == []


def test_settings_made_in_python_are_checked_as_strictly_as_a_file() -> None:
    settings = Settings(
        node=NodeSettings(shutdown_seconds=10),
        edge=EdgeSettings(port=70000, origins=["https://a.example"]),  # type: ignore[arg-type]
        room=RoomSettings(lag_policy="drop", rooms_max=True, lag_seconds=60.0),  # type: ignore[arg-type]
        limits=LimitSettings(comments_per_second=float("nan")),
        access=AccessSettings(anonymous=None),  # type: ignore[arg-type]
    )
    assert list(map(str, check(settings))) == [
        "edge.port = 70000: must be at most 65535",
        'edge.origins = ["https://a.example"]: must be a tuple of strings in Python',
        'room.lag_policy = "drop": must be "skip" or "close"',
        "room.rooms_max = true: must be a whole number, from 1 to 10_000_000",
        "limits.comments_per_second = nan: must be a finite number per second, more than 0, at most 1_000_000_000",
        'access.anonymous = None: must be "auto", "write", "read" or "none"',
        "edge.dead_peer_seconds = 60.0: must be more than room.lag_seconds (60.0)",
    ]


# -- any value --------------------------------------------------------------------------------------------------------


# The first that names a Redis imports what reads its address.
@hypothesis.settings(deadline=None)
@given(st.lists(SOME_VALUE, max_size=6).map(dict))
def test_any_settings_written_as_toml_load_back_or_fault_as_in_python(
    tmp_path_factory: pytest.TempPathFactory, values: dict[str, Any]
) -> None:
    settings = changed(values)
    path = tmp_path_factory.getbasetemp() / "any.toml"
    lines = [
        line
        for section in ["", *SECTIONS]
        for line in [f"[{section}]" if section else ""]
        + [f"{SETTINGS[key].name} = {toml_value(v)}" for key, v in values.items() if SETTINGS[key].section == section]
    ]
    path.write_text("\n".join(lines), encoding="utf-8", newline="\n")
    expected = check(settings)
    assert all(each.path.partition("[")[0] in SETTINGS or each.path.startswith(("feeds.", "gifts.")) for each in expected)
    if not expected:
        assert load(path, environ={}) == settings
        return
    assert [dataclasses.replace(each, source="") for each in faults(path)] == expected


@given(st.data())
def test_any_value_in_the_environment_is_read_as_in_a_file(data: st.DataObject) -> None:
    setting = data.draw(SOME_SETTING)
    value = data.draw(values_of(setting).filter(lambda each: not check(changed({setting.path: each}))))
    text = value if isinstance(value, str) else toml_value(value)
    assert load(environ={setting.variable: text}) == changed({setting.path: value})


# -- report -----------------------------------------------------------------------------------------------------------


def test_the_report_of_a_good_file_tells_what_deviates_and_why(config: Path) -> None:
    config.write_text('[edge]\nport = 9000\nbacklog = 4096\norigins = ["https://a.example"]\n')
    assert report(config, environ={"ROOMCAST_ROOM__BATCH_BYTES": "131072"}) == (
        0,
        f"{config} is valid; 3 settings deviate from the defaults:\n"
        f"edge.port = 9000 (default 8765; {config})\n"
        f'edge.origins = ["https://a.example"] (default []; {config})\n'
        "room.batch_bytes = 131_072 (default 262_144; environment ROOMCAST_ROOM__BATCH_BYTES)",
    )
    config.write_text(commented(), encoding="utf-8")
    assert report(config, environ={}) == (0, f"{config} is valid; every setting has its default.")
    config.write_text("[edge]\nport = 9000\n")
    assert report(config, environ={})[1].startswith(f"{config} is valid; 1 setting deviates from the defaults:\n")


def test_the_report_of_a_bad_file_holds_every_fault(config: Path) -> None:
    config.write_text("[edge]\nport = 70000\nprot = 1\n")
    assert report(config, environ={}) == (
        1,
        f"{config} cannot be used, 2 faults:\n"
        f"edge.port = 70000: must be at most 65535 ({config})\n"
        f"edge.prot = 1: there is no such setting; did you mean edge.port? ({config})",
    )
