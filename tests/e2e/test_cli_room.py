"""What a room can do, from the command line: a host who leads it, viewers who take part, its history kept and told again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trio
from shell import PATIENCE, Running, serving, typed

from engine.client import Comment, Options, open_client
from engine.errors import Refused

SECRET = "0123456789abcdef0123456789abcdef"
LIVELY = {
    "ROOMCAST_ACCESS__SECRET": SECRET,
    "ROOMCAST_ACCESS__ANONYMOUS": "write",
    "ROOMCAST_LIMITS__COMMENTS_PER_SECOND": "100000",
    "ROOMCAST_LIMITS__COMMENTS_BURST": "100000",
    "ROOMCAST_LIMITS__MESSAGES_PER_SECOND": "100000",
    "ROOMCAST_LIMITS__MESSAGES_BURST": "100000",
    "ROOMCAST_LIMITS__READS_PER_SECOND": "100000",
    "ROOMCAST_LIMITS__READS_BURST": "100000",
    "ROOMCAST_ROOM__NOTABLE_ROLES": "[]",
}


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """A running node that takes tokens."""
    with serving(**LIVELY) as url:
        yield url


@pytest.fixture(scope="module")
def host() -> str:
    """A host's token for all rooms."""
    done = typed("token", "--user", "anna", "--role", "host", "--name", "安娜", ROOMCAST_ACCESS__SECRET=SECRET)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def succeed(url: str, *arguments: str, token: str = "") -> str:
    """Run a command that must succeed; what it prints."""
    done = typed(*arguments, ROOMCAST_URL=url, **({"ROOMCAST_TOKEN": token} if token else {}))
    assert done.returncode == 0, done.stderr
    return done.stdout


def speak(url: str, room: str, *bodies: str) -> None:
    async def run() -> None:
        with trio.fail_after(PATIENCE):
            async with open_client(url, room=room, name="小明", options=Options(attempts=1)) as client:
                for body in bodies:
                    await client.comment(body)

    trio.run(run)


def export(url: str, room: str, *more: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    header, *lines = map(json.loads, succeed(url, "export", room, *more).splitlines())
    return header, lines


def test_a_host_leads_and_everybody_sees_it(url: str, host: str) -> None:
    tail = Running("tail", "讲堂", "--json", "--url", url)
    people = Running("tail", "讲堂", "--url", url)
    try:
        tail.until('"snapshot"')
        people.until("viewers")
        assert succeed(url, "say", "讲堂", "大家好", "--name", "小明") == "1\n"
        assert succeed(url, "say", "讲堂", "你好", "--reply-to", "1", "--mention", "anna", "--lifetime", "600") == "2\n"
        answer = tail.json("你好")
        assert (answer["reply_to"], answer["mentions"], answer["expires"] > answer["time"]) == (1, ["anna"], True)
        assert succeed(url, "notice", "讲堂", "要下课了", "--receipts", token=host).strip().isdecimal()
        notice = tail.json('"notice"')
        assert (notice["author"]["id"], notice["author"]["role"], notice["receipts"]) == ("anna", "host", True)
        succeed(url, "state", "讲堂", "set", "card", "tea", '{"title": "茶"}', token=host)
        assert tail.json('"card"')["value"]["title"] == "茶"
        succeed(url, "moderate", "讲堂", "delete", "--offset", "1", "--reason", "…", token=host)
        assert tail.json('"moderated"')["offsets"] == [[1, 1]]
        people.until("小明: 大家好")
        people.until("→ 1: 你好  (to anna)  (vanishes ")
        people.until("** 安娜 (host): 要下课了")
        people.until("card tea = ")
        people.until("安娜 (host): delete (1)")
    finally:
        assert tail.stop() == 130
        assert people.stop() == 130
    shown = [json.loads(line) for line in succeed(url, "state", "讲堂", "--json").splitlines()]
    (card,) = [entry for entry in shown if entry["kind"] == "card"]
    assert card["value"]["title"] == "茶"
    stale = typed("state", "讲堂", "set", "card", "tea", "{}", "--expect", "77", "--token", host, ROOMCAST_URL=url)
    assert stale.returncode == 1
    assert "conflict" in stale.stderr
    succeed(url, "state", "讲堂", "delete", "card", "tea", "--expect", str(card["version"]), token=host)
    assert "card tea" not in succeed(url, "state", "讲堂")


def test_viewers_vote_ask_react_and_like(url: str, host: str) -> None:
    succeed(url, "state", "班会", "set", "poll", "p", '{"question": "喝什么？", "options": ["茶", "咖啡"]}', token=host)
    tail = Running("tail", "班会", "--json", "--url", url)
    try:
        tail.until('"snapshot"')
        assert [json.loads(line)["key"] for line in succeed(url, "state", "班会", "--json").splitlines()] == ["p"]
        succeed(url, "vote", "班会", "poll", "p", "1")
        assert tail.json('"poll:p": [')["votes"] == {"poll:p": [0, 1]}
        succeed(url, "ask", "班会", "为什么？", "--name", "阿强")
        assert tail.json('"question"')["value"]["body"] == "为什么？"
        succeed(url, "react", "班会", "🔥", "3")
        assert tail.json("🔥")["reactions"] == {"🔥": 3}
        succeed(url, "like", "班会", "4")
        tail.until('"likes": 4')
    finally:
        tail.stop()


def test_who_may_not_is_told_in_one_line(url: str) -> None:
    for arguments in (
        ("notice", "r", "x"),
        ("moderate", "r", "mute", "--user", "u"),
        ("state", "r", "set", "card", "p", '{"title": "x"}'),
        ("tail", "r#backstage"),
        ("say", "r", "x", "--token", "forged"),
    ):
        done = typed(*arguments, "--url", url)
        assert done.returncode == 1, arguments
        assert done.stderr.startswith(("roomcast: forbidden", "roomcast: bad_token"))
        assert len(done.stderr.strip().splitlines()) == 1


def test_what_is_held_is_told_and_decided_by_a_moderator(tmp_path: Path) -> None:
    words, config = tmp_path / "词.txt", tmp_path / "roomcast.toml"
    words.write_text("坏话\n", encoding="utf-8")
    lists = f'[[moderation.lists]]\nfile = "{words}"\naction = "hold"\n'
    access = f'[access]\nsecret = "{SECRET}"\nanonymous = "write"\n'
    config.write_text(f"{access}[room]\nnotable_roles = []\n{lists}", encoding="utf-8")
    token = typed("token", "--user", "mo", "--role", "moderator", "--config", str(config)).stdout.strip()
    with serving("serve", "--config", str(config)) as url:
        backstage = Running("tail", "r#backstage", "--json", "--url", url, "--token", token)
        try:
            backstage.until('"snapshot"')
            done = typed("say", "r", "这是坏话", "--url", url)
            assert (done.returncode, done.stdout, done.stderr) == (0, "", "roomcast: a moderator will decide\n")
            held = backstage.json('"held"')
            assert held["event"]["body"] == "这是坏话"
            succeed(url, "moderate", "r", "approve", "--offset", str(held["offset"]), token=token)
        finally:
            backstage.stop()
        (comment,) = [line["event"] for line in export(url, "r")[1] if line["event"][0] == 1]
        assert comment[3] == "这是坏话"


def test_an_export_has_all_that_is_kept_in_order(url: str, host: str) -> None:
    bodies = [f"{number} " + "很长的话" * 40 for number in range(300)]
    speak(url, "长谈", *bodies)
    succeed(url, "moderate", "长谈", "delete", "--offset", "7", token=host)
    header, lines = export(url, "长谈")
    assert (header["roomcast"], header["room"], header["first"], header["last"]) == (1, "长谈", 1, 301)
    assert [line["offset"] for line in lines] == list(range(1, 302)), "several pages, turned round"
    assert lines[6]["event"] == [0, 1, 1]
    assert [line["event"][3] for line in lines[:300] if line["offset"] != 7] == [*bodies[:6], *bodies[7:]]
    assert lines[300]["event"][:1] == [5]
    times = [line["time"] for line in lines]
    assert times == sorted(times)
    assert export(url, "空")[0]["last"] == 0


def test_an_export_goes_on_without_hole_or_double(url: str, tmp_path: Path) -> None:
    speak(url, "续", "a", "b")
    going = Running("export", "续", "--follow", "--url", url)
    try:
        going.until('"roomcast"')
        speak(url, "续", *(str(number) for number in range(50)))
        seen = [going.json('"offset"') for _ in range(52)]
    finally:
        status = going.stop()
    assert status == 0
    assert [line["offset"] for line in seen] == list(range(1, 53))
    assert [line["event"][3] for line in seen] == ["a", "b", *map(str, range(50))]
    assert "exported 52 lines of 续" in going.errors


def test_what_was_exported_is_told_again(url: str, host: str, tmp_path: Path) -> None:
    speak(url, "原", "一", "二", "三")
    succeed(url, "say", "原", "回", "--reply-to", "3", "--name", "阿强")
    succeed(url, "moderate", "原", "delete", "--offset", "1", token=host)
    succeed(url, "state", "原", "set", "pin", "3", '{"offset": 3}', token=host)
    succeed(url, "notice", "原", "完", token=host)
    file = tmp_path / "录.ndjson"
    succeed(url, "export", "原", "--output", str(file))
    before = export(url, "原")[1]
    again = Running("replay", str(file), "--room", "再", "--speed", "0", "--port", "0", "--json")
    try:
        where = again.json('"listening"')["url"]
        told = again.json('"replayed"')
        assert (told["events"], told["left_out"]) == (5, 2), "the deleted comment and its deletion are nothing to say again"
        after = export(where, "再")[1]
    finally:
        assert again.stop() == 0
    assert [line["offset"] for line in after] == [1, 2, 3, 4, 5]
    said = [line["event"] for line in before if line["event"][0] not in (0, 5)]
    assert [event[:2] for event in (line["event"] for line in after)] == [event[:2] for event in said]
    assert [line["event"][3] for line in after] == ["二", "三", "回", "pin", "完"]
    assert after[2]["event"][4] == 2, "the reply follows its comment"
    assert (after[3]["event"][4], after[3]["event"][5]["offset"]) == ("2", 2)
    ended = typed("replay", str(file), "--speed", "1000", "--exit", "--port", "0")
    assert ended.returncode == 0
    assert "replayed 5 events into 原" in ended.stdout


async def test_a_viewer_follows_what_is_told_again(url: str, tmp_path: Path) -> None:
    file = tmp_path / "录.ndjson"
    header = {"roomcast": 1, "room": "r", "epoch": 7, "first": 1, "last": 2, "exported_at": 0}
    spoken = [{"offset": at, "time": at * 1000, "event": [1, ["u1", "小明"], 5, f"第{at}句"]} for at in (1, 2, 3)]
    file.write_text("\n".join(map(json.dumps, [header, *spoken])), encoding="utf-8")
    again = Running("replay", str(file), "--speed", "2", "--port", "0", "--json")
    try:
        where = again.json('"listening"')["url"]
        with trio.fail_after(PATIENCE):
            async with open_client(where, room="r") as client:
                first = client.position.offset if client.position else 0
                heard = [item.body async for item in _comments(client, 3 - first)]
        assert heard == ["第1句", "第2句", "第3句"][first:]
    finally:
        assert again.stop() == 0


async def _comments(client: Any, count: int) -> Any:
    while count:
        item = await anext(client)
        if isinstance(item, Comment):
            count -= 1
            yield item


async def test_a_viewer_reads_history_and_state_of_a_real_room(url: str) -> None:
    with trio.fail_after(PATIENCE):
        async with open_client(url, room="自己读") as client:
            for number in range(5):
                await client.comment(str(number))
            page = await client.history(limit=3)
            assert [event.body for event in page.events if isinstance(event, Comment)] == ["2", "3", "4"]
            assert (await client.history(1)).events == ()
            with pytest.raises(Refused):
                await client.change("card", "p", {"title": "x"})
            assert client.certain
            position, session = client.position, client.session
        async with open_client(url, room="自己读", position=position, session=session) as client:
            async for _ in client:
                if client.certain:
                    break
