"""End to end: a real node, real sockets, and clients that nobody here wrote."""
