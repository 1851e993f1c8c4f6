"""The capacity planner: what this host's costs say about a load of any size."""
