"""The console in real Chromium at a real node: who may see what, figures that move, what moderators and operators do there."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, Route, expect

from engine.backend import Room
from engine.errors import Code, Refused
from engine.schema import CONSOLE
from engine.settings import LimitSettings

from .console_pages import KEY, PHONE, WIDE, Desk, Guest, House, at_room, go, open_house
from .pages import PATIENCE_MS, open_browser, still

pytestmark = pytest.mark.browser
_NUMBERS = count(1)
HOSTILE = "<img src=x onerror=alert(1)>"
expect.set_options(timeout=PATIENCE_MS)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with open_house(tmp_path_factory.mktemp("house")) as opened:
        yield opened


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_browser() as opened:
        yield opened


@pytest.fixture
def desk(browser: Browser, house: House) -> Iterator[Desk]:
    opened = Desk(browser, house)
    yield opened
    opened.close()


@pytest.fixture
def strict_desk(browser: Browser, house: House) -> Iterator[Desk]:
    """At which the API refuses something, and is right."""
    opened = Desk(browser, house)
    yield opened
    opened.close(refusals=True)


@pytest.fixture
def room() -> str:
    """That this test has for itself."""
    return f"大厅/{next(_NUMBERS)} 🎬"


def figure(page: Page, title: str) -> Any:
    """A plot by its title."""
    return page.locator("figure.plot", has=page.get_by_text(title, exact=True))


def until(page: Page, holds: Callable[[], bool]) -> None:
    """Wait for what no locator tells."""
    for _ in range(PATIENCE_MS // 50):
        if holds():
            return
        page.wait_for_timeout(50)
    raise AssertionError("it never was so")


KNOWN = re.compile(r"\d")
SOME = re.compile(r"[1-9]")


def value(page: Page, title: str) -> Any:
    """What a plot shows now."""
    return figure(page, title).locator("b")


# -- the key ----------------------------------------------------------------------------------------------------------------


def test_a_wrong_key_is_told_and_a_right_one_stays_in_this_tab_only(strict_desk: Desk) -> None:
    page = strict_desk.enter(key=None)
    page.get_by_label("API key").fill("rc_wrong")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_have_text("This node knows no such key.")
    page.get_by_label("API key").fill(f" {KEY} ")
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("heading", name="Overview")).to_be_visible()
    assert KEY in page.evaluate("Object.values(sessionStorage)")
    assert KEY not in page.evaluate("JSON.stringify(localStorage) + document.cookie + location.href + document.body.outerHTML")
    page.reload()
    expect(page.get_by_role("heading", name="Overview")).to_be_visible()
    page.get_by_role("button", name="Log out").click()
    expect(page.get_by_label("API key")).to_be_focused()
    assert page.evaluate("sessionStorage.length") == 0
    assert strict_desk.refusals == [("GET", "/v1/node", 401)]


def test_a_key_in_the_address_is_taken_from_it(strict_desk: Desk) -> None:
    page = strict_desk.enter()
    expect(page.locator(".state").first).to_have_text("Live")
    assert KEY not in page.evaluate("location.href")
    page.evaluate("location.hash = 'key=rc_wrong'")
    expect(page.get_by_role("alert")).to_have_text("This node knows no such key.")
    assert "rc_wrong" not in page.evaluate("location.href + JSON.stringify(sessionStorage)")


def test_a_limited_key_sees_what_it_may_and_asks_for_the_rest_once(strict_desk: Desk, house: House, room: str) -> None:
    with Guest(house.url, room) as guest:
        page = strict_desk.enter("#/rooms", "rc_reader")
        page.get_by_role("link", name=room).click()
        guest.say("你好")
        expect(page.locator(".certificate")).to_be_visible()
        expect(page.get_by_text("This key does not have the scope moderate").first).to_be_visible()
        for place, scope in (
            ("overview", "node:read"),
            ("advice", "node:read"),
            ("settings", "node:read"),
            ("money", "money:read"),
        ):
            go(page, f"#/{place}")
            expect(page.locator(".section").get_by_text(f"scope {scope}").first).to_be_visible()
        go(page, at_room(room))
        expect(page.locator(".certificate")).to_be_visible()
        assert len(strict_desk.refusals) <= 9, strict_desk.refusals
        assert {status for _, _, status in strict_desk.refusals} == {403}


# -- figures ----------------------------------------------------------------------------------------------------------------


def test_figures_arrive_and_plots_and_tables_move(desk: Desk, house: House, room: str) -> None:
    page = desk.enter()
    expect(page.locator(".state").first).to_have_text("Live")
    picture = "document.querySelector('.plot canvas').toDataURL()"
    expect(value(page, "Viewers")).to_have_text(KNOWN)
    before = page.evaluate(picture)
    with Guest(house.url, room) as guest, Guest(house.url, room):
        for number in range(20):
            guest.say(f"{number}")
        expect(value(page, "Viewers")).to_have_text(re.compile(r"[3-9]"))
        expect(value(page, "Events / s")).to_have_text(SOME)
        until(page, lambda: page.evaluate(picture) != before)
        line = page.get_by_role("row", name=room)
        expect(line.locator(".of-viewers")).to_have_text("2")
        expect(line.locator(".of-arrival")).to_have_text("100%")
        # The same without eyes or mouse.
        plot = figure(page, "Viewers")
        plot.locator("canvas").focus()
        page.keyboard.press("ArrowLeft")
        expect(plot.locator("[aria-live]")).to_contain_text(":")
        plot.get_by_role("button", name="Viewers as a table").click()
        expect(plot.get_by_role("rowheader").nth(1)).to_be_visible()
        go(page, "#/nodes")
        expect(page.get_by_role("row", name="bühne").first).to_contain_text("ago")


def test_a_connection_that_ends_is_made_again_with_another_pass(desk: Desk, house: House) -> None:
    passes: list[str] = []

    def short(route: Route) -> None:
        # The first one is good for a second: then the edge sends the page away (4403).
        if not passes:
            made = house.call(house.running.node.make_pass, "key:short", CONSOLE, seconds=1.0)
            told = {"url": house.url, "room": CONSOLE, "token": made.text, "expires": made.expires_ms}
            route.fulfill(status=201, json=told)
            passes.append(made.text)
        else:
            passes.append("another")
            route.continue_()

    page = desk.enter(key=None)
    page.route("**/v1/passes", short)
    page.get_by_label("API key").fill(KEY)
    page.keyboard.press("Enter")
    state = page.locator(".state").first
    expect(state).to_have_text("Live")
    with page.expect_websocket():
        house.cut()
    expect(state).to_have_text("Live")
    expect(value(page, "Viewers")).to_have_text(KNOWN)
    assert passes[0] != "another"


def test_a_node_that_restarts_finds_the_console_waiting(browser: Browser, tmp_path: Path) -> None:
    with open_house(tmp_path) as house:
        desk = Desk(browser, house)
        desk.alone = True
        page = desk.enter("#/nodes")
        line = page.get_by_role("row", name="bühne").first
        expect(line).to_contain_text("ago")
        house.running.stop()
        expect(page.locator(".state").first).not_to_have_text("Live")
        expect(line).to_contain_text("Silent for")
        house.start()
        expect(page.locator(".state").first).to_have_text("Live")
        expect(line).to_contain_text("ago")
        desk.close()


# -- a room -----------------------------------------------------------------------------------------------------------------


def test_a_rooms_certificate_is_shown_and_can_be_kept(desk: Desk, house: House, room: str, tmp_path: Path) -> None:
    with Guest(house.url, room) as guest:
        page = desk.enter(at_room(room))
        expect(page.locator(".talk .state")).to_have_text("Live")
        for number in range(5):
            guest.say(f"{number}")
        certificate = page.get_by_role("region", name="Delivery certificate")
        expect(certificate.locator(".arrival")).to_have_text("100%")
        expect(certificate.locator(".nines")).to_have_text("nothing is missing")
        expect(page.get_by_role("row", name="loopback")).to_contain_text("100%")
        assert page.locator(".bars rect").count() > 10
        with page.expect_download() as begun:
            certificate.get_by_role("button", name="JSON").click()
        begun.value.save_as(tmp_path / "certificate.json")
        kept = json.loads((tmp_path / "certificate.json").read_text(encoding="utf-8"))
        assert (kept["room"], kept["node"], kept["measured"]["arrival_rate"]) == (room, "bühne", 1.0)
        house.cut(room)
        expect(page.get_by_text("Connection lost without a goodbye").first).to_be_visible()


def test_held_comments_are_approved_and_rejected_also_by_keyboard(desk: Desk, house: House, room: str) -> None:
    with Guest(house.url, room) as guest:
        page = desk.enter(at_room(room))
        held, talk = page.get_by_role("region", name="Held"), page.locator(".conversation")
        expect(held.get_by_text("Nothing waits for a decision.")).to_be_visible()
        expect(page.locator(".talk .state")).to_have_text("Live")
        for number in range(3):
            assert guest.say(f"加微信 {number}") == 0
        expect(held.get_by_role("listitem")).to_have_count(3)
        held.get_by_role("listitem").nth(1).get_by_role("button", name="Approve").click()
        expect(talk.get_by_text("加微信 1")).to_be_visible()
        expect(held.get_by_role("listitem")).to_have_count(2)
        held.get_by_role("listitem").first.focus()
        page.keyboard.press("r")
        expect(held.get_by_role("listitem")).to_have_count(1)
        expect(held.get_by_role("listitem")).to_be_focused()
        page.keyboard.press("a")
        expect(talk.get_by_text("加微信 2")).to_be_visible()
        expect(held.get_by_text("Nothing waits for a decision.")).to_be_visible()
        assert talk.get_by_text("加微信 0").count() == 0
        # Somebody else decides.
        guest.say("加微信 3")
        expect(held.get_by_role("listitem")).to_have_count(1)
        (waiting,) = house.call(house.running.node.backstage(room).held)
        house.call(lambda: house.running.node.room(room).moderate("reject", offset=waiting.offset))
        expect(held.get_by_role("listitem")).to_have_count(0)


def test_how_many_are_held_is_told_of_every_room(desk: Desk, house: House, room: str) -> None:
    with Guest(house.url, room) as guest, Guest(house.url, f"{room} still"):
        page = desk.enter("#/rooms")
        held = page.get_by_role("row", name=room).first.locator(".of-held")
        still = page.get_by_role("row", name=f"{room} still").locator(".of-held")
        expect(held).to_have_text("0")
        for _ in range(2):
            guest.say("加微信")
        expect(held.locator(".badge.warn")).to_have_text("2")
        expect(still).to_have_text("0")
        expect(still.locator(".badge")).to_have_count(0)
        go(page, at_room(room))
        fact = page.locator(".strip-facts > div", has=page.get_by_text("Held", exact=True)).locator("dd")
        expect(fact).to_have_text("2")
        expect(fact).to_have_class("badge warn")
        page.locator(".held li").first.get_by_role("button", name="Reject").click()
        expect(fact).to_have_text("1")
        go(page, "#/rooms")
        expect(held.locator(".badge.warn")).to_have_text("1")


def test_mutes_kicks_and_deletions_are_done_and_undone(desk: Desk, house: House, room: str) -> None:
    with Guest(house.url, room) as guest:
        page = desk.enter(at_room(room))
        talk, sanctions = page.locator(".conversation"), page.get_by_role("region", name="Sanctions").first
        expect(page.locator(".talk .state")).to_have_text("Live")
        guest.say("买一送一")
        line = talk.get_by_role("listitem").filter(has_text="买一送一")
        line.focus()
        page.keyboard.press("Enter")
        dialog = page.get_by_role("dialog")
        dialog.get_by_label("How long").select_option("1 hour")
        dialog.get_by_label("Reason").fill("广告 🙅")
        dialog.get_by_label("Delete this comment, too").check()
        dialog.get_by_role("button", name="Do it").click()
        expect(dialog).to_have_count(0)
        expect(talk.get_by_text("买一送一")).to_have_count(0)
        expect(talk.get_by_text("deleted").first).to_be_visible()
        expect(sanctions.get_by_role("row", name=guest.user)).to_contain_text("广告 🙅")
        with pytest.raises(Refused) as refused:
            guest.say("还有吗？")
        assert refused.value.code == Code.MUTED
        sanctions.get_by_role("button", name=f"Undo the Mute of {guest.user}").click()
        expect(sanctions.get_by_text("Nobody is muted or banned.")).to_be_visible()
        guest.say("谢谢")
        expect(talk.get_by_text("谢谢")).to_be_visible()
        page.get_by_role("button", name="Act on a user").click()
        dialog.get_by_label("User id").fill(guest.user)
        dialog.get_by_text("Kick").click()
        dialog.get_by_role("button", name="Do it").click()
        expect(page.get_by_role("status").get_by_text("was sent out")).to_be_visible()


def test_what_the_api_refuses_is_told_with_its_request(strict_desk: Desk, room: str) -> None:
    page = strict_desk.enter(at_room(room))
    page.get_by_role("button", name="Act on a user").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("User id").fill("\u202ex")
    dialog.get_by_role("button", name="Do it").click()
    alert = dialog.get_by_role("alert")
    expect(alert).to_contain_text("printable")
    expect(alert).to_contain_text("Request")


def test_hostile_names_are_only_text(desk: Desk, house: House) -> None:
    rooms = [HOSTILE, "</script><script>alert(2)</script>", "${alert(3)}", "\"' onmouseover=alert(4) x='"]
    guests = [Guest(house.url, name, HOSTILE) for name in rooms]
    for guest in guests:
        guest.__enter__()
    page = desk.enter("#/rooms")
    for name, guest in zip(rooms, guests, strict=True):
        expect(page.get_by_role("link", name=name, exact=True)).to_be_visible()
        go(page, at_room(name))
        expect(page.locator(".talk .state")).to_have_text("Live")
        guest.say(HOSTILE)
        guest.say(f"加微信 {HOSTILE}")
        expect(page.locator(".conversation .said", has_text=HOSTILE)).to_be_visible()
        expect(page.locator(".held .said")).to_have_text(f"加微信 {HOSTILE}")
        assert page.locator("img").count() == 0
        go(page, "#/rooms")
    for guest in guests:
        guest.__exit__()


# -- the node ---------------------------------------------------------------------------------------------------------------


def test_settings_are_found_and_read_again(strict_desk: Desk, house: House) -> None:
    page = strict_desk.enter("#/settings")
    page.get_by_role("searchbox").fill("comments_burst")
    expect(page.locator(".setting")).to_have_count(1)
    house.write("comments_burst = 77")
    answer, again = page.locator(".reload-answer"), page.get_by_role("button", name="Read again")
    again.click()
    expect(answer).to_contain_text("1 setting has changed and holds now.")
    expect(answer).to_contain_text("limits.comments_burst")
    # The node chose its ports itself; the file names them.
    expect(answer).to_contain_text("2 settings will hold after a restart.")
    expect(page.locator(".setting.changed dd > code")).to_have_text("77")
    house.write("comments_burst = -1\nslow_seconds = 'no'")
    again.click()
    expect(answer.get_by_role("alert")).to_contain_text("nothing has changed")
    expect(answer).to_contain_text("limits.comments_burst")
    expect(answer).to_contain_text("Request")
    house.write()
    again.click()
    expect(answer).to_contain_text("changed")


def test_what_deviates_from_the_defaults_is_marked_and_shown_alone(desk: Desk, house: House) -> None:
    page = desk.enter("#/settings")
    said = page.locator(".setting", has=page.get_by_text("comments_per_second", exact=True)).and_(page.locator(".deviates"))
    expect(said.locator("dd > code")).to_have_text("1000")
    expect(said.locator(".default")).to_have_text(f"default {LimitSettings().comments_per_second:g}")
    alike = page.locator(".setting", has=page.get_by_text("comments_burst", exact=True))
    expect(alike).not_to_have_class(re.compile("deviates"))
    expect(alike.locator(".default")).to_have_count(0)
    only = page.get_by_role("switch")
    deviating = page.locator(".setting.deviates").count()
    assert page.locator(".setting").count() > 3 * deviating > 0
    only.focus()
    page.keyboard.press("Space")
    expect(page.locator(".setting")).to_have_count(deviating)
    expect(page.get_by_text(f"Only what was changed ({deviating})")).to_be_visible()
    # Of tables by name each is something that was added; of keys only what may be shown.
    expect(page.get_by_role("region", name="gifts")).to_contain_text("rose")
    expect(page.locator(".setting", has_text="sha256")).to_contain_text("default: none")
    page.get_by_role("searchbox").fill("comments_burst")
    expect(page.get_by_text("No such setting.")).to_be_visible()
    only.uncheck()
    expect(page.locator(".setting")).to_have_count(1)


def test_of_a_secret_it_is_said_that_it_is_set(desk: Desk) -> None:
    page = desk.enter()

    def with_secret(route: Route) -> None:
        told = route.fetch().json()
        # As a node tells it that has one.
        told["access"]["secret"] = "***"
        route.fulfill(json=told)

    page.route("**/v1/node/settings", with_secret)
    go(page, "#/settings")
    line = page.locator("section[aria-label=access] .setting", has=page.get_by_text("secret", exact=True))
    expect(line.locator("dd")).to_have_text("set")


def test_advice_is_in_the_language_of_the_page(browser: Browser, tmp_path: Path) -> None:
    with open_house(tmp_path) as house, Guest(house.url, "大厅") as guest:
        house.call(lambda: house.running.node.room("大厅").mode(slow={"viewer": 60}))
        guest.say("你好")
        for _ in range(20):
            with pytest.raises(Refused):
                guest.say("在吗？")
        desk = Desk(browser, house)
        page = desk.enter("#/advice")
        card = page.locator("article.advice", has=page.get_by_text("room_rules", exact=True))
        what, evidence = card.get_by_role("heading", level=2), card.locator(".evidence")
        english = re.compile(r"^\d+% of comments are refused because viewers are asked for slow mode\.$")
        expect(what).to_have_text(english)
        expect(evidence).to_contain_text("hub.refused.slow_mode: 20 in ")
        page.get_by_role("button", name="中文").click()
        expect(what).to_have_text(re.compile(r"^有 \d+% 的评论因慢速模式被拒绝。$"))
        expect(evidence).to_contain_text(re.compile("hub.refused.slow_mode：[0-9.]+ 秒内增加 20"))
        expect(card.locator(".other pre")).to_have_text("更短")
        page.get_by_role("button", name="English").click()
        expect(what).to_have_text(english)
        desk.close()


def test_money_is_shown(desk: Desk, house: House, room: str) -> None:
    async def pay(here: Room) -> None:
        await here.gift("anna", "rose", 12, key=f"{room} 1")
        await here.red_packet("安娜", 100, 9, key=f"{room} 2")

    with Guest(house.url, room):
        house.call(lambda: pay(house.running.node.room(room)))
        page = desk.enter("#/money")
        expect(page.get_by_role("row", name="玫瑰 🌹")).to_contain_text("10")
        page.get_by_label("Room", exact=True).fill(room)
        page.keyboard.press("Tab")
        expect(page.get_by_role("row", name="anna")).to_contain_text("120")
        expect(page.get_by_role("row", name="安娜")).to_contain_text("100")


# -- for everybody ------------------------------------------------------------------------------------------------------------


def violations(page: Page, axe: Axe) -> list[Any]:
    still(page)
    found = axe.run(page, options={"resultTypes": ["violations"]}).response["violations"]
    serious = [each for each in found if each["impact"] in ("serious", "critical")]
    return [(each["id"], [node["html"] for node in each["nodes"]]) for each in serious]


@pytest.mark.parametrize(("viewport", "language"), [(WIDE, "en-GB"), (PHONE, "zh-CN")], ids=["wide", "phone"])
def test_axe_finds_nothing_serious(desk: Desk, house: House, room: str, viewport: dict[str, int], language: str) -> None:
    axe = Axe()
    way_in = desk.enter(key=None, viewport=viewport, language=language)
    assert violations(way_in, axe) == []
    with Guest(house.url, room) as guest:
        page = desk.enter(at_room(room), viewport=viewport, language=language, reduced_motion="reduce")
        expect(page.locator(".talk .state.good")).to_be_visible()
        guest.say("你好")
        guest.say("加微信")
        house.call(lambda: house.running.node.room(room).moderate("mute", "somebody", seconds=60, reason="广告"))
        expect(page.locator(".held li")).to_have_count(1)
        expect(page.locator(".conversation li").first).to_be_visible()
        for _ in range(2):
            assert violations(page, axe) == []
            page.evaluate("document.querySelectorAll('.side-acts button')[0].click()")
            page.evaluate("document.querySelectorAll('.side-acts button')[1].click()")
            expect(page.locator(".talk .state.good")).to_be_visible()
        for place in ("overview", "advice", "rooms", "money", "nodes", "settings"):
            go(page, f"#/{place}")
            expect(page.locator("nav [aria-current=page]")).to_have_attribute("href", f"#/{place}")
            page.evaluate("document.querySelectorAll('.side-acts button')[1].click()")
            assert violations(page, axe) == [], place
        width = page.evaluate("document.documentElement.scrollWidth")
        assert width == viewport["width"], "nothing is wider than the screen"


def test_everything_is_reached_by_keyboard(desk: Desk) -> None:
    page = desk.enter()
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_be_focused()
    assert page.evaluate("location.hash") == "#/overview"
    page.get_by_role("link", name="Settings").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Settings")).to_be_visible()
