"""What a reload changes: which settings are hot, what is in force afterwards, what is refused, who is signalled."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import MISSING, fields, replace
from pathlib import Path
from typing import Any, get_args, get_origin

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from engine.configfile import SETTINGS, Setting
from engine.configrules import value_of
from engine.errors import RoomcastError
from engine.node import open_node
from engine.reload import COLD, HOT, ReloadRefused, merge
from engine.rereading import renew
from engine.settings import (
    AccessSettings,
    EdgeSettings,
    FeedSettings,
    GiftSettings,
    LimitSettings,
    RedisSettings,
    RoomSettings,
    Settings,
)
from engine.workers.reread import Source, reread
from engine.workers.rundir import ask_to_reload, ask_to_restart

PATHS = sorted(SETTINGS)


def other(setting: Setting) -> Any:
    """Another value than the default; nobody asks here whether it is allowed."""
    default = setting.default
    if setting.choices and not setting.is_list:
        return next(choice for choice in setting.choices if choice != default)
    if setting.path == "feeds":
        return {"short": FeedSettings(comments_per_second=3.0)}
    if setting.path == "gifts":
        return {"rose": GiftSettings(name="Rose", price=7)}
    if get_origin(setting.kind) is tuple:
        kinds = get_args(setting.kind)[0]
        return ("another",) if kinds is str else (kinds,)
    if isinstance(default, bool):
        return not default
    return f"{default}/another" if isinstance(default, str) else default + 1


def changed(settings: Settings, paths: set[str]) -> Settings:
    """Settings in which these have another value."""
    for path in paths:
        setting = SETTINGS[path]
        value = other(setting) if value_of(setting, settings) == setting.default else setting.default
        if setting.section:
            settings = replace(
                settings, **{setting.section: replace(getattr(settings, setting.section), **{setting.name: value})}
            )
        else:
            settings = replace(settings, **{path: value})
    return settings


def different(one: Settings, two: Settings) -> set[str]:
    return {path for path, setting in SETTINGS.items() if value_of(setting, one) != value_of(setting, two)}


# -- the table ---------------------------------------------------------------------------------------------------------


def test_of_every_setting_it_is_known_whether_it_can_change_while_viewers_stay() -> None:
    assert HOT | COLD.keys() == set(SETTINGS)
    assert not HOT & COLD.keys()
    assert all(COLD.values()), "a reason for each"


def test_no_setting_lacks_a_default_to_begin_with() -> None:
    assert all(setting.default is not MISSING for setting in SETTINGS.values())
    assert {field.name for field in fields(Settings)} >= {path.partition(".")[0] for path in HOT}


# -- what is in force afterwards ---------------------------------------------------------------------------------------

some = st.sets(st.sampled_from(PATHS))


@given(before=some, after=some)
def test_only_what_is_hot_changes_and_all_of_it_does(before: set[str], after: set[str]) -> None:
    old, new = changed(Settings(), before), changed(Settings(), after)
    merged, reloaded = merge(old, new)
    assert set(reloaded.changed) == different(old, new) & HOT == different(old, merged)
    assert set(reloaded.restart) == different(old, new) - HOT == different(merged, new)
    for paths in (reloaded.changed, reloaded.restart):
        assert len(paths) == len(set(paths))


@given(before=some, after=some)
def test_the_same_again_changes_nothing_and_tells_what_needs_a_restart_still(before: set[str], after: set[str]) -> None:
    new = changed(Settings(), after)
    merged, first = merge(changed(Settings(), before), new)
    again, second = merge(merged, new)
    assert again is merged
    assert (second.changed, second.restart) == ([], first.restart)


@given(before=some)
def test_what_was_taken_back_is_as_it_was(before: set[str]) -> None:
    merged, _ = merge(Settings(), changed(Settings(), before))
    assert merge(merged, Settings())[0] == Settings()


# -- what is refused ---------------------------------------------------------------------------------------------------


def test_a_mixture_that_breaks_a_rule_is_refused_as_a_whole() -> None:
    # Guests write, which is allowed where it listens by the new settings, but it goes on listening elsewhere.
    old = Settings(edge=EdgeSettings(host="0.0.0.0"), access=AccessSettings(anonymous="none"))
    new = Settings(access=AccessSettings(anonymous="write"), limits=LimitSettings(comments_burst=3))
    with pytest.raises(ReloadRefused) as refused:
        renew(old, lambda: new)
    assert [path for path, _ in refused.value.faults] == ["access.anonymous"]
    assert "needs a restart" in str(refused.value)


def test_settings_made_in_python_are_judged_like_those_of_a_file() -> None:
    with pytest.raises(ReloadRefused, match=r"limits\.comments_burst"):
        renew(Settings(), lambda: Settings(limits=LimitSettings(comments_burst=0)))


async def test_an_embedded_node_without_a_source_says_so() -> None:
    async with open_node(Settings(edge=EdgeSettings(port=0))) as node:
        with pytest.raises(RoomcastError, match="not started from a file"):
            await node.reload()


# -- in a process of its own -------------------------------------------------------------------------------------------


async def test_another_process_reads_and_judges_them_as_the_command_line_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "config.toml"
    file.write_text("[limits]\ncomments_burst = 3\n[redis]\nprefix = 'two'\n[edge]\nport = 1\n", encoding="utf-8")
    monkeypatch.setenv("ROOMCAST_LIMITS__LIKES_BURST", "9")
    old = Settings(edge=EdgeSettings(port=2), room=RoomSettings(lag_seconds=7.0))
    settings, reloaded = await reread(Source(str(file), {"edge": {"port": "2", "host": None}}), old)
    assert settings == replace(old, limits=LimitSettings(comments_burst=3, likes_burst=9), room=RoomSettings())
    assert sorted(reloaded.changed) == ["limits.comments_burst", "limits.likes_burst", "room.lag_seconds"]
    assert reloaded.restart == ["redis.prefix"]
    file.write_text("[limits]\ncomments_burst = 0\n[rooms]\n", encoding="utf-8")
    with pytest.raises(ReloadRefused) as refused:
        await reread(Source(str(file)), old)
    assert [path for path, _ in refused.value.faults] == ["limits.comments_burst", "rooms"]
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\nif 'engine.commands.reread' in sys.orig_argv:\n    import os; os._exit(9)\n", encoding="utf-8"
    )
    with pytest.raises(RoomcastError, match="status 9"):
        await reread(Source(), Settings(redis=RedisSettings()))
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\nif 'engine.commands.reread' in sys.orig_argv:\n    import os; print('hm', flush=True); os._exit(0)\n"
    )
    with pytest.raises(RoomcastError, match="could not be read again"):
        await reread(Source(), Settings(redis=RedisSettings()))
    monkeypatch.setattr("engine.workers.reread.interpreter", lambda: [str(tmp_path / "gone")])
    with pytest.raises(RoomcastError, match="could not be read again"):
        await reread(Source(), Settings(redis=RedisSettings()))


# -- who is signalled --------------------------------------------------------------------------------------------------


def test_nobody_is_asked_whom_the_signal_would_end(tmp_path: Path) -> None:
    for pid in (os.getpid(), 4_190_000):
        with pytest.raises(RoomcastError, match="is no node"):
            ask_to_reload(pid)
    # It looks like a node, and like a supervisor, but has not prepared for the signal.
    for name, ask in (("roomcast", ask_to_reload), ("engine.workers.supervisor", ask_to_restart)):
        command = [sys.executable, "-c", "import sys; print(flush=True); sys.stdin.read()", name, "serve"]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            process.stdout.readline()
            with pytest.raises(RoomcastError, match="has just begun"):
                ask(process.pid)
            assert process.poll() is None
            process.communicate()


def test_a_supervisor_of_an_earlier_release_is_not_taken_for_one_that_reloads() -> None:
    # To it, the signal meant to replace its processes.
    code = """
import signal, sys
signal.signal(signal.SIGHUP, lambda *_: print("hup", flush=True))
print(flush=True)
sys.stdin.readline()
"""
    command = [sys.executable, "-c", code, "engine.workers.supervisor"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        with pytest.raises(RoomcastError, match="reads its settings"):
            ask_to_reload(process.pid)
        ask_to_restart(process.pid)
        assert process.stdout.readline() == b"hup\n"
        process.communicate(b"\n")


async def test_what_is_prepared_for_the_signal_gets_it() -> None:
    code = """
import os, signal, sys
for number in (signal.SIGHUP, signal.SIGUSR2):
    signal.signal(number, lambda number, _: os.write(1, b"%d\\n" % number))
print(flush=True)
sys.stdin.readline()
"""
    for name, pairs in (
        ("engine.workers.supervisor", ((ask_to_reload, signal.SIGHUP), (ask_to_restart, signal.SIGUSR2))),
        ("bin/roomcast", ((ask_to_reload, signal.SIGHUP),)),
    ):
        command = [sys.executable, "-c", code, name, "serve"]
        with trio.fail_after(30):
            process = await trio.lowlevel.open_process(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            assert process.stdout is not None
            assert process.stdin is not None
            async with process.stdout, process.stdin:
                assert await process.stdout.receive_some() == b"\n"
                for ask, number in pairs:
                    ask(process.pid)
                    assert await process.stdout.receive_some() == b"%d\n" % number
                await process.stdin.send_all(b"\n")
                await process.wait()
