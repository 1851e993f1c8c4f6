"""A node in an asyncio loop: the same object, awaitable there, and nothing that happens to either side is lost on the other."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio

import engine
from engine.backend import Carry
from engine.embedding.hosted import EmbeddedNode
from engine.errors import Close, Code, Refused, RoomcastError
from engine.hooks.values import Question, Refuse
from engine.hub.notices import Unread
from engine.hub.spending import Spend
from engine.settings import ApiSettings, EdgeSettings, LedgerSettings, NodeSettings

from .hosts import GENEROUS, HASTY, LOOPS, SETTINGS, program, viewing

Run = Callable[[Coroutine[Any, Any, None]], None]


@pytest.fixture(params=LOOPS)
def run(request: pytest.FixtureRequest) -> Run:
    """Runs a coroutine in an asyncio loop, within a generous time."""
    loop = LOOPS[request.param]

    async def bounded(main: Coroutine[Any, Any, None]) -> None:
        async with asyncio.timeout(GENEROUS):
            await main

    return lambda main: loop(bounded(main))


def carry(node: EmbeddedNode) -> Carry:
    return node._carry


class Sleeper:
    """Something in trio that takes for ever.

    :ivar events: ``began``, ``cancelled``, ``over``.
    """

    def __init__(self) -> None:
        self.events: list[str] = []
        self.began = asyncio.Event()

    async def __call__(self) -> None:
        self.events.append("began")
        self.began.set()
        try:
            await trio.sleep_forever()
        except trio.Cancelled:
            self.events.append("cancelled")
            with trio.CancelScope(shield=True):
                await trio.sleep(0.01)
            self.events.append("over")
            raise


def test_a_node_serves_its_viewers_and_the_program_around_it(run: Run) -> None:
    async def main(visitors: AsyncExitStack) -> None:
        async with engine.embed(SETTINGS) as node:
            viewer = await visitors.enter_async_context(viewing(node.url))
            room = node.room("大厅")
            assert await room.comment("你好") == 1
            await viewer.hear("你好")
            await viewer.comment("你也好")
            assert [past.event[-1] async for past in room.history()] == ["你好", "你也好"]
            assert [line.room for line in node.rooms()] == ["大厅"]
            node.like("大厅", 3)
            assert node.counters("大厅") is not None
            assert (await room.statistics()).offset == 2
            assert node.statistics().hub.viewers == 1
            assert node.addresses[0][1] > 0
            assert await node.ready()
        assert await viewer.closed() == Close.SHUTDOWN
        assert node.statistics().hub.events_published == 2
        with pytest.raises(RoomcastError, match="ended"):
            await room.comment("nobody is there")

    async def with_visitors() -> None:
        async with AsyncExitStack() as visitors:
            await main(visitors)

    run(with_visitors())


def test_two_nodes_in_one_loop(run: Run) -> None:
    async def serve(text: str, others: asyncio.Barrier) -> None:
        async with engine.embed(SETTINGS) as node:
            async with viewing(node.url) as viewer:
                await others.wait()
                await node.comment("大厅", text)
                await viewer.hear(text)
                await others.wait()
            assert node.statistics().hub.events_published == 1

    async def main() -> None:
        for _ in range(2):  # the second time in a loop in which trio has been before
            barrier = asyncio.Barrier(2)
            await asyncio.gather(serve("one", barrier), serve("two", barrier))

    run(main())


def test_one_begins_while_the_last_one_ends(run: Run) -> None:
    async def one() -> None:
        async with engine.embed(SETTINGS) as node:
            await node.comment("大厅", "?")

    async def main() -> None:
        for _ in range(3):
            first = asyncio.create_task(one())
            while not first.done():
                second = asyncio.create_task(one())
                await asyncio.sleep(0)
                await second
            await first

    run(main())


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (replace(SETTINGS, node=NodeSettings(workers=2)), "node.workers"),
        (replace(SETTINGS, edge=EdgeSettings(host="192.0.2.1")), "edge.host"),
        (replace(SETTINGS, edge=EdgeSettings(port=-1)), "edge.port"),
    ],
)
def test_what_keeps_a_node_from_starting_is_raised_and_leaves_nothing_behind(
    settings: engine.Settings, told: str, run: Run
) -> None:
    async def main() -> None:
        async with engine.embed(SETTINGS) as other:
            with pytest.raises(RoomcastError, match=told):
                await engine.embed(settings).__aenter__()
            assert await other.comment("大厅", "still here") == 1
        with pytest.raises(RoomcastError, match=told):
            async with engine.embed(settings):
                pytest.fail("it must not be entered")
        same = replace(SETTINGS, edge=EdgeSettings(port=other.addresses[0][1]))
        async with engine.embed(same):
            with pytest.raises(RoomcastError, match="another process listens there"):
                await engine.embed(same).__aenter__()

    run(main())


def test_settings_come_from_a_file_and_are_read_again(tmp_path: Path, run: Run) -> None:
    file = tmp_path / "roomcast.toml"
    text = '[edge]\nport = 0\n[ledger]\nurl = ""\n[limits]\ncomments_burst = {}\n'

    async def main() -> None:
        file.write_text(text.format(7))
        async with engine.embed(file) as node:
            assert node.settings.limits.comments_burst == 7
            file.write_text(text.format(8))
            assert (await node.reload()).changed == ["limits.comments_burst"]
            assert node.settings.limits.comments_burst == 8
        with pytest.raises(RoomcastError):
            await engine.embed(str(tmp_path / "missing.toml")).__aenter__()

    run(main())


# -- calls -------------------------------------------------------------------------------------------------------------------


def test_exceptions_pass_as_they_are(run: Run) -> None:
    error = ValueError("the very same")

    async def fails() -> None:
        raise error

    async def main() -> None:
        async with engine.embed(SETTINGS) as node:
            with pytest.raises(Refused) as refused:
                await node.room("\n").comment("where?")
            assert refused.value.code is Code.BAD_ROOM
            with pytest.raises(ValueError, match="same") as caught:
                await carry(node)(fails)
            assert caught.value is error

    run(main())


def test_a_cancelled_task_cancels_what_it_waits_for_and_waits_for_that(run: Run) -> None:
    async def main() -> None:
        sleeper = Sleeper()
        async with engine.embed(SETTINGS) as node:
            task = asyncio.ensure_future(carry(node)(sleeper))
            await sleeper.began.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert sleeper.events == ["began", "cancelled", "over"]
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01):
                    await carry(node)(trio.sleep_forever)
            assert await node.comment("大厅", "all is well") == 1

    run(main())


def test_a_call_that_outlives_the_node_gets_an_error(run: Run) -> None:
    async def main() -> None:
        sleeper = Sleeper()
        async with engine.embed(SETTINGS) as node:
            task = asyncio.ensure_future(carry(node)(sleeper))
            await sleeper.began.wait()
        with pytest.raises(RoomcastError, match="ended"):
            await task

    run(main())


def test_a_node_that_ends_by_itself_ends_the_block_and_no_other(run: Run) -> None:
    async def breaks() -> None:
        raise ZeroDivisionError

    async def main() -> None:
        sleeper = Sleeper()
        async with engine.embed(SETTINGS) as other:
            with pytest.raises(ExceptionGroup) as caught:  # noqa: PT012 - the block is what is tested
                async with engine.embed(HASTY) as node:
                    task = asyncio.ensure_future(carry(node)(sleeper))
                    await sleeper.began.wait()
                    # The hub's own task, whose failure is that of the node.
                    node._hub._spawn(breaks)
                    await asyncio.sleep(GENEROUS)
            assert caught.group_contains(ZeroDivisionError)
            with pytest.raises(RoomcastError, match="ended") as gone:
                await task
            assert gone.value.__cause__ is caught.value
            task_now = asyncio.current_task()
            assert task_now is not None
            assert not task_now.cancelling()
            assert await other.comment("大厅", "not my business") == 1

    run(main())


def test_a_cancelled_block_stops_the_node_in_order(run: Run) -> None:
    async def main() -> None:
        entered = asyncio.Event()
        codes: list[int] = []

        async def serve() -> None:
            async with engine.embed(SETTINGS) as node, viewing(node.url) as viewer:
                entered.set()
                try:
                    await asyncio.sleep(GENEROUS)
                finally:
                    watched.append(asyncio.ensure_future(watch(viewer)))
                    await asyncio.sleep(0)

        async def watch(viewer: Any) -> None:
            codes.append(await viewer.closed())

        watched: list[asyncio.Future[None]] = []
        task = asyncio.create_task(serve())
        await entered.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await watched[0]
        assert codes

    run(main())


def test_its_http_api_runs_beside_it_as_well(run: Run) -> None:
    async def main() -> None:
        settings = replace(SETTINGS, api=ApiSettings(enabled=True, port=0))
        async with engine.embed(settings) as node, httpx.AsyncClient(base_url=node.api_url) as client:
            assert (await client.get("/health/ready")).status_code == 200

    run(main())


def test_cancelled_while_it_opens(run: Run) -> None:
    async def main() -> None:
        async with engine.embed(SETTINGS) as other:
            for turns in range(12):
                task = asyncio.create_task(engine.embed(SETTINGS).__aenter__())
                for _ in range(turns):
                    await asyncio.sleep(0)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
            assert await other.comment("大厅", "still here") == 1

    run(main())


def test_a_call_from_another_loop_is_refused(run: Run) -> None:
    async def main() -> None:
        async with engine.embed(SETTINGS) as node:
            with pytest.raises(RuntimeError, match="another loop"):
                await asyncio.to_thread(asyncio.run, node.comment("大厅", "lost"))

    run(main())


# -- hooks -------------------------------------------------------------------------------------------------------------------


def test_hooks_run_in_the_host_s_loop(run: Run) -> None:
    async def main() -> None:
        asked: list[str] = []
        unread: asyncio.Queue[Unread] = asyncio.Queue()

        async def judge(question: Question) -> Refuse | None:
            await asyncio.sleep(0)
            asked.append(question.body)
            return Refuse("not here") if "spam" in question.body else None

        async def tell(what: Unread) -> None:
            await asyncio.sleep(0)
            unread.put_nowait(what)

        async with engine.embed(SETTINGS) as node, viewing(node.url) as viewer:
            node.before("comment", judge)
            node.on_unread = tell
            assert node.on_unread is tell
            assert (await viewer.comment("hello"))[2] == Code.OK
            assert (await viewer.comment("spam"))[2] == Code.DECLINED
            assert asked == ["hello", "spam"]
            node.before("comment", lambda question: asked.append("sync"))
            assert (await viewer.comment("spam"))[2] == Code.OK
            assert asked[-1] == "sync"
            node.before("comment", None)
            await node.room("大厅").notice("read this", receipts=True, deadline_seconds=0.05)
            assert (await unread.get()).room == "大厅"
            node.on_unread = None

    run(main())


def test_who_is_asked_for_money_answers_in_the_host_s_loop(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    purchase = Spend("大厅", "anna", "k1", "rose", 1, 10, "")

    async def main() -> None:
        bank = asyncio.Lock()

        async def charge(spend: Spend) -> str | None:
            async with bank:
                return "no money left" if spend.amount > 5 else None

        async with engine.embed(SETTINGS) as node:
            node.on_spend = charge
            assert node.on_spend is charge
            with pytest.raises(Refused) as refused:
                await carry(node)(node._hub.money.spending.ask, purchase)
            assert (refused.value.code, refused.value.text) == (Code.UNPAID, "no money left")
        impatient = replace(SETTINGS, ledger=LedgerSettings(url="", spend_seconds=0.01))
        async with engine.embed(impatient) as node, bank:
            node.on_spend = charge
            with pytest.raises(Refused) as refused:
                await carry(node)(node._hub.money.spending.ask, purchase)
            assert refused.value.code is Code.UNAVAILABLE

    run(main())
    warnings = [record.message for record in caplog.records if record.levelno >= logging.WARNING]
    assert warnings == ["spend_hook_slow"]


def test_a_hook_that_takes_too_long_is_cancelled_and_one_that_fails_is_no_ones_end(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        events: list[str] = []

        async def slow(_: Any) -> None:
            try:
                await asyncio.sleep(GENEROUS)
            except asyncio.CancelledError:
                events.append("cancelled")
                await asyncio.sleep(0.01)
                events.append("over")
                raise

        async def fails(_: Any) -> None:
            raise ZeroDivisionError

        async def cancels_itself(_: Any) -> None:
            raise asyncio.CancelledError

        async with engine.embed(SETTINGS) as node:
            hosted = node._hosted(slow)

            async def limited(hook: Callable[[Any], Awaitable[Any]]) -> None:
                with trio.move_on_after(0.01):
                    await hook(None)

            await carry(node)(limited, hosted)
            assert "over" not in events
            with pytest.raises(ZeroDivisionError):
                await carry(node)(node._hosted(fails), None)
            with pytest.raises(RoomcastError, match="cancelled"):
                await carry(node)(node._hosted(cancels_itself), None)
        assert events == ["cancelled", "over"]
        assert node.on_spend is None

    run(main())


# -- hosts that end ----------------------------------------------------------------------------------------------------------

_BEGIN = """
import asyncio, logging, sys
import engine
from engine.settings import *
logging.basicConfig(format="%(levelname)s %(message)s")
SETTINGS = Settings(edge=EdgeSettings(port=0), ledger=LedgerSettings(url=""), node=NodeSettings(return_window_seconds=0))
block = engine.embed(SETTINGS)
"""


def test_a_loop_that_ends_before_the_block_is_reported_and_hangs_nothing() -> None:
    left = program(
        _BEGIN
        + """
async def main():
    await block.__aenter__()
asyncio.run(main())
print("ended", flush=True)
"""
    )
    again = program(
        _BEGIN
        + """
loop = asyncio.new_event_loop()
loop.run_until_complete(block.__aenter__())
async def main():
    try:
        await engine.embed(SETTINGS).__aenter__()
    except engine.RoomcastError as error:
        print(error, flush=True)
asyncio.run(main())
loop.close()
"""
    )
    output, errors = left.communicate(timeout=GENEROUS)
    assert (output, left.returncode) == ("ended\n", 0)
    assert "ERROR node_left_behind" in errors
    assert "host_loop_ended" not in errors
    output, errors = again.communicate(timeout=GENEROUS)
    assert "engine.start" in output
    assert again.returncode == 0
    assert errors.count("ERROR host_loop_ended") == 1


_SERVICE = """
from contextlib import asynccontextmanager

import engine
import uvicorn
from fastapi import FastAPI


@asynccontextmanager
async def lifespan(app):
    async with engine.embed(engine.Settings(edge=engine.settings.EdgeSettings(port=0))) as app.state.node:
        print(app.state.node.url, flush=True)
        yield


app = FastAPI(lifespan=lifespan)


@app.post("/say/{room}")
async def say(room: str, text: str):
    return {"offset": await app.state.node.comment(room, text)}


uvicorn.run(app, port=0, log_level="info")
"""


def test_a_fastapi_application_under_uvicorn_serves_viewers_until_it_is_told_to_stop() -> None:
    server = program(_SERVICE)
    assert server.stdout is not None
    url = server.stdout.readline().strip()

    async def main() -> None:
        async with viewing(url) as viewer:
            await viewer.comment("from a viewer")
            await viewer.hear("from a viewer")
            server.send_signal(signal.SIGTERM)
            assert await viewer.closed() == Close.SHUTDOWN

    try:
        asyncio.run(main())
    finally:
        server.terminate()
    _, errors = server.communicate(timeout=GENEROUS)
    assert "Application shutdown complete" in errors
    assert "Traceback" not in errors


def test_an_interrupted_program_lets_its_viewers_go_in_order() -> None:
    server = program(
        _BEGIN
        + """
async def main():
    async with block as node:
        print(node.url, flush=True)
        await asyncio.sleep(60)
try:
    asyncio.run(main())
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""
    )
    assert server.stdout is not None
    url = server.stdout.readline().strip()

    async def main() -> None:
        async with viewing(url) as viewer:
            server.send_signal(signal.SIGINT)
            assert await viewer.closed() == Close.SHUTDOWN

    asyncio.run(main())
    output, errors = server.communicate(timeout=GENEROUS)
    assert output == "interrupted\n"
    assert "ERROR" not in errors
