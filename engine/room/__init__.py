"""One room, sans-IO: bytes and values in, bytes and values out; the clock is an argument.

The hub's half checks that events join (`sequencer`), gathers them to batches (`batcher`), encodes each batch once per
variant (`encoder`) and keeps what a newcomer needs (`state`). The edge's half keeps finished frames (`log`), a cursor per
viewer being a number into it, and decides about viewers who fall behind (`lag`). Nothing here knows trio, sockets, files or
who is asking.
"""
