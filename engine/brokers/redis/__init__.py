"""The broker over Redis (7 or later) or Valkey: one server, a primary behind Sentinels, or a cluster; any number of nodes.

What makes offsets
    One server-side function call for each publish to a room (``publish.lua``) does everything at once: recognises retries,
    withholds what is above the room's budget, assigns offsets, appends one record to the room's stream, spreads the same
    bytes, which the node has compressed if they are many. All keys of a room carry one hash tag, so a room is on one server
    of a cluster. Each room has a shard channel of its own, in the slot of its keys, which is what lets the function itself
    spread: a node gets the rooms that it has, each once, and nothing else, over one connection for each server; it never
    reads a room unless something is missing. The price is a subscription for each room and node, restored in one write after
    a reconnect. (A fixed number of channels would either carry to every node what it has no viewers for, or need a second
    command that may fail after the first.)

What the rest is
    Totals and leases are one call for each room and report (``totals.lua``), the room's record another for each amendment
    (``record.lua``), up to a thousand ballots another (``tallies.lua``). All are spread on the same channel; totals and
    tallies only every so often, by whoever changed them or comes next. Expired fields of a record go with the next report
    of any node. Times are the server's: a node follows its clock by what comes back with reports and reads.

    An amendment that has an event is one call, too, and so is a redaction. A stored record of events is one string, perhaps
    compressed, and never changes: the server remembers which offsets are redacted for as long as they are kept
    (``history.lua``), and whoever reads the past puts tombstones there.

What an acknowledged publish survives
    It is in the room, at the offset that was acknowledged, or the room has a new epoch, which every node is told. No offset
    is given twice within an epoch. Nothing here makes Redis strongly consistent; what can be lost depends on the server:

    =========================  ===================================  ==========================================================
    what happens               how the server is set                what becomes of what was acknowledged
    =========================  ===================================  ==========================================================
    node or connection lost    any                                  all there; a publish sent again is applied once
    server killed, restarted   ``appendonly yes``,                  all there, same epoch
                               ``appendfsync always``
    server killed, restarted   ``appendfsync everysec``, ``no``,    new epoch: the last second (or more) may be missing, and
                               or snapshots only                    the server cannot tell
    server comes back empty    nothing kept; FLUSHALL               new epoch, empty history
    replica promoted           any                                  new epoch: what the primary had not sent yet is missing
    replica promoted           ``redis.wait_replicas = n``          new epoch; nothing is missing if the promoted one is among
                                                                    the n that had it, as Sentinel and cluster prefer, and
                                                                    as it must be when there are no more than n
    primary replaced though    any                                  new epoch: what it accepted until its nodes knew is
    it lives (Sentinel)                                             missing; they ask the Sentinels every second.
                                                                    ``wait_replicas``, or ``min-replicas-to-write`` at the
                                                                    server, keeps it from accepting anything
    slot moved in a cluster    any                                  new epoch, nothing missing
    =========================  ===================================  ==========================================================

    A new epoch begins above what has survived: history, redactions, retry keys, totals, tallies and the record stay, so that a
    retry is still recognised and newcomers still see the past. Whether a restart loses nothing is asked when connecting (CONFIG
    GET); a server that hides its configuration is taken for one that may lose the last second.

How a lost history is noticed
    The server's replication id is stored with each room and compared in every call; with every call a node presents the
    head it knows. A changed id, or a head ahead of the stream, begins a new epoch in the same call, before anything is
    given out. A room where nothing happens is asked about after each reconnect, and every third of ``redis.lease_seconds``.

What else the server must be
    ``maxmemory-policy noeviction``: an evicted key is a lost history, a retry not recognised, or a redaction undone. Slots
    moved key by key (before atomic slot migration) refuse rooms that are new meanwhile. The functions stay behind when a new
    version is deployed, about 160 kB each; ``FUNCTION DELETE`` removes those of old versions.
"""

from engine.brokers.redis.broker import RedisBroker, RedisStatistics

__all__ = ["RedisBroker", "RedisStatistics"]
