"""Load benchmarks: a generator that checks every byte it gets, scenarios, certificates, reports, other servers, a planner.

Knows the wire protocol, not the engine inside; only `bench.limit` and `bench.micro` run parts of it.
"""
