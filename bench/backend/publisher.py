"""The process that publishes as a product's servers do, and reads back what the room has kept.

Owns the numbers that it writes into what it says, and the proof that the room has each of them once and in order. Run with
``python -m``; driven by `bench.children.Children`.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any, Final
from urllib.parse import quote

from bench.backend.http import ApiClient, ApiError
from bench.backend.socket import SocketError, SocketPublisher
from bench.histogram import Histogram

__all__ = ["Publisher"]

PAGE: Final = 1_000
NAP_SECONDS: Final = 0.001
LINE: Final = "双十一快乐 🎉 see you in the next room"
"""What is said, after a number."""


class Publisher:
    """See the module's docstring.

    :param share: where the API and the viewers' endpoint are, API key, token, room, feed.
    """

    def __init__(self, share: dict[str, Any]) -> None:
        self._share = share
        self._room = quote(share["room"], safe="")
        host, port = share["api"]
        self._api = ApiClient(host, port, share["key"])
        self._said = 0

    def single(self, seconds: float, rate: float) -> dict[str, Any]:
        """One comment a request, each after the answer to the one before.

        :param rate: events a second; 0: as fast as it goes.
        """
        return self._timed(seconds, 1, rate, self._single)

    def _single(self, bodies: list[str]) -> list[int]:
        return [self._api.ask("POST", f"/v1/rooms/{self._room}/comments", {"body": bodies[0]})["offset"]]

    def batch(self, seconds: float, rate: float, size: int) -> dict[str, Any]:
        """As `single`, with so many comments a request."""
        return self._timed(seconds, size, rate, self._batch)

    def _batch(self, bodies: list[str]) -> list[int]:
        room = self._share["room"]
        events = [{"room": room, "type": "comment", "body": body} for body in bodies]
        return [each["offset"] for each in self._api.ask("POST", "/v1/batch", {"events": events})["results"]]

    def _timed(self, seconds: float, size: int, rate: float, publish: Any) -> dict[str, Any]:
        times = Histogram()
        began, cpu, first = time.monotonic(), time.process_time(), self._said
        last = 0
        while (now := time.monotonic()) < began + seconds:
            if rate and (early := began + (self._said - first) / rate - now) > 0:
                time.sleep(early)
                continue
            offsets = publish(self._next(size))
            times.add(int((time.monotonic() - now) * 1e6))
            if sorted({*offsets, last}) != [last, *offsets]:
                raise ApiError(f"offsets that do not ascend: {offsets[:5]} after {last}")
            last = offsets[-1]
        return self._told(self._said - first, time.monotonic() - began, time.process_time() - cpu, times)

    def socket(self, seconds: float, rate: float, window: int) -> dict[str, Any]:
        """As `single` over a WebSocket, with so many at most that are not acknowledged."""
        share = self._share
        host, port = share["viewers"]
        publisher = SocketPublisher(host, port, share["path"], share["room"], share["token"], share["feed"])
        times = Histogram()
        sent: dict[int, float] = {}
        began, cpu, first = time.monotonic(), time.process_time(), self._said
        number = last = 0
        try:
            while (now := time.monotonic()) < began + seconds or sent:
                free = window - len(sent) if now < began + seconds else 0
                if rate:
                    free = max(0, min(free, int((now - began) * rate) - number))
                    if not free and not sent:
                        time.sleep(NAP_SECONDS)
                        continue
                if free:
                    sent |= dict.fromkeys(range(number + 1, number + 1 + free), now)
                    number += free
                    publisher.say(self._next(free))
                for ref, offset in publisher.acknowledged():
                    times.add(int((time.monotonic() - sent.pop(ref)) * 1e6))
                    if offset <= last:
                        raise SocketError(f"offset {offset} after {last}")
                    last = offset
        finally:
            publisher.close()
        return self._told(self._said - first, time.monotonic() - began, time.process_time() - cpu, times)

    def _next(self, count: int) -> list[str]:
        bodies = [f"{number} {LINE}" for number in range(self._said + 1, self._said + 1 + count)]
        self._said += count
        return bodies

    @staticmethod
    def _told(events: int, seconds: float, cpu: float, times: Histogram) -> dict[str, Any]:
        found = times.milliseconds()
        return {"events": events, "seconds": seconds, "cpu_seconds": cpu, "p50_ms": found["p50"], "p99_ms": found["p99"]}

    def verify(self) -> dict[str, Any]:
        """Read the room's whole history: every number once, in order, and nothing else."""
        heard, after = 0, 0
        faults: list[str] = []
        while True:
            page = self._api.ask("GET", f"/v1/rooms/{self._room}/history?after={after}&limit={PAGE}")
            for each in page["events"]:
                heard += 1
                if each["offset"] != heard or each["event"].get("body") != f"{heard} {LINE}":
                    faults.append(f"offset {each['offset']} holds {str(each['event'])[:80]}, not number {heard}")
                    return {"kept": heard, "faults": faults}
            if not page["events"]:
                break
            after = page["events"][-1]["offset"]
        if heard != self._said:
            faults.append(f"{heard} events are kept of {self._said} that were acknowledged")
        return {"kept": heard, "faults": faults}


def main() -> None:
    """Serve requests until the input ends."""
    publisher = Publisher(json.loads(sys.stdin.readline()))
    for line in sys.stdin:
        request = json.loads(line)
        number, do = request.pop("id"), request.pop("do")
        answer: dict[str, Any] = {}
        if do != "status":
            try:
                answer = getattr(publisher, do)(**request)
            except (ApiError, SocketError, OSError) as error:
                answer = {"fault": f"{do}: {error}"}
        print(json.dumps({"id": number, **answer}), flush=True)


if __name__ == "__main__":
    main()
