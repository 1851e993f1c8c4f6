"""Rules about the broker: Redis or Valkey, which orders and keeps what rooms say.

Owns these rules. A broker in the process is never away, and as fast as the process.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from engine.advice.rules.rule import rule
from engine.advice.seen import Finding, Seen
from engine.advice.values import Change
from engine.advice.words import say
from engine.settings import RedisSettings

__all__: list[str] = []

_ANSWER: Final = RedisSettings().answer_seconds
_SLOW: Final = 0.1
"""Seconds from which on a publish can be felt."""
_SLOW_SHARE: Final = 0.25
_LEAST: Final = 10


@rule("broker_away")
def _broker_away(seen: Seen) -> Iterator[Finding]:
    if not seen.grew("hub.events_failed") or not seen.setting("redis.url"):
        return
    path = "redis.answer_seconds"
    seconds = seen.number(path)
    changes = seen.raised(path, _ANSWER)
    changes.append(Change("redis.url", say("does not answer in time"), say("a server that is up and near"), "product"))
    yield Finding(
        cause="broker",
        severity="fault",
        what=say("Redis did not answer in time, and senders were told to try again."),
        evidence=[seen.over("hub.events_failed"), seen.late("hub.publish_delays", seconds / 2), seen.set_to(path)],
        changes=changes,
        effect=say("What is said is taken: with more patience a moment later, with a server that is up at once."),
        watch={"hub.events_failed": "stops"},
    )


@rule("broker_slow")
def _broker_slow(seen: Seen) -> Iterator[Finding]:
    slow, of = seen.beyond("hub.publish_delays", _SLOW)
    if not seen.setting("redis.url") or of < _LEAST or slow < _SLOW_SHARE * of or seen.grew("hub.events_failed"):
        return
    path = "redis.wait_replicas"
    better = say("a server that is near, with a disk that keeps up")
    changes = [Change("redis.url", say("slower than {bound:g} s", bound=_SLOW), better, "product")]
    if seen.number(path):
        changes += seen.change(path, 0)
    yield Finding(
        cause="broker",
        severity="limit",
        what=say("Redis takes long for what is published: every comment is late by that."),
        evidence=[seen.late("hub.publish_delays", _SLOW), seen.at("hub.events_waiting"), seen.over("hub.broker.requests")],
        changes=changes,
        effect=say("Publishes return in milliseconds; without replicas, what they lack is lost when the server dies."),
        watch={"hub.publish_delays.seconds": "falls"},
    )
