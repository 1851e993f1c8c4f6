"""Tests of `engine.room`: plain values in, plain values out, against plain lists."""
