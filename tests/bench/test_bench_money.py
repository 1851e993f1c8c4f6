"""What receivers and the ledger's audit find wrong with money, without sockets."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import msgpack
import pytest
from tables import HANDLE, Pipe, Table
from till import PRICES, TillRoll

from bench.audience import Audience
from bench.audit import audit
from bench.certificate import Certificate
from bench.generator.account import Account, Coins, mark_of
from bench.generator.cashier import Cashier, claims_begin
from bench.generator.payee import Payee
from bench.generator.sender import Desk
from bench.load import Load, LoadError, changed
from bench.settlement import Money, settle
from bench.treasury import Booking, Books
from bench.wares import CLAIM_REF, COUNTS, GIFT_REF, RECEIVERS, RUNS, Wares

Alter = Callable[[dict[int, list[Any]]], object]


def kinds(faults: list[str]) -> set[str]:
    return {text.partition(":")[0] for text in faults}


# -- what is given -----------------------------------------------------------------------------------------------------


def test_what_is_given_follows_from_the_seed() -> None:
    wares, again, other = Wares(1, PRICES, range(5)), Wares(1, PRICES, range(5)), Wares(2, PRICES, range(5))
    offers = [wares.offer(number) for number in range(500)]
    assert offers == [again.offer(number) for number in range(500)]
    assert offers != [other.offer(number) for number in range(500)]
    assert [offer.sender for offer in offers[:6]] == [0, 1, 2, 3, 4, 0]
    assert {offer.gift for offer in offers} == set(PRICES)
    assert {offer.to for offer in offers} == set(RECEIVERS)
    assert {offer.pieces for offer in offers} == set(COUNTS)
    assert all(offer.amount == PRICES[offer.gift] * offer.pieces for offer in offers)


def test_gifts_come_in_runs() -> None:
    offers = [Wares(1, PRICES, [4]).offer(number) for number in range(2 * sum(RUNS))]
    place = 0
    for length in RUNS * 2:
        assert len({(offer.gift, offer.to) for offer in offers[place : place + length]}) == 1
        place += length


# -- the audit ---------------------------------------------------------------------------------------------------------


def roll() -> TillRoll:
    made = TillRoll()
    for number in range(60):
        made.give(number)
    made.finish()
    made.packet(1_000, 10, 10)
    made.packet(1_000, 10, 4)
    return made


def test_a_room_that_adds_up_has_no_faults() -> None:
    assert list(audit(roll().events)) == []
    assert list(audit({})) == []


def first(events: dict[int, list[Any]], kind: int) -> int:
    return next(entry for entry, event in events.items() if event[0] == kind)


def put(kind: int, place: int, change: Callable[[Any], Any]) -> Alter:
    """Alter one element of the first event of a kind."""

    def alter(events: dict[int, list[Any]]) -> None:
        event = events[first(events, kind)]
        event[place] = change(event[place])

    return alter


ALTERED: dict[str, tuple[Alter, str]] = {
    "a lost gift": (lambda events: events.pop(5), "entries"),
    "a gift of another amount": (put(8, 6, lambda amount: amount + 1), "given"),
    "a wrong sum of a giver": (put(8, 11, lambda given: given - 1), "given"),
    "a miscounted combo": (put(8, 9, lambda count: count + 1), "combo"),
    "a gift in another's combo": (lambda events: events[40].__setitem__(8, 1), "combo"),
    "a combo that ends with another amount": (put(9, 7, lambda amount: amount + 1), "combo"),
    "a combo that ends with another count": (put(9, 6, lambda count: count - 1), "combo"),
    "a combo without an end": (lambda events: events.update({first(events, 9): [8, ["x", "", {}], 0, *[0] * 10]}), "combo"),
    "a share of another amount": (put(12, 5, lambda amount: amount + 1), "share"),
    "a share sum that is not the total": (put(12, 5, lambda amount: amount + 1), "packet"),
    "a claim that is paid twice": (put(12, 1, lambda author: ["u2", *author[1:]]), "share"),
    "a share with another's number": (put(12, 4, lambda number: number + 1), "share"),
    "a rest that is not what is left": (put(13, 6, lambda rest: rest + 1), "packet"),
    "an end that says other than was claimed": (put(13, 5, lambda claimed: claimed - 1), "packet"),
    "a seed that was not announced": (put(13, 7, lambda _: bytes(32).hex()), "packet"),
    "a red packet without an end": (lambda events: events.pop(max(events)), "packet"),
    "an unknown event": (lambda events: events.update({5: [1, ["u"], 5, "x"]}), "entries"),
}


@pytest.mark.parametrize("what", ALTERED)
def test_what_does_not_add_up_is_named(what: str) -> None:
    events = roll().events
    alter, kind = ALTERED[what]
    alter(events)
    assert kind in kinds(list(audit(events)))


def test_a_correction_counts_to_what_its_giver_has_given() -> None:
    made = TillRoll(1)
    amount = made.give(0).amount
    made.events[2] = [10, ["host", "", {}], 2, 1, "u0", -amount, 0, "refund", ""]
    assert list(audit(made.events)) == []
    made.events[2][6] = 1
    assert kinds(list(audit(made.events))) == {"given"}


# -- receivers ---------------------------------------------------------------------------------------------------------


class Hall(Table):
    """A table whose viewers count their money; the first three give, everybody claims."""

    def __init__(self, viewers: int = 4) -> None:
        super().__init__(0)
        load = Load(speech="gifts", viewers=viewers, senders=3, seed=7)
        audience = Audience(load)
        self.roll = TillRoll()
        self.payees: dict[int, Any] = {}
        self.desk = Desk(self.swarm, self.payees, 1)
        self.cashier = Cashier(self.swarm, self.desk, self.payees, load, audience)
        self.account = self.cashier.account(PRICES)
        self.account._wares = self.cashier._wares = self.roll.wares
        self.swarm.account_of = lambda _: self.account
        for index in range(viewers):
            self.payees[index] = Payee(self.swarm, index, 0)
            self.viewers.append(self.payees[index])
            self.pipes.append(Pipe())
            self.reconnect(index, False)
            self.payees[index].data_received(self.snapshot(0))

    def joined(self, resumed: bool) -> bytes:
        index = len(self.pipes) - 1
        return self.message(32, 1 << 48, HANDLE, "s" * 16, f"u{index}", "guest", resumed, 25_000)

    def show(self, events: list[list[Any]], first_offset: int = 1, viewers: list[int] | None = None) -> None:
        data = self.batch(first_offset, first_offset + len(events) - 1, events=events)
        for index in range(len(self.payees)) if viewers is None else viewers:
            self.payees[index].data_received(data)

    def give(self, gifts: int) -> list[list[Any]]:
        """Gifts that were asked for and acknowledged."""
        for number in range(gifts):
            offer = self.roll.give(number)
            self.cashier._offered += 1
            self.cashier._waiting[GIFT_REF + number] = 0, offer.sender
        self.roll.finish()
        events = list(self.roll.events.values())
        for number in range(gifts):
            self.pay(events[number][1][0], GIFT_REF + number, number + 1, number + 1, events[number][6])
        return events

    def pay(self, user: str, ref: int, entry: int, offset: int, amount: int) -> None:
        self.payees[int(user[1:])].data_received(self.message(42, ref, HANDLE, entry, offset, amount))

    def books(self) -> Books:
        places = {8: 6, 9: 7, 12: 5, 13: 6}
        return {
            "r0": {
                entry: Booking(event[0], event[places.get(event[0], 4)], msgpack.packb(event), 1, entry)
                for entry, event in self.roll.events.items()
            }
        }

    def settle(self, books: Books | None = None) -> tuple[Money, set[str]]:
        """What the certificate says, and the kinds of all faults."""
        report = json.loads(json.dumps(self.cashier.report()))
        entries = self.cashier.entries(0)
        money, faults = settle([report], self.books() if books is None else books, lambda room: f"r{room}", lambda *_: entries)
        return money, kinds(faults) | set(self.faults)


def test_amounts_are_conserved_from_giver_to_every_receiver() -> None:
    hall = Hall()
    events = hall.give(60)
    hall.show(events[:40])
    hall.show(events[40:], 41)
    money, faults = hall.settle()
    assert faults == set()
    amount = sum(event[6] for event in events if event[0] == 8)
    assert (money.offered, money.acknowledged, money.gifts, money.gifts_amount) == (60, 60, 60, amount)
    assert money.received_amount == money.due_amount == 4 * amount
    assert money.combos == sum(event[0] == 9 for event in events) > 0
    assert all(viewer.coins.gifts == amount for viewer in hall.payees.values())
    assert hall.swarm.entitled == hall.tally.accounted == 4 * len(events)
    assert hall.tally.whole_latency().total == 4 * 60


def test_what_one_viewer_misses_shows_in_its_own_sum() -> None:
    hall = Hall()
    events = hall.give(10)
    hall.show(events[:5])
    hall.show(events[5:], 6, viewers=[0, 1, 2])
    assert hall.settle()[1] == {"sum", "money"}


def test_a_frame_that_comes_twice_counts_twice() -> None:
    hall = Hall()
    events = hall.give(10)
    hall.show(events)
    hall.show(events, viewers=[2])
    assert hall.settle()[1] == {"repeat", "sum", "money"}


def test_other_bytes_for_one_viewer_are_found() -> None:
    hall = Hall()
    events = hall.give(10)
    hall.show(events, viewers=[0, 1, 2])
    hall.show([*events[:3], [*events[3][:6], events[3][6] + 1, *events[3][7:]], *events[4:]], viewers=[3])
    assert hall.settle()[1] == {"altered", "sum", "money"}


def test_an_entry_at_two_offsets_is_found() -> None:
    hall = Hall()
    events = hall.give(10)
    hall.show([*events, events[4]])
    assert {"twice", "sum"} <= hall.settle()[1]


def test_a_gift_that_nobody_gave_is_found() -> None:
    hall = Hall()
    events = hall.give(10)
    hall.show([*events[:3], [*events[3][:4], "plane", *events[3][5:]], *events[4:]])
    assert {"altered", "combo", "ledger"} <= hall.settle()[1]


def test_gifts_out_of_order_are_found() -> None:
    hall = Hall()
    events = hall.give(60)
    later = next(entry for entry in range(1, 60) if events[entry][1] == events[0][1])
    events[0], events[later] = events[later], events[0]
    hall.show(events)
    assert "order" in hall.settle()[1]


def test_an_acknowledged_gift_that_is_nowhere_is_found() -> None:
    hall = Hall()
    hall.show(hall.give(10))
    hall.cashier._waiting[GIFT_REF + 10] = 0, hall.roll.wares.offer(10).sender
    hall.pay(f"u{hall.roll.wares.offer(10).sender}", GIFT_REF + 10, 99, 5, 7)
    assert hall.settle()[1] == {"paid", "money"}


def test_an_acknowledgement_of_another_amount_or_place_is_found() -> None:
    for change in ({"amount": 1}, {"offset": 9}, {"entry": 1}):
        hall = Hall()
        hall.show(hall.give(10))
        receipt = hall.cashier._receipts[GIFT_REF + 3]
        hall.cashier._receipts[GIFT_REF + 3] = receipt._replace(**change)
        assert "paid" in hall.settle()[1]


def test_a_gift_that_was_booked_and_never_acknowledged_is_found() -> None:
    hall = Hall()
    hall.show(hall.give(10))
    del hall.cashier._receipts[GIFT_REF + 3]
    assert hall.settle()[1] == {"unpaid", "money"}


def test_an_unanswered_gift_is_found() -> None:
    hall = Hall()
    hall.show(hall.give(10))
    hall.cashier._waiting[GIFT_REF + 10] = 0, 1
    assert "missing" in hall.settle()[1]


def test_a_refusal_for_the_time_being_is_counted_and_another_one_is_a_fault() -> None:
    hall = Hall()
    hall.show(hall.give(10))
    for number, code in ((10, 2), (11, 115)):
        hall.cashier._offered += 1
        hall.cashier._waiting[GIFT_REF + number] = 0, 1
        hall.payees[1].data_received(hall.message(35, GIFT_REF + number, code))
        money, faults = hall.settle()
        assert faults == (set() if code == 2 else {"refused"})
    assert money.refused == {"2": 1, "115": 1}


def test_a_ledger_that_says_other_than_was_shown_is_found() -> None:
    altered: dict[str, Callable[[dict[int, Booking]], object]] = {
        "lost": lambda books: books.pop(5),
        "another amount": lambda books: books.update({5: books[5]._replace(amount=0)}),
        "another event": lambda books: books.update({5: books[5]._replace(packed=books[4].packed)}),
        "another place": lambda books: books.update({5: books[5]._replace(offset=77)}),
        "the outbox": lambda books: books.update({5: books[5]._replace(epoch=0, offset=0)}),
        "no event": lambda books: books.update({5: books[5]._replace(packed=b"")}),
        "one more": lambda books: books.update({len(books) + 1: books[5]}),
    }
    for alter in altered.values():
        hall = Hall()
        hall.show(hall.give(10))
        books = hall.books()
        alter(books["r0"])
        assert "ledger" in hall.settle(books)[1]
    hall = Hall()
    hall.show(hall.give(10))
    assert "ledger" in hall.settle(hall.books() | {"elsewhere": hall.books()["r0"]})[1]
    assert "ledger" in hall.settle({})[1]


# -- red packets -------------------------------------------------------------------------------------------------------


def rushed(claimed: int = 3) -> Hall:
    """A red packet, all shares of which were claimed."""
    hall = Hall()
    hall.roll.packet(100, claimed, claimed, ref=1 << 51)
    hall.cashier._waiting[1 << 51] = 0, 0
    hall.show(list(hall.roll.events.values()))
    hall.pay("u0", 1 << 51, 1, 1, 100)
    hall.cashier._claimed = 8
    for number in range(1, claimed + 1):
        share = hall.roll.events[1 + number]
        for again in range(2):
            hall.pay(share[1][0], CLAIM_REF + number + again, 1 + number, 1 + number, share[5])
    return hall


def test_winners_and_what_they_were_told_are_counted() -> None:
    hall = rushed()
    money, faults = hall.settle()
    assert faults == set()
    assert (money.packets, money.winners, money.repeated, money.claims_dropped) == (1, 3, 3, 2)
    assert (money.shares, money.shares_amount, money.due_amount, money.received_amount) == (3, 100, 400, 400)
    assert hall.cashier.statistics()["unsettled"] == 0
    assert hall.account.ended_ns > 0
    assert hall.cashier.acknowledged.total == 4


def test_a_viewer_with_two_shares_is_found() -> None:
    hall = rushed()
    hall.pay("u1", CLAIM_REF + 1, 3, 3, hall.roll.events[3][5])
    assert "paid" in hall.settle()[1]


def test_a_share_whose_owner_was_not_told_is_found() -> None:
    hall = rushed()
    del hall.cashier._winners[2]
    assert {"unpaid", "money"} <= hall.settle()[1]


def test_what_is_open_is_not_settled() -> None:
    hall = Hall()
    hall.give(60)
    combos = sum(event[0] == 9 for event in hall.roll.events.values())
    entry = hall.roll.packet(100, 2, 2)
    events = list(hall.roll.events.values())
    hall.show(events[:60])
    assert hall.cashier.statistics()["unsettled"] == combos
    hall.show(events[60:entry], 61)
    assert hall.cashier.statistics()["unsettled"] == 1
    hall.show(events[entry:], entry + 1)
    assert hall.cashier.statistics()["unsettled"] == 0


def test_an_account_takes_an_entry_once_however_often_it_is_decoded() -> None:
    made = TillRoll()
    made.give(0)
    account = Account(made.wares, lambda number: number)
    for _ in range(2):
        assert account.take(Coins(), made.events[1], 1) is None
    assert account.coins.sums == [1, made.events[1][6], 0, mark_of(msgpack.packb(made.events[1]))]
    with pytest.raises(ValueError, match="kind"):
        account.take(Coins(), [14, ["u"], 1], 2)


# -- the load, and the record -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "values",
    [
        {"speech": "gifts", "kinds": {"comment": 1.0, "like": 1.0}},
        {"speech": "gifts", "seconds": 0.0},
        {"speech": "gifts", "nodes": 2, "broker": "redis"},
        {"speech": "gifts", "storm_share": 0.1},
        {"speech": "rush", "seconds": 5.0, "claim_seconds": 5.0},
        {"speech": "rush", "packet_total": 10, "packet_shares": 11},
        {"speech": "rush", "viewers": 10, "packet_shares": 11},
        {"speech": "rush", "claims": 10, "packet_shares": 11},
        {"speech": "rush", "tail": 1.0, "rooms": 2},
    ],
)
def test_loads_that_contradict_themselves_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(LoadError):
        changed(Load(), values, strict=True)


def test_claims_begin_while_there_is_time_for_all_of_them() -> None:
    load = Load(speech="rush", seconds=10.0, claim_seconds=5.0)
    assert claims_begin(load) == 2.5


def test_rounds_add_up_their_money() -> None:
    first_, second = Certificate(money=Money(gifts=3, refused={"2": 1})), Certificate(money=Money(gifts=4, refused={"2": 2}))
    first_.merge(second)
    first_.merge(Certificate())
    assert first_.money == Money(gifts=7, refused={"2": 3})
