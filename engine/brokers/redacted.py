"""What stands where something was redacted.

Owns its bytes. Must not know who may redact.
"""

from __future__ import annotations

from typing import Final

import msgspec

from engine.schema import OmittedEvent, OmittedReason

__all__ = ["REDACTED"]

REDACTED: Final = msgspec.msgpack.encode(OmittedEvent(OmittedReason.DELETED, 1))
"""MessagePack of an `engine.schema.OmittedEvent`, in place of the event that was there."""
