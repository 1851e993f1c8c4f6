"""Settings that are read again while a node runs.

Owns what may come to hold: new ones are judged as they were given, and what would be in force after them, some of it new and
some of it left as it was, is judged as well. Must not know who asks. It loads the validation library, so it is not for the
processes of a node with workers (`engine.commands.reread`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from typing import Final

from engine.config import ConfigError
from engine.configcheck import Fault, check
from engine.reload import Reloaded, ReloadRefused, merge
from engine.settings import Settings

__all__ = ["renew"]

_MIXED: Final = "after a reload; what needs a restart stays as it is"


def renew(old: Settings, reread: Callable[[], Settings]) -> tuple[Settings, Reloaded]:
    """Return the settings in force after a reload, and what that changes.

    :param old: in force now.
    :param reread: returns those that are given now. It, and this, look at files.
    :raises ReloadRefused: with all faults; of what was given, or of what would be in force.
    """
    try:
        new = reread()
    except ConfigError as error:
        raise _refused(error.faults) from error
    if faults := check(new):
        raise _refused(faults)
    merged, reloaded = merge(old, new)
    if faults := check(merged):
        raise _refused(dataclasses.replace(fault, source=_MIXED) for fault in faults)
    # Another object whenever they are read: who compares learns that files may have changed to which they point.
    return dataclasses.replace(merged), reloaded


def _refused(faults: Iterable[Fault]) -> ReloadRefused:
    return ReloadRefused((fault.path or fault.source, str(fault)) for fault in faults)
