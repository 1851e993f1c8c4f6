"""Which metrics there are: one table.

Owns names, meanings and where in the node's statistics each is found. Pure. Names are in base units, counters end in ``_total``
(Prometheus, "Metric and label naming"). There is no label for rooms or users, of which there are too many, and whose names are
nobody's business who looks at metrics: of rooms there are sums, and the largest.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Literal

__all__ = ["ANY", "METRICS", "UNEXPORTED", "Metric"]

ANY: Final = "*"
"""In a path: every key; the next label tells which."""


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric.

    :ivar name: of a counter without the ``_total`` that it has when it is exposed.
    :ivar path: into `engine.backend.Backend.vitals`. What is not there is not exposed.
    :ivar labels: one for each `ANY` of the path, outermost first.
    :ivar read: makes a number of what is there; of a histogram's `engine.durations.Durations.table` nothing has to be made.
    """

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    path: tuple[str, ...]
    help: str
    labels: tuple[str, ...] = ()
    read: Callable[[Any], float] = float

    @property
    def exposed(self) -> str:
        """Its name in queries; a histogram has ``_bucket``, ``_count`` and ``_sum`` of it."""
        return f"{self.name}_total" if self.kind == "counter" else self.name


def _counter(name: str, path: str, help_: str, *labels: str) -> Metric:
    return Metric(f"roomcast_{name}", "counter", tuple(path.split(".")), help_, labels)


def _gauge(name: str, path: str, help_: str, *labels: str, read: Callable[[Any], float] = float) -> Metric:
    return Metric(f"roomcast_{name}", "gauge", tuple(path.split(".")), help_, labels, read)


def _histogram(name: str, path: str, help_: str, *labels: str) -> Metric:
    return Metric(f"roomcast_{name}", "histogram", tuple(path.split(".")), help_, labels)


def _works(ledger: str) -> float:
    """It is opened when there is something to book."""
    return float(ledger in ("open", "closed"))


def _seconds(milliseconds: float) -> float:
    return milliseconds / 1000


METRICS: Final = (
    # -- viewers and rooms --
    _gauge("viewers", "hub.viewers", "Viewers in rooms."),
    _gauge("rooms", "hub.rooms", "Rooms that have viewers."),
    _gauge("room_viewers_max", "hub.room_viewers_max", "Viewers in the room that has most."),
    _gauge("connections", "edge.connections", "Connections to edges, in a room or not."),
    _gauge("connections_limit", "edge.viewers_max", "Connections that the edges have place for."),
    _gauge("edge_rooms", "edge.rooms", "Rooms that edges have open; one at two edges counts twice."),
    _counter("connections_dropped", "edge.connections_dropped", "Connections that the kernel dropped: its queue was full."),
    _counter("handshakes", "edge.handshakes", "WebSocket handshakes completed."),
    _counter("handshakes_refused", "edge.refused.*", "WebSocket handshakes refused, by HTTP status.", "status"),
    _counter("closes", "edge.closed.*", "Connections closed by the node, by WebSocket close code.", "code"),
    # -- delivery --
    _counter("frames_sent", "edge.frames_sent", "Frames sent to viewers by fan-out."),
    _counter("fanout_seconds", "edge.fanout_seconds", "Time that passes of the fan-out took."),
    _histogram(
        "fanout_delay_seconds",
        "edge.fanout_delays",
        "From when an edge had a frame for a room until every viewer who keeps up had been sent it.",
    ),
    _counter("stalls", "edge.stalls", "Sends that did not fit a viewer's socket."),
    _gauge("laggards", "edge.laggards", "Viewers with something half-sent or left over."),
    _gauge("lag_max_seconds", "edge.lag_max", "How long the viewer furthest behind has waited for what it gets next."),
    _counter("lag_policies", "edge.lag_policies", "Times that the lag policy was applied."),
    _counter("past_lost", "edge.past_lost", "Viewers who came back and found what they had missed not kept any more."),
    _counter("limits_reached", "edge.limited.*", "Times that a viewer reached a limit, by its setting.", "setting"),
    _gauge("log_bytes", "edge.log_bytes", "Bytes of frames that edges keep."),
    _counter("batches", "hub.batches", "Batches made of rooms' events."),
    _counter("snapshots", "hub.snapshots", "Snapshots built for newcomers."),
    _counter("backfills", "hub.backfills", "Parts of the past fetched for viewers who came back."),
    _counter("link_sent_bytes", "hub.link_bytes", "Bytes from the hub to edges in other processes."),
    _counter("deliveries_due", "hub.quality.sent_entitled", "Events times the viewers they were for."),
    _counter("deliveries_skipped", "hub.quality.sent_skipped", "Deliveries that the lag policy spared viewers far behind."),
    _counter("quality_reports", "hub.quality.reports", "Reports of viewers on what came to them."),
    _counter("quality_ignored", "edge.quality_ignored", "Such reports that did not count: too many, or not possible."),
    _counter("events_entitled", "hub.quality.entitled", "Events that viewers who report were entitled to."),
    _counter("events_arrived", "hub.quality.received", "Events that came to viewers who report."),
    _counter("gaps_reported", "hub.quality.gaps", "Gaps that viewers reported."),
    _counter("reconnects_reported", "hub.quality.reconnects", "Reconnects that viewers reported."),
    # -- publishing and broker --
    _counter("messages_received", "edge.messages_received", "Messages of viewers."),
    _counter("events_published", "hub.events_published", "Events that have an offset."),
    _gauge("events_waiting", "hub.events_waiting", "Events accepted and not answered."),
    _counter("events_failed", "hub.events_failed", "Events that the broker did not take, because it was out of reach."),
    _counter("events_overloaded", "hub.events_overloaded", "Events refused because too many waited to be published."),
    _histogram("publish_seconds", "hub.publish_delays", "Times that the broker took for what was published at once."),
    _counter("broker_requests", "hub.broker.requests", "Operations asked of the broker's server."),
    _counter("broker_pushes", "hub.broker.pushes", "Messages that the broker's server spread to the node."),
    _counter("broker_sent_bytes", "hub.broker.sent", "Bytes to the broker's server."),
    _counter("broker_received_bytes", "hub.broker.received", "Bytes from the broker's server."),
    _counter("broker_reads", "hub.broker.reads", "Reads of history because something had not been delivered."),
    _counter("events_withheld", "hub.events_withheld", "Events that did not fit their room's budget."),
    _counter("comments_refused", "hub.refused.*", "Comments that rooms' rules refused, by the name of the code.", "code"),
    # -- money --
    _gauge("ledger_up", "hub.money.lane.ledger", "Whether the ledger can be written, as far as is known.", read=_works),
    _counter("ledger_booked", "hub.money.lane.booked", "Requests booked in the ledger."),
    _counter("ledger_rejected", "hub.money.lane.rejected", "Requests that the ledger rejected."),
    _gauge("ledger_waiting", "hub.money.lane.waiting", "Requests that are not answered."),
    _counter("ledger_groups", "hub.money.lane.groups", "Transactions that booked something."),
    _histogram("ledger_commit_seconds", "hub.money.lane.commits", "Times that transactions of the ledger took."),
    _counter("ledger_published", "hub.money.lane.published", "Entries of the ledger that were published."),
    _gauge("ledger_outbox", "hub.money.lane.outbox", "Entries booked and not known to be published."),
    _gauge("ledger_marks_waiting", "hub.money.lane.marks_waiting", "Positions of entries that are not recorded yet."),
    _counter("ledger_failures", "hub.money.lane.failures", "Calls to the ledger's database that failed."),
    _counter("claims_late", "hub.money.claims_late", "Claims that came when their red packet was over."),
    _counter("claims_dropped", "edge.claims_dropped", "Claims of red packets that were not open."),
    # -- hooks --
    _counter("hook_questions", "hub.asking.asked.*", "Questions to the product before something is accepted.", "kind"),
    _counter("hook_verdicts", "hub.asking.verdicts.*", "Answers of the product.", "verdict"),
    _counter("hook_fallbacks", "hub.asking.fallbacks", "Questions without an answer, for which the fallback held."),
    _histogram("hook_answer_seconds", "hub.asking.delays", "Times from question to verdict, or to its fallback."),
    _gauge("hook_questions_waiting", "hub.asking.waiting", "Questions that wait for a request to leave with."),
    _counter("hook_requests", "hub.asking.requests", "Requests to the product with questions."),
    _counter("hook_requests_failed", "hub.asking.requests_failed", "Requests with questions that were not answered."),
    _gauge("hook_breakers", "hub.asking.breakers", "Addresses of the product that questions go to."),
    _gauge("hook_breakers_open", "hub.asking.breakers_open", "Addresses that are not asked for a while, because they failed."),
    _counter("webhooks_sent", "hub.webhooks.sent", "Happenings that the product was told."),
    _counter("webhook_requests_failed", "hub.webhooks.failures", "Requests with happenings that failed."),
    _counter("webhooks_dead", "hub.webhooks.dead", "Happenings put aside after too many attempts."),
    _counter("webhooks_lost", "hub.webhooks.lost", "Happenings that could not be written down."),
    _gauge("webhooks_waiting", "hub.webhooks.waiting", "Happenings that the product has not been told yet."),
    _gauge("webhook_dead_letters", "hub.webhooks.letters", "Happenings that are put aside."),
    _gauge("webhook_oldest_seconds", "hub.webhooks.oldest_ms", "Age of the oldest happening that waits.", read=_seconds),
    # -- API --
    _counter(
        "api_requests",
        "api.requests.*.*.*",
        "Requests to the HTTP API, by template of the path, method and status.",
        *("route", "method", "status"),
    ),
    _histogram("api_request_seconds", "api.durations.*.*", "Times that requests to the HTTP API took.", "route", "method"),
    # -- processes --
    _gauge("processes", "process.*.processes", "Processes of the node, by role.", "role"),
    _counter("cpu_seconds", "process.*.cpu_seconds", "CPU time used.", "role"),
    _gauge("resident_memory_bytes", "process.*.resident_bytes", "Memory in use.", "role"),
    _gauge("open_descriptors", "process.*.descriptors", "Open file descriptors.", "role"),
    _histogram("loop_delay_seconds", "process.*.loop_delays", "How late the event loop was, once a second.", "role"),
    _gauge(
        "loop_delay_max_seconds", "process.*.loop_delay_max", "How late the event loop was in the last minute, at most.", "role"
    ),
)

UNEXPORTED: Final = {
    "name": "who collects metrics knows where from",
    "edge.viewers": "the hub knows, at every moment",
    "edge.orderly": "for benchmarks, to compare bytes",
    "edge.orderly_bytes": "for benchmarks, to compare bytes",
    "hub.money.lane.group_mean": "the rates of requests and groups tell, for any time",
    "hub.money.lane.group_max": "the rates of requests and groups tell, for any time",
    "hub.money.lane.commit_mean_ms": "the histogram tells, for any time",
    "hub.money.lane.commit_p50_ms": "the histogram tells, for any time",
    "hub.money.lane.commit_p99_ms": "the histogram tells, for any time",
    "hub.money.lane.commit_max_ms": "the histogram tells, for any time",
}
"""What of the statistics is no metric, and why."""
