"""The pages as a visitor has them: how soon they show, and what the demo room costs while its room is busy.

Owns the order of what is measured and the figures. Must not know what the pages are made of: the demo room counts what it has
been given in ``window.roomcastDemo.events``.
"""

from __future__ import annotations

import time
from dataclasses import asdict
from statistics import median
from typing import Any, Final

from bench.backend.play import ENDLESS, sections_for
from bench.browser import Chromium, PageCost, open_chromium
from bench.engineproc import ENGINE, EngineError, merge
from bench.generator.process import room_name
from bench.generator.sender import Plan
from bench.load import Load
from bench.report.record import Record
from bench.report.show import Show
from bench.scenario import common_sections
from bench.stage import Stage

__all__ = ["measure_pages"]

PAINTS: Final = 5
PAGES: Final = {"demo": "/", "console": "/console"}
WARM_SECONDS: Final = 10.0
"""Until the page holds as many lines as it will."""
LOOK_SECONDS: Final = 10.0
"""Between two looks at its memory: each collects what scripts hold, which is not the page's doing."""
PATIENCE_SECONDS: Final = 20.0
POLL_SECONDS: Final = 0.05
"""Between two questions to the page: its policy forbids what would let it tell by itself."""


def measure_pages(rate: float, likes: float, seconds: float, show: Show, *, width: int = 1440, height: int = 900) -> Record:
    """Have the demo room in Chromium while there are so many comments, and so many likes beside them, a second.

    :raises bench.engineproc.EngineError: there is no Chromium, or the engine did not start.
    :raises bench.children.ChildError: a generator failed.
    """
    kinds = {"comment": rate, "like": likes}
    load = Load(viewers=20, senders=20, rate=rate + likes, seconds=seconds, kinds=kinds)
    sections = merge(common_sections(load), sections_for(load), {"room": {"recent_events": 0}})
    text = "the demo room in Chromium while its room is busy, and how soon the pages show"
    record = Record(scenario="pages", viewers=load.viewers, text=text, load=asdict(load), config=sections)
    with Stage(load, record, sections, ENGINE, show) as stage, open_chromium() as chromium:
        stage.company = True
        stage.join()
        base = "http://{}:{}".format(*stage.site.nodes[0].api)
        for name, path in PAGES.items():
            paints = [chromium.first_paint_ms(base + path) for _ in range(PAINTS)]
            record.set(**{f"page_paint_{name}_ms": median(paints)})
        _be_busy(stage, chromium, f"{base}/?room={room_name(load.seed, 0)}", (width, height))
        for stranger in dict.fromkeys(chromium.strangers):
            stage.fail("page", f"asked another machine: {stranger}")
        for fault in dict.fromkeys(chromium.faults):
            stage.fail("page", fault)
        stage.finish()
    return record


def _be_busy(stage: Stage, chromium: Chromium, url: str, size: tuple[int, int]) -> None:
    load = stage.load
    page = chromium.open(url, width=size[0], height=size[1])
    _wait(page, "window.roomcastDemo?.room?.position != null")
    cost = PageCost(page)
    before = int(page.evaluate("roomcastDemo.events"))
    heaps: list[int] = []
    cpu: dict[str, float] = {}
    frames = 0.0

    def during() -> None:
        nonlocal cpu, frames
        time.sleep(WARM_SECONDS)
        heaps.append(cost.heap_bytes())
        # Before: a page whose pictures are counted draws all of them.
        frames = float(page.evaluate(_FRAMES_A_SECOND))
        taken, spent, began = dict.fromkeys(("all", "page"), 0.0), chromium.cpu_seconds(), time.monotonic()
        with stage.show.task("watching the page", round(load.seconds)) as progress:
            while (gone := time.monotonic() - began) < load.seconds:
                time.sleep(min(LOOK_SECONDS, load.seconds - gone))
                progress(round(time.monotonic() - began))
                now = chromium.cpu_seconds()
                taken["all"] += sum(now.values()) - sum(spent.values())
                taken["page"] += now["renderer"] - spent["renderer"]
                heaps.append(cost.heap_bytes())
                # What the look itself took is not the page's.
                spent = chromium.cpu_seconds()
        wall = time.monotonic() - began
        cpu = {name: each / wall for name, each in taken.items()}

    like_share = load.kinds["like"] / load.rate
    plan = Plan(speech="rate", total=ENDLESS, senders=stage.audience.senders, rate=load.rate, like_share=like_share)
    phase = stage.phase("the room is busy", plan, during=during)
    stage.describe(phase)
    head = max(offset for _, offset in stage.fleet.heads().values())
    events = _settled(page, before, phase.sent)
    if events != phase.sent:
        stage.fail("page", f"{phase.sent:,} events, of which the page has {events:,} (the room is at {head:,})")
    half = len(heaps) // 2
    stage.record.set(
        page_cpu_share=cpu["all"],
        page_renderer_share=cpu["page"],
        page_events=events,
        page_dropped=phase.sent - events,
        page_frames_per_second=frames,
        page_heap_bytes=median(heaps[half:]),
        page_heap_growth_bytes=median(heaps[half:]) - median(heaps[:half] or heaps),
        page_nodes=cost.nodes(),
    )


_FRAMES_A_SECOND: Final = """() => new Promise(resolve => {
    const began = performance.now();
    let drawn = 0;
    const count = (now) => {
        if (now - began < 5000) requestAnimationFrame(count, drawn++);
        else resolve(drawn * 1000 / (now - began));
    };
    requestAnimationFrame(count);
})"""


def _wait(page: Any, condition: str) -> None:
    """Until it holds. Raises `EngineError` if it does not come."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not page.evaluate(condition):
        if time.monotonic() > deadline:
            raise EngineError(f"the page did not come so far: {condition}")
        time.sleep(POLL_SECONDS)


def _settled(page: Any, before: int, expected: int) -> int:
    """How many events the page has been given, when it has all of them or does not get more."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while (events := int(page.evaluate("roomcastDemo.events")) - before) < expected and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
    return events
