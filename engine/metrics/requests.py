"""How the HTTP API's requests went.

Owns the counts. Must not know the API, nor Prometheus: labels are what it is told, within bounds.
"""

from __future__ import annotations

from typing import Any, Final

from engine.durations import Durations

__all__ = ["OTHER", "Requests"]

_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_ROUTES_MAX: Final = 500
"""More than any API has: a caller that passes paths instead of their templates does not fill the memory."""
OTHER: Final = "other"
"""Stands for what has no place of its own: a path that leads nowhere, a method that nobody knows."""


class Requests:
    """See the module's docstring."""

    def __init__(self) -> None:
        self._counts: dict[str, dict[str, dict[int, int]]] = {}
        self._durations: dict[str, dict[str, Durations]] = {}

    def observe(self, route: str, method: str, status: int, seconds: float) -> None:
        """A request was answered.

        :param route: template of its path, as ``/v1/rooms/{room}``; empty: none.
        :param status: of the answer.
        :param seconds: from its head to the end of the answer.
        """
        route = route or OTHER
        if route not in self._counts and len(self._counts) >= _ROUTES_MAX:
            route = OTHER
        if method not in _METHODS:
            method = OTHER
        counts = self._counts.setdefault(route, {}).setdefault(method, {})
        counts[status] = counts.get(status, 0) + 1
        methods = self._durations.setdefault(route, {})
        if method not in methods:
            methods[method] = Durations()
        methods[method].add(seconds)

    def table(self) -> dict[str, Any]:
        """A picture that does not change: ``requests`` by route, method and status, ``durations`` by route and method."""
        counts = {route: {method: dict(each) for method, each in methods.items()} for route, methods in self._counts.items()}
        durations = {
            route: {method: each.table() for method, each in methods.items()} for route, methods in self._durations.items()
        }
        return {"requests": counts, "durations": durations}
