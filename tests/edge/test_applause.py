"""Likes of sessions that come and go: each counts once, whichever edge it comes back to."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from engine.edge.applause import Applause
from engine.edge.session import Session
from engine.schema import Like

from .scripted import viewer

HEART = "❤️"
ANY = 10**9


class Client:
    """A session that follows the rule: when it is back it repeats what it has told, then tells what is new."""

    def __init__(self, edges: int) -> None:
        self.edges = [Applause((HEART,)) for _ in range(edges)]
        self.numbers = iter(range(1, 10**6))
        self.place = 0
        self.seen = 0
        self.likes = self.hearts = 0
        self.told = (0, 0)
        self.at: Applause | None = None
        self.session: Session | None = None
        self.returning = False

    def come(self, edge: int) -> None:
        """Over another connection."""
        self.at = self.edges[edge]
        self.session, _ = viewer(next(self.numbers))
        self.session.secret = "s" * 16
        self.at.enter(self.session, returning=self.returning, place=self.seen + 1 if self.returning else 0)
        if self.returning:
            self.send(*self.told)
        self.returning = True
        self.tell()

    def tell(self) -> None:
        if self.at is not None and self.told != (self.likes, self.hearts):
            self.told = self.likes, self.hearts
            self.send(*self.told)

    def send(self, likes: int, hearts: int) -> None:
        assert self.at is not None
        assert self.session is not None
        reactions = {HEART: hearts} if hearts else {}
        self.at.count(self.session, Like(1, likes, reactions), ANY)

    def go(self) -> None:
        if self.at is not None and self.session is not None:
            self.at.leave(self.session, self.place + 1)
        self.at = self.session = None

    @property
    def counted(self) -> tuple[int, int]:
        return sum(edge.likes for edge in self.edges), sum(edge.reactions.get(HEART, 0) for edge in self.edges)


steps = st.one_of(
    st.tuples(st.sampled_from(("like", "heart")), st.integers(1, 9)),
    st.tuples(st.just("come"), st.integers(0, 2)),
    st.tuples(st.just("go"), st.just(0)),
)


@given(st.lists(steps, max_size=40))
def test_no_like_is_lost_or_counted_twice_at_whichever_edge_its_session_comes_back(play: list[tuple[str, int]]) -> None:
    client = Client(3)
    for step, number in play:
        if step == "come":
            client.go()
            client.come(number)
        elif step == "go":
            client.go()
        elif step == "like":
            client.likes += number
            client.tell()
        else:
            client.hearts += number
            client.tell()
        # Something happens in the room, which who is there sees.
        client.place += 1
        if client.at is not None:
            client.seen = client.place
    client.go()
    client.come(0)
    assert client.counted == (client.likes, client.hearts)


@given(st.integers(0, 5), st.integers(0, 5))
def test_what_was_said_while_the_connection_broke_counts_at_the_same_edge(before: int, lost: int) -> None:
    client = Client(1)
    client.come(0)
    client.likes = before
    client.tell()
    client.go()
    # Told, as the client sees it; it never came.
    client.likes += lost
    client.told = client.likes, 0
    client.come(0)
    assert client.counted == (client.likes, 0)


def test_who_had_given_nothing_needs_not_say_so_at_the_same_edge() -> None:
    applause = Applause(())
    session, _ = viewer(1)
    applause.enter(session, returning=False)
    applause.leave(session, 7)
    again, _ = viewer(2)
    again.secret = session.secret
    applause.enter(again, returning=True, place=7)
    assert applause.count(again, Like(1, 3), ANY) == 3


def test_an_older_connection_that_is_found_out_late_takes_nothing_back() -> None:
    applause = Applause((HEART,))
    old, _ = viewer(1)
    applause.enter(old, returning=False)
    applause.count(old, Like(1, 10, {HEART: 2}), ANY)
    new, _ = viewer(2)
    new.secret = old.secret
    applause.enter(new, returning=True, place=1)
    applause.count(new, Like(1, 10, {HEART: 2}), ANY)
    applause.count(new, Like(1, 20, {HEART: 5}), ANY)
    applause.leave(new, 5)
    applause.leave(old, 5)
    third, _ = viewer(3)
    third.secret = old.secret
    applause.enter(third, returning=True, place=3)
    applause.count(third, Like(1, 20, {HEART: 5}), ANY)
    assert (applause.likes, applause.reactions) == (20, {HEART: 5})
