"""Rules about the product behind the node: its users' tokens, its keys, its hooks. Nothing that may be secret is repeated.

Owns these rules.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from engine.access import anonymous_may
from engine.configfile import SETTINGS
from engine.configrules.rule import NAME_MAX, address_of, encodable, presentable, rule, said, unreadable, value_of
from engine.configvalues import Fault
from engine.hooks.signing import keys_of
from engine.settings import Settings
from engine.tokens import SECRET_BYTES, file_fault

__all__: list[str] = []

_HOOKS: Final = tuple(
    f"hooks.{name}" for name in ("comment_url", "gift_url", "red_packet_url", "join_url", "spend_url", "events_url")
)


@rule("access.anonymous", "access.public_anonymous_writing", "edge.host", "access.secret", "access.keys", "access.jwks")
def _public_writing_is_meant(settings: Settings) -> Iterator[Fault]:
    access, address = settings.access, address_of(settings.edge.host)
    if anonymous_may(access) == "write" and address and not address.is_loopback and not access.public_anonymous_writing:
        problem = (
            f"lets everybody write who reaches {said('edge.host', settings)}; "
            "bind edge.host to loopback behind a proxy, or set access.public_anonymous_writing = true if that is meant"
        )
        yield Fault("access.anonymous", access.anonymous, problem)


@rule("access.secret")
def _secret_is_long(settings: Settings) -> Iterator[Fault]:
    secret = settings.access.secret
    # Bytes of the environment that are not UTF-8 are lone surrogates in Python.
    if secret and len(secret.encode(errors="surrogateescape")) < SECRET_BYTES:
        yield Fault("access.secret", secret, f"must have at least {SECRET_BYTES} bytes, such as from `openssl rand -hex 32`")
    elif not encodable(secret):
        yield Fault("access.secret", secret, "must be UTF-8")


@rule("api.host")
def _api_host_is_an_address(settings: Settings) -> Iterator[Fault]:
    if address_of(settings.api.host) is None:
        yield Fault("api.host", settings.api.host, 'must be an IP address or "localhost"')


@rule("api.port", "api.enabled", "edge.port")
def _api_has_a_port_of_its_own(settings: Settings) -> Iterator[Fault]:
    if settings.api.enabled and settings.api.port == settings.edge.port != 0:
        yield Fault("api.port", settings.api.port, f"must not be {said('edge.port', settings)}")


@rule("api.keys")
def _api_keys_are_hashes_and_named(settings: Settings) -> Iterator[Fault]:
    names = Counter(key.name for key in settings.api.keys)
    for index, key in enumerate(settings.api.keys):
        path = f"api.keys[{index}]"
        if not presentable(key.name):
            problem = f"must be 1 to {NAME_MAX} printable characters, without white space around them"
            yield Fault(f"{path}.name", key.name, problem)
        elif names[key.name] > 1:
            yield Fault(f"{path}.name", key.name, "must not be the name of two keys")
        elif key.name.startswith("user:"):
            yield Fault(f"{path}.name", key.name, 'must not begin with "user:", by which users with a token are named')
        if not re.fullmatch(r"[0-9a-fA-F]{64}", key.sha256):
            # Without the value: it may be the key itself.
            yield Fault(f"{path}.sha256", "…", "must be 64 hexadecimal digits, as `roomcast key` writes them: not the key")


@rule("access.keys")
def _keys_verify_tokens(settings: Settings) -> Iterator[Fault]:
    # Nothing of a key is repeated but its name.
    names = [key.kid for key in settings.access.keys]
    for index, key in enumerate(settings.access.keys):
        path = f"access.keys[{index}]"
        if not presentable(key.kid) or not encodable(key.kid):
            problem = f"must be 1 to {NAME_MAX} printable characters, without white space around them"
            yield Fault(f"{path}.kid", key.kid, problem)
        elif names.index(key.kid) != index:
            yield Fault(f"{path}.kid", key.kid, "must not be listed twice")
        if key.algorithm == "HS256":
            if not encodable(key.secret) or len(key.secret.encode()) < SECRET_BYTES:
                problem = f"must be UTF-8 of at least {SECRET_BYTES} bytes, such as from `openssl rand -hex 32`"
                yield Fault(f"{path}.secret", "***" if key.secret else "", problem)
            if key.file:
                yield Fault(f"{path}.file", key.file, "is not for HS256, whose key is a secret")
            continue
        if key.secret:
            yield Fault(f"{path}.secret", "***", f"is not for {key.algorithm}, whose public key is in a file")
        if not key.file:
            yield Fault(f"{path}.file", "", f"must name a file with the public key of {key.algorithm}, in PEM")
        elif problem := file_fault(key):
            where = "" if Path(key.file).is_absolute() else f" in {Path.cwd()}"
            yield Fault(f"{path}.file", key.file, f"cannot be used{where}: {problem}")


@rule("access.jwks")
def _key_set_can_be_read(settings: Settings) -> Iterator[Fault]:
    jwks = settings.access.jwks
    if "://" not in jwks:
        if jwks and (problem := unreadable(jwks)):
            where = "" if Path(jwks).is_absolute() else f" in {Path.cwd()}"
            yield Fault("access.jwks", jwks, f"cannot be read{where}: {problem}")
        return
    try:
        parts = urlsplit(jwks)
        host, _ = parts.hostname or "", parts.port
    except ValueError as error:
        yield Fault("access.jwks", "…", str(error))
        return
    address = address_of(host)
    loopback = address is not None and address.is_loopback
    if parts.username is not None or parts.password is not None:
        yield Fault("access.jwks", "…", "must have no user and password: a key set is public")
    elif not host or not jwks.isascii() or not jwks.isprintable() or " " in jwks:
        yield Fault("access.jwks", jwks, "must be the name of a file, or an https:// address")
    elif parts.scheme != "https" and not (parts.scheme == "http" and loopback):
        problem = "must be an https:// address (http:// only on loopback): whoever changes the keys on their way can be anybody"
        yield Fault("access.jwks", jwks, problem)


@rule(*_HOOKS)
def _hooks_can_be_called(settings: Settings) -> Iterator[Fault]:
    for path in _HOOKS:
        url = value_of(SETTINGS[path], settings)
        if url and not _callable(url):
            # Without the value: it may hold a password.
            yield Fault(path, "…", 'must be "https://" or "http://" and a host, in ASCII and without "#"')


@rule("hooks.secret", *_HOOKS)
def _hooks_are_signed(settings: Settings) -> Iterator[Fault]:
    secret = settings.hooks.secret
    asked = [path for path in _HOOKS if value_of(SETTINGS[path], settings)]
    try:
        keys = keys_of(secret)
    except ValueError as error:
        yield Fault("hooks.secret", "…", str(error))
    else:
        if asked and not keys:
            problem = f"is needed to sign what {asked[0]} is sent; make one by `roomcast key --webhooks`"
            yield Fault("hooks.secret", secret, problem)


@rule("hooks.events_url", "ledger.url")
def _events_can_be_kept(settings: Settings) -> Iterator[Fault]:
    if settings.hooks.events_url and not settings.ledger.url:
        yield Fault("hooks.events_url", "…", "needs ledger.url, where events are kept until they have been told")


def _callable(url: str) -> bool:
    """Whether requests can be sent there."""
    try:
        parts = urlsplit(url)
        # Looked at: a port beyond 65535 is noticed only then.
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0 and _plain(url)
    except ValueError:
        return False


def _plain(url: str) -> bool:
    return re.fullmatch(r"[!-~]+", url) is not None and "#" not in url
