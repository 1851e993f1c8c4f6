"""Whether settings are allowed: each value by its type and bounds, and those that go together by rules.

Owns the rules between settings and the words for every fault. Must not know files or the environment; `engine.config`
reads them and says where a fault came from.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any, Final

from pydantic import ConfigDict, TypeAdapter, ValidationError

from engine.configfile import SETTINGS, Setting, number, toml_value
from engine.settings import Settings

__all__ = ["Fault", "broken_rules", "check", "explain", "validate"]

_SHOWN: Final = 100
"""Characters of a wrong value that a message repeats."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong with a configuration.

    :ivar path: of the setting, ``section.name``, ``[index]`` for an element of a list; empty for a file as a whole.
    :ivar value: what was found there; None for a file as a whole.
    :ivar problem: what is allowed instead, as the rest of a sentence about the setting.
    :ivar source: where the value came from; empty for `Settings` made in Python.
    :ivar suggestion: what was probably meant, empty if that is anybody's guess.
    """

    path: str
    value: Any
    problem: str
    source: str = ""
    suggestion: str = ""

    def __str__(self) -> str:
        hint = f"; did you mean {self.suggestion}?" if self.suggestion else ""
        if not self.path:
            return _printable(f"{self.source}: {self.problem}{hint}")
        value = toml_value(self.value)
        shown = value if len(value) <= _SHOWN else f"{value[:_SHOWN]}..."
        return _printable(f"{self.path} = {shown}: {self.problem}{hint}{f' ({self.source})' if self.source else ''}")


def _printable(text: str) -> str:
    """One line that any terminal takes, whatever keys, values and names of files hold."""
    return "".join(each if each.isprintable() else repr(each)[1:-1] for each in text)


def check(settings: Settings) -> list[Fault]:
    """Everything that is wrong with settings made in Python: types, bounds, and the rules between settings."""
    faults: list[Fault] = []
    for setting in SETTINGS.values():
        value = getattr(getattr(settings, setting.section), setting.name)
        try:
            _adapter(setting).validate_python(value, strict=True)
        except ValidationError as error:
            faults += explain(setting, value, error)
    wrong = {fault.path.partition("[")[0] for fault in faults}
    return faults + [fault for fault, _ in broken_rules(settings, wrong)]


# -- values ------------------------------------------------------------------------------------------------------------


@cache
def _adapter(setting: Setting) -> TypeAdapter[Any]:
    # Infinity and NaN would pass half of the bounds and break every deadline computed from them.
    return TypeAdapter(setting.annotation, config=ConfigDict(allow_inf_nan=False))


def validate(setting: Setting, value: Any, *, strict: bool = True) -> Any:
    """The value as the model holds it. Unless strict, text may be of any type. Raises `pydantic.ValidationError`."""
    return _adapter(setting).validate_python(value, strict=strict)


_BOUNDS: Final = {
    "greater_than": "more than",
    "greater_than_equal": "at least",
    "less_than": "less than",
    "less_than_equal": "at most",
}


def explain(setting: Setting, given: Any, error: ValidationError, source: str = "") -> Iterator[Fault]:
    if setting.words:
        # Pydantic tells for each type why it is not that one.
        yield Fault(setting.path, given, f"must be {setting.allowed}", source, _meant(setting, given))
        return
    for detail in error.errors(include_url=False):
        index = "".join(f"[{each}]" for each in detail["loc"])
        value = detail["input"] if index else given
        suggestion = ""
        if detail["type"] in _BOUNDS:
            (bound,) = detail["ctx"].values()
            problem = f"{_BOUNDS[detail['type']]} {number(bound)}"
        elif index:
            problem = "a string"
        elif detail["type"] == "finite_number":
            problem = setting.allowed.replace("a number", "a finite number")
        elif setting.is_list and isinstance(value, list):
            problem = "a tuple of strings in Python"
        else:
            problem = setting.allowed
            suggestion = _meant(setting, value)
        yield Fault(setting.path + index, value, f"must be {problem}", source, suggestion)


def _meant(setting: Setting, value: Any) -> str:
    """A value of the right type that a wrong one probably stands for, as TOML; empty if there is none."""
    if setting.choices:
        near = get_close_matches(value.lower(), setting.choices, n=1) if isinstance(value, str) else []
        return next(map(toml_value, near), "")
    if setting.is_list and isinstance(value, str):
        elements = (each.strip(" '\"") for each in value.strip("[] ").split(","))
        return toml_value([each for each in elements if each])
    # Pydantic reads true as 1, which nobody meant.
    if isinstance(value, bool):
        return ""
    near = get_close_matches(value.lower(), setting.words, n=1) if isinstance(value, str) else []
    if near:
        return toml_value(near[0])
    try:
        return toml_value(_adapter(setting).validate_python(value, strict=False))
    except ValidationError:
        return ""


# -- rules between settings --------------------------------------------------------------------------------------------

_Rule = Callable[[Settings], Iterator[Fault]]
_LOG_BATCHES: Final = 4
"""With fewer, a viewer half through one frame would soon hold most of the log."""
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
    section, name = path.split(".")
    return f"{path} ({toml_value(getattr(getattr(settings, section), name))})"


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
