"""Tests of `engine.edge`: on scripted sockets where order and loss matter, on real ones where the kernel does."""
