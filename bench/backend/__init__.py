"""A product's backend under measurement: publishing over HTTP and over a WebSocket of its own, while viewers are served.

`play` is the order of phases, `publisher` the process that publishes, `http` and `socket` its two ways in.
"""
