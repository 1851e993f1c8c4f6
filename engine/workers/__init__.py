"""One machine, many processes: a supervisor, one hub, and the edges that share the viewers.

`supervisor` owns what outlives its children, and them; `place` is one child's place, `child` one process in it, `channel` what
supervisor and child say to each other, `watchdog` finds out who hangs, `hub` and `edge` are what the children run, `totals`
adds their statistics up, `rundir` is where they find each other, `lines` how they log, `launch` the way from the command line
into the supervisor.

`engine.node` puts the same `Edge` and `Hub` together in one process. Nothing here imports what an edge process must not hold.
"""
