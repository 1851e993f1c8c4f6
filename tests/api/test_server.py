"""The HTTP server: what it makes of requests that are well-formed, of all others, and of an application that is not well."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from itertools import pairwise

import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.api.connection import HEAD_BYTES, Connection
from engine.settings import ApiSettings

from .asgi import SMALL, Answer, Application, answers, talk

BYE = b"GET /unread HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


def get(path: str = "/scope", *lines: str, version: str = "1.1", method: str = "GET") -> bytes:
    return "\r\n".join((f"{method} {path} HTTP/{version}", "Host: x", *lines, "", "")).encode("latin-1")


def post(body: bytes, *lines: str, path: str = "/echo") -> bytes:
    return get(path, f"Content-Length: {len(body)}", *lines, method="POST") + body


async def one(*pieces: bytes, app: Application | None = None, method: str = "GET") -> Answer:
    found = answers(await talk(*pieces, app=app), [method])
    assert len(found) == 1
    return found[0]


# -- requests and answers --------------------------------------------------------------------------------------------------


async def test_an_application_is_told_what_asgi_says(autojump_clock: trio.testing.MockClock) -> None:
    answer = await one(get("/scope/a%20b/%E5%A4%A7?x=%20&y", "X-Thing: \xe9", "Connection: close"))
    told = json.loads(answer.body)
    assert told["path"] == "/scope/a b/大"
    assert told["raw_path"] == "/scope/a%20b/%E5%A4%A7"
    assert told["query_string"] == "x=%20&y"
    assert (told["method"], told["http_version"], told["scheme"], told["root_path"]) == ("GET", "1.1", "http", "")
    assert told["client"] == ["192.0.2.1", 7]
    assert ["x-thing", "\xe9"] in told["headers"]
    assert told["state"]["request_id"] == answer.headers["x-request-id"]


async def test_an_answer_has_a_date_and_names_no_program(autojump_clock: trio.testing.MockClock) -> None:
    answer = await one(BYE)
    assert set(answer.headers) == {"content-length", "date", "x-request-id", "connection"}
    assert answer.headers["date"].endswith(" GMT")


@pytest.mark.parametrize(("given_id", "kept"), [("a.B_c-9", True), ("x" * 64, True), ("x" * 65, False), ("a b", False)])
async def test_a_request_keeps_its_id_if_that_is_one(given_id: str, kept: bool, autojump_clock: trio.testing.MockClock) -> None:
    answer = await one(get("/unread", f"X-Request-Id: {given_id}", "Connection: close"))
    assert (answer.headers["x-request-id"] == given_id) is kept
    assert answer.headers["x-request-id"]


@pytest.mark.parametrize(
    ("target", "path"),
    [
        ("/scope/a%2Fb/c", "/scope/a\x1fb/c"),
        ("/scope/a%2fb%2F", "/scope/a\x1fb\x1f"),
        ("/scope/100%/%zz", "/scope/100%/%zz"),
        ("/scope/%252F", "/scope/%2F"),
        ("http://example.com/scope", "/scope"),
        ("HTTPS://example.com:1/scope?x", "/scope"),
    ],
)
async def test_a_slash_in_a_name_is_none_between_names(target: str, path: str, autojump_clock: trio.testing.MockClock) -> None:
    assert json.loads((await one(get(target, "Connection: close"))).body)["path"] == path


@pytest.mark.parametrize("target", ["/scope/a%1Fb", "/scope/%FF%C0%AF", "/%B0%B2%C4%C8", "/scope?x=%FF", "/scope/%ED%A0%80"])
async def test_a_name_that_cannot_be_read_is_not_taken_for_another(target: str, autojump_clock: trio.testing.MockClock) -> None:
    assert (await one(get(target))).status == 400


async def test_several_requests_on_one_connection(autojump_clock: trio.testing.MockClock) -> None:
    received = await talk(post(b"1"), post(b"2"), post(b""), BYE)
    assert [answer.body for answer in answers(received)] == [b"1", b"2", b"", b"did not look"]


async def test_requests_sent_at_once_are_answered_in_order(autojump_clock: trio.testing.MockClock) -> None:
    received = await talk(b"".join(post(b"%d" % number) for number in range(50)) + BYE)
    assert [answer.body for answer in answers(received)] == [*(b"%d" % number for number in range(50)), b"did not look"]


async def test_requests_arrive_byte_by_byte(autojump_clock: trio.testing.MockClock) -> None:
    whole = post("大家好".encode()) + BYE
    received = await talk(*(whole[at : at + 1] for at in range(len(whole))))
    assert [answer.body for answer in answers(received)] == ["大家好".encode(), b"did not look"]


async def test_a_chunked_body(autojump_clock: trio.testing.MockClock) -> None:
    chunked = get("/echo", "Transfer-Encoding: chunked", method="POST")
    received = await talk(chunked + b"3\r\nabc\r\n", b"2;x=y\r\nde", b"\r\n0\r\nTrailer: 1\r\n\r\n" + BYE)
    assert [answer.body for answer in answers(received)] == [b"abcde", b"did not look"]


async def test_an_answer_of_unknown_length_comes_in_chunks(autojump_clock: trio.testing.MockClock) -> None:
    received = await talk(get("/parts"), BYE)
    first, _ = answers(received)
    assert (first.body, first.headers["transfer-encoding"]) == (b"one two three", "chunked")


async def test_http_1_0_gets_what_it_understands(autojump_clock: trio.testing.MockClock) -> None:
    answer = await one(get("/parts", version="1.0"))
    assert (answer.body, answer.headers["connection"]) == (b"one two three", "close")
    assert "transfer-encoding" not in answer.headers
    assert (await one(get("/unread", version="1.0"))).body == b"did not look"


async def test_head_and_no_content_have_no_body(autojump_clock: trio.testing.MockClock) -> None:
    found = answers(await talk(get("/unread", method="HEAD"), get("/empty"), BYE), ["HEAD", "GET", "GET"])
    assert [(answer.status, answer.body) for answer in found] == [(200, b""), (204, b""), (200, b"did not look")]
    assert found[0].headers["content-length"] == "12"
    assert "content-length" not in found[1].headers
    failed = await one(get("/raises", method="HEAD"), method="HEAD")
    assert (failed.status, failed.body) == (500, b"")


async def test_a_small_answer_is_one_segment(autojump_clock: trio.testing.MockClock) -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(Connection(Application(), theirs, lambda: SMALL).run)
        await ours.send_all(post(b"hello"))
        assert (await ours.receive_some()).endswith(b"\r\n\r\nhello")
        await ours.aclose()


async def test_expect_continue_is_answered_when_the_body_is_wanted(autojump_clock: trio.testing.MockClock) -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(Connection(Application(), theirs, lambda: SMALL).run)
        await ours.send_all(post(b"", "Expect: 100-continue").replace(b"Length: 0", b"Length: 5"))
        assert await ours.receive_some() == b"HTTP/1.1 100 Continue\r\n\r\n"
        await ours.send_all(b"hello")
        assert (await ours.receive_some()).endswith(b"hello")
        # Nobody wants this one's: nothing tells whether it comes, so the connection ends.
        await ours.send_all(post(b"", "Expect: 100-continue", path="/unread").replace(b"Length: 0", b"Length: 5"))
        (answer,) = answers(await ours.receive_some(), ended=False)
        assert (answer.body, answer.headers["connection"]) == (b"did not look", "close")
        assert await ours.receive_some() == b""
        await ours.aclose()


async def test_a_body_that_nobody_reads_is_not_the_next_request(autojump_clock: trio.testing.MockClock) -> None:
    inner = get("/echo")
    received = await talk(post(inner, path="/unread"), BYE)
    assert [answer.body for answer in answers(received)] == [b"did not look", b"did not look"]


async def test_an_upgrade_is_not_made_and_does_no_harm(autojump_clock: trio.testing.MockClock) -> None:
    lines = [
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version: 13",
    ]
    received = await talk(get("/unread", *lines, "Sec-WebSocket-Extensions: \xff"), BYE)
    assert [answer.status for answer in answers(received)] == [200, 200]


@pytest.mark.parametrize(
    "name",
    [
        "Accept",
        "Accept-Encoding",
        "Authorization",
        "Content-Type",
        "Cookie",
        "Date",
        "Idempotency-Key",
        "If-Match",
        "Origin",
        "Range",
        "Sec-WebSocket-Key",
        "Sec-WebSocket-Extensions",
        "Upgrade",
        "User-Agent",
        "X-Forwarded-For",
        "X-Request-Id",
    ],
)
async def test_bytes_that_are_not_ascii_do_no_harm_in_any_header(name: str, autojump_clock: trio.testing.MockClock) -> None:
    received = await talk(get("/scope", f"{name}: \xff\xfe, \xe5\x00"[:-1]), BYE)
    first, second = answers(received)
    assert (first.status, second.status) == (200, 200)
    assert [name.lower(), "\xff\xfe, \xe5"] in json.loads(first.body)["headers"]


@pytest.mark.parametrize("name", ["Host", "Content-Length", "Transfer-Encoding", "Connection", "Expect"])
async def test_nor_in_one_that_the_server_reads_itself(name: str, autojump_clock: trio.testing.MockClock) -> None:
    received = await talk(f"GET /unread HTTP/1.1\r\n{name}: \xff\r\n\r\n".encode("latin-1"))
    assert received.startswith(b"HTTP/1.1 ")


# -- requests that are refused -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
        (b"\x00" * 100, 400),
        (b"\r\n\r\n", 400),
        (b"GET\r\n\r\n", 400),
        (b"GET / HTTP/2.0\r\nHost: x\r\n\r\n", 505),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
        (b"GET /\xff HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"GET /unread HTTP/1.1\r\n\r\n", 400),
        (b"GET /unread HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", 400),
        (b"GET /unread HTTP/1.1\r\nHost: x\r\nA\x00: 1\r\n\r\n", 400),
        (b"GET /unread HTTP/1.1\r\nHost: x\r\nA : 1\r\n\r\n", 400),
        (b"GET ftp://x/ HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"CONNECT x:443 HTTP/1.1\r\nHost: x\r\n\r\n", 501),
        (b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
        (b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", 400),
        (b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 1_0\r\n\r\n", 400),
        # Two that could be understood in two ways on the way here.
        (b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", 400),
        (b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n", 501),
        (b"POST /echo HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
        (b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n", 400),
        (b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 1025\r\n\r\n", 413),
        (b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n401\r\n" + bytes(1025), 413),
        (b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"a" * HEAD_BYTES, 431),
        (b"a" * (HEAD_BYTES + 1), 431),
    ],
)
async def test_what_is_no_request_gets_a_problem_and_its_connection_ends(
    request_: bytes, status: int, autojump_clock: trio.testing.MockClock
) -> None:
    app = Application()
    # Whatever comes after it is not looked at.
    answer = await one(request_ + BYE, app=app)
    assert (answer.status, answer.headers["connection"]) == (status, "close")
    assert answer.problem["detail"]
    assert app.events in ([], ["cancelled"])


async def test_a_head_may_be_as_large_as_the_limit_and_not_larger(autojump_clock: trio.testing.MockClock) -> None:
    head = get("/unread", "Connection: close", "A: ")
    for size, status in ((HEAD_BYTES, 200), (HEAD_BYTES + 1, 431)):
        whole = head[:-4] + b"a" * (size - len(head)) + b"\r\n\r\n"
        assert (await one(whole)).status == status
        assert (await one(whole[:-2], whole[-2:])).status == status


async def test_a_body_may_be_as_large_as_the_limit(autojump_clock: trio.testing.MockClock) -> None:
    chunked = get("/echo", "Transfer-Encoding: chunked", method="POST")
    received = await talk(post(bytes(1024)), chunked + b"400\r\n" + bytes(1024), b"\r\n0\r\n\r\n" + BYE)
    assert [len(answer.body) for answer in answers(received)] == [1024, 1024, 12]


async def test_a_head_that_does_not_come_in_time(autojump_clock: trio.testing.MockClock) -> None:
    answer = await one(b"GET / HTTP/1.1\r\nHost")
    assert answer.status == 408
    assert trio.current_time() == pytest.approx(SMALL.request_seconds, abs=1.1)


@pytest.mark.parametrize("part", [b"GET /unread HTTP/1.1\r\nA: " + b"a" * 100, post(bytes(200))[:-100]])
async def test_nor_does_one_that_comes_drop_by_drop(part: bytes, autojump_clock: trio.testing.MockClock) -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(Connection(Application(), theirs, lambda: SMALL).run)
        received = b""

        async def read() -> None:
            nonlocal received
            async for data in ours:
                received += data

        nursery.start_soon(read)
        for at in range(20):
            await ours.send_all(part[at * 5 : at * 5 + 5] if at else part[: -5 * 20])
            await trio.sleep(0.5)
            if received:
                break
    assert [answer.status for answer in answers(received)] == [408]


async def test_a_body_that_does_not_come_in_time_ends_what_waits_for_it(autojump_clock: trio.testing.MockClock) -> None:
    app = Application()
    answer = await one(post(b"12345")[:-1], app=app)
    assert (answer.status, app.events) == (408, ["cancelled"])


async def test_a_silent_connection_is_closed(autojump_clock: trio.testing.MockClock) -> None:
    assert await talk() == b""
    assert trio.current_time() == pytest.approx(SMALL.idle_seconds, abs=1.1)
    found = answers(await talk(post(b"1")))
    assert [answer.body for answer in found] == [b"1"]


# -- applications and clients that are not well ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path", ["raises", "exits", "exits-in-a-group", "nonsense", "unknown", "too-short", "says-nothing", "no-such"]
)
async def test_an_application_that_fails_before_its_answer(
    path: str, autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    answer = await one(get(f"/{path}?token=secret", "X-Request-Id: r1"))
    assert (answer.status, answer.headers["x-request-id"]) == (500, "r1")
    assert answer.problem["name"] == "internal"
    if path != "says-nothing":
        (record,) = caplog.records
        assert record.message == "api_request_failed"
        assert (vars(record)["request_id"], vars(record)["method"]) == ("r1", "GET")
        assert "secret" not in str(vars(record) | {"exc_info": None})


async def test_one_that_fails_in_the_middle_is_seen_to_be_cut(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    answer = await one(get("/raises-late"))
    assert (answer.status, answer.body, answer.whole) == (200, b"so far", False)
    assert [record.message for record in caplog.records] == ["api_request_failed", "api_answer_cut"]


async def test_one_that_fails_after_its_answer_costs_nothing_but_a_line_in_the_log(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    assert [answer.body for answer in answers(await talk(get("/raises-after"), BYE))] == [b"done", b"did not look"]
    assert [record.message for record in caplog.records] == ["api_request_failed"]


async def test_one_that_never_answers(autojump_clock: trio.testing.MockClock) -> None:
    app = Application()
    answer = await one(get("/hangs"), app=app)
    assert (answer.status, answer.problem["name"]) == (503, "service_unavailable")
    assert app.events == ["began", "cancelled"]


@pytest.mark.parametrize(
    ("request_", "events"),
    [
        (get("/hangs"), ["began", "cancelled"]),
        (get("/leaves"), ["began", "http.disconnect"]),
        (post(b"12345")[:-1], ["disconnect"]),
    ],
)
async def test_a_client_that_goes_in_the_middle(
    request_: bytes, events: list[str], autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    app = Application()
    assert await talk(request_, app=app, close=True) == b""
    assert app.events == events
    assert trio.current_time() < SMALL.request_seconds
    assert not caplog.records


async def test_a_client_that_says_at_once_that_it_is_done_gets_its_answer(autojump_clock: trio.testing.MockClock) -> None:
    assert [answer.body for answer in answers(await talk(post(b"all"), close=True))] == [b"all"]


async def test_a_client_that_says_at_once_that_it_is_done_is_told_its_fault(autojump_clock: trio.testing.MockClock) -> None:
    chunked = get("/echo", "Transfer-Encoding: chunked", method="POST")
    assert [answer.status for answer in answers(await talk(chunked + b"zz\r\n", close=True))] == [400]


async def test_a_client_that_goes_while_it_is_answered(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    app = Application()
    ours, theirs = trio.testing.memory_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(Connection(app, theirs, lambda: SMALL).run)
        await ours.send_all(get("/floods"))
        await ours.receive_some(1000)
        await ours.aclose()
    assert app.events == ["gone"]
    assert not caplog.records


async def test_a_client_that_does_not_read_is_cut(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    app = Application()
    ours, theirs = trio.testing.lockstep_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(Connection(app, theirs, lambda: SMALL).run)
        await ours.send_all(get("/floods"))
    assert app.events == ["cancelled"]
    assert [record.message for record in caplog.records] == ["api_answer_cut"]
    await ours.aclose()


async def test_settings_hold_from_the_next_request_on(autojump_clock: trio.testing.MockClock) -> None:
    limits = [ApiSettings(body_bytes=2048, idle_seconds=1), SMALL]
    ours, theirs = trio.testing.memory_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(Connection(Application(), theirs, lambda: limits[-1]).run)
        await ours.send_all(post(bytes(1024)))
        await ours.receive_some()
        limits.pop()
        await ours.send_all(post(bytes(2048)))
        assert (await ours.receive_some()).endswith(bytes(2048))
        await ours.aclose()


# -- however it is cut into pieces -------------------------------------------------------------------------------------------

_STREAMS = [
    post(b"one") + get("/echo", "Transfer-Encoding: chunked", method="POST") + b"3\r\ntwo\r\n1\r\n!\r\n0\r\n\r\n" + BYE,
    get("/unread", method="HEAD") + get("/parts") + post(b"x" * 900, path="/unread") + b"garbage\r\n\r\n",
    get("/raises-after") + get("/empty") + get("/raises"),
    post(b"x" * 300)
    + b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\n400\r\n"
    + bytes(1024),
    b"GET /unread HTTP/1.1\r\nHost: x\r\nA: " + b"a" * (HEAD_BYTES - 41) + b"\r\n\r\n" + BYE,
]
_METHODS = [["GET"] * 3, ["HEAD", "GET", "GET", "GET"], ["GET"] * 3, ["GET"] * 2, ["GET"] * 2]


def _told(pieces: list[bytes], methods: list[str]) -> list[tuple[int, bytes, bool]]:
    received = b""

    async def main() -> None:
        nonlocal received
        received = await talk(*pieces)

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
    told = []
    for answer in answers(received, methods):
        # Ids differ.
        body = answer.problem["detail"].encode() if "problem" in answer.headers.get("content-type", "") else answer.body
        told.append((answer.status, body, answer.whole))
    return told


@pytest.fixture(autouse=True)
def _quiet_log(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    with caplog.at_level(logging.WARNING, "roomcast.api"):
        yield


@pytest.mark.parametrize("index", range(len(_STREAMS)))
def test_however_requests_are_cut_into_pieces_their_answers_are_the_same(index: int) -> None:
    stream, methods = _STREAMS[index], _METHODS[index]
    whole = _told([stream], methods)
    assert len(whole) == len(methods)

    @settings(deadline=None)
    @given(st.lists(st.integers(1, len(stream) - 1), max_size=12, unique=True).map(sorted))
    def check(cuts: list[int]) -> None:
        borders = [0, *cuts, len(stream)]
        assert _told([stream[start:end] for start, end in pairwise(borders)], methods) == whole

    check()


@settings(deadline=None)
@given(st.binary(max_size=200), st.sampled_from([b"", b"GET / HTTP/1.1\r\n", b"POST /echo HTTP/1.1\r\nHost: x\r\n"]))
def test_garbage_never_gets_beyond_its_connection(garbage: bytes, before: bytes) -> None:
    async def main() -> None:
        received = await talk(before + garbage, close=True)
        assert received == b"" or received.startswith(b"HTTP/1.1 ")

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
