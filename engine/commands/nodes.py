"""The HTTP API of nodes, for commands that ask it.

Owns what is said when a node cannot be asked. Must not know what it is asked.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from engine.errors import RoomcastError

if TYPE_CHECKING:
    import httpx

__all__ = ["Absent", "Node", "Unreachable", "asking"]

_PATIENCE_SECONDS: Final = 10.0


class Absent(RoomcastError):
    """The node says that there is no such thing (404)."""


class Unreachable(RoomcastError):
    """Nobody answers there."""


class Node:
    """One node's API."""

    def __init__(self, client: httpx.Client, url: str) -> None:
        self._client = client
        self.url = url

    def read(self, path: str, **query: Any) -> Any:
        """What a GET of this path answers, as JSON has it.

        :raises Absent: there is no such thing.
        :raises RoomcastError: the node cannot be asked, or does not answer that.
        """
        import httpx

        try:
            answer = self._client.get(f"{self.url}{path}", params=query)
            told = answer.json()
        except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:
            raise Unreachable(f"{self.url} cannot be asked: {error or type(error).__name__}") from None
        except ValueError:
            raise RoomcastError(f"{self.url} does not answer as a node's HTTP API does (status {answer.status_code})") from None
        if answer.is_success:
            return told
        problem = told if isinstance(told, dict) else {}
        text = f"{self.url}: {problem.get('detail') or problem.get('title') or f'status {answer.status_code}'}"
        if answer.status_code == 401:
            text += "; give a key by --key or ROOMCAST_KEY, `roomcast key` makes one"
        raise (Absent if answer.status_code == 404 else RoomcastError)(text)


@contextmanager
def asking(urls: list[str], key: str | None) -> Iterator[list[Node]]:
    """Be ready to ask these nodes while the block runs."""
    # It takes a while to load.
    import httpx

    headers = {"Authorization": f"Bearer {key}"} if key else {}
    try:
        client = httpx.Client(headers=headers, timeout=_PATIENCE_SECONDS)
    except UnicodeEncodeError:
        raise RoomcastError("the key is none: keys are ASCII") from None
    with client:
        # One that is named twice would be added up twice.
        yield [Node(client, url) for url in dict.fromkeys(url.rstrip("/") for url in urls)]
