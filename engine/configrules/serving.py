"""Rules about where the node listens, whom it believes, and where Redis is.

Owns these rules.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from ipaddress import ip_network
from typing import Final

from engine.configfile import toml_value
from engine.configrules.rule import address_of, rule
from engine.configvalues import Fault
from engine.settings import Settings

__all__: list[str] = []

_USUAL_PORTS: Final = {"http": ":80", "https": ":443"}


@rule("node.name")
def _name_can_be_logged(settings: Settings) -> Iterator[Fault]:
    # Also bytes of the environment that are not UTF-8, which Python holds as lone surrogates.
    if not settings.node.name.isprintable():
        yield Fault("node.name", settings.node.name, "must be printable text on one line")


@rule("edge.host")
def _host_is_an_address(settings: Settings) -> Iterator[Fault]:
    host = settings.edge.host
    if address_of(host) is None:
        inner = host.strip("[] ")
        meant = toml_value(inner) if address_of(inner) else ""
        yield Fault("edge.host", host, 'must be an IP address or "localhost"', suggestion=meant)


@rule("redis.url")
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


@rule("edge.path")
def _path_can_match(settings: Settings) -> Iterator[Fault]:
    path = settings.edge.path
    if not path.startswith("/"):
        yield Fault("edge.path", path, 'must start with "/"', suggestion=toml_value(f"/{path}") if path else "")
    elif not re.fullmatch(r"[!-~]+", path) or "?" in path or "#" in path:
        yield Fault("edge.path", path, 'must be ASCII without space, "?" and "#", else no request matches it')


@rule("edge.origins")
def _origins_can_match(settings: Settings) -> Iterator[Fault]:
    # As browsers send them (RFC 6454 section 6.2). One that cannot match would lock its whole site out, silently.
    for index, origin in enumerate(settings.edge.origins):
        meant = _origin(origin)
        if origin not in ("null", meant):
            problem = 'must be scheme, host and, unless it is the usual one, port, such as "https://live.example.com"'
            suggestion = toml_value(meant) if meant else ""
            yield Fault(f"edge.origins[{index}]", origin, problem, suggestion=suggestion)


@rule("edge.trusted_proxies")
def _proxies_are_networks(settings: Settings) -> Iterator[Fault]:
    for index, network in enumerate(settings.edge.trusted_proxies):
        if _network(network, strict=True) is None:
            meant = _network(network, strict=False)
            problem = 'must be a network, such as "10.0.0.0/8", or one address'
            suggestion = toml_value(meant) if meant else ""
            yield Fault(f"edge.trusted_proxies[{index}]", network, problem, suggestion=suggestion)


@rule("edge.proxy_protocol", "edge.trusted_proxies")
def _proxy_protocol_has_proxies(settings: Settings) -> Iterator[Fault]:
    if settings.edge.proxy_protocol and not settings.edge.trusted_proxies:
        problem = "needs edge.trusted_proxies, the networks whose PROXY headers are believed"
        yield Fault("edge.proxy_protocol", True, problem)


def _origin(text: str) -> str:
    """What a browser sends for a site, empty if that cannot be told."""
    match = re.match(r"([a-z][a-z0-9+.-]*)://([a-z0-9.:_\[\]-]+)(?=/|\Z)", text.lower())
    if match is None:
        return ""
    scheme, host = match.groups()
    return f"{scheme}://{host.removesuffix(_USUAL_PORTS.get(scheme, ':'))}"


def _network(text: str, *, strict: bool) -> str | None:
    try:
        return str(ip_network(text, strict=strict))
    except ValueError:
        return None
