"""What a run does to a server: every field of a scenario, its unit, bounds and effect.

Owns the model and the judgement of values, wherever they come from: a scenario file or the command line. Must not know
how a load is played.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from functools import cache
from typing import Annotated, Any, Final, Literal, get_type_hints

from annotated_types import Ge, Gt, Le, doc
from pydantic import TypeAdapter, ValidationError

from bench.generator.body import BODY_BYTES_MAX, BODY_BYTES_MIN

__all__ = ["FAULT_KINDS", "KINDS", "Field", "Load", "LoadError", "changed", "load_fields"]

KINDS: Final = ("comment", "like", "reaction")
"""What a sender can send."""
FAULT_KINDS: Final = ("edge", "hub", "node", "hang", "pause", "redis", "failover", "cut", "slow")
"""What can fail; `bench.faults` says how."""

SPARE_SHARE: Final = 1.2
"""A rush is so much longer than the claims, for the red packet to come before them."""


class LoadError(Exception):
    """A scenario cannot be played as written. Its text is one line for each fault."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """See the module's docstring. An **average room** has ``viewers`` viewers."""

    rooms: Annotated[int, Ge(1), Le(1_000_000), doc("Rooms.")] = 1
    viewers: Annotated[int, Ge(1), Le(10_000_000), doc("Viewers in each room, on average.")] = 1000
    tail: Annotated[
        float, Ge(0), Le(3), doc("Room sizes fall as 1 / rank^tail: 0 all alike, 1.5 one huge room and many small ones.")
    ] = 0.0
    shrink: Annotated[bool, doc("Play fewer rooms if the server has no place for all of them, instead of failing.")] = False
    joins_per_second: Annotated[float, Ge(0), doc("How fast viewers come; 0: as fast as the generator can.")] = 0.0
    in_flight: Annotated[int, Ge(1), Le(4096), doc("Handshakes at once, per generator process.")] = 128

    speech: Annotated[
        Literal["silence", "burst", "rate", "flood", "taps", "visits", "gifts", "rush", "backend", "reports"],
        doc(
            "silence: nobody speaks; burst: all senders at one instant; rate: at fixed intended times; "
            "flood: each sender keeps `window` messages unanswered; taps: likes and reactions, of which each sender tells "
            "its sum once a second; visits: others come and go, in turn with bare handshakes; gifts: senders give at fixed "
            "intended times; rush: comments as with rate, three times so long, and meanwhile everybody claims a red packet; "
            "backend: comments as with rate, five times so long, and meanwhile a product's servers publish to another room; "
            "reports: comments as with rate, and in every other phase every viewer reports what came to it."
        ),
    ] = "rate"
    senders: Annotated[int, Ge(1), doc("Viewers of an average room who speak.")] = 10
    rate: Annotated[
        float, Gt(0), doc("Messages, taps, visits or gifts a second in an average room (all but silence, burst and flood).")
    ] = 10.0
    seconds: Annotated[
        float,
        Ge(0),
        Le(864_000),
        doc("Length of the measured phase (rate, taps, gifts, silence); of each of several (visits, rush, backend, reports)."),
    ] = 10.0
    messages: Annotated[int, Ge(0), doc("Messages of all senders (burst, flood); 0: one each.")] = 0
    bursts: Annotated[
        int, Ge(1), Le(10_000), doc("How many bursts, one a second (burst); how many phases of each kind (visits, reports).")
    ] = 1
    window: Annotated[int, Ge(1), Le(10_000), doc("Unanswered messages of a sender (flood), or of a backend.")] = 64
    kinds: Annotated[dict[str, float], doc("Shares of what is sent: comment, like; of taps: like, reaction.")] = field(
        default_factory=lambda: {"comment": 1.0}
    )
    notices: Annotated[
        float, Ge(0), Le(1000), doc("Notices a second that a host of each room says meanwhile (speech = rate).")
    ] = 0.0
    withhold: Annotated[
        Literal["configured", "newest", "sampled", "authors", "levels"],
        doc("Which comments a room beyond its budget withholds; with levels, speakers have some, from 0 to 255."),
    ] = "configured"
    claims: Annotated[
        int, Ge(1), Le(10_000_000), doc("Claims of a red packet by the viewers of an average room, in turn (rush).")
    ] = 1000
    claim_seconds: Annotated[float, Gt(0), Le(3_600), doc("Time in which they come, at fixed intended times (rush).")] = 5.0
    packet_total: Annotated[int, Ge(1), Le(2**53 - 1), doc("Of all shares of the red packet together (rush).")] = 100_000
    packet_shares: Annotated[int, Ge(1), Le(1_000_000), doc("Shares of the red packet (rush).")] = 500
    packet_split: Annotated[Literal["random", "equal"], doc("How the red packet is divided (rush).")] = "random"
    ledger: Annotated[
        Literal["sqlite", "postgresql"],
        doc("Where money is booked: a file, or a server, that the run makes and reads in the end (gifts, rush)."),
    ] = "sqlite"
    report_seconds: Annotated[float, Ge(1), Le(3_600), doc("How often each viewer reports what came to it (reports).")] = 30.0
    tokens: Annotated[bool, doc("Everybody joins with a token (HS256), each with another one; otherwise as a guest.")] = False
    hosted: Annotated[
        Literal["alone", "uvicorn"],
        doc("alone: as roomcast serve runs it; uvicorn: embedded in a FastAPI application, under uvicorn with uvloop."),
    ] = "alone"
    notable_share: Annotated[float, Ge(0), Le(1), doc("Visitors who are moderators, whose coming and going is told.")] = 0.0
    text: Annotated[Literal["mixed", "chinese", "english", "emoji"], doc("What comments are made of.")] = "mixed"
    body_bytes: Annotated[
        int, Ge(0), Le(BODY_BYTES_MAX), doc(f"Length of a comment, at least {BODY_BYTES_MIN}; 0: lengths as in real rooms.")
    ] = 0

    slow_share: Annotated[float, Ge(0), Le(0.9), doc("Viewers who do not read as fast as they are sent to.")] = 0.0
    slow_kind: Annotated[
        Literal["stopped", "slow", "flapping"],
        doc("stopped: until everybody else has everything; slow: a few kB a second; flapping: stops and reads in turn."),
    ] = "stopped"
    storm_share: Annotated[float, Ge(0), Le(1), doc("Viewers who lose their connection at one instant and come back.")] = 0.0
    storm_every_seconds: Annotated[float, Ge(0), doc("Time between such storms; 0: a single one, half-way.")] = 0.0
    faults: Annotated[
        int,
        Ge(0),
        Le(10_000),
        doc("Processes, servers and ways that fail one after the other at random moments; senders speak on, viewers return."),
    ] = 0
    fault_kinds: Annotated[
        dict[str, float], doc(f"Shares of what fails: {', '.join(FAULT_KINDS)}; empty: whatever the engine is made of.")
    ] = field(default_factory=dict)
    gaps: Annotated[Literal["nobody", "slow", "everybody"], doc("Who may meet an explicit gap; any other gap fails.")] = "slow"
    late_seconds: Annotated[float, Gt(0), doc("Deliveries that took longer are counted as late.")] = 5.0

    codec: Annotated[Literal["msgpack", "json"], doc("Encoding of the messages.")] = "msgpack"
    compression: Annotated[bool, doc("Negotiate permessage-deflate.")] = False
    alone: Annotated[bool, doc("Play the same first with one viewer in each room, to tell what each further one costs.")] = (
        False
    )
    nodes: Annotated[int, Ge(1), Le(64), doc("Engine nodes over one Redis; viewers take turns.")] = 1
    broker: Annotated[
        Literal["memory", "redis", "sentinel", "given"],
        doc(
            "memory: in the node; redis: a server that the run starts; sentinel: a primary and a replica behind three "
            "Sentinels; given: as the file given with --config says."
        ),
    ] = "memory"
    workers: Annotated[
        int, Ge(-1), Le(1024), doc("Edge processes of a node; 0: one process for everything; -1: as many as viewers need.")
    ] = 0
    processes: Annotated[int, Ge(0), Le(1024), doc("Generator processes; 0: as many as descriptors require.")] = 0
    seed: Annotated[int, doc("Of texts, room names, who speaks and who is slow; the same seed repeats a run.")] = 1
    stall_seconds: Annotated[float, Gt(0), doc("No progress for so long ends a wait; what is missing is lost.")] = 20.0

    @property
    def everybody(self) -> int:
        """Viewers of all rooms."""
        return self.viewers * self.rooms

    @property
    def money(self) -> bool:
        """Whether there is any."""
        return self.speech in ("gifts", "rush")

    @property
    def secret(self) -> str:
        """Of the tokens with which hosts, moderators and speakers with a level join; empty: there are none."""
        return (
            f"secret of the benchmark {self.seed:032}"
            if self.tokens or self.speech == "backend" or self.notices or self.notable_share or self.withhold == "levels"
            else ""
        )


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a load, for help and messages.

    :ivar kind: ``int``, ``float``, ``bool``, ``str`` or ``dict``.
    """

    name: str
    kind: type
    text: str
    choices: tuple[str, ...]


@cache
def _adapters() -> dict[str, TypeAdapter[Any]]:
    return {name: TypeAdapter(hint) for name, hint in get_type_hints(Load, include_extras=True).items()}


@cache
def load_fields() -> dict[str, Field]:
    """Every field by name, in the order of the model."""
    found = {}
    for name, hint in get_type_hints(Load, include_extras=True).items():
        kind = hint.__origin__
        text = next(note.documentation for note in hint.__metadata__ if isinstance(note, type(doc(""))))
        choices = getattr(kind, "__args__", ()) if getattr(kind, "__origin__", None) is Literal else ()
        plain = str if choices else getattr(kind, "__origin__", None) or kind
        found[name] = Field(name, plain, text, choices)
    return found


def changed(load: Load, values: Mapping[str, Any], *, strict: bool, where: str = "") -> Load:
    """A load with some fields set anew.

    :param strict: as TOML is, where ``"5"`` is no number; a whole number may stand for a fraction.
    :param where: put before each field's name in messages.
    :raises LoadError: a name is unknown or a value not allowed; all faults at once.
    """
    faults: list[str] = []
    good: dict[str, Any] = {}
    for name, value in values.items():
        adapter = _adapters().get(name)
        if adapter is None:
            close = get_close_matches(name, _adapters(), 1)
            faults.append(f"{where}{name}: no such field{f'; did you mean {close[0]}?' if close else ''}")
            continue
        try:
            good[name] = adapter.validate_python(value, strict=strict)
        except ValidationError as error:
            faults += (f"{where}{name}: {detail['msg']}, not {value!r}" for detail in error.errors())
    if not faults:
        made = replace(load, **good)
        faults = [f"{where}{text}" for text in _contradictions(made)]
        if not faults:
            return made
    raise LoadError("\n".join(faults))


def _contradictions(load: Load) -> list[str]:
    faults = []
    unknown = [kind for kind in load.kinds if kind not in KINDS]
    if unknown:
        faults.append(f"kinds: {', '.join(unknown)} cannot be sent; what can: {', '.join(KINDS)}")
    elif not load.kinds or min(load.kinds.values()) < 0 or sum(load.kinds.values()) <= 0:
        faults.append("kinds: shares must not be negative, and one of them positive")
    elif load.speech == "taps" and load.kinds.get("comment"):
        faults.append("kinds: taps are likes and reactions")
    elif load.speech != "taps" and load.kinds.get("reaction"):
        faults.append('kinds: reactions are given with speech = "taps" only')
    if load.notices and (load.speech != "rate" or load.storm_share or load.slow_share or load.faults):
        faults.append('notices: during speech = "rate" only, without slow viewers, storms and faults')
    if 0 < load.body_bytes < BODY_BYTES_MIN:
        faults.append(f"body_bytes: at least {BODY_BYTES_MIN}, or 0 for lengths as in real rooms")
    if load.storm_share and load.speech != "rate":
        faults.append('storm_share: viewers come back during speech = "rate" only')
    if load.slow_share and load.speech != "rate":
        faults.append('slow_share: viewers are slow during speech = "rate" only')
    if load.faults and (load.speech != "rate" or load.storm_share or load.slow_share):
        faults.append('faults: during speech = "rate" only, without slow viewers and storms')
    unknown = [kind for kind in load.fault_kinds if kind not in FAULT_KINDS]
    if unknown:
        faults.append(f"fault_kinds: {', '.join(unknown)} cannot fail; what can: {', '.join(FAULT_KINDS)}")
    if load.nodes > 1 and load.broker == "memory":
        faults.append("nodes: several nodes share a Redis: broker is redis, sentinel or given")
    if load.speech == "backend" and load.nodes > 1:
        faults.append('nodes: speech = "backend" is about one')
    if load.hosted != "alone" and load.workers:
        faults.append("workers: an embedded node is one process")
    faults += _of_money(load) if load.money else ()
    if load.seconds < {"rate": 1e-9, "taps": 1, "visits": 1, "gifts": 1e-9, "backend": 1, "reports": 1}.get(load.speech, 0):
        faults.append(f'seconds: speech = "{load.speech}" needs a length')
    return faults


def _of_money(load: Load) -> Iterator[str]:
    if set(load.kinds) != {"comment"}:
        yield f'kinds: with speech = "{load.speech}" only comments are sent beside'
    if load.nodes > 1 and load.ledger == "sqlite":
        yield 'ledger: several nodes share a database: ledger = "postgresql"'
    if load.speech != "rush":
        return
    if load.packet_total < load.packet_shares:
        yield "packet_total: every share is at least 1"
    # The smallest room has a red packet, too.
    if load.tail:
        yield 'tail: with speech = "rush" all rooms are alike'
    if load.packet_shares > min(load.viewers, load.claims):
        yield "packet_shares: everybody gets one at most: at least as many viewers, and claims"
    if load.seconds < load.claim_seconds * SPARE_SHARE:
        yield f"seconds: at least {SPARE_SHARE:g} times claim_seconds, for comments before and after"
