"""Whether settings are allowed: each value by its type and bounds, and those that go together by rules.

Owns the rules about settings beyond types and bounds. Must not know config files or the environment; `engine.config` reads them
and says where a fault came from.
"""

from __future__ import annotations

import re
import stat
from collections import Counter
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from pathlib import Path
from typing import Any, Final

from engine.configfile import SETTINGS, Setting, number, toml_value
from engine.configvalues import Fault, element_path, verify
from engine.ledger.address import ledger_fault, url_fault
from engine.settings import Settings
from engine.text import visible

__all__ = ["Fault", "broken_rules", "check", "value_of"]


def check(settings: Settings) -> list[Fault]:
    """Everything that is wrong with settings made in Python: types, bounds, and the rules between settings."""
    faults: list[Fault] = []
    wrong: set[str] = set()
    for setting in SETTINGS.values():
        if found := list(verify(setting, value_of(setting, settings))):
            faults += found
            wrong.add(setting.path)
    return faults + [fault for fault, _ in broken_rules(settings, wrong)]


def value_of(setting: Setting, settings: Settings) -> Any:
    """What a setting is set to."""
    return getattr(getattr(settings, setting.section) if setting.section else settings, setting.name)


# -- rules between settings --------------------------------------------------------------------------------------------

_Rule = Callable[[Settings], Iterator[Fault]]
_LOG_BATCHES: Final = 4
"""With fewer, a viewer half through one frame would soon hold most of the log."""
_FEEDS_MAX: Final = 15
"""The number of a shared frame's variant has four bits for the feed, and 0 is everything."""
_NAME_MAX: Final = 64
_EFFECT_MAX: Final = 128
_GIFT_BYTES: Final = 40
"""Of a gift in JSON, beside its texts."""
_REACTIONS_MAX: Final = 64
_REACTION_MAX: Final = 32
_SECRET_BYTES: Final = 32
"""That of the hash (RFC 7518 section 3.2)."""
_USUAL_PORTS: Final = {"http": ":80", "https": ":443"}
_RULES: Final[list[tuple[tuple[str, ...], _Rule]]] = []


def _rule(*paths: str) -> Callable[[_Rule], _Rule]:
    """Register a rule about these settings, the one it blames first. It is asked only when each of them is valid."""

    def register(rule: _Rule) -> _Rule:
        _RULES.append((paths, rule))
        return rule

    return register


def broken_rules(settings: Settings, unsure: set[str]) -> Iterator[tuple[Fault, tuple[str, ...]]]:
    """Faults of the rules about settings that are not ``unsure``, each with the paths of all settings it is about."""
    for paths, rule in _RULES:
        if unsure.isdisjoint(paths):
            for fault in rule(settings):
                yield fault, paths


# -- the rules themselves ----------------------------------------------------------------------------------------------


def _said(path: str, settings: Settings) -> str:
    return f"{path} ({toml_value(value_of(SETTINGS[path], settings))})"


@_rule("node.name")
def _name_can_be_logged(settings: Settings) -> Iterator[Fault]:
    # Also bytes of the environment that are not UTF-8, which Python holds as lone surrogates.
    if not settings.node.name.isprintable():
        yield Fault("node.name", settings.node.name, "must be printable text on one line")


@_rule("edge.host")
def _host_is_an_address(settings: Settings) -> Iterator[Fault]:
    host = settings.edge.host
    if _address(host) is None:
        inner = host.strip("[] ")
        meant = toml_value(inner) if _address(inner) else ""
        yield Fault("edge.host", host, 'must be an IP address or "localhost"', suggestion=meant)


@_rule("redis.url")
def _redis_is_found_so(settings: Settings) -> Iterator[Fault]:
    if not settings.redis.url:
        return
    try:
        from engine.brokers.redis.address import parse
    except ModuleNotFoundError:
        yield Fault("redis.url", "…", "needs the Redis client: pip install 'roomcast[redis]'")
        return
    try:
        parse(settings.redis.url)
    except ValueError as error:
        # Without the value: it may hold a password.
        yield Fault("redis.url", "…", str(error).removeprefix("redis.url "))


@_rule("ledger.url")
def _ledger_is_found_so(settings: Settings) -> Iterator[Fault]:
    # Without the value: it may hold a password.
    if problem := url_fault(settings.ledger.url):
        yield Fault("ledger.url", "…", problem)
    elif settings.ledger.url.startswith("postgresql:") and find_spec("psycopg") is None:
        yield Fault("ledger.url", "…", "needs the PostgreSQL client: pip install 'roomcast[postgresql]'")


@_rule("gifts", "ledger.url", "redis.url")
def _gifts_can_be_given(settings: Settings) -> Iterator[Fault]:
    if settings.gifts and (problem := ledger_fault(settings)):
        yield Fault("gifts", list(settings.gifts), f"cannot be given: {problem}")


@_rule("gifts")
def _gifts_can_be_named(settings: Settings) -> Iterator[Fault]:
    for name, gift in settings.gifts.items():
        path = element_path(SETTINGS["gifts"], name)
        if not _presentable(name):
            problem = f"must have an id of 1 to {_NAME_MAX} printable characters, without white space around it"
            yield Fault(path, name, problem)
        if not _presentable(gift.name):
            problem = f"must be 1 to {_NAME_MAX} printable characters, without white space around them"
            yield Fault(f"{path}.name", gift.name, problem)
        if len(gift.effect) > _EFFECT_MAX or not gift.effect.isprintable():
            yield Fault(f"{path}.effect", gift.effect, f"must be printable text of at most {_EFFECT_MAX} characters")


@_rule("gifts", "edge.private_bytes")
def _gifts_fit_into_an_answer(settings: Settings) -> Iterator[Fault]:
    # A viewer with more waiting is closed.
    texts = [text for name, gift in settings.gifts.items() for text in (name, gift.name, gift.effect)]
    size = sum(len(text.encode(errors="replace")) for text in texts) + _GIFT_BYTES * len(settings.gifts)
    if size > settings.edge.private_bytes:
        problem = f"have {number(size)} bytes when a viewer asks for them, more than {_said('edge.private_bytes', settings)}"
        yield Fault("gifts", list(settings.gifts), problem)


@_rule("edge.path")
def _path_can_match(settings: Settings) -> Iterator[Fault]:
    path = settings.edge.path
    if not path.startswith("/"):
        yield Fault("edge.path", path, 'must start with "/"', suggestion=toml_value(f"/{path}") if path else "")
    elif not re.fullmatch(r"[!-~]+", path) or "?" in path or "#" in path:
        yield Fault("edge.path", path, 'must be ASCII without space, "?" and "#", else no request matches it')


@_rule("edge.origins")
def _origins_can_match(settings: Settings) -> Iterator[Fault]:
    # As browsers send them (RFC 6454 section 6.2). One that cannot match would lock its whole site out, silently.
    for index, origin in enumerate(settings.edge.origins):
        meant = _origin(origin)
        if origin not in ("null", meant):
            problem = 'must be scheme, host and, unless it is the usual one, port, such as "https://live.example.com"'
            suggestion = toml_value(meant) if meant else ""
            yield Fault(f"edge.origins[{index}]", origin, problem, suggestion=suggestion)


@_rule("edge.trusted_proxies")
def _proxies_are_networks(settings: Settings) -> Iterator[Fault]:
    for index, network in enumerate(settings.edge.trusted_proxies):
        if _network(network, strict=True) is None:
            meant = _network(network, strict=False)
            problem = 'must be a network, such as "10.0.0.0/8", or one address'
            suggestion = toml_value(meant) if meant else ""
            yield Fault(f"edge.trusted_proxies[{index}]", network, problem, suggestion=suggestion)


@_rule("edge.proxy_protocol", "edge.trusted_proxies")
def _proxy_protocol_has_proxies(settings: Settings) -> Iterator[Fault]:
    if settings.edge.proxy_protocol and not settings.edge.trusted_proxies:
        problem = "needs edge.trusted_proxies, the networks whose PROXY headers are believed"
        yield Fault("edge.proxy_protocol", True, problem)


@_rule("edge.dead_peer_seconds", "room.lag_seconds")
def _lag_comes_before_death(settings: Settings) -> Iterator[Fault]:
    # Else the kernel cuts slow viewers off before lag_policy can treat them.
    if settings.edge.dead_peer_seconds <= settings.room.lag_seconds:
        problem = f"must be more than {_said('room.lag_seconds', settings)}"
        yield Fault("edge.dead_peer_seconds", settings.edge.dead_peer_seconds, problem)


@_rule("room.log_seconds", "room.lag_seconds")
def _log_outlasts_lag(settings: Settings) -> Iterator[Fault]:
    if settings.room.log_seconds < settings.room.lag_seconds:
        problem = f"must be at least {_said('room.lag_seconds', settings)}"
        yield Fault("room.log_seconds", settings.room.log_seconds, problem)


@_rule("ledger.recent_seconds", "room.lag_seconds", "ledger.url")
def _lost_money_comes_again_to_who_lags(settings: Settings) -> Iterator[Fault]:
    # Else a viewer who had yet to be sent it when the history was lost would never see it.
    if settings.ledger.url and settings.ledger.recent_seconds < settings.room.lag_seconds:
        problem = f"must be at least {_said('room.lag_seconds', settings)}"
        yield Fault("ledger.recent_seconds", settings.ledger.recent_seconds, problem)


@_rule("room.tick_grid_seconds", "room.tick_max_seconds")
def _ticks_are_ordered(settings: Settings) -> Iterator[Fault]:
    if settings.room.tick_grid_seconds > settings.room.tick_max_seconds:
        problem = f"must be at most {_said('room.tick_max_seconds', settings)}"
        yield Fault("room.tick_grid_seconds", settings.room.tick_grid_seconds, problem)


@_rule("room.log_bytes", "room.batch_bytes")
def _log_holds_batches(settings: Settings) -> Iterator[Fault]:
    least = _LOG_BATCHES * settings.room.batch_bytes
    if settings.room.log_bytes < least:
        problem = f"must be at least {number(least)}, {_LOG_BATCHES} times {_said('room.batch_bytes', settings)}"
        yield Fault("room.log_bytes", settings.room.log_bytes, problem)


@_rule("access.anonymous", "access.public_anonymous_writing", "edge.host")
def _public_writing_is_meant(settings: Settings) -> Iterator[Fault]:
    access, address = settings.access, _address(settings.edge.host)
    if access.anonymous == "write" and address and not address.is_loopback and not access.public_anonymous_writing:
        problem = (
            f"lets everybody write who reaches {_said('edge.host', settings)}; "
            "bind edge.host to loopback behind a proxy, or set access.public_anonymous_writing = true if that is meant"
        )
        yield Fault("access.anonymous", "write", problem)


@_rule("access.secret")
def _secret_is_long(settings: Settings) -> Iterator[Fault]:
    secret = settings.access.secret
    # Bytes of the environment that are not UTF-8 are lone surrogates in Python.
    if secret and len(secret.encode(errors="surrogateescape")) < _SECRET_BYTES:
        yield Fault("access.secret", secret, f"must have at least {_SECRET_BYTES} bytes, such as from `openssl rand -hex 32`")
    elif not _encodable(secret):
        yield Fault("access.secret", secret, "must be UTF-8")


@_rule("room.reactions")
def _reactions_differ(settings: Settings) -> Iterator[Fault]:
    reactions = settings.room.reactions
    if len(reactions) > _REACTIONS_MAX:
        yield Fault("room.reactions", reactions, f"must be at most {_REACTIONS_MAX}, not {len(reactions)}")
    times = Counter(reactions)
    for index, reaction in enumerate(reactions):
        path = f"room.reactions[{index}]"
        if not visible(reaction) or len(reaction) > _REACTION_MAX or not _encodable(reaction):
            yield Fault(path, reaction, f"must show something and have at most {_REACTION_MAX} characters")
        elif times[reaction] > 1 and reactions.index(reaction) != index:
            yield Fault(path, reaction, "must not be listed twice")


@_rule("feeds")
def _feeds_are_few_and_named(settings: Settings) -> Iterator[Fault]:
    setting = SETTINGS["feeds"]
    if len(settings.feeds) > _FEEDS_MAX:
        yield Fault("feeds", list(settings.feeds), f"must be at most {_FEEDS_MAX}, not {len(settings.feeds)}")
    for name, feed in settings.feeds.items():
        path = element_path(setting, name)
        if not _presentable(name):
            problem = f"must have a name of 1 to {_NAME_MAX} printable characters, without white space around it"
            yield Fault(path, name, problem)
        for index, user in enumerate(feed.users):
            if not 1 <= len(user) <= _NAME_MAX:
                yield Fault(f"{path}.users[{index}]", user, f"must be the id of a user, 1 to {_NAME_MAX} characters")


@_rule("moderation.lists")
def _word_lists_can_be_read(settings: Settings) -> Iterator[Fault]:
    for index, each in enumerate(settings.moderation.lists):
        if problem := _unreadable(each.file):
            where = "" if Path(each.file).is_absolute() else f" in {Path.cwd()}"
            yield Fault(f"moderation.lists[{index}].file", each.file, f"cannot be read{where}: {problem}")


def _unreadable(file: str) -> str:
    """Why not; empty if it can be read."""
    try:
        # Opening a pipe would wait for somebody who writes.
        if not stat.S_ISREG(Path(file).stat().st_mode):
            return "it is not a file"
        with open(file, "rb"):
            return ""
    except OSError as error:
        return error.strerror or str(error)
    except ValueError as error:
        return str(error)


def _presentable(name: str) -> bool:
    return 1 <= len(name) <= _NAME_MAX and name.isprintable() and name == name.strip()


def _encodable(text: str) -> bool:
    return not any("\ud800" <= each <= "\udfff" for each in text)


def _origin(text: str) -> str:
    """What a browser sends for a site, empty if that cannot be told."""
    match = re.match(r"([a-z][a-z0-9+.-]*)://([a-z0-9.:_\[\]-]+)(?=/|\Z)", text.lower())
    if match is None:
        return ""
    scheme, host = match.groups()
    return f"{scheme}://{host.removesuffix(_USUAL_PORTS.get(scheme, ':'))}"


def _address(host: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address("127.0.0.1" if host == "localhost" else host)
    except ValueError:
        return None


def _network(text: str, *, strict: bool) -> str | None:
    try:
        return str(ip_network(text, strict=strict))
    except ValueError:
        return None
