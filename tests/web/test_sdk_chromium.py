"""The browser SDK in real Chromium against a real node: people talk, networks go away and come back, tabs are put aside."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from itertools import count
from typing import Any

import pytest
from e2e.nodes import lively
from playwright.sync_api import Browser, Page

import engine
from engine.embedding.thread import Running

from .pages import Hall, open_browser, reach, serve_files

pytestmark = pytest.mark.browser
_NUMBERS = count(1)
HIDE = """hidden => {
    Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
    document.dispatchEvent(new Event("visibilitychange"));
}"""


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    with engine.start(lively()) as started:
        yield started


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with serve_files() as served:
        yield served


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_browser() as opened:
        yield opened


@pytest.fixture
def hall(browser: Browser, running: Running, address: str) -> Iterator[Hall]:
    """A room that this test has for itself."""
    opened = Hall(browser, running, address, f"大厅🎬{next(_NUMBERS)}")
    yield opened
    opened.close()


def lines(page: Page) -> list[str]:
    """What is on the screen."""
    return page.locator("#comments li").all_text_contents()


def test_two_pages_talk_and_texts_are_only_texts(hall: Hall) -> None:
    hostile = "<img src=x onerror=alert(1)>"
    one, two = hall.enter("小明 🐼"), hall.enter(hostile, attributes={"勋章": hostile})
    texts = ["你好 👋", "</script><script>alert(2)</script>", "👨‍👩‍👧 שלום", hostile, "${alert(3)}"]
    for number, text in enumerate(texts):
        (one, two)[number % 2].evaluate("text => room.say(text)", text)
    for page, mine in ((one, 0), (two, 1)):
        reach(page, len(texts))
        names = ("小明 🐼", hostile)
        shown = [f"{names[at % 2]}: {text}{' ✓' if at % 2 == mine else ''}" for at, text in enumerate(texts)]
        assert lines(page) == shown
        assert page.locator("img").count() == 0
    assert one.evaluate("items.find(item => item.offset === 2).author.attributes['勋章']") == hostile


def test_pages_with_another_codec_are_in_the_same_room(hall: Hall, running: Running) -> None:
    one, two = hall.enter("小明", codec="msgpack"), hall.enter("小红")
    one.evaluate("room.say('你好 👨‍👩‍👧 עברית')")
    two.evaluate("room.say('🦄')")
    last = hall.say(100)
    for page in (one, two):
        reach(page, last)
        page.evaluate("room.ping()")
    said = [page.evaluate("items.filter(item => item.type === 'comment').map(item => item.body)") for page in (one, two)]
    assert said[0] == said[1]
    assert set(said[0][:2]) == {"你好 👨‍👩‍👧 עברית", "🦄"}
    assert {type(message) for message in hall.sent} == {bytes, str}
    later = "async url => { (await (await import('./sdk/roomcast.js')).join(url, '另一个').ready).leave(); return true }"
    assert one.evaluate(later, running.node.url.replace("ws:", "http:")), "an address may be that of a page"


def test_a_connection_that_breaks_under_an_optimistic_comment(hall: Hall) -> None:
    page, other = hall.enter("小明"), hall.enter("小红")
    page.evaluate("room.say('一')")
    reach(other, 1)
    for round_ in range(3):
        hall.say(5)
        page.evaluate("text => { room.like(2); room.say(text); room.say(text + '!') }", f"断 {round_}")
        hall.cut()
    page.wait_for_function("room.pending.size === 0")
    last = 1 + 3 * (5 + 2)
    for each in (page, other):
        reach(each, last)
        assert each.evaluate("offsets.length") == last
        assert not each.evaluate("items.some(item => item.type === 'gap')")
    assert [line for line in lines(page) if line.startswith("小明")] == sorted(
        (f"小明: {text} ✓" for text in ("一", *(f"断 {at}{end}" for at in range(3) for end in ("", "!")))),
        key=lambda line: ("断" in line, line),
    )
    other.wait_for_function("room.counters.likes === 6")
    assert hall.likes() == 6


def test_the_network_goes_away_and_comes_back(hall: Hall) -> None:
    page = hall.enter("小明")
    page.context.set_offline(True)
    hall.cut()
    page.wait_for_function("items.some(item => item.status === 'waiting')")
    hall.say(20)
    page.evaluate("room.say('隧道里'); room.like(3)")
    page.context.set_offline(False)
    page.wait_for_function("room.pending.size === 0")
    reach(page, 21)
    assert page.evaluate("items.filter(item => item.status === 'open').at(-1).resumed")
    page.wait_for_function("room.counters.likes === 3")


def test_two_hundred_events_a_second(hall: Hall) -> None:
    pages = [hall.enter("小明"), hall.enter("小红")]
    pace, last = threading.Event(), 0
    for _ in range(40):
        last = hall.say(10)
        pace.wait(0.05)
    for page in pages:
        reach(page, last)
        assert page.evaluate("offsets.length") == last == 400
        assert page.locator("#comments li").count() == last


def test_taps_are_summed_exactly_whatever_happens(hall: Hall) -> None:
    page, other = hall.enter("小明", likeMs=10_000), hall.enter("小红")
    page.evaluate("for (let tap = 0; tap < 500; tap++) { room.like(); if (tap % 5 === 0) room.react('🎉') }")
    other.evaluate("for (let tap = 0; tap < 100; tap++) room.like()")
    page.evaluate(HIDE, True)
    other.wait_for_function("room.counters.likes === 600 && room.counters.reactions['🎉'] === 100")
    assert hall.likes() == 600


def test_a_page_is_put_aside_and_looked_at_again(hall: Hall) -> None:
    page = hall.enter("小明", capMs=600_000)
    page.evaluate(HIDE, True)
    hall.say(5)
    reach(page, 5)
    session = page.context.new_cdp_session(page)
    session.send("Page.setWebLifecycleState", {"state": "frozen"})
    hall.say(5)
    hall.cut()
    hall.say(5)
    session.send("Page.setWebLifecycleState", {"state": "active"})
    page.wait_for_function("items.some(item => item.status === 'waiting')")
    page.evaluate(HIDE, False)
    reach(page, 15)
    assert page.evaluate("offsets.length") == 15
    assert page.evaluate("room.statistics.reconnects") == 1


def test_what_came_while_nobody_looked_counts_and_is_not_late(hall: Hall) -> None:
    page = hall.enter("小明", quality=1, qualityMs=3_600_000)

    def reports() -> list[list[Any]]:
        messages = [json.loads(message) for message in hall.sent]
        return [message[2:] for message in messages if message[0] == 6]

    def look(hidden: bool) -> None:
        page.evaluate(HIDE, hidden)
        page.evaluate("room.ping()")

    look(False)
    reach(page, hall.say(3))
    look(True)
    assert [(report[:3], sum(report[3]), report[4]) for report in reports()] == [([3, 3, 0], 3, {})]
    reach(page, hall.say(2))
    look(False)
    reach(page, hall.say(1))
    page.evaluate("for (const _ of [1, 2]) dispatchEvent(new Event('pagehide'))")
    page.evaluate("room.ping()")
    assert [(report[:3], sum(report[3])) for report in reports()[1:]] == [([3, 3, 0], 1)]
    hall.cut()
    page.wait_for_function("room.statistics.reconnects === 1")
    page.evaluate("room.ping()")
    assert [(report[:3], list(report[4].values())) for report in reports()[2:]] == [([0, 0, 0], [1])]
    quality = page.evaluate("room.quality()")
    assert (quality["entitled"], quality["received"], quality["gaps"]) == (6, 6, 0)
    assert 0 <= quality["delayP50Ms"] <= quality["delayP99Ms"]


def test_a_page_that_is_loaded_again_is_the_same_viewer_and_continues(hall: Hall) -> None:
    page = hall.enter("小明", storage=True)
    user = page.evaluate("room.user")
    page.evaluate("room.say('一'); room.like(5)")
    reach(page, 1)
    page.wait_for_function("room.counters.likes === 5")
    page.reload()
    hall.say(3)
    assert hall.enter_again(page, "小明", storage=True) == user
    page.wait_for_function("offsets.at(-1) === 4")
    assert page.evaluate("offsets") == [2, 3, 4]
    page.evaluate("room.like(1)")
    page.wait_for_function("room.counters.likes === 6")
    assert page.evaluate("room.history()")["events"][0]["body"] == "一"
    assert page.evaluate("sessionStorage.length") == 0, "another tab, duplicated from this one, is another viewer"
