"""The outcome of a run: the record and the ways to show it."""
