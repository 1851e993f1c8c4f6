"""The product's say: what it is asked before something is accepted, and told after it has happened.

`values` are the questions, verdicts and happenings, `signing` how both sides know each other. `asking` asks, in Python or over
HTTP (in `batches`, by `call`, with its `breaker`); `dispatcher` tells what the outbox holds
(`engine.ledger.webhooks`): `letters` what that is, `rounds` what goes together, `courier` how it is sent.
"""
