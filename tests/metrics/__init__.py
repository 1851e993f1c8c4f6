"""Tests of `engine.metrics` and of the statistics that it shows."""
