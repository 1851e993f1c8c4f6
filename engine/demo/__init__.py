"""A living room for whoever looks for the first time: a simulated audience, a simulated host, and the settings for both.

Owns what `roomcast demo` shows. Everybody in it takes the way that real people take: the audience comes over WebSocket, the
host is the product behind the node (`engine.backend`). Nobody else in the engine knows of it.
"""

from __future__ import annotations
