"""Micro benchmarks: what one step of the engine costs, without sockets, for whoever changes it.

Owns the cases and how they are timed. Must not be mistaken for the truth: everything here runs hot in a loop, and a live node,
which waits between its steps, takes two to three times as long for the same. Ratios between two versions hold.
"""

from __future__ import annotations

import json
import random
import string
import time
from base64 import b64encode
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any, cast

import trio

from bench import microroom
from bench.generator.corpus import lines
from engine import ws
from engine.brokers.base import Events, Pending, Position
from engine.brokers.memory import MemoryBroker
from engine.hub.wordlists import WordLists
from engine.hub.words import Action, Words
from engine.room.batcher import Batcher, Collected
from engine.room.encoder import encode_batch
from engine.room.log import FrameLog
from engine.room.sequencer import Sequencer
from engine.schema import JSON, MSGPACK, SUBPROTOCOLS, Author, Comment, CommentEvent, Reply
from engine.settings import BrokerSettings, ModerationSettings, RoomSettings, WordList

__all__ = ["CASES", "Case", "Timing", "measure", "to_json"]

_PHRASES = ("主播好厉害", "hello from Berlin 👋", "哈哈哈哈哈", "first time here, love it", "关注了 ❤️", "que lindo!", "666")
_HANDLE = 0x2B3AB174B1B7
_EPOCH = 1_700_000_000_000
_LISTED = 100_000
"""Words in the keyword list, half of them Chinese."""
_COMMENTS = 256
_GROW_SECONDS = 0.02
"""A round is at least so long, so that the clock's resolution and a stray interrupt do not matter."""


@dataclass(frozen=True, slots=True)
class Case:
    """One thing to time.

    :ivar text: what one unit is.
    :ivar units: units in one call of what ``make`` returns.
    :ivar itself: the call measures something itself, once in a round, and returns microseconds.
    """

    text: str
    make: Callable[[random.Random], Callable[[], object]]
    units: int = 1
    itself: bool = False


@dataclass(frozen=True, slots=True)
class Timing:
    """Microseconds of CPU per unit, or of what a case measures itself: median and least of the rounds."""

    name: str
    text: str
    median_us: float
    least_us: float


def _comments(rng: random.Random, count: int) -> list[bytes]:
    author = Author("guest-123456789abc", "小明")
    return [MSGPACK.encode(CommentEvent(author, rng.getrandbits(40), rng.choice(_PHRASES))) for _ in range(count)]


def _batch(rng: random.Random, count: int) -> Collected:
    return Collected(1, count, _comments(rng, count), [_EPOCH] * count)


def _run(coroutine: Coroutine[Any, Any, object]) -> None:
    """Run to the end what never waits: the memory broker's methods."""
    try:
        coroutine.send(None)
    except StopIteration:
        return
    raise RuntimeError("it waited")


def _parse(frames: int) -> Callable[[random.Random], Callable[[], object]]:
    def make(rng: random.Random) -> Callable[[], object]:
        payload = MSGPACK.encode(Comment(7, _HANDLE, rng.choice(_PHRASES)))
        data = b"".join(ws.client_frame(ws.Opcode.BINARY, payload, rng.randbytes(4)) for _ in range(frames))
        parser = ws.Parser(max_message=16_384, deflate=False)
        return lambda: parser.feed(data)

    return make


def _handshake(rng: random.Random) -> Callable[[], object]:
    key = b64encode(rng.randbytes(16)).decode()
    request = (
        "GET /ws HTTP/1.1\r\nHost: live.example.com\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64) Chrome/130.0\r\n"
        "Accept: */*\r\nAccept-Language: zh-CN,zh;q=0.9\r\nAccept-Encoding: gzip, deflate, br\r\nSec-WebSocket-Version: 13\r\n"
        f"Origin: https://live.example.com\r\nSec-WebSocket-Key: {key}\r\nConnection: keep-alive, Upgrade\r\n"
        "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\nPragma: no-cache\r\n"
        "Sec-WebSocket-Protocol: roomcast.v1.msgpack\r\nCache-Control: no-cache\r\nUpgrade: websocket\r\n\r\n"
    ).encode()

    def call() -> object:
        parsed = ws.parse_request(request, limit=16_384)
        assert parsed is not None
        return ws.negotiate(parsed[0], path="/ws", subprotocols=tuple(SUBPROTOCOLS), origins=(), compression=True)

    return call


def _encode(count: int, *variants: int) -> Callable[[random.Random], Callable[[], object]]:
    def make(rng: random.Random) -> Callable[[], object]:
        batch = _batch(rng, count)
        return lambda: encode_batch(_HANDLE, _EPOCH, {0: batch}, (10, 20), {}, 0, variants)

    return make


def _decode(rng: random.Random) -> Callable[[], object]:
    payload = MSGPACK.encode(Comment(7, _HANDLE, rng.choice(_PHRASES)))
    return lambda: MSGPACK.decode(payload)


def _reply(rng: random.Random) -> Callable[[], object]:
    reply = Reply(rng.getrandbits(40), 0, 42)
    return lambda: ws.frame(ws.Opcode.BINARY, MSGPACK.encode(reply))


def _publish(count: int) -> Callable[[random.Random], Callable[[], object]]:
    def make(rng: random.Random) -> Callable[[], object]:
        broker = MemoryBroker(BrokerSettings(), lambda _: None, lambda: _EPOCH)
        _run(broker.subscribe("room"))
        events = _comments(rng, count)
        refs = iter(range(1, 1 << 53))
        return lambda: _run(broker.publish("room", [Pending(event, "s" * 22, next(refs)) for event in events]))

    return make


def _gather(rng: random.Random) -> Callable[[], object]:
    events = _comments(rng, 1)
    sequencer, batcher = Sequencer(Position(_EPOCH, 0)), Batcher(0, RoomSettings())

    def call() -> object:
        for ready in sequencer.accept(Events("room", _EPOCH, sequencer.head + 1, events, [_EPOCH])):
            batcher.add(ready, 0.0, 0.02)
        return batcher.take(0.02)

    return call


def _append(rng: random.Random) -> Callable[[], object]:
    log = FrameLog(_EPOCH, 0, RoomSettings(log_bytes=65_536))
    frames = {0: rng.randbytes(200)}

    def call() -> object:
        log.append(log.head + 1, log.head + 1, frames, 0.0)
        log.trim(log.cutoff(0.0))
        return None

    return call


def _find(rng: random.Random) -> Callable[[], object]:
    log = FrameLog(_EPOCH, 0, RoomSettings())
    for number in range(1, 1001):
        log.append(number, number, {0: b"x" * 200}, 0.0)
    offsets = [rng.randrange(1000) for _ in range(100)]
    return lambda: [log.find(_EPOCH, offset) for offset in offsets]


@lru_cache(maxsize=2)
def _keywords(seed: int) -> list[str]:
    """Words of two to five of the 3,000 first ideographs, and of four to nine letters; none twice."""
    rng = random.Random(seed)
    ideographs = [chr(0x4E00 + number) for number in range(3_000)]
    words: dict[str, None] = {}
    while len(words) < _LISTED:
        alphabet, least, most = (ideographs, 2, 5) if len(words) % 2 else ([*string.ascii_lowercase], 4, 9)
        words["".join(rng.choices(alphabet, k=rng.randint(least, most)))] = None
    return [*words]


@lru_cache(maxsize=1)
def _listed(seed: int, action: Action) -> Words:
    words = Words([action])
    for each in _keywords(seed):
        words.add(each)
    return words


def _check(corpus: str, least: int, most: int, *, matching: bool) -> Callable[[random.Random], Callable[[], object]]:
    def make(rng: random.Random) -> Callable[[], object]:
        seed = rng.getrandbits(32)
        words = _listed(seed, "mask")
        texts: list[str] = []
        while len(texts) < _COMMENTS:
            texts += [each for each in lines(rng, corpus, 1_000) if least <= len(each) <= most and not words.check(each).action]
        if matching:
            mine = [each for each in _keywords(seed) if each.isascii() == (corpus == "english")]
            texts = [f"{each[:8]} {rng.choice(mine)} {each[8:]}" for each in texts]
        del texts[_COMMENTS:]
        return lambda: [words.check(text) for text in texts]

    return make


def _list(rng: random.Random) -> Callable[[], object]:
    keywords, words = _keywords(rng.getrandbits(32)), Words(["block"])

    def call() -> object:
        for each in rng.sample(keywords, 100):
            words.add(each)
        return words.counts

    return call


def _reload(rng: random.Random) -> Callable[[], object]:
    """The longest time beyond a millisecond for which a task that sleeps one was kept waiting."""
    old = _keywords(rng.getrandbits(32))

    async def reload(file: Path) -> float:
        lists = WordLists(ModerationSettings(lists=(WordList(file=str(file)),)))
        _write(file, old)
        await lists.load()
        _write(file, [each[::-1] + each[0] for each in old])
        longest = 0.0

        async def wake() -> None:
            nonlocal longest
            while True:
                asleep = time.perf_counter()
                await trio.sleep(0.001)
                longest = max(longest, time.perf_counter() - asleep - 0.001)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(wake)
            assert await lists.look()
            nursery.cancel_scope.cancel()
        return longest * 1e6

    def call() -> object:
        with TemporaryDirectory() as directory:
            return trio.run(reload, Path(directory) / "words.txt")

    return call


def _write(file: Path, words: list[str]) -> None:
    new = file.with_suffix(".new")
    new.write_text("\n".join(words), encoding="utf-8")
    new.replace(file)


CASES: dict[str, Case] = {
    "parse": Case("a viewer's comment, one masked frame in a read", _parse(1)),
    "parse-10": Case("the same, ten frames in a read", _parse(10), units=10),
    "handshake": Case("a browser's upgrade request, read and answered", _handshake),
    "decode": Case("a comment from MessagePack, validated", _decode),
    "reply": Case("a reply as a finished frame", _reply),
    "publish": Case("an event into the memory broker, alone", _publish(1)),
    "publish-100": Case("the same, a hundred at once", _publish(100), units=100),
    "gather": Case("an event through sequencer and batcher, alone", _gather),
    "encode-1": Case("a batch of one comment, MessagePack", _encode(1, 0)),
    "encode-100": Case("a batch of a hundred comments, MessagePack", _encode(100, 0)),
    "encode-100-json": Case("the same as JSON", _encode(100, JSON.number)),
    "encode-100-deflate": Case("the same as MessagePack, plain and deflated", _encode(100, 0, 2)),
    "append": Case("a frame into the log, and one out", _append),
    "token": Case("a viewer with a token that was verified before", microroom.known_tokens, units=microroom.TOKENS),
    "token-new": Case("a viewer with a token that nobody has seen", microroom.new_tokens, units=microroom.TOKENS),
    "visit": Case("a guest's coming and going, known to edge, hub and broker", microroom.visits, units=microroom.VISITS),
    "snapshot": Case("a room of 50 attributes and 100 events for newcomers, in both codecs", microroom.snapshot),
    "find": Case("the cursor of a returning viewer among a thousand frames", _find, units=100),
    "words-chinese": Case(
        "a Chinese comment of about 15 characters against 100,000 words, none in it",
        _check("chinese", 13, 17, matching=False),
        units=_COMMENTS,
    ),
    "words-english": Case(
        "the same in English, about 60 characters", _check("english", 55, 65, matching=False), units=_COMMENTS
    ),
    "words-chinese-match": Case(
        "the Chinese comment with a word that is masked", _check("chinese", 13, 17, matching=True), units=_COMMENTS
    ),
    "words-english-match": Case(
        "the English comment with a word that is masked", _check("english", 55, 65, matching=True), units=_COMMENTS
    ),
    "words-add": Case("a word into a list", _list, units=100),
    "words-reload": Case("longest pause of the event loop while 100,000 words are replaced", _reload, itself=True),
}


def measure(names: list[str], rounds: int, seed: int) -> Iterator[Timing]:
    """Time the cases, each in ``rounds`` rounds of process CPU time."""
    for name in names:
        case = CASES[name]
        call = case.make(random.Random(seed))
        if case.itself:
            figures = [cast(float, call()) for _ in range(rounds)]
            yield Timing(name, case.text, median(figures), min(figures))
            continue
        calls = 1
        while _seconds(call, calls) < _GROW_SECONDS and calls < 1 << 24:
            calls *= 2
        costs = [_seconds(call, calls) / calls / case.units * 1e6 for _ in range(rounds)]
        yield Timing(name, case.text, median(costs), min(costs))


def _seconds(call: Callable[[], object], calls: int) -> float:
    start = time.process_time()
    for _ in range(calls):
        call()
    return time.process_time() - start


def to_json(timings: list[Timing]) -> str:
    """For machines: microseconds per unit by name."""
    return json.dumps({each.name: {"median_us": each.median_us, "least_us": each.least_us} for each in timings}, indent=2)
