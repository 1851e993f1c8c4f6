"""What the command line can do, one noun a file: each command is a few lines over the Python API.

Owns the commands; `engine.cli` puts them together. Libraries that only some commands need are imported where they are used, so
that each starts as fast as it can.
"""
