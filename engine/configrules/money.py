"""Rules about gifts and the ledger.

Owns these rules.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from typing import Final

from engine.configfile import SETTINGS, number
from engine.configrules.rule import NAME_MAX, presentable, rule, said
from engine.configvalues import Fault, element_path
from engine.ledger.address import ledger_fault, url_fault
from engine.settings import Settings

__all__: list[str] = []

_EFFECT_MAX: Final = 128
_GIFT_BYTES: Final = 40
"""Of a gift in JSON, beside its texts."""


@rule("ledger.url")
def _ledger_is_found_so(settings: Settings) -> Iterator[Fault]:
    # Without the value: it may hold a password.
    if problem := url_fault(settings.ledger.url):
        yield Fault("ledger.url", "…", problem)
    elif settings.ledger.url.startswith("postgresql:") and find_spec("psycopg") is None:
        yield Fault("ledger.url", "…", "needs the PostgreSQL client: pip install 'roomcast[postgresql]'")


@rule("gifts", "ledger.url", "redis.url")
def _gifts_can_be_given(settings: Settings) -> Iterator[Fault]:
    if settings.gifts and (problem := ledger_fault(settings)):
        yield Fault("gifts", list(settings.gifts), f"cannot be given: {problem}")


@rule("gifts")
def _gifts_can_be_named(settings: Settings) -> Iterator[Fault]:
    for name, gift in settings.gifts.items():
        path = element_path(SETTINGS["gifts"], name)
        if not presentable(name):
            problem = f"must have an id of 1 to {NAME_MAX} printable characters, without white space around it"
            yield Fault(path, name, problem)
        if not presentable(gift.name):
            problem = f"must be 1 to {NAME_MAX} printable characters, without white space around them"
            yield Fault(f"{path}.name", gift.name, problem)
        if len(gift.effect) > _EFFECT_MAX or not gift.effect.isprintable():
            yield Fault(f"{path}.effect", gift.effect, f"must be printable text of at most {_EFFECT_MAX} characters")


@rule("gifts", "edge.private_bytes")
def _gifts_fit_into_an_answer(settings: Settings) -> Iterator[Fault]:
    # A viewer with more waiting is closed.
    texts = [text for name, gift in settings.gifts.items() for text in (name, gift.name, gift.effect)]
    size = sum(len(text.encode(errors="replace")) for text in texts) + _GIFT_BYTES * len(settings.gifts)
    if size > settings.edge.private_bytes:
        problem = f"have {number(size)} bytes when a viewer asks for them, more than {said('edge.private_bytes', settings)}"
        yield Fault("gifts", list(settings.gifts), problem)


@rule("ledger.recent_seconds", "room.lag_seconds", "ledger.url")
def _lost_money_comes_again_to_who_lags(settings: Settings) -> Iterator[Fault]:
    # Else a viewer who had yet to be sent it when the history was lost would never see it.
    if settings.ledger.url and settings.ledger.recent_seconds < settings.room.lag_seconds:
        problem = f"must be at least {said('room.lag_seconds', settings)}"
        yield Fault("ledger.recent_seconds", settings.ledger.recent_seconds, problem)
