"""The HTTP API: the engine for products in any language, with metrics and health.

`server` speaks HTTP/1.1 and runs an ASGI application, `app` puts that together, `context` is what every call has at hand:
who calls, the node, the room. One file in `routes` for each kind of call. What every request passes: `journal` (its id, a line
in the log, a trace), `known` (who may do nothing), `bodies` (JSON), `retries` (Idempotency-Key), `callers` (keys, tokens);
`problems` says what went wrong, `openapi` and `docs` what there is. Must not know edges, nor how a room works: all it does goes
through `engine.backend`.
"""
