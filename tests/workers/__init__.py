"""Tests of `engine.workers`: one machine, many processes, and everything that can end one of them."""
