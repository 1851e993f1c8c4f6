"""How a room reached its viewers.

Owns these shapes; what they hold is made by `engine.quality.certificate`. Pure.
"""

from __future__ import annotations

from pydantic import Field

from engine.api.models.common import Answer

__all__ = ["DelaysAnswer", "MeasuredAnswer", "QualityAnswer", "SentAnswer"]


class DelaysAnswer(Answer):
    """How late events came that came live, in milliseconds by the server's clock; null: nothing has been reported."""

    p50: float | None = Field(description="Half of them came within this time.")
    p90: float | None = Field(description="Nine of ten.")
    p99: float | None = Field(description="99 of 100.")


class SentAnswer(Answer):
    """What this node's edges did for all viewers, in the sample or not."""

    entitled: int = Field(description="Deliveries that were due: events times the viewers they were for.")
    skipped: int = Field(description="Of these, those that `room.lag_policy` spared a viewer who was too far behind.")
    rate: float | None = Field(description="Deliveries made by those due, 1: all; null: none was due.")
    stalls: int = Field(description="Writes that a viewer's socket did not take whole.")
    lag_policies: int = Field(description="How often the lag policy was applied.")
    closed: dict[str, int] = Field(
        description="Viewers whose connection ended while they were in the room, by WebSocket close code; `1006`: it broke.",
        examples=[{"1001": 41, "1006": 3}],
    )
    laggards: int = Field(description="Viewers who have something half-sent or left over now.")
    lag_max: float = Field(description="Seconds that the viewer furthest behind has been waiting now.")


class MeasuredAnswer(Answer):
    """What viewers report who take part in the sample."""

    reports: int = Field(description="How many came; a viewer makes several.")
    entitled: int = Field(
        description="Events that the room's own numbering says these viewers were to get: those that passed while they were "
        "there, or away for a moment."
    )
    received: int = Field(description="Events that they counted one by one as they came.")
    arrival_rate: float | None = Field(description="Received by entitled, 1: all; null: nothing has been reported.")
    gaps: int = Field(description="Stretches of events that did not come.")
    delay_ms: DelaysAnswer
    delays: dict[str, int] = Field(
        description="The same as counts, so that they can be added up: how many events were so late, by bucket. Bucket b holds "
        "delays from 2^(b/4) - 1 up to 2^((b+1)/4) - 1 ms.",
        examples=[{"17": 940, "18": 52}],
    )
    reconnects: dict[str, int] = Field(
        description="How often they had to come back, by cause: code of the close, or of the refusal.", examples=[{"1006": 3}]
    )


class QualityAnswer(Answer):
    """How a room reached its viewers at this node since its certificate began: when the first one came, or when another stream
    began. Certificates of several nodes can be added up, but for what is the room's: events and `withheld`."""

    room: str = Field(examples=["直播间 🎤"])
    node: str = Field(description="Name of the node.")
    stream: str = Field(description="Name of the broadcast; empty: it has none.")
    since: int = Field(description="Unix milliseconds when the certificate began.")
    until: int = Field(description="Unix milliseconds: now, or when it ended.")
    ended: bool = Field(
        description="The stream is over; the next certificate takes the place of this one. Edges' last numbers may still come "
        "for `quality.seconds`."
    )
    epoch: int = Field(description="Another one than before: history was lost, and offsets began anew.")
    first: int = Field(description="Offset in the room when it began.")
    last: int = Field(description="Offset in the room now, or when it ended.")
    events: int = Field(description="Published in the room meanwhile, at all nodes.")
    viewers: int = Field(description="At this node now, or when it ended.")
    viewers_max: int = Field(description="Most at this node at once.")
    withheld: dict[str, int] = Field(
        description="Events that the room withheld meanwhile because they did not fit its budget, at all nodes, by reason."
    )
    refused: dict[str, int] = Field(
        description="Comments that the room's rules refused meanwhile at this node, by the name of the code."
    )
    sent: SentAnswer
    measured: MeasuredAnswer
    networks: dict[str, MeasuredAnswer] = Field(
        description="The same by network: the names in `quality.networks`, or the /16 or IPv6 /32; `other` beyond "
        "`quality.networks_max`."
    )
