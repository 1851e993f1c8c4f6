"""Rules about rooms: ticks, logs and lag, reactions, feeds, word lists.

Owns these rules.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from engine.configfile import SETTINGS, number
from engine.configrules.rule import NAME_MAX, encodable, presentable, rule, said, unreadable
from engine.configvalues import Fault, element_path
from engine.settings import Settings
from engine.text import visible

__all__: list[str] = []

_LOG_BATCHES: Final = 4
"""With fewer, a viewer half through one frame would soon hold most of the log."""
_FEEDS_MAX: Final = 15
"""The number of a shared frame's variant has four bits for the feed, and 0 is everything."""
_REACTIONS_MAX: Final = 64
_REACTION_MAX: Final = 32


@rule("edge.dead_peer_seconds", "room.lag_seconds")
def _lag_comes_before_death(settings: Settings) -> Iterator[Fault]:
    # Else the kernel cuts slow viewers off before lag_policy can treat them.
    if settings.edge.dead_peer_seconds <= settings.room.lag_seconds:
        problem = f"must be more than {said('room.lag_seconds', settings)}"
        yield Fault("edge.dead_peer_seconds", settings.edge.dead_peer_seconds, problem)


@rule("room.log_seconds", "room.lag_seconds")
def _log_outlasts_lag(settings: Settings) -> Iterator[Fault]:
    if settings.room.log_seconds < settings.room.lag_seconds:
        problem = f"must be at least {said('room.lag_seconds', settings)}"
        yield Fault("room.log_seconds", settings.room.log_seconds, problem)


@rule("room.tick_grid_seconds", "room.tick_max_seconds")
def _ticks_are_ordered(settings: Settings) -> Iterator[Fault]:
    if settings.room.tick_grid_seconds > settings.room.tick_max_seconds:
        problem = f"must be at most {said('room.tick_max_seconds', settings)}"
        yield Fault("room.tick_grid_seconds", settings.room.tick_grid_seconds, problem)


@rule("room.log_bytes", "room.batch_bytes")
def _log_holds_batches(settings: Settings) -> Iterator[Fault]:
    least = _LOG_BATCHES * settings.room.batch_bytes
    if settings.room.log_bytes < least:
        problem = f"must be at least {number(least)}, {_LOG_BATCHES} times {said('room.batch_bytes', settings)}"
        yield Fault("room.log_bytes", settings.room.log_bytes, problem)


@rule("room.reactions")
def _reactions_differ(settings: Settings) -> Iterator[Fault]:
    reactions = settings.room.reactions
    if len(reactions) > _REACTIONS_MAX:
        yield Fault("room.reactions", reactions, f"must be at most {_REACTIONS_MAX}, not {len(reactions)}")
    times = Counter(reactions)
    for index, reaction in enumerate(reactions):
        path = f"room.reactions[{index}]"
        if not visible(reaction) or len(reaction) > _REACTION_MAX or not encodable(reaction):
            yield Fault(path, reaction, f"must show something and have at most {_REACTION_MAX} characters")
        elif times[reaction] > 1 and reactions.index(reaction) != index:
            yield Fault(path, reaction, "must not be listed twice")


@rule("feeds")
def _feeds_are_few_and_named(settings: Settings) -> Iterator[Fault]:
    setting = SETTINGS["feeds"]
    if len(settings.feeds) > _FEEDS_MAX:
        yield Fault("feeds", list(settings.feeds), f"must be at most {_FEEDS_MAX}, not {len(settings.feeds)}")
    for name, feed in settings.feeds.items():
        path = element_path(setting, name)
        if not presentable(name):
            problem = f"must have a name of 1 to {NAME_MAX} printable characters, without white space around it"
            yield Fault(path, name, problem)
        for index, user in enumerate(feed.users):
            if not 1 <= len(user) <= NAME_MAX:
                yield Fault(f"{path}.users[{index}]", user, f"must be the id of a user, 1 to {NAME_MAX} characters")


@rule("moderation.lists")
def _word_lists_can_be_read(settings: Settings) -> Iterator[Fault]:
    for index, each in enumerate(settings.moderation.lists):
        if problem := unreadable(each.file):
            where = "" if Path(each.file).is_absolute() else f" in {Path.cwd()}"
            yield Fault(f"moderation.lists[{index}].file", each.file, f"cannot be read{where}: {problem}")
