"""What edges have to know of tokens beside the settings: the keys of a key set, what was taken back, and which passes are out.

Owns when they are told. Must not know how a set is read (`engine.hub.keyset`), nor how what was taken back and passes are kept
(`engine.hub.revocation`, `engine.hub.passes`).
"""

from __future__ import annotations

from collections.abc import Callable

import trio

from engine.brokers.base import Record
from engine.hub.keyset import KeySet
from engine.hub.passes import passes_in
from engine.hub.revocation import revoked_in
from engine.link.messages import Trust
from engine.settings import AccessSettings

__all__ = ["Trusted"]


class Trusted:
    """See the module's docstring.

    :param record: the record that holds in all rooms, as far as it is known here.
    :param tell: tells all edges.
    """

    def __init__(self, settings: AccessSettings, record: Callable[[], Record | None], tell: Callable[[Trust], None]) -> None:
        self._record = record
        self._tell = tell
        self._keys = KeySet(settings, self.changed)
        self._told = Trust(None, {})

    def adopt(self, settings: AccessSettings) -> None:
        """Take other settings."""
        self._keys.adopt(settings)
        # The keys of a set that was taken away must not be told to who comes now.
        self.changed()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep the key set up to date until cancelled."""
        task_status.started()
        await self._keys.run()

    @property
    def news(self) -> Trust | None:
        """What who comes has to be told; None if there is nothing. Another object when it has changed."""
        told = self._told
        return told if told.jwks is not None or told.revoked or told.passes else None

    def changed(self) -> None:
        """There are other keys, or the record has changed."""
        record = self._record()
        fields = record.fields if record is not None else {}
        now = Trust(self._keys.keys, revoked_in(fields), passes_in(fields))
        if now != self._told:
            self._told = now
            self._tell(now)
