"""How a room reached its viewers in a time: the account that is kept of it, and the certificate that tells it.

Owns the certificate's members and their sums. Pure. A certificate is a table that JSON can hold. All it counts began with it,
so those of nodes that showed the room at the same time are added up (`combined`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from engine.quality.delays import quantile
from engine.quality.values import Measured, Sent

__all__ = ["Account", "certificate", "combined"]

_SHARES = {"p50": 0.5, "p90": 0.9, "p99": 0.99}


@dataclass(slots=True, kw_only=True)
class Account:
    """What is known of a room since its certificate began at a node.

    :ivar stream: name of the broadcast; empty: it has none.
    :ivar since: Unix milliseconds when it began; ``until`` when it ended, or now.
    :ivar epoch: of the room now; ``last`` its last offset.
    :ivar first: offset when it began.
    :ivar events: published meanwhile, over all epochs.
    :ivar viewers: at this node now; ``viewers_max`` most at once.
    :ivar withheld: by reason; of the room, not of this node. ``refused``: by name of the code, at this node.
    :ivar sent: by this node's edges to all viewers.
    :ivar measured: reports of viewers; ``networks`` the same by the name of their network.
    """

    room: str
    node: str
    stream: str
    since: int
    epoch: int
    first: int
    until: int = 0
    ended: bool = False
    last: int = 0
    events: int = 0
    viewers: int = 0
    viewers_max: int = 0
    withheld: dict[str, int] = field(default_factory=dict)
    refused: dict[str, int] = field(default_factory=dict)
    sent: Sent = field(default_factory=Sent)
    measured: Measured = field(default_factory=Measured)
    networks: dict[str, Measured] = field(default_factory=dict)


def certificate(account: Account) -> dict[str, Any]:
    """The certificate as it is now. What is there twice, as a number and as a rate or a quantile of it, is computed here."""
    return {
        "room": account.room,
        "node": account.node,
        "stream": account.stream,
        "since": account.since,
        "until": account.until,
        "ended": account.ended,
        "epoch": account.epoch,
        "first": account.first,
        "last": account.last,
        "events": account.events,
        "viewers": account.viewers,
        "viewers_max": account.viewers_max,
        "withheld": dict(account.withheld),
        "refused": dict(account.refused),
        "sent": _sent(account.sent),
        "measured": _measured(account.measured),
        "networks": {name: _measured(account.networks[name]) for name in sorted(account.networks)},
    }


def combined(certificates: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """One certificate out of those of several nodes that showed the room at the same time.

    What is the room's is not added up: its events and what it withheld every node tells. The largest number of viewers is at
    most the sum that is told, since nodes may have had theirs at different times.

    :param certificates: at least one; all of one room.
    """
    latest = max(certificates, key=lambda each: (each["epoch"], each["last"]))
    refused: dict[str, int] = {}
    withheld: dict[str, int] = {}
    networks: dict[str, Measured] = {}
    measured = Measured()
    sent = Sent()
    for each in certificates:
        for name, count in each["refused"].items():
            refused[name] = refused.get(name, 0) + count
        for name, count in each["withheld"].items():
            withheld[name] = max(withheld.get(name, 0), count)
        for name, table in each["networks"].items():
            networks.setdefault(name, Measured()).add(_read_measured(table))
        measured.add(_read_measured(each["measured"]))
        part = _read_sent(each["sent"])
        sent.add(part)
        sent.laggards += part.laggards
        sent.lag_max = max(sent.lag_max, part.lag_max)
    account = Account(
        room=latest["room"],
        node=", ".join(each["node"] for each in certificates),
        stream=latest["stream"],
        since=min(each["since"] for each in certificates),
        until=max(each["until"] for each in certificates),
        ended=all(each["ended"] for each in certificates),
        epoch=latest["epoch"],
        first=min(each["first"] for each in certificates if each["epoch"] == latest["epoch"]),
        last=latest["last"],
        events=max(each["events"] for each in certificates),
        viewers=sum(each["viewers"] for each in certificates),
        viewers_max=sum(each["viewers_max"] for each in certificates),
        withheld=withheld,
        refused=refused,
        sent=sent,
        measured=measured,
        networks=networks,
    )
    return certificate(account)


def _sent(sent: Sent) -> dict[str, Any]:
    return {
        "entitled": sent.entitled,
        "skipped": sent.skipped,
        "rate": sent.rate,
        "stalls": sent.stalls,
        "lag_policies": sent.lag_policies,
        "closed": {str(code): sent.closed[code] for code in sorted(sent.closed)},
        "laggards": sent.laggards,
        "lag_max": sent.lag_max,
    }


def _read_sent(table: Mapping[str, Any]) -> Sent:
    return Sent(
        table["entitled"],
        table["skipped"],
        table["stalls"],
        table["lag_policies"],
        {int(code): count for code, count in table["closed"].items()},
        table["laggards"],
        table["lag_max"],
    )


def _measured(measured: Measured) -> dict[str, Any]:
    return {
        "reports": measured.reports,
        "entitled": measured.entitled,
        "received": measured.received,
        "arrival_rate": measured.arrival_rate,
        "gaps": measured.gaps,
        "delay_ms": {name: quantile(measured.delays, share) for name, share in _SHARES.items()},
        "delays": {str(bucket): measured.delays[bucket] for bucket in sorted(measured.delays)},
        "reconnects": {cause: measured.reconnects[cause] for cause in sorted(measured.reconnects)},
    }


def _read_measured(table: Mapping[str, Any]) -> Measured:
    return Measured(
        table["reports"],
        table["entitled"],
        table["received"],
        table["gaps"],
        {int(bucket): count for bucket, count in table["delays"].items()},
        dict(table["reconnects"]),
    )
