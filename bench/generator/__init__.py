"""The load generator: processes full of viewers that speak, receive and check every byte. See `bench.generator.process`."""
