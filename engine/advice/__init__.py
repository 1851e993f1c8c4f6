"""What limits a node now, how that can be seen, what to change, and what the change should do.

Pure: observations in, advice out. Who observes is `engine.watching`; who asks, the API, the
console and `roomcast doctor`.

    earlier = Observation(at, backend.vitals(), certificates, machine(), plain(backend.settings))
    …
    advise(earlier, later)

Rules are worded in English; `engine.advice.chinese` has the same in Chinese.
"""

from engine.advice.advise import advise, preview
from engine.advice.bounds import plain
from engine.advice.counters import growth, reading
from engine.advice.values import Advice, Change, Language, Observation, Severity

__all__ = [
    "Advice",
    "Change",
    "Language",
    "Observation",
    "Severity",
    "advise",
    "growth",
    "plain",
    "preview",
    "reading",
]
