"""What a storm's judge finds: nothing in a history as it should be, and each fault by its name in one that is broken."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from bench.kills.book import CLAIM, COMBO, END, GIFT, PACKET, SHARE, Answer, Book, Id, Request, Watcher
from bench.kills.judge import Kept, Kind, judge, unsettled
from engine.ledger.split import commitment, shares

ROOM = "room"
EPOCH = 7
PRICE = 10


class Plain:
    """A room's ledger as plain as can be, and what a crowd of two sees of it. Everything is right until a test breaks it."""

    def __init__(self, watchers: int = 1) -> None:
        self.book = Book()
        self.raw = [self.book.watch(f"viewer {number}", ROOM) for number in range(watchers)]
        self.client = self.book.watch("client", ROOM, once=True)
        self.rows: list[Kept] = []
        self.given: Counter[str] = Counter()
        self.refs = 0
        self.combos: dict[int, list[list[Any]]] = {}

    @property
    def watchers(self) -> list[Watcher]:
        return [*self.raw, self.client]

    def add(self, kind: int, user: str, amount: int, about: int, *more: Any, shown: bool = True) -> int:
        number = len(self.rows) + 1
        event = [kind, [user, "", {}], number, *more]
        # Comments lie between.
        self.rows.append(Kept(ROOM, number, kind, user, amount, about or number, event, EPOCH, 2 * number))
        if shown:
            self.show(number)
        return number

    def show(self, number: int, epoch: int = EPOCH) -> None:
        for watcher in self.watchers:
            watcher.epochs.add(epoch)
            self.book.show(watcher, epoch, 2 * number, self.rows[number - 1].event)

    def gift(self, user: str = "ann", count: int = 1, combo: int = 0, **more: bool) -> Id:
        self.refs += 1
        asked = Id(ROOM, GIFT, user, self.refs)
        amount = PRICE * count
        self.book.ask(Request(asked, amount, ("rose", count)))
        self.given[user] += amount
        number = len(self.rows) + 1
        members = self.combos.setdefault(combo or number, [])
        so_far = sum(each[5] for each in members) + count
        told = (self.refs, "rose", count, amount, "", combo or number, so_far, 1000, self.given[user], "")
        self.add(GIFT, user, amount, combo, *told, **more)
        members.append(list(self.rows[-1].event))
        self.book.answer(asked, Answer(number, 2 * number, amount))
        return asked

    def end_combo(self, combo: int) -> None:
        members = self.combos[combo]
        count, amount = sum(each[5] for each in members), sum(each[6] for each in members)
        self.add(COMBO, members[0][1][0], amount, combo, combo, "rose", "", count, amount)

    def packet(self, total: int, count: int, claimers: tuple[str, ...]) -> int:
        self.refs += 1
        asked = Id(ROOM, PACKET, "bob", self.refs)
        seed = bytes(32)
        self.book.ask(Request(asked, total, (total, count, "random")))
        told = (self.refs, total, count, "random", 5, 9, False, "", "", commitment(seed))
        packet = self.add(PACKET, "bob", total, 0, *told)
        self.book.answer(asked, Answer(packet, 2 * packet, total))
        amounts = shares(seed, total, count, "random")[: len(claimers)]
        for number, (user, amount) in enumerate(zip(claimers, amounts, strict=True), 1):
            claim = Id(ROOM, CLAIM, user, packet)
            self.book.ask(Request(claim))
            entry = self.add(SHARE, user, amount, packet, packet, number, amount)
            self.book.answer(claim, Answer(entry, 2 * entry, amount))
        rest = total - sum(amounts)
        reason = "emptied" if len(claimers) == count else "expired"
        self.add(END, "bob", rest, packet, packet, reason, len(claimers), rest, seed.hex())
        return packet

    def alter(self, number: int, index: int, value: Any, **columns: Any) -> None:
        """Another element in an event, wherever it was shown and booked."""
        event = self.rows[number - 1].event
        assert isinstance(event, list)
        event[index] = value
        self.rows[number - 1] = self.rows[number - 1]._replace(**columns)

    def found(self, *, lasting: bool = True, boards: dict[str, dict[str, int]] | None = None) -> set[Kind]:
        board = {ROOM: dict(self.given)} if boards is None else boards
        return {fault.kind for fault in judge(self.book, self.rows, board, lasting=lasting)}


def whole() -> Plain:
    """Some of everything: entries 1 to 3 a combo and its end, 4 to 7 a red packet of two shares, 8 to 10 one that expired."""
    plain = Plain(watchers=2)
    plain.gift()
    plain.gift(count=2, combo=1)
    plain.end_combo(1)
    plain.packet(100, 2, ("ann", "cem"))
    plain.packet(50, 3, ("ann",))
    plain.gift("cem")
    return plain


def test_a_history_as_it_should_be_has_no_fault() -> None:
    plain = whole()
    assert plain.found() == set()
    assert not unsettled(plain.rows)
    assert (plain.book.gifts, plain.book.packets, plain.book.shares) == (3, 2, 3)


def test_retries_with_the_same_answer_are_no_fault() -> None:
    plain = whole()
    for asked, (answer,) in list(plain.book.answers.items()):
        assert not plain.book.answer(asked, answer)
    assert plain.found() == set()
    assert plain.book.repeated == len(plain.book.answers)


def test_what_comes_again_in_a_new_epoch_is_no_fault_but_for_whoever_drops_what_it_knows() -> None:
    plain = whole()
    client = plain.book.watchers.pop()
    plain.show(1, epoch=8)
    assert plain.found(lasting=False) == set()
    assert plain.found(lasting=True) == {Kind.STREAM}
    plain.book.watchers.append(client)
    assert plain.found(lasting=False) == {Kind.SHOWN_TWICE}


def test_what_was_shown_before_it_was_known_to_be_published_is_no_fault_later() -> None:
    plain = whole()
    plain.rows[0] = plain.rows[0]._replace(epoch=0, offset=0)
    assert plain.found() == {Kind.OUTBOX}
    assert "1 entries unpublished" in unsettled(plain.rows)


def test_a_claim_without_a_share_needs_no_answer_and_may_be_refused() -> None:
    plain = whole()
    for user in ("dan", "eve"):
        plain.book.ask(Request(Id(ROOM, CLAIM, user, 4)))
    plain.book.refuse(Id(ROOM, CLAIM, "eve", 4), "120 the red packet is over")
    assert plain.found() == set()


def lost(plain: Plain) -> None:
    plain.book.ask(Request(asked := Id(ROOM, GIFT, "ann", 99), PRICE, ("rose", 1)))
    plain.book.answer(asked, Answer(77, 154, PRICE))


def lost_at_the_end(plain: Plain) -> None:
    plain.rows.pop()


def answered_with_the_entry_of_another(plain: Plain) -> None:
    plain.book.ask(Request(asked := Id(ROOM, GIFT, "ann", 99), PRICE, ("rose", 1)))
    plain.book.answer(asked, Answer(1, 2, PRICE))


def doubled(plain: Plain) -> None:
    plain.gift()
    plain.alter(len(plain.rows), 3, 1)
    del plain.book.requests[Id(ROOM, GIFT, "ann", plain.refs)], plain.book.answers[Id(ROOM, GIFT, "ann", plain.refs)]


def two_answers(plain: Plain) -> None:
    plain.book.answer(Id(ROOM, GIFT, "ann", 1), Answer(2, 4, PRICE))


def answered_with_another_amount(plain: Plain) -> None:
    plain.book.answers[Id(ROOM, GIFT, "ann", 1)] = [Answer(1, 2, PRICE + 1)]


def booked_with_another_amount(plain: Plain) -> None:
    plain.alter(1, 6, PRICE + 1, amount=PRICE + 1)


def booked_with_another_gift(plain: Plain) -> None:
    plain.alter(1, 4, "rocket")


def shown_otherwise_than_booked(plain: Plain) -> None:
    plain.rows[0] = plain.rows[0]._replace(amount=PRICE + 1)


def without_event(plain: Plain) -> None:
    plain.rows[0] = plain.rows[0]._replace(event=[])


def unasked(plain: Plain) -> None:
    asked = plain.gift()
    del plain.book.requests[asked], plain.book.answers[asked]


def unanswered(plain: Plain) -> None:
    plain.book.ask(Request(Id(ROOM, GIFT, "ann", 99), PRICE, ("rose", 1)))


def refused(plain: Plain) -> None:
    plain.book.ask(Request(asked := Id(ROOM, GIFT, "ann", 99), PRICE, ("rose", 1)))
    plain.book.refuse(asked, "108 the key was used for something else")


def refused_but_booked(plain: Plain) -> None:
    asked = plain.gift()
    del plain.book.answers[asked]
    plain.book.refuse(asked, "100 no")


def hole(plain: Plain) -> None:
    plain.rows[-1] = plain.rows[-1]._replace(number=len(plain.rows) + 1)


def entry_twice(plain: Plain) -> None:
    plain.rows.append(plain.rows[-1])


def unseen(plain: Plain) -> None:
    del plain.raw[1].seen[4]


def seen_twice_in_an_epoch(plain: Plain) -> None:
    plain.book.show(plain.raw[0], EPOCH, 999, plain.rows[4].event)


def seen_twice_by_the_client(plain: Plain) -> None:
    plain.book.show(plain.client, EPOCH + 1, 2, plain.rows[0].event)


def seen_differently(plain: Plain) -> None:
    plain.raw[0].seen.pop(1)
    plain.book.show(plain.raw[0], EPOCH, 2, [*plain.rows[0].event[:-1], "other"])


def seen_but_not_booked(plain: Plain) -> None:
    plain.book.show(plain.raw[0], EPOCH, 500, [GIFT, ["ann", "", {}], 88, 9, "rose", 1, 10, "", 88, 1, 1000, 10, ""])


def acknowledged_elsewhere(plain: Plain) -> None:
    plain.book.answers[Id(ROOM, GIFT, "ann", 1)] = [Answer(1, 3, PRICE)]


def recorded_elsewhere(plain: Plain) -> None:
    plain.rows[0] = plain.rows[0]._replace(offset=3)


def two_shares(plain: Plain) -> None:
    plain.alter(6, 1, ["ann", "", {}], user="ann")


def shares_of_a_different_sum(plain: Plain) -> None:
    plain.alter(10, 6, 1, amount=1)


def share_of_another_draw(plain: Plain) -> None:
    first, second = plain.rows[4].amount, plain.rows[5].amount
    plain.alter(5, 5, first + 1, amount=first + 1)
    plain.alter(6, 5, second - 1, amount=second - 1)
    plain.book.answers.clear()
    plain.book.requests = {asked: each for asked, each in plain.book.requests.items() if asked.kind == CLAIM}


def share_after_the_end(plain: Plain) -> None:
    plain.add(SHARE, "eve", 1, 4, 4, 3, 1)


def packet_without_end(plain: Plain) -> None:
    plain.alter(7, 3, 9999, about=9999)


def packet_with_two_ends(plain: Plain) -> None:
    plain.add(END, *plain.rows[6][3:6], *plain.rows[6].event[3:])


def wrong_running_sum(plain: Plain) -> None:
    plain.alter(2, 11, 1)


def combo_without_end(plain: Plain) -> None:
    plain.gift(combo=len(plain.rows))


def combo_with_a_wrong_count(plain: Plain) -> None:
    plain.alter(2, 9, 9)


def combo_with_wrong_totals(plain: Plain) -> None:
    plain.alter(3, 6, 99)


def combo_of_another_giver(plain: Plain) -> None:
    plain.gift("bob", combo=len(plain.rows))


def told_of_trouble(plain: Plain) -> None:
    plain.raw[0].trouble.append("a batch leaves a hole")


BROKEN = [
    (lost, {Kind.LOST}),
    (lost_at_the_end, {Kind.LOST, Kind.UNBOOKED, Kind.BOARD}),
    (answered_with_the_entry_of_another, {Kind.LOST}),
    (doubled, {Kind.DOUBLED}),
    (two_answers, {Kind.TWO_ANSWERS, Kind.LOST}),
    (answered_with_another_amount, {Kind.ALTERED}),
    (booked_with_another_amount, {Kind.ALTERED, Kind.SUM, Kind.BOARD, Kind.COMBO}),
    (booked_with_another_gift, {Kind.ALTERED, Kind.COMBO}),
    (shown_otherwise_than_booked, {Kind.ALTERED}),
    (without_event, {Kind.ALTERED, Kind.LOST, Kind.HOLE, Kind.SUM, Kind.COMBO, Kind.BOARD, Kind.UNBOOKED}),
    (unasked, {Kind.UNASKED}),
    (unanswered, {Kind.UNANSWERED}),
    (refused, {Kind.REFUSED}),
    (refused_but_booked, {Kind.REFUSED}),
    (hole, {Kind.HOLE, Kind.ALTERED, Kind.LOST, Kind.UNSEEN, Kind.UNBOOKED, Kind.SUM}),
    (entry_twice, {Kind.HOLE}),
    (unseen, {Kind.UNSEEN}),
    (seen_twice_in_an_epoch, {Kind.SHOWN_TWICE, Kind.MISPLACED}),
    (seen_twice_by_the_client, {Kind.SHOWN_TWICE}),
    (seen_differently, {Kind.SHOWN_OTHERWISE}),
    (seen_but_not_booked, {Kind.UNBOOKED}),
    (acknowledged_elsewhere, {Kind.MISPLACED}),
    (recorded_elsewhere, {Kind.MISPLACED}),
    (two_shares, {Kind.TWO_SHARES, Kind.LOST}),
    (shares_of_a_different_sum, {Kind.SUM}),
    (share_of_another_draw, {Kind.PACKET, Kind.UNASKED}),
    (share_after_the_end, {Kind.PACKET, Kind.SUM, Kind.UNASKED}),
    (packet_without_end, {Kind.PACKET}),
    (packet_with_two_ends, {Kind.PACKET}),
    (wrong_running_sum, {Kind.SUM}),
    (combo_without_end, {Kind.COMBO}),
    (combo_with_a_wrong_count, {Kind.COMBO}),
    (combo_with_wrong_totals, {Kind.COMBO}),
    (combo_of_another_giver, {Kind.COMBO}),
    (told_of_trouble, {Kind.STREAM}),
]


@pytest.mark.parametrize(("breaks", "kinds"), BROKEN)
def test_each_fault_is_found_and_named(breaks: Callable[[Plain], None], kinds: set[Kind]) -> None:
    plain = whole()
    breaks(plain)
    assert plain.found() == kinds


def test_every_kind_of_fault_that_a_history_can_show_was_among_them() -> None:
    found = {kind for _, kinds in BROKEN for kind in kinds}
    # The others are about the outbox, and about processes.
    assert found == set(Kind) - {Kind.OUTBOX, Kind.VERIFY, Kind.ENGINE}


def test_a_board_with_another_sum_is_a_fault_and_so_is_a_giver_it_leaves_out() -> None:
    plain = whole()
    assert plain.found(boards={ROOM: plain.given | {"ann": 1}}) == {Kind.BOARD}
    assert plain.found(boards={ROOM: {"ann": plain.given["ann"]}}) == {Kind.BOARD}
    assert plain.found(boards={ROOM: plain.given | {"nobody": 1}}) == {Kind.BOARD}


def test_faults_say_where_and_what() -> None:
    plain = whole()
    unseen(plain)
    plain.raw[1].hinted.add(4)
    (fault,) = judge(plain.book, plain.rows, {}, lasting=True)
    assert fault.room == ROOM
    assert fault.text == "viewer 1 was not shown the acknowledged entry 4, but for a snapshot of what was last"


def test_what_is_still_to_come_is_told() -> None:
    plain = whole()
    assert unsettled(plain.rows[:5]) == "1 red packets open"
    assert unsettled(plain.rows[:2]) == "1 combos open"
    assert unsettled(plain.rows[:1]) == ""
    assert unsettled([]) == ""
