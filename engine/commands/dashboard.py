"""`roomcast dashboard`: the Grafana dashboard that comes with the engine.

Owns nothing: `engine/metrics/dashboard.json` is the dashboard, and a test holds it against `engine.metrics.catalogue`.
"""

from __future__ import annotations

from importlib.resources import files

__all__ = ["dashboard"]


def dashboard() -> None:
    """Print a Grafana dashboard for the metrics of a node, to be imported or provisioned (Grafana 10 or later)."""
    print(files("engine.metrics").joinpath("dashboard.json").read_text(encoding="utf-8"), end="")
