"""The leaderboard of a room, against a ledger that is a plain list: exact whenever it does not say that it is stale."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from engine.hub.givers import KEPT, SHOWN, Board
from engine.ledger.values import Giver

USERS = [f"u{number}" for number in range(9)]


def name(user: str) -> str:
    return user.upper()


def settled(*givers: Giver, shown: int = SHOWN, kept: int = KEPT) -> Board:
    """A board that was read."""
    board = Board(shown, kept)
    board.turn("live")
    board.begin(board.reading(), givers)
    return board


def gave(board: Board, entry: int, user: str, given: int, stream: str = "live") -> None:
    board.gave(entry, user, name(user), given, stream)


# -- single cases -----------------------------------------------------------------------------------------------------


def test_most_first_and_what_is_equal_in_the_order_of_the_ids() -> None:
    board = settled(Giver("b", "B", 5), Giver("a", "A", 3))
    gave(board, 1, "c", 5)
    gave(board, 2, "d", 9)
    assert board.shown() == [("d", "D", 9), ("b", "B", 5), ("c", "C", 5), ("a", "A", 3)]
    assert board.shown(2) == [("d", "D", 9), ("b", "B", 5)]
    assert not board.stale


def test_the_event_with_the_higher_entry_counts_in_whatever_order_they_come() -> None:
    board = settled()
    gave(board, 9, "a", 30)
    gave(board, 7, "a", 20)
    gave(board, 9, "a", 30)
    assert board.shown() == [("a", "A", 30)]


def test_who_comes_with_another_name_is_shown_under_it() -> None:
    board = settled(Giver("a", "A", 5))
    board.gave(1, "a", "Anna", 6, "live")
    assert board.shown() == [("a", "Anna", 6)]


def test_it_tells_whether_it_has_changed() -> None:
    board = settled(Giver("a", "A", 5), Giver("b", "B", 4), shown=2)
    told = [board.changed]
    board.shown()
    # c is not shown; then it is; then it is the same event; then a has more.
    for entry, user, total in ((1, "c", 3), (2, "c", 5), (2, "c", 5), (3, "a", 6)):
        gave(board, entry, user, total)
        told.append(board.changed)
        board.shown()
    assert told == [True, False, True, False, True]
    assert board.shown() == [("a", "A", 6), ("c", "C", 5)]


def test_a_new_board_is_stale_and_empty() -> None:
    board = Board()
    assert (board.shown(), board.stale) == ([], True)
    board.turn("")
    board.begin(board.reading(), [Giver("a", "A", 5)])
    assert (board.shown(), board.stale) == ([("a", "A", 5)], False)
    # A broadcast need have no name.
    gave(board, 1, "a", 6, "")
    assert (board.shown(), board.stale) == ([("a", "A", 6)], False)


def test_another_broadcast_begins_a_new_list() -> None:
    board = settled(Giver("a", "A", 5))
    board.shown()
    board.turn("live")
    assert (board.changed, board.stale) == (False, False)
    board.turn("evening")
    assert (board.changed, board.stale, board.stream) == (True, True, "evening")
    assert board.shown() == []
    assert board.reading().stream == "evening"


def test_what_was_read_for_another_broadcast_is_not_taken() -> None:
    board = settled()
    reading = board.reading()
    board.turn("evening")
    board.begin(reading, [Giver("a", "A", 5)])
    assert (board.shown(), board.stale) == ([], True)


def test_of_several_reads_the_last_counts() -> None:
    board = settled()
    first, second = board.reading(), board.reading()
    board.begin(first, [Giver("a", "A", 5)])
    assert board.shown() == []
    board.begin(second, [Giver("a", "A", 6)])
    board.begin(second, [Giver("a", "A", 7)])
    assert board.shown() == [("a", "A", 6)]


def test_another_broadcasts_gifts_and_corrections_are_not_of_this_one() -> None:
    board = settled(Giver("a", "A", 5_000))
    board.turn("evening")
    board.begin(board.reading(), [])
    gave(board, 7, "a", 5_010)
    board.corrected(8, "live")
    assert (board.shown(), board.stale) == ([], False)
    gave(board, 9, "a", 10, "evening")
    assert (board.shown(), board.stale) == ([("a", "A", 10)], False)


def test_what_came_before_its_broadcast_was_known_is_not_lost_and_not_undone() -> None:
    board = settled()
    gave(board, 7, "a", 20, "evening")
    board.turn("evening")
    board.begin(board.reading(), [Giver("a", "A", 20)])
    gave(board, 6, "a", 10, "evening")
    assert (board.shown(), board.stale) == ([("a", "A", 20)], False)


def test_a_correction_is_read() -> None:
    board = settled(Giver("a", "A", 5), Giver("b", "B", 4))
    board.corrected(3, "live")
    assert (board.shown(1), board.stale) == ([("a", "A", 5)], True)
    reading = board.reading()
    gave(board, 4, "b", 6)
    board.begin(reading, [Giver("b", "B", 4), Giver("a", "A", 1)])
    assert (board.shown(), board.stale) == ([("b", "B", 6), ("a", "A", 1)], False)
    # Late: the read has told of them.
    gave(board, 2, "a", 5)
    board.corrected(3, "live")
    assert (board.shown(), board.stale) == ([("b", "B", 6), ("a", "A", 1)], False)
    board.corrected(6, "live")
    board.begin(board.reading(), [Giver("b", "B", 6)])
    gave(board, 5, "a", 3)
    assert (board.shown(), board.stale) == ([("b", "B", 6)], False)


def test_a_correction_while_the_ledger_is_read_needs_another_read() -> None:
    board = settled(Giver("a", "A", 5))
    board.corrected(3, "live")
    reading = board.reading()
    board.corrected(4, "live")
    board.begin(reading, [Giver("a", "A", 3)])
    assert board.stale
    board.begin(board.reading(), [Giver("a", "A", 2)])
    assert (board.shown(), board.stale) == ([("a", "A", 2)], False)


def test_a_read_that_failed_leaves_it_stale() -> None:
    board = settled(Giver("a", "A", 5))
    board.doubt()
    told = []
    board.reading()
    told.append(board.stale)
    board.begin(board.reading(), [])
    assert [*told, board.stale] == [True, False]


def test_who_has_nothing_left_is_not_shown() -> None:
    assert settled(Giver("a", "A", 5), Giver("b", "B", 0)).shown() == [("a", "A", 5)]


def test_it_is_read_again_when_somebody_unknown_could_be_among_the_shown() -> None:
    # Two of more were read, and the ledger has another sum of one of them now than when it was read.
    board = settled(Giver("a", "A", 9), Giver("b", "B", 8), shown=2, kept=2)
    assert (board.shown(), board.stale) == ([("a", "A", 9), ("b", "B", 8)], False)
    gave(board, 1, "a", 7)
    assert (board.shown(), board.stale) == ([("b", "B", 8), ("a", "A", 7)], True)
    board.begin(board.reading(), [Giver("b", "B", 8), Giver("c", "C", 8)])
    assert (board.shown(), board.stale) == ([("b", "B", 8), ("c", "C", 8)], False)


def test_it_is_read_again_when_somebody_dropped_could_be_among_the_shown() -> None:
    board = settled(Giver("a", "A", 9), shown=1, kept=1)
    for entry, user, total in ((2, "b", 8), (3, "c", 7)):
        gave(board, entry, user, total)
    assert (len(board), board.stale) == (1, False)
    # The read knew more than the stream does yet.
    gave(board, 1, "a", 6)
    assert (board.shown(), board.stale) == ([("a", "A", 6)], True)


def test_when_all_is_read_those_who_have_nothing_left_hide_nobody() -> None:
    board = settled(Giver("a", "A", 9), Giver("b", "B", 0), shown=2, kept=2)
    assert (board.shown(), board.stale) == ([("a", "A", 9)], False)


def test_what_was_dropped_while_the_ledger_was_read_is_not_forgotten() -> None:
    board = settled(shown=1, kept=1)
    for entry, user, total in ((1, "a", 9), (2, "b", 8)):
        gave(board, entry, user, total)
    board.corrected(3, "live")
    reading = board.reading()
    # a has lost what it had; c comes, and is dropped for it.
    gave(board, 4, "c", 7)
    board.begin(reading, [Giver("b", "B", 2)])
    assert (board.shown(), board.stale) == ([("b", "B", 2)], True)
    board.begin(board.reading(), [Giver("c", "C", 7)])
    assert (board.shown(), board.stale) == ([("c", "C", 7)], False)


def test_it_keeps_a_bounded_number_of_lines() -> None:
    board = settled(shown=3, kept=5)
    for entry in range(1, 1_000):
        gave(board, entry, f"{entry % 100:02}", entry)
        assert len(board) <= 10
    assert board.shown() == [(f"{99 - at}", f"{99 - at}", 999 - at) for at in range(3)]
    assert not board.stale


@given(st.lists(st.tuples(st.sampled_from(USERS), st.integers(1, 5)), max_size=80), st.randoms())
def test_gifts_alone_need_no_second_read(gifts: list[tuple[str, int]], random: st.DataObject) -> None:
    sums: dict[str, int] = {}
    events = []
    for entry, (user, amount) in enumerate(gifts, 1):
        sums[user] = sums.get(user, 0) + amount
        events.append((entry, user, sums[user]))
    random.shuffle(events)  # type: ignore[attr-defined]
    board = settled(shown=2, kept=3)
    for event in events:
        gave(board, *event)
        assert not board.stale
    best = sorted(sums, key=lambda user: (-sums[user], user))[:2]
    assert board.shown() == [(user, name(user), sums[user]) for user in best]


# -- any interleaving -------------------------------------------------------------------------------------------------


class Streaming(RuleBasedStateMachine):
    """A ledger of several nodes, a stream that brings its events in any order, and reads that take their time."""

    @initialize(shown=st.integers(1, 3), more=st.integers(0, 2))
    def begin(self, shown: int, more: int) -> None:
        self.kept = shown + more
        self.board = Board(shown, self.kept)
        self.top = shown
        self.streams = ["0"]
        # (stream, user, what is left) of each gift by entry.
        self.gifts: dict[int, list[str | int]] = {}
        self.entry = 0
        self.coming: list[tuple[str, int, str, int, str]] = []
        self.board.turn("0")
        self.board.begin(self.board.reading(), [])

    def sums(self, stream: str) -> dict[str, int]:
        sums: dict[str, int] = {}
        for of, user, left in self.gifts.values():
            if of == stream:
                sums[str(user)] = sums.get(str(user), 0) + int(left)
        return sums

    def givers(self) -> list[Giver]:
        sums = self.sums(self.streams[-1])
        best = sorted(sums, key=lambda user: (-sums[user], user))[: self.kept]
        return [Giver(user, name(user), sums[user]) for user in best]

    @rule(user=st.sampled_from(USERS), amount=st.integers(1, 9), late=st.booleans())
    def give(self, user: str, amount: int, late: bool) -> None:
        # From a node that does not know of the new broadcast yet.
        stream = self.streams[-2] if late and len(self.streams) > 1 else self.streams[-1]
        self.entry += 1
        self.gifts[self.entry] = [stream, user, amount]
        self.coming.append(("gift", self.entry, user, self.sums(stream)[user], stream))

    @precondition(lambda self: self.gifts)
    @rule(data=st.data())
    def correct(self, data: st.DataObject) -> None:
        corrected = data.draw(st.sampled_from(sorted(self.gifts)))
        gift = self.gifts[corrected]
        gift[2] = max(int(gift[2]) + data.draw(st.sampled_from((-9, -3, -1, 2))), 0)
        self.entry += 1
        self.coming.append(("correction", self.entry, "", 0, str(gift[0])))

    @precondition(lambda self: self.coming)
    @rule(data=st.data(), times=st.integers(1, 9))
    def deliver_some(self, data: st.DataObject, times: int) -> None:
        for _ in range(min(times, len(self.coming))):
            self.deliver(data)

    def deliver(self, data: st.DataObject) -> None:
        self.hear(self.coming.pop(data.draw(st.integers(0, len(self.coming) - 1))))

    def hear(self, event: tuple[str, int, str, int, str]) -> None:
        kind, entry, user, total, stream = event
        if kind == "gift":
            self.board.gave(entry, user, name(user), total, stream)
        else:
            self.board.corrected(entry, stream)

    @rule(back=st.booleans())
    def turn(self, back: bool) -> None:
        self.streams.append(self.streams[-2] if back and len(self.streams) > 1 else str(len(self.streams)))
        self.board.turn(self.streams[-1])

    @rule(data=st.data(), before=st.integers(0, 2), after=st.integers(0, 2))
    def read(self, data: st.DataObject, before: int, after: int) -> None:
        reading = self.board.reading()
        assert reading.stream == self.streams[-1]
        self.meanwhile(data, before)
        givers = self.givers()
        self.meanwhile(data, after)
        self.board.begin(reading, givers)

    def meanwhile(self, data: st.DataObject, times: int) -> None:
        for _ in range(times):
            step = data.draw(st.sampled_from(("deliver", "correct", "give")))
            if step == "deliver" and self.coming:
                self.deliver(data)
            elif step == "correct" and self.gifts:
                self.correct(data)
            else:
                self.give(data.draw(st.sampled_from(USERS)), data.draw(st.integers(1, 9)), late=data.draw(st.booleans()))

    @invariant()
    def it_is_exact_when_all_has_come_unless_it_says_otherwise(self) -> None:
        if hasattr(self, "board") and not self.coming and not self.board.stale:
            self.check()

    def check(self) -> None:
        sums = {user: total for user, total in self.sums(self.streams[-1]).items() if total}
        best = sorted(sums, key=lambda user: (-sums[user], user))[: self.top]
        assert self.board.shown() == [(user, name(user), sums[user]) for user in best]
        assert len(self.board) <= 2 * self.kept

    def teardown(self) -> None:
        if not hasattr(self, "board"):
            return
        for event in self.coming:
            self.hear(event)
        reads = 0
        while self.board.stale:
            self.board.begin(self.board.reading(), self.givers())
            reads += 1
            assert reads == 1, "one read tells all"
        self.check()


TestStreaming = Streaming.TestCase
TestStreaming.settings = settings(max_examples=80, stateful_step_count=30, deadline=None)
