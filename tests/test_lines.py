"""What `roomcast tail` prints: every kind of item, for people and for programs."""

from __future__ import annotations

import json
from typing import Any

import pytest

from engine import client as items
from engine.commands.lines import as_json, as_text

AT: Any = (7, 12, 1_700_000_000_000)
HOST = items.Author("h1", "主播", {"team": "红"}, "host", 9)
GUEST = items.Author("u1")
HELD = items.Comment(*AT, GUEST, "坏话", 5)

TEXTS: list[tuple[items.Item, str]] = [
    (items.Comment(*AT, HOST, "大家好", 5), "      12  主播 (host): 大家好"),
    (items.Comment(*AT, GUEST, "回", 5, 3, ("h1", "u2")), "      12  u1 → 3: 回  (to h1, u2)"),
    (items.Comment(*AT, GUEST, "a\x1b[2Jb\nc", 5), "      12  u1: a [2Jb c"),
    (items.Custom(*AT, GUEST, "gift", "{}", 5), "      12  u1 [gift] {}"),
    (items.State(*AT, HOST, 5, "card", "tea", {"title": "茶"}, 3), '      12  -- card tea = {"title": "茶"}'),
    (items.State(*AT, HOST, 5, "mode", "", None, 3), "      12  -- mode is gone"),
    (items.Notice(*AT, HOST, 5, "完", True), "      12  ** 主播 (host): 完  (receipts are counted)"),
    (
        items.Moderated(*AT, HOST, "delete_user", "u7", ((3, 5), (9, 9)), 0, "吵"),
        "      12  -- 主播 (host): delete_user u7 (3..5, 9): 吵",
    ),
    (items.Held(*AT, GUEST, "s", 5, HELD, "word"), "      12  held  u1: 坏话  (word)"),
    (items.Presence(*AT, HOST, True), "      12  -- 主播 (host) is here"),
    (items.Presence(*AT, HOST, False), "      12  -- 主播 (host) has left"),
    (items.Gift(*AT, GUEST, 8, 5, "rose", 9, 468, "", 8, 9, 5_000, 468), "      12  $$ u1 gives rose ×9 = 468  (entry 8)"),
    (
        items.Gift(*AT, HOST, 1_009, 5, "花", 1, 52_000, "u9", 8, 10, 5_000, 520),
        "      12  $$ 主播 (host) gives 花 ×1 to u9 = 52,000, combo ×10  (entry 1009)",
    ),
    (
        items.Combo(*AT, GUEST, 9, 8, "rose", "u9", 99, 5_148),
        "      12  $$ u1 gave rose ×99 to u9 = 5,148 in a combo  (entry 9)",
    ),
    (
        items.Correction(*AT, HOST, 10, 8, "u1", -468, 0, "退"),
        "      12  $$ 主播 (host) corrects entry 8 of u1 by -468  (entry 10): 退",
    ),
    (items.Correction(*AT, HOST, 10, 8, "u1", 5, 0), "      12  $$ 主播 (host) corrects entry 8 of u1 by +5  (entry 10)"),
    (
        items.Packet(*AT, HOST, 11, 5, 8_888, 66, "random", 0, 2**52, False, "", "恭喜\x1b发财", "00"),
        "      12  $$ 主播 (host) gives a red packet, 8,888 in 66 shares  (entry 11): 恭喜 发财",
    ),
    (
        items.Packet(*AT, HOST, 11, 5, 6, 6, "equal", 2**52, 2**52, True, "红包来", "", "00"),
        "      12  $$ 主播 (host) gives a red packet, 6 in 6 shares, alike, opens at 4503599627370496, for followers, "
        "for who says 红包来  (entry 11)",
    ),
    (items.Share(*AT, GUEST, 12, 11, 3, 1_288), "      12  $$ u1 gets 1,288, share 3 of red packet 11  (entry 12)"),
    (
        items.PacketEnd(*AT, HOST, 13, 11, "emptied", 66, 0, "00"),
        "      12  $$ red packet 11 of 主播 (host) is over: emptied after 66 shares  (entry 13)",
    ),
    (
        items.PacketEnd(*AT, HOST, 13, 11, "expired", 2, 5_000, "00"),
        "      12  $$ red packet 11 of 主播 (host) is over: expired after 2 shares, 5,000 go back  (entry 13)",
    ),
    (items.Omitted(7, 3, 3, 4), "    -- 3 known already"),
    (items.Unknown(*AT, 77, (1,)), "      12  -- an event of kind 77, which this version does not know"),
    (items.Omitted(7, 3, 5, 1), "    -- 3..5 deleted"),
    (items.Omitted(7, 3, 3, 9), "    -- 3 reason 9"),
    (items.Gap(7, 3, 0, "epoch"), "    -- missing 3..? (epoch)"),
    (items.Counters(1234, 5, rate=3.0), "    -- 1,234 likes, 3 a second, 5 viewers"),
    (items.Direct(HOST, "psst", 5), "  direct  主播 (host): psst"),
    (items.Disconnected(4000, "restart", 1.5), "    -- connection lost (4000), trying again in 1.5 s"),
    (items.Reconnected(True), "    -- back, continued"),
    (items.Refusal(1, "slow down", 5), "    -- refused (1): slow down"),
    (items.Snapshot("大厅", 7, 12, 5, None), ""),
    (
        items.Snapshot("大厅", 7, 12, 5, None, {("mode", ""): items.Entry({}, 1)}, (HELD,)),
        "      12  u1: 坏话\n    -- mode = {}",
    ),
    (
        items.Present(7, 12, {("mode", ""): items.Entry({}, 1)}),
        "    -- changes were missed; this is what the room is now:\n    -- mode = {}",
    ),
]


@pytest.mark.parametrize(("item", "text"), TEXTS, ids=lambda value: type(value).__name__)
def test_for_people(item: items.Item, text: str) -> None:
    assert as_text(item) == text


@pytest.mark.parametrize("item", [item for item, _ in TEXTS], ids=lambda value: type(value).__name__)
def test_for_programs(item: items.Item) -> None:
    line = as_json(item)
    assert "\n" not in line
    assert json.loads(line)["type"] == type(item).__name__.lower()


def test_a_terminal_that_shows_chinese_shows_money() -> None:
    for item, text in TEXTS:
        if isinstance(item, (items.Gift, items.Combo, items.Correction, items.Packet, items.Share, items.PacketEnd)):
            assert text.encode("gbk").decode("gbk") == as_text(item)


def test_who_gave_most_is_told_when_it_changes() -> None:
    before = items.Counters(1, 2, givers=(items.Giver("u1", "", 5),))
    after = items.Counters(1, 2, givers=tuple(items.Giver(f"u{number}", f"名{number}", 9_000 - number) for number in range(10)))
    assert as_text(before, before) == "    -- 1 likes, 2 viewers"
    assert as_text(after, before) == "    -- 1 likes, 2 viewers, most given by 名0 9,000, 名1 8,999, 名2 8,998"
    assert json.loads(as_json(before))["givers"] == [{"user": "u1", "name": "", "given": 5}]


def test_counters_tell_people_what_has_changed_and_programs_everything() -> None:
    before = items.Counters(1, 2, withheld={"events": 3}, votes={"poll:a": (1, 0)}, receipts={9: (1, 0)}, reactions={"🔥": 1})
    after = items.Counters(
        1, 2, withheld={"events": 4}, votes={"poll:a": (1, 0), "poll:b": (0, 2)}, receipts={9: (2, 1)}, reactions={"🔥": 1}
    )
    assert as_text(before, before) == "    -- 1 likes, 2 viewers"
    told = "    -- 1 likes, 2 viewers, 4 withheld for want of events, poll:b 0 / 2, notice 9 came to 2, read by 1"
    assert as_text(after, before) == told
    read = json.loads(as_json(after))
    assert (read["votes"], read["receipts"]) == ({"poll:a": [1, 0], "poll:b": [0, 2]}, {"9": [2, 1]})


def test_times_of_every_size_are_told() -> None:
    for expires in (1, 1_700_000_000_000, 2**53 - 1):
        assert "vanishes" in as_text(items.Comment(*AT, GUEST, "x", 5, 0, (), expires))


def test_programs_get_the_state_as_entries_and_events_with_their_type() -> None:
    snapshot = items.Snapshot("大厅", 7, 12, 5, items.Counters(1, 2), {("pin", "3"): items.Entry({"offset": 3}, 4)}, (HELD,))
    read = json.loads(as_json(snapshot))
    assert read["state"] == [{"kind": "pin", "key": "3", "value": {"offset": 3}, "version": 4}]
    assert (read["recent"][0]["type"], read["recent"][0]["author"]["id"], read["counters"]["likes"]) == ("comment", "u1", 1)
    held = json.loads(as_json(items.Held(*AT, GUEST, "s", 5, HELD, "word")))
    assert held["event"]["body"] == "坏话"
    assert "raw" not in held
