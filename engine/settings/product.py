"""Of the product behind the node: who its users are, how its servers call, what it is asked and told.

Owns these sections. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal

from annotated_types import Ge, Gt, Le, doc

from engine.settings.strict import STRICT

__all__ = ["AccessSettings", "ApiKey", "ApiSettings", "HookSettings", "Scope", "TokenKey"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenKey:
    """A key that tokens may be signed with."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT

    kid: Annotated[str, doc("Its name, as the header of a token gives it (kid); at most 64 characters.")]
    algorithm: Annotated[
        Literal["HS256", "RS256", "ES256", "EdDSA"], doc("The only one that this key is good for (RFC 7518, RFC 8037).")
    ] = "HS256"
    secret: Annotated[str, doc("Of HS256: at least 32 bytes.")] = field(default="", repr=False)
    file: Annotated[str, doc("Of the others: a file with the public key, in PEM. Relative to the working directory.")] = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessSettings:
    """Who may do what."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT

    anonymous: Annotated[
        Literal["auto", "write", "read", "none"],
        doc(
            "What viewers without a token may do. Guests name themselves; their ids are the server's. "
            '"auto": write, unless tokens are taken (secret, keys, jwks); then read.'
        ),
    ] = "auto"
    secret: Annotated[
        str,
        doc(
            "Key of the tokens (JWT, HS256) that say who a viewer is and what it may do; at least 32 bytes. "
            "For tokens that name no key. Better in the environment (ROOMCAST_ACCESS__SECRET) than in a file."
        ),
    ] = field(default="", repr=False)
    jwks: Annotated[
        str, doc("A JSON Web Key Set (RFC 7517) with more of them: a file, or an https:// (http:// on loopback) address.")
    ] = ""
    jwks_seconds: Annotated[float, Ge(1), Le(86_400), doc("How often it is read again.")] = 300.0
    issuer: Annotated[str, doc("What tokens must have as iss; empty: anything.")] = ""
    audience: Annotated[str, doc("What tokens must have as, or among, their aud; empty: anything.")] = ""
    token_in_query: Annotated[
        bool, doc("Take tokens from the address, too (?token=): proxies and browsers write addresses down.")
    ] = False
    public_anonymous_writing: Annotated[
        bool,
        doc("Confirms that guests write while edge.host is not loopback; the node refuses to start without it."),
    ] = False
    keys: Annotated[tuple[TokenKey, ...], doc("Further keys, for tokens that name theirs; rotation: add, change, remove.")] = ()


Scope = Literal[
    "rooms:read",
    "rooms:write",
    "publish",
    "moderate",
    "money:read",
    "money:write",
    "tokens",
    "node:read",
    "node:write",
]
"""What somebody may do over the HTTP API."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """A key with which the product's servers call the HTTP API (`roomcast key` makes one)."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT

    name: Annotated[str, doc("Names it in logs and in what it does; at most 64 characters.")]
    sha256: Annotated[str, doc("SHA-256 of the key, 64 hexadecimal digits; the key itself is kept nowhere.")] = field(
        repr=False
    )
    scopes: Annotated[tuple[Literal["*", Scope], ...], doc("What may be done with it.")] = ("*",)
    rooms: Annotated[tuple[str, ...], doc("In which rooms; one that ends in * stands for all that begin so.")] = ("*",)


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiSettings:
    """The HTTP API, with metrics and health."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT

    enabled: Annotated[bool, doc("Serve it. /docs and /openapi.json tell what there is.")] = False
    host: Annotated[
        str, doc("Address to listen on. Loopback by default: TLS and the public side belong to a proxy in front.")
    ] = "127.0.0.1"
    port: Annotated[int, Ge(0), Le(65535), doc("TCP port; 0 lets the system choose.")] = 8780
    body_bytes: Annotated[int, Ge(1024), Le(64 << 20), doc("Largest request; above it the answer is 413.")] = 1 << 20
    batch_events: Annotated[int, Ge(1), Le(10_000), doc("Most events that can be published with one request.")] = 1_000
    connections_max: Annotated[int, Ge(1), Le(100_000), doc("Connections at once; more wait to be accepted.")] = 256
    request_seconds: Annotated[
        float, Gt(0), Le(600), doc("Time for a request to arrive, and for its answer to be made and read.")
    ] = 30.0
    idle_seconds: Annotated[float, Gt(0), Le(3600), doc("How long a connection may be silent between two requests.")] = 75.0
    requests_per_second: Annotated[
        float, Gt(0), Le(1e9), doc("Requests with one key, on average; above it the answer is 429 with Retry-After.")
    ] = 2_000.0
    requests_burst: Annotated[int, Ge(1), Le(1_000_000_000), doc("Requests that a key which was silent may make at once.")] = (
        4_000
    )
    retry_keys: Annotated[
        int, Ge(0), Le(10_000_000), doc("Answers remembered by Idempotency-Key, of all API keys together.")
    ] = 10_000
    retry_seconds: Annotated[float, Ge(1), Le(604_800), doc("How long they are remembered.")] = 86_400.0
    public_metrics: Annotated[bool, doc("/metrics answers without a key; else it takes one with the scope node:read.")] = True
    pages: Annotated[bool, doc("Serve the demo room at /, the console at /console and the browser SDK at /sdk/.")] = True
    viewers_url: Annotated[
        str, doc("Where browsers find the viewers' side, such as wss://chat.example/; empty: the page's host and edge.port.")
    ] = ""
    keys: Annotated[tuple[ApiKey, ...], doc("Who may call it; without any only /health, /metrics and /docs answer.")] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class HookSettings:
    """What the product is asked before something happens, and told after it. See Standard Webhooks."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT

    secret: Annotated[
        str,
        doc(
            "Key of the signatures, whsec_ and base64 of at least 24 bytes; several, separated by spaces, while it is changed. "
            "Better in the environment (ROOMCAST_HOOKS__SECRET) than in a file."
        ),
    ] = field(default="", repr=False)
    comment_url: Annotated[str, doc("Asked before a viewer's comment or custom event is accepted; empty: nobody is.")] = ""
    gift_url: Annotated[str, doc("Asked before a viewer's gift is charged and booked.")] = ""
    red_packet_url: Annotated[str, doc("Asked before a viewer's red packet is charged and booked.")] = ""
    join_url: Annotated[str, doc("Asked before a viewer is let into a room.")] = ""
    spend_url: Annotated[
        str, doc("Charges a viewer for a gift or a red packet (ledger.spend); without an answer nothing is booked.")
    ] = ""
    answer_seconds: Annotated[
        float, Gt(0), Le(60), doc("How long an answer may take; spend_url has ledger.spend_seconds instead.")
    ] = 0.2
    fallback: Annotated[
        Literal["allow", "refuse"], doc("What is done when there is no answer in time, or none that can be understood.")
    ] = "allow"
    batch: Annotated[int, Ge(1), Le(10_000), doc("Most questions in one request.")] = 100
    in_flight: Annotated[int, Ge(1), Le(1_000), doc("Requests to one address at once.")] = 8
    pending: Annotated[int, Ge(1), Le(1_000_000), doc("Questions that may wait; beyond it the fallback holds.")] = 10_000
    breaker_failures: Annotated[
        int, Ge(1), Le(1_000), doc("After so many requests in a row without an answer nobody is asked for a while.")
    ] = 5
    breaker_seconds: Annotated[float, Gt(0), Le(3600), doc("How long; then one request tries whether it is over.")] = 5.0
    events_url: Annotated[
        str, doc("Told of what has happened, at least once and in order within a room. Needs ledger.url, where it is kept.")
    ] = ""
    events: Annotated[
        tuple[Literal["room", "gift", "red_packet", "moderation", "peak"], ...],
        doc("Of what: rooms opened and closed; gifts and corrections; red packets; what moderators do; new peaks of viewers."),
    ] = ("room", "gift", "red_packet", "moderation", "peak")
    events_batch: Annotated[int, Ge(1), Le(10_000), doc("Most events in one request.")] = 100
    events_seconds: Annotated[float, Gt(0), Le(300), doc("How long the answer may take.")] = 10.0
    retry_seconds: Annotated[float, Gt(0), Le(3600), doc("Pause after a failure; it doubles with each further one.")] = 1.0
    retry_most_seconds: Annotated[float, Gt(0), Le(86_400), doc("Longest pause.")] = 300.0
    attempts: Annotated[
        int, Ge(1), Le(1_000), doc("After so many an event is put aside, to be read and sent again (roomcast webhooks).")
    ] = 20
