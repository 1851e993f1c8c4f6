"""Tests of `engine.ws`: the wire format, fed whole, in pieces, and with hostile bytes."""
