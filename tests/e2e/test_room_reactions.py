"""Likes and reactions: one growing total over all nodes, exact, whatever is told twice, late or too much."""

from __future__ import annotations

from typing import Any

from engine.node import open_node

from .conftest import Running
from .people import ROOM, Foreign, live, token
from .viewers import LIKE, open_viewer


async def test_taps_and_reactions_are_summed_over_two_nodes(running: Running, foreign: Foreign, redis: dict[str, Any]) -> None:
    settings = live(redis=redis, room={"reactions": ("❤️", "🔥", "👍", "赞"), "reactions_shown": 3})
    async with (
        running(settings) as one,
        open_node(settings) as two,
        foreign(one.url, token("anna"), None) as (anna, guest),
        foreign(two.url, token("bob"), None) as (bob, other),
    ):
        everybody = (anna, guest, bob, other)
        for round_ in range(1, 6):
            for number, viewer in enumerate(everybody, 1):
                # Twice the same, and an older one late: cumulative totals do no harm.
                for total in (round_, round_, round_ - 1):
                    await viewer.send(LIKE, viewer.handle, 10 * total * number, {"🔥": total * number, "❤️": total, "💩": 9})
        await guest.send(LIKE, guest.handle, 100, {"🔥": 10, "❤️": 5, "赞": 3, "👍": 1})
        for viewer in everybody:
            await viewer.until(lambda viewer=viewer: viewer.counters[0] >= 500)  # type: ignore[misc]
            await viewer.until(  # type: ignore[misc]
                lambda viewer=viewer: viewer.totals.get("reactions") == {"🔥": 50, "❤️": 20, "赞": 3}
            )
        likes = {viewer.counters[0] for viewer in everybody}
        assert len(likes) == 1
        async with foreign(two.url, None) as (late,):
            assert late.counters[0] in likes
            assert late.totals["reactions"] == {"🔥": 50, "❤️": 20, "赞": 3}
            assert late.totals["rate"] > 0


async def test_what_is_too_much_does_not_count_and_does_no_harm(running: Running, foreign: Foreign) -> None:
    limits = {"likes_per_second": 0.001, "likes_burst": 10}
    async with running(live(limits=limits)) as node, foreign(node.url, token("anna"), None) as people:
        for viewer in people:
            for total in (7, 2**53 - 1, 5, 2**53 - 1):
                await viewer.send(LIKE, viewer.handle, total, {"🎉": total})
        for viewer in people:
            await viewer.until(lambda viewer=viewer: viewer.counters[0] == 14)  # type: ignore[misc]
            await viewer.settle()
            assert viewer.counters[0] == 14
            # Both kinds of taps share what one viewer may give.
            await viewer.until(lambda viewer=viewer: viewer.totals.get("reactions") == {"🎉": 6})  # type: ignore[misc]
        assert not any(viewer.faults for viewer in people)
        # Somebody else still counts.
        async with open_viewer("websockets", node.url) as late:
            await late.join(ROOM)
            await late.send(LIKE, late.handle, 3)
            await people[0].until(lambda: people[0].counters[0] == 17)
