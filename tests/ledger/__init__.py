"""Tests of `engine.hub`: over links in memory, with a broker that keeps its word or one that does not, a clock that jumps."""
