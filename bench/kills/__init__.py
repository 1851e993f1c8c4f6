"""``roomcast-bench kill-storm``: an engine that is killed again and again while people give.

`plan` draws from a seed what is killed when, `site` is what nobody kills, `nodes` are the processes that are. `viewer` is a
viewer on its `line`, `crowd` what viewers do, `book` what they asked for, were told and saw. `ledger` reads what is in the
database, `judge` compares. `storm` is the run, `record` what it found out, `command` its options.
"""
