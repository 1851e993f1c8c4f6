"""The same broadcast load against this engine and against others, counted the same way for all. See `bench.peers.match`."""
