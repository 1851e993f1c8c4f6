"""uWebSockets' topics through socketify. Usage: ``python uws_server.py PORT``.

``App.run`` would drive the sockets' libuv loop from asyncio's by asking it again and again, which takes a third of a second
of CPU after each event, whatever was sent. There is no coroutine here, so the libuv loop runs alone and waits.
"""

from __future__ import annotations

import importlib
import signal
import sys
from typing import Any

socketify: Any = importlib.import_module("socketify")
"""Publishes no type information."""
TOPIC = "room"


def _main(port: int) -> None:
    app = socketify.App()
    app.ws(
        "/ws",
        {
            "compression": socketify.CompressOptions.DISABLED,
            "max_payload_length": 16 << 20,
            "idle_timeout": 120,
            "send_pings_automatically": True,
            "open": lambda ws: ws.subscribe(TOPIC),
            "message": lambda ws, message, opcode: app.publish(TOPIC, message, opcode),
        },
    )
    app.listen(socketify.AppListenOptions(port=port, host="127.0.0.1"), lambda config: None)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    app.loop.uv_loop.run()


if __name__ == "__main__":
    _main(int(sys.argv[1]))
