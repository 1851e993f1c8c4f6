"""How deliveries are counted in a comparison with peers, without sockets: texts, the learnt order, readers, dialects."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Raw

from bench.generator.wire import BINARY, PING, TEXT, WireError, server_frame
from bench.peers.dialects import Centrifugo, Dialect, Roomcast
from bench.peers.order import Audience, Claims, Reader, Tally
from bench.peers.payload import PAYLOAD_BYTES_MIN, Claim, Payloads
from engine.schema import MSGPACK, Author, Batch, CommentEvent, Gap, Snapshot, handle_of

PAYLOADS = Payloads(7)
NOTICE = b"#notice"


def decode(payload: bytes) -> Claims | None:
    """The plain dialect, and one message that carries no texts."""
    texts = None if payload == NOTICE else Dialect().unwrap(payload)
    return None if texts is None else PAYLOADS.read_all(texts)


def audience() -> Audience:
    """One with a clock that stands still."""
    return Audience(decode, lambda: 5_000_000_000)


def text(publisher: int, sequence: int) -> str:
    """One message."""
    return PAYLOADS.write(Claim(publisher, sequence, 4_000_000_000), 60)


def frame(*messages: tuple[int, int]) -> bytes:
    """One frame: a single text, or an array of several."""
    texts = [text(*message) for message in messages]
    return server_frame(TEXT, texts[0].encode() if len(texts) == 1 else json.dumps(texts).encode())


def counts(tally: Tally) -> tuple[int, int, int, int]:
    """Deliveries and faults."""
    return tally.deliveries, tally.doubled, tally.reordered, tally.altered


class Listener(Reader):
    """Remembers what is no data."""

    def __init__(self, shared: Audience) -> None:
        super().__init__(shared)
        self.heard: list[bytes] = []

    def on_control(self, opcode: int, payload: bytes) -> None:
        assert opcode == PING
        self.heard.append(payload)

    def on_other(self, payload: bytes) -> None:
        self.heard.append(payload)


FRAMES = [frame((1, 1)), frame((2, 1), (3, 1)), frame((1, 2))]
PUBLISHED = {1: 2, 2: 1, 3: 1}


def test_a_text_tells_its_claim_and_has_the_length_asked_for() -> None:
    for size in (PAYLOAD_BYTES_MIN, 100, 16_000):
        claim = Claim(12_345, 678, 10**18)
        written = PAYLOADS.write(claim, size)
        assert len(written.encode()) == size
        assert PAYLOADS.read(written) == claim
        assert json.loads(json.dumps(written)) == written
        assert len(json.dumps(written)) == size + 2


def test_an_altered_text_is_recognised_wherever_it_is_altered() -> None:
    written = text(3, 4)
    for place, letter in enumerate(written):
        altered = written[:place] + ("x" if letter != "x" else "y") + written[place + 1 :]
        assert PAYLOADS.read(altered) is None
    assert PAYLOADS.read(written[:-1]) is None
    assert PAYLOADS.read(written + " ") is None
    assert Payloads(8).read(written) is None
    assert PAYLOADS.read("") is None


def test_followers_are_counted_however_their_bytes_are_cut() -> None:
    shared = audience()
    stream = b"".join(FRAMES)
    first, whole, single, pairs = (Reader(shared) for _ in range(4))
    for one in FRAMES:
        first.feed(one)
    whole.feed(stream)
    for byte in stream:
        single.feed(bytes([byte]))
    for start in range(0, len(stream), 7):
        pairs.feed(stream[start : start + 7])
    readers = [first, whole, single, pairs]
    assert [reader.received for reader in readers] == [4] * 4
    assert all(reader.own is None for reader in readers)
    tally = shared.settle()
    assert counts(tally) == (16, 0, 0, 0)
    assert (tally.frames, tally.wire_bytes) == (12, 4 * len(stream))
    assert tally.latency.total == 16
    assert tally.latency.quantile(0.5) == pytest.approx(1_000_000, rel=0.01)
    assert shared.missing(readers, PUBLISHED) == {}


def test_the_first_to_learn_may_read_byte_by_byte() -> None:
    shared = audience()
    slow, fast = Reader(shared), Reader(shared)
    for byte in b"".join(FRAMES):
        slow.feed(bytes([byte]))
    fast.feed(b"".join(FRAMES))
    assert counts(shared.settle()) == (8, 0, 0, 0)
    assert slow.own is None


@pytest.mark.parametrize(
    ("received", "distinct", "doubled", "reordered"),
    [
        ([0, 2], 2, 0, 0),
        ([0, 1], 3, 0, 0),
        ([0, 1, 1, 2], 4, 2, 0),
        ([1, 0, 2], 4, 0, 0),
        ([2, 1, 0], 4, 0, 1),
        ([], 0, 0, 0),
    ],
)
def test_one_viewer_among_others_is_counted_by_what_it_got(
    received: list[int], distinct: int, doubled: int, reordered: int
) -> None:
    shared = audience()
    usual, other = Reader(shared), Reader(shared)
    usual.feed(b"".join(FRAMES))
    for number in received:
        other.feed(FRAMES[number])
    assert counts(shared.settle()) == (4 + distinct, doubled, reordered, 0)
    assert shared.missing([usual, other], PUBLISHED) == ({1: 4 - distinct} if distinct < 4 else {})


def test_faults_of_the_viewer_that_was_first_are_not_held_against_the_others() -> None:
    shared = audience()
    broken, *others = (Reader(shared) for _ in range(3))
    broken.feed(FRAMES[0] + FRAMES[0] + FRAMES[2])
    for reader in others:
        reader.feed(b"".join(FRAMES))
    assert shared.missing([broken, *others], PUBLISHED) == {0: 2}
    assert counts(shared.settle()) == (2 + 4 + 4, 1, 0, 0)


def test_an_altered_text_counts_as_altered_and_as_lost() -> None:
    shared = audience()
    usual, other = Reader(shared), Reader(shared)
    usual.feed(FRAMES[0])
    other.feed(FRAMES[0][:-1] + b"?")
    assert counts(shared.settle()) == (1, 0, 0, 1)
    assert shared.missing([usual, other], {1: 1}) == {1: 1}


def test_frames_without_texts_and_pings_may_come_in_between_for_some() -> None:
    shared = audience()
    disturbed, quiet = Listener(shared), Listener(shared)
    quiet.feed(b"".join(FRAMES))
    ping, notice = server_frame(PING, b"p"), server_frame(TEXT, NOTICE)
    data = FRAMES[0] + ping + FRAMES[1] + notice + notice + FRAMES[2]
    for start in range(0, len(data), 11):
        disturbed.feed(data[start : start + 11])
    assert disturbed.heard == [b"p", NOTICE, NOTICE]
    assert disturbed.own is None
    tally = shared.settle()
    assert counts(tally) == (8, 0, 0, 0)
    assert (tally.frames, tally.other_frames) == (6, 2)


def test_what_is_no_websocket_is_refused() -> None:
    with pytest.raises(WireError):
        Reader(audience()).feed(b"\xff\xff\xff\xff")
    with pytest.raises(WireError, match="compress"):
        Reader(audience()).feed(b"\xc1\x01x")


def test_a_mark_begins_anew_and_keeps_positions() -> None:
    shared = audience()
    reader = Reader(shared)
    reader.feed(FRAMES[0])
    shared.mark()
    reader.feed(FRAMES[1])
    assert shared.settle().deliveries == 2
    shared.mark()
    assert shared.past.deliveries == 3
    merged = Tally()
    merged.merge(shared.past.dump())
    merged.merge(shared.past.dump())
    assert (merged.deliveries, merged.latency.total) == (6, 6)


def test_orders_of_two_processes_are_compared_by_their_messages_not_their_frames() -> None:
    one, same, other = audience(), audience(), audience()
    Reader(one).feed(frame((1, 1)) + frame((2, 1)))
    Reader(same).feed(frame((1, 1), (2, 1)))
    Reader(other).feed(frame((2, 1)) + frame((1, 1)))
    assert one.order.digest() == same.order.digest() != other.order.digest()


MESSAGES = [(publisher, sequence) for sequence in (1, 2, 3) for publisher in (1, 2)]
heard = st.lists(st.sampled_from(MESSAGES), max_size=9) | st.just(MESSAGES)


def model(seen: Sequence[tuple[int, int]]) -> tuple[int, int, int]:
    """Distinct, doubled and reordered messages of one viewer, from the definitions."""
    distinct = list(dict.fromkeys(seen))
    late = [
        message
        for place, message in enumerate(distinct)
        if any(other[0] == message[0] and other[1] > message[1] for other in distinct[:place])
    ]
    return len(distinct), len(seen) - len(distinct), len(late)


@settings(max_examples=200, deadline=None)
@given(viewers=st.lists(heard, min_size=1, max_size=4), data=st.data())
def test_any_viewers_with_any_cuts_are_counted_as_a_plain_model_counts_them(
    viewers: list[list[tuple[int, int]]], data: st.DataObject
) -> None:
    shared = audience()
    readers = [Reader(shared) for _ in viewers]
    pieces = []
    for number, seen in enumerate(viewers):
        edges = sorted({0, len(seen), *data.draw(st.lists(st.integers(0, len(seen)), max_size=3))})
        stream = b"".join(frame(*seen[low:high]) for low, high in pairwise(edges))
        cuts = sorted({0, len(stream), *data.draw(st.lists(st.integers(0, len(stream)), max_size=5))})
        pieces.append([(number, stream[low:high]) for low, high in pairwise(cuts)])
    turns = data.draw(st.permutations([number for number, some in enumerate(pieces) for _ in some]))
    for number in turns:
        _, piece = pieces[number].pop(0)
        readers[number].feed(piece)
    models = [model(seen) for seen in viewers]
    assert counts(shared.settle()) == (*(sum(column) for column in zip(*models, strict=True)), 0)
    assert [reader.received for reader in readers] == [distinct for distinct, _, _ in models]
    missing = {number: 6 - distinct for number, (distinct, _, _) in enumerate(models) if distinct < 6}
    assert shared.missing(readers, {1: 3, 2: 3}) == missing
    assert shared.tally.latency.total == shared.tally.deliveries


def test_the_plain_dialect_carries_one_text_or_many() -> None:
    dialect = Dialect()
    texts = [text(1, 1), text(2, 1)]
    single = dialect.publish(texts, batched=False)
    assert [dialect.unwrap(payload) for _, payload in single] == [[texts[0]], [texts[1]]]
    ((opcode, payload),) = dialect.publish(texts, batched=True)
    assert opcode == TEXT
    assert dialect.unwrap(payload) == texts
    for wrong in (b"[1]", b"[", b"\xff"):
        with pytest.raises((ValueError, TypeError)):
            dialect.unwrap(wrong)


def test_the_engines_dialect_reads_what_the_schema_says() -> None:
    dialect = Roomcast()
    handle = handle_of("room")
    texts = [text(1, 1), text(2, 1)]
    events = [Raw(MSGPACK.encode(CommentEvent(Author("u"), 1, one))) for one in texts]
    assert dialect.unwrap(MSGPACK.encode(Batch(handle, 1, 1, 2, 0, events))) == texts
    assert dialect.unwrap(MSGPACK.encode(Batch(handle, 1, 3, 2, 0, []))) is None
    snapshot = MSGPACK.encode(Snapshot(handle, "room", 1, 0, 0, (), 25_000))
    assert dialect.unwrap(snapshot) is None
    assert dialect.welcomes(snapshot)
    assert dialect.admitted(snapshot) == 0
    assert dialect.admitted(MSGPACK.encode(Gap(handle, 1, 3, 7, "lag"))) == 5
    for batched in (False, True):
        messages = dialect.publish(texts, batched=batched)
        assert [opcode for opcode, _ in messages] == [BINARY, BINARY]
        assert [MSGPACK.decode(payload).body for _, payload in messages] == texts  # type: ignore[union-attr]  # comments


def test_centrifugos_dialect_reads_replies_and_pushes_that_share_a_frame() -> None:
    dialect = Centrifugo()
    texts = [text(1, 1), text(2, 1), text(1, 2)]
    pushes = [{"push": {"channel": "room", "pub": {"data": data}}} for data in (texts[0], texts[1:])]
    payload = b"\n".join(json.dumps(one).encode() for one in ({"id": 3, "publish": {}}, *pushes))
    assert dialect.unwrap(payload) == texts
    welcome = b'{"id":1,"connect":{"client":"x","ping":25}}\n{"id":2,"subscribe":{}}'
    assert dialect.unwrap(welcome) is None
    assert dialect.welcomes(welcome)
    assert not dialect.welcomes(b'{"id":2,"error":{"code":103,"message":"permission denied"}}')
    assert dialect.answer(b"{}") == (TEXT, b"{}")
    assert dialect.answer(welcome) is None
    (_, batched), *more = dialect.publish(texts, batched=True)
    assert json.loads(batched)["publish"]["data"] == texts
    assert not more
    assert [json.loads(one)["publish"]["data"] for _, one in dialect.publish(texts, batched=False)] == texts
