"""Where a room's events get their offsets, are kept, and are spread to every node that has viewers there.

`base` is the contract, written before its implementations; `memory` is the embedded default, with `budget` and `record` for
what it counts by; `redis` is for many nodes.
"""
