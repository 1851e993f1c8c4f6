"""Starts a program that ends with its parent. Usage: ``python -m bench.leash PARENT PROGRAM [ARGUMENT]…``

Owns what every measured server has in common before it is itself: SIGTERM when the parent dies (prctl(2),
``PR_SET_PDEATHSIG``, which survives the exec), and as many descriptors as it may have.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys

__all__ = ["leash"]

PR_SET_PDEATHSIG = 1


def leash(parent: int, command: tuple[str, ...]) -> tuple[str, ...]:
    """The command that runs ``command`` on a leash held by the process ``parent``."""
    return (sys.executable, "-m", "bench.leash", str(parent), *command)


def main() -> None:
    """Become the program. Raises OSError when it cannot be run."""
    parent, *command = sys.argv[1:]
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM) != 0:
        raise OSError(ctypes.get_errno(), "prctl")
    if os.getppid() != int(parent):
        sys.exit("the parent has gone already")
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    os.execvp(command[0], command)


if __name__ == "__main__":
    main()
