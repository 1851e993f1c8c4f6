"""A node in a program that does not run trio: in an asyncio loop, or in a thread.

`inside` is what lives in trio, the same for both; `guest` lets trio run as a guest of an asyncio loop, `hosted` is the node as
that loop has it, with `engine.embed`; `thread` gives trio a thread of its own, with `engine.start`.

Why asyncio is not given a thread, too. Measured on two cores, under uvicorn on uvloop, with 8,000 viewers of one room and 100
comments at one instant, until the last has the last of them; ``trio.run`` without a host takes 0.35 s, 12.3 µs of CPU a frame,
and lets 2,700 join in a second:

| | guest | thread |
|---|---|---|
| the host is idle | 0.30 s, 10.4 µs, 4,800 joins/s | 0.31 s, 12.2 µs, 3,500 joins/s |
| the host computes 3 ms of every 10 | 0.32 s, 4,900 joins/s | 0.54 s, 2,000 joins/s |

A guest pays with a hop through a thread each time trio becomes idle, which is seldom where it has work: the edge watches all of
its viewers with one epoll descriptor. A thread pays at each ``send``: it gives the interpreter's lock away for the system call,
and while the other one computes it waits for it as long as `sys.getswitchinterval` says (1 ms here; Python's default is 5). So
the edge may be a guest. A host that blocks its loop blocks it, too.
"""
