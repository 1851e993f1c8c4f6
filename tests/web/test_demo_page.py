"""The demo room in real Chromium at a real node that serves it: what people do there, and what others may not do to them."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from itertools import count
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, WebSocketRoute

from engine.embedding.thread import Running

from .demo_pages import PHONE, WIDE, Theatre, open_theatre, until_holds
from .pages import open_browser, still

pytestmark = pytest.mark.browser
_NUMBERS = count(1)
HIDE = """hidden => {
    Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
    document.dispatchEvent(new Event("visibilitychange"));
}"""
HOSTILE = "<img src=x onerror=alert(1)>"
BATCH, GAP = 34, 36


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with open_theatre(tmp_path_factory.mktemp("theatre")) as started:
        yield started


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_browser() as opened:
        yield opened


@pytest.fixture
def theatre(browser: Browser, running: Running) -> Iterator[Theatre]:
    """A room that this test has for itself."""
    opened = Theatre(browser, running, f"大厅🎬{next(_NUMBERS)}")
    yield opened
    opened.close()


def said(page: Page) -> list[str]:
    """Comments on the screen, as ``name: body``."""
    script = "all => all.map(row => `${row.querySelector('.name').textContent}: ${row.querySelector('.body').textContent}`)"
    texts: list[str] = page.locator(".row[data-kind=comment]").evaluate_all(script)
    return texts


def say(page: Page, text: str) -> None:
    """As a visitor does."""
    page.fill("#say", text)
    page.press("#say", "Enter")


def until(page: Page, text: str) -> None:
    """Wait until a row has this text."""
    page.locator(".row", has_text=text).first.wait_for()


def reach(page: Page, offset: int) -> None:
    """Wait until everything up to an offset has come and was handled."""
    until_holds(page, "last => roomcastDemo.room.position?.offset >= last", offset)
    assert page.evaluate("roomcastDemo.events === roomcastDemo.shown")


def test_two_pages_talk_and_texts_are_only_texts(theatre: Theatre) -> None:
    one, two = theatre.enter("小明 🐼"), theatre.enter(HOSTILE)
    texts = ["你好 👋", "</script><script>alert(2)</script>", "👨‍👩‍👧 שלום", HOSTILE, "${alert(3)}"]
    for number, text in enumerate(texts, 1):
        say((one, two)[number % 2], text)
        for page in (one, two):
            reach(page, number)
    names = (HOSTILE, "小明 🐼")
    for page in (one, two):
        until(page, texts[-1])
        assert said(page) == [f"{names[number % 2]}: {text}" for number, text in enumerate(texts)]
        assert page.locator("main img, main script").count() == 0
        assert page.locator(".row bdi.body").count() == len(texts)
    assert one.locator(".row[data-own=own]").count() == 2
    until_holds(one, "!document.querySelector('.mark:not([hidden])')")


def test_few_requests_of_this_machine_only_and_an_early_picture(theatre: Theatre) -> None:
    page = theatre.enter(ready=False)
    until_holds(page, "performance.getEntriesByName('first-contentful-paint').length")
    until_holds(page, "window.roomcastDemo?.room?.position")
    assert page.evaluate("performance.getEntriesByType('resource').length") < 12
    assert page.locator("[style]:not(.option-bar)").count() == 0


def test_enter_while_an_input_method_composes_sends_nothing(theatre: Theatre) -> None:
    page, other = theatre.enter(), theatre.enter("小红")
    page.focus("#say")
    session = page.context.new_cdp_session(page)
    session.send("Input.imeSetComposition", {"text": "ni hao", "selectionStart": 6, "selectionEnd": 6})
    page.keyboard.press("Enter")
    session.send("Input.imeSetComposition", {"text": "", "selectionStart": 0, "selectionEnd": 0})
    session.send("Input.insertText", {"text": "你好"})
    page.keyboard.press("Enter")
    until(other, "你好")
    assert said(other) == ["小明: 你好"]


def test_a_guest_chooses_a_name_and_stays_the_same_viewer(theatre: Theatre) -> None:
    page, other = theatre.enter(None), theatre.enter("小红")
    user = page.evaluate("roomcastDemo.room.user")
    say(page, "第一句")
    assert page.locator("#name").is_visible()
    page.fill("#name", "小明")
    page.press("#name", "Enter")
    until(other, "第一句")
    assert said(other) == ["小明: 第一句"]
    assert page.evaluate("roomcastDemo.room.user") == user
    assert page.text_content("#me") == "小明"
    page.reload()
    until_holds(page, "window.roomcastDemo?.room?.position")
    assert page.evaluate("roomcastDemo.room.user") == user
    until(page, "第一句")
    say(page, "第二句")
    until(other, "第二句")


def test_two_hundred_events_a_second_in_a_few_dozen_rows(theatre: Theatre) -> None:
    page, pace, last = theatre.enter(), threading.Event(), 0
    for _ in range(100):
        last = theatre.say(10)
        pace.wait(0.05)
    reach(page, last)
    until(page, "评论 9")
    told = page.evaluate("({...roomcastDemo, room: null})")
    assert told["events"] == told["shown"] == told["added"] == last == 1000
    assert told["gaps"] == 0
    assert told["rows"] <= 60
    assert page.locator("#rows .row").count() == told["rows"]


def test_who_scrolls_back_is_left_alone_and_returns(theatre: Theatre) -> None:
    page = theatre.enter()
    reach(page, theatre.say(200))
    # What is not drawn yet would be new to whoever stands still.
    until(page, "评论 199")
    page.evaluate("document.querySelector('#stream').scrollTop = -300")
    page.locator("#pill").wait_for()
    row = "[...document.querySelectorAll('.row')].find(row => row.textContent.includes(text))"
    where = f"text => {row}.getBoundingClientRect().top"
    until(page, "评论 170")
    read = page.evaluate(where, "评论 170")
    reach(page, theatre.say(30, "新"))
    until_holds(page, "document.querySelector('#pill').textContent.includes('30')")
    # To the pixel, or what a browser rounds of it.
    assert abs(page.evaluate(where, "评论 170") - read) < 8
    for _ in range(300):
        if page.locator(".row", has_text="评论 0").count():
            break
        # Down a little first: whoever is at the end of the rows scrolls nothing.
        page.evaluate("document.querySelector('#stream').scrollTop += 8")
        page.evaluate("new Promise(done => requestAnimationFrame(done))")
        page.evaluate("document.querySelector('#stream').scrollTop -= 400")
        page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    until(page, "评论 0")
    assert page.locator("#rows .row").count() <= 60
    page.click("#pill")
    until(page, "新 29")
    assert not page.locator("#pill").is_visible()
    page.focus("#stream")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("ArrowUp")
    assert page.evaluate("document.activeElement.textContent").endswith("新 28")
    page.keyboard.press("Enter")
    assert "新 28" in (page.text_content("#replying-text") or "")
    say(page, "回答")
    page.locator(".row[data-own=own] .quote", has_text="新 28").wait_for()
    page.click("#pause")
    assert page.get_attribute("#pause", "aria-pressed") == "true"


AT_ONCE = "async at => { document.querySelector('#stream').scrollTop = at; await new Promise(requestAnimationFrame); }"
FOLLOWS = "document.querySelector('#pause').getAttribute('aria-pressed') === 'false'"


def test_who_comes_back_to_where_it_left_follows_again_however_much_was_said(theatre: Theatre) -> None:
    page = theatre.enter()
    reach(page, theatre.say(200))
    until(page, "评论 199")
    for number in range(3):
        page.evaluate(AT_ONCE, -300)
        until_holds(page, f"!({FOLLOWS})")
        reach(page, theatre.say(60, f"新{number}"))
        until_holds(page, "document.querySelector('#pill').textContent.includes('60')")
        # What came is not at the end of what is read, so that this does not run away from the reader.
        assert page.locator(".row", has_text=f"新{number}").count() == 0
        page.evaluate(AT_ONCE, 0)
        until_holds(page, FOLLOWS)
        until(page, f"新{number} 59")
        assert not page.locator("#pill").is_visible()


def test_a_slow_machine_brings_back_who_scrolls_down_while_others_talk(theatre: Theatre) -> None:
    page, over = theatre.enter(), threading.Event()
    reach(page, theatre.say(200))
    until(page, "评论 199")

    def talk() -> None:
        while not over.is_set():
            theatre.say(10, "边说")
            over.wait(0.05)

    talker = threading.Thread(target=talk)
    talker.start()
    try:
        page.context.new_cdp_session(page).send("Emulation.setCPUThrottlingRate", {"rate": 6})
        page.hover("#stream")
        page.mouse.wheel(0, -600)
        until_holds(page, f"!({FOLLOWS})")
        # Some twenty lines: as much as went out of sight, and not once more for what is said meanwhile.
        for _ in range(60):
            if page.evaluate(FOLLOWS):
                break
            page.mouse.wheel(0, 120)
            page.evaluate("new Promise(requestAnimationFrame)")
        until_holds(page, FOLLOWS)
    finally:
        over.set()
        talker.join()


def test_who_reads_line_by_line_reads_on_into_what_came(theatre: Theatre) -> None:
    page = theatre.enter()
    reach(page, theatre.say(60))
    until(page, "评论 59")
    page.focus("#stream")
    page.keyboard.press("ArrowUp")
    reach(page, theatre.say(30, "新"))
    for line in ("新 0", "新 1", "新 2"):
        page.keyboard.press("ArrowDown")
        until_holds(page, "line => document.activeElement.textContent.endsWith(line)", line)
    page.keyboard.press("End")
    until_holds(page, FOLLOWS)
    until(page, "新 29")


def test_who_presses_a_key_where_nothing_was_said_yet_sees_what_is_said(theatre: Theatre) -> None:
    page = theatre.enter()
    page.evaluate("document.querySelectorAll('.row').length || document.querySelector('#stream').focus()")
    assert page.evaluate("document.activeElement.id") == "stream"
    for pressed in ("ArrowUp", "ArrowDown"):
        page.keyboard.press(pressed)
    reach(page, theatre.say(3))
    until(page, "评论 2")
    assert page.evaluate(FOLLOWS)


def test_rows_are_brought_by_the_reader_s_own_move_only(theatre: Theatre) -> None:
    page = theatre.enter()
    reach(page, theatre.say(300))
    until(page, "评论 299")
    first = "document.querySelector('.row .body').textContent"
    before = page.evaluate(first)
    page.evaluate(AT_ONCE, -100_000)
    until_holds(page, f"before => {first} !== before", before)
    # Whatever that has moved: nothing asks for the other end again, frame by frame.
    for end in (-100_000, 0):
        page.evaluate(AT_ONCE, end)
        page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
        stands = page.evaluate(f"[{first}, document.querySelector('#stream').scrollTop]")
        for _ in range(10):
            page.evaluate("new Promise(requestAnimationFrame)")
            assert page.evaluate(f"[{first}, document.querySelector('#stream').scrollTop]") == stands


def test_the_network_goes_away_and_comes_back(theatre: Theatre) -> None:
    page = theatre.enter()
    page.context.set_offline(True)
    theatre.cut()
    page.locator("#banner[data-status=waiting]").wait_for()
    theatre.say(20)
    say(page, "隧道里")
    until(page, "隧道里")
    assert page.locator(".row[data-state=sent] .mark").text_content() == "sending"
    page.context.set_offline(False)
    reach(page, 21)
    until_holds(page, "roomcastDemo.room.pending.size === 0")
    until_holds(page, "!document.querySelector('[data-state=sent]')")
    assert page.evaluate("roomcastDemo.gaps") == 0
    assert said(page).count("小明: 隧道里") == 1


def test_a_page_in_the_background_misses_nothing(theatre: Theatre) -> None:
    page = theatre.enter()
    page.evaluate(HIDE, True)
    reach(page, theatre.say(100))
    theatre.cut()
    last = theatre.say(10)
    page.evaluate(HIDE, False)
    reach(page, last)
    until(page, "评论 9")
    assert page.evaluate("roomcastDemo.added") == 110


def test_what_did_not_come_is_told(theatre: Theatre) -> None:
    page = theatre.enter(ready=False)
    cut = threading.Event()

    def passed_on(route: WebSocketRoute) -> None:
        server = route.connect_to_server()

        def told(data: str | bytes) -> None:
            message: list[Any] = json.loads(data)
            if message[0] == BATCH and message[6] and cut.is_set():
                data = json.dumps([GAP, *message[1:5], "lag"])
            route.send(data)

        server.on_message(told)

    page.route_web_socket("**/ws", passed_on)
    page.reload()
    until_holds(page, "window.roomcastDemo?.room?.position")
    cut.set()
    theatre.say(1)
    page.locator(".row[data-kind=gap]").first.wait_for()
    assert page.locator(".row[data-kind=gap]").first.text_content() == "1 comment was not shown: your connection was too slow"


def test_what_moderators_do_is_seen(theatre: Theatre) -> None:
    page, other = theatre.enter(), theatre.enter("小红")
    say(page, "广告")
    until(other, "广告")
    theatre.act(lambda room: room.delete(1, reason="广告"))
    for each in (page, other):
        each.locator(".row[data-kind=gone]").wait_for()
        assert "广告" not in (each.text_content("#rows") or "")
    say(page, "剧透一下")
    page.locator(".row[data-state=held]").wait_for()
    theatre.act(lambda room: room.mode(slow={"viewer": 60}))
    page.locator("#hint", has_text="60").wait_for()
    say(page, "一")
    say(page, "二")
    page.locator(".row[data-state=refused] .mark", has_text="slow mode").wait_for()
    assert not page.locator(".row[data-state=refused] .again").is_visible(), "it would be refused again"
    mine, theirs = (each.evaluate("roomcastDemo.room.user") for each in (page, other))
    theatre.act(lambda room: room.mute(mine))
    until_holds(page, "document.querySelector('#say').disabled")
    theatre.act(lambda room: room.kick(theirs))
    other.locator("#banner[data-status=closed]", has_text="moderator").wait_for()


def test_gifts_combos_and_who_gave_most(theatre: Theatre) -> None:
    page, other = theatre.enter(), theatre.enter("小红", language="zh-CN")
    page.click("#gift")
    rose = page.locator(".gift", has_text="玫瑰")
    rose.click()
    page.locator("#hint[data-tone=good]").wait_for()
    for number in range(2, 5):
        rose.click()
        other.locator(".lane-count", has_text=f"× {number}").wait_for()
    assert other.locator(".lane").count() == 1
    other.locator(".row[data-kind=gift]", has_text="送出了玫瑰 × 4").wait_for()
    page.click(".count:nth-child(2)")
    page.locator(".gift", has_text="火箭").click()
    other.locator(".lane[data-rank=grand]").wait_for()
    other.locator(".rank", has_text="小明").wait_for()
    until_holds(other, "document.querySelector('.rank-given').textContent === '1万'")
    page.keyboard.press("Escape")
    assert not page.locator("#tray").is_visible()
    assert page.evaluate("document.activeElement.id") == "gift"


def test_a_red_packet_that_waits_counts_down_and_cannot_be_opened(theatre: Theatre) -> None:
    page = theatre.enter()
    theatre.act(lambda room: room.red_packet("boss", 100, 2, opens_seconds=600.0, key=theatre.room))
    page.locator(".packet[data-state=waits]").wait_for()
    seal = page.locator(".packet-seal")
    assert seal.is_disabled()
    left = seal.inner_text()
    assert left.startswith(("10:00", "9:"))
    until_holds(page, "left => document.querySelector('.packet-seal').textContent !== left", left)


def test_a_red_packet_from_its_opening_to_its_end(theatre: Theatre) -> None:
    page, other = theatre.enter(), theatre.enter("小红")
    theatre.act(lambda room: room.red_packet("boss", 100, 2, opens_seconds=1.2, text="恭喜发财", key=theatre.room))
    for each in (page, other):
        each.locator(".packet[data-state=open]").wait_for()
        each.click(".packet-seal")
        each.locator(".packet[data-state=won]").wait_for()
    page.locator(".packet-won li").nth(1).wait_for()
    amounts = [int(each.inner_text(".packet-result").rpartition(" ")[2]) for each in (page, other)]
    assert sum(amounts) == 100
    page.locator(".row", has_text="The red packet is over: 2 shares").wait_for()


def test_polls_cards_pins_questions_and_notices(theatre: Theatre) -> None:
    page, other = theatre.enter(), theatre.enter("小红")
    say(page, "值得一看")
    reach(page, 1)

    async def set_up(room: Any) -> None:
        await room.poll("tea", "哪一种?", ["绿茶", "红茶"], seconds=600)
        await room.pin(1)
        await room.set("attribute", "announcement", {"value": "八点抽奖"})
        await room.set("card", "tea", {"title": "龙井", "price": "¥ 99", "stock": 5, "now": True})
        await room.notice("换到二号直播间", receipts=True)

    theatre.act(set_up)
    page.click(".option >> nth=1")
    other.locator(".option >> nth=1").get_by_text("100%").wait_for()
    assert page.get_attribute(".option >> nth=1", "aria-pressed") == "true"
    other.locator(".pin", has_text="值得一看").wait_for()
    other.locator(".pin", has_text="八点抽奖").wait_for()
    other.locator(".product[data-now=now]", has_text="5 left").wait_for()
    page.fill(".ask .field", "多少钱?")
    page.click(".ask .button")
    other.locator(".question", has_text="多少钱?").get_by_role("button").click()
    page.locator(".question .button", has_text="1").wait_for()
    page.click("#notice-read")
    until_holds(page, "Object.values(roomcastDemo.room.counters.receipts)[0]?.[1] === 1")
    assert not page.locator("#notice").is_visible()


def test_likes_by_hand_by_key_and_from_others(theatre: Theatre) -> None:
    page, other = theatre.enter(), theatre.enter("小红")
    page.keyboard.press("l")
    page.focus("#like")
    page.keyboard.press("Enter")
    page.mouse.click(500, 400)
    page.focus("#say")
    page.keyboard.type("l")
    for each in (page, other):
        until_holds(each, "document.querySelector('#likes').textContent === '3'")
        until_holds(each, "roomcastDemo.hearts > 0")
    until_holds(page, "roomcastDemo.hearts === 3")
    assert page.evaluate("roomcastDemo.ownLikes") == 3


def test_a_reader_is_told_so(browser: Browser, tmp_path: Any) -> None:
    access = {"secret": "一个足够长的密钥-0123456789-0123456789", "anonymous": "read"}
    with open_theatre(tmp_path, access=access) as reading:
        theatre = Theatre(browser, reading, "大厅")
        page = theatre.enter(language="zh-CN")
        assert "读者" in (page.text_content("#hint") or "")
        assert page.locator("#say").is_disabled()
        theatre.close()


def test_on_a_phone_everything_can_be_reached(theatre: Theatre) -> None:
    page = theatre.enter(viewport=PHONE, has_touch=True, is_mobile=True, language="zh-CN")
    theatre.act(lambda room: room.poll("tea", "哪一种?", ["绿茶", "红茶"]))
    say(page, "手机上")
    until(page, "手机上")
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    page.tap("#more")
    page.locator("#shelf[data-open=open]").wait_for()
    page.tap(".option >> nth=0")
    page.locator(".option[aria-pressed=true]").wait_for()
    page.tap("#shelf-close")
    page.tap("#gift")
    page.tap(".gift >> nth=0")
    page.locator(".lane").wait_for()
    page.tap("#stage", position={"x": 200, "y": 150})
    assert not page.locator("#tray").is_visible()
    page.tap("#stage", position={"x": 200, "y": 150})
    until_holds(page, "document.querySelector('#likes').textContent === '1'")


@pytest.mark.parametrize("viewport", [WIDE, PHONE], ids=["wide", "phone"])
def test_axe_finds_nothing_serious(theatre: Theatre, viewport: dict[str, int]) -> None:
    page, axe = theatre.enter(viewport=viewport, reduced_motion="reduce"), Axe()

    async def set_up(room: Any) -> None:
        offset = await room.comment("置顶的话")
        await room.pin(offset)
        await room.poll("tea", "哪一种?", ["绿茶", "红茶"])
        await room.set("card", "tea", {"title": "龙井", "price": "¥ 99", "stock": 5, "now": True})
        await room.notice("大家好")
        await room.gift("anna", "rose", 12, key=f"{theatre.room} 1")
        await room.red_packet("anna", 100, 9, key=f"{theatre.room} 2")
        await room.comment("删掉的话")
        await room.delete(await room.comment("再见"))

    theatre.act(set_up)
    say(page, "有人吗?")
    say(page, "剧透")
    page.locator(".row[data-state=held]").wait_for()
    page.locator(".packet").wait_for()
    for opener in ("#gift", "#more" if viewport is PHONE else "#gift"):
        page.keyboard.press("Escape")
        page.click(opener)
        page.evaluate("document.querySelector('#language').click()")
        for _ in range(2):
            page.evaluate("document.querySelector('#theme').click()")
            still(page)
            found = axe.run(page, options={"resultTypes": ["violations"]}).response["violations"]
            serious = [each for each in found if each["impact"] in ("serious", "critical")]
            assert [(each["id"], [node["html"] for node in each["nodes"]]) for each in serious] == []
