"""``python -m tests.conformance [--full] [CASE ...]``: run Autobahn cases and say which failed."""

from __future__ import annotations

import sys

import trio

from .autobahn import DECLINED, run

_SECONDS = 3600
_SHORT = ("1.*", "2.*", "3.*", "4.*", "5.*", "6.*", "7.*", "10.*")


def main() -> None:
    """Exit status 0 if nothing failed but what is declined by design."""
    arguments = sys.argv[1:]
    full = "--full" in arguments
    cases = [each for each in arguments if each != "--full"] or ([] if full else list(_SHORT))
    passed, failed = trio.run(run, cases, _SECONDS)
    declined = {case for case, (behaviour, _) in failed.items() if case.startswith(DECLINED) and behaviour == "UNIMPLEMENTED"}
    wrong = {case: verdict for case, verdict in failed.items() if case not in declined}
    for case, verdict in wrong.items():
        print(case, *verdict)
    print(f"{len(passed)} passed, {len(declined)} declined by design, {len(wrong)} failed")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
