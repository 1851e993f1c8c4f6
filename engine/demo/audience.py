"""What the simulated audience does: comes and goes, talks, applauds, gives, claims, votes, and takes notice of what happens.

Owns its habits. Each of them is a task that goes on whatever becomes of one viewer. Must not know how a viewer speaks
(`engine.demo.crowd`), nor which words it uses (`engine.demo.script`).
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from typing import Final

import trio

from engine.client import items
from engine.demo.crowd import Crowd, Viewer
from engine.demo.lines import ENDED, GREETED, HELD, LUCKY, PACKET, THANKS, VOTED, Lines
from engine.demo.script import Script, language_of, spoken
from engine.errors import RoomcastError
from engine.ledger.values import Gift

__all__ = ["Audience"]

log = logging.getLogger("roomcast.demo")

_CHANGES_PER_SECOND: Final = 0.4
"""Somebody goes and somebody comes."""
_AT_ONCE: Final = 20
"""Who come together, while there is room; then a moment for everybody else."""
_BETWEEN_SECONDS: Final = 0.05
_REFUSED_SECONDS: Final = 1.0
_FEWEST: Final = 0.88
"""Of those who were invited, how many are here at the least."""
_APPLAUSE_SECONDS: Final = 0.5
_WAVE_CHANCE: Final = 0.05
_WAVE_FADES: Final = 0.75
_TAPPING: Final = 0.12
"""Of those who are here, how many tap at the height of a wave."""
_GIVE_SECONDS: Final = 4.0
_LABELS: Final = ("gift", "option")
"""Places in lines where a label in two languages goes."""
_DEAR: Final = 100
"""From this price on a gift is given once."""
_COMBOS: Final = (1, 1, 1, 2, 3, 5, 8)
_COMBO_SECONDS: Final = 0.6
_LEFT_FOR_VISITORS: Final = 0.2
"""Of a packet's shares, those that nobody of the audience takes before its last seconds."""
_LAST_SECONDS: Final = 4.0
_CLAIM_MEAN_SECONDS: Final = 2.5
_VOTING: Final = 0.6
_VOTE_SECONDS: Final = 25.0
_HELD_SECONDS: Final = 40.0
_HELD_MOST: Final = 8
"""They wait until a moderator decides; a demo that runs all day must not fill the queue."""


class Audience:
    """See the module's docstring.

    :param viewers: how many are here at most.
    :param comments_per_second: of all of them together, beside what they say when something happens.
    :param gifts: what can be given.
    :param pace: how many times faster than usual everything but comments goes.
    """

    def __init__(
        self,
        crowd: Crowd,
        script: Script,
        *,
        viewers: int,
        comments_per_second: float,
        gifts: Sequence[Gift],
        pace: float = 1.0,
    ) -> None:
        self._crowd = crowd
        self._script = script
        self._random = script.random
        self._viewers = viewers
        self._rate = comments_per_second
        self._gifts = {gift.id: gift for gift in gifts}
        self._pace = pace
        self._nursery: trio.Nursery | None = None
        self._polls: set[str] = set()

    async def run(self) -> None:
        """Be there until cancelled."""
        if not self._viewers:
            return
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            for habit in (self._come_and_go, self._talk, self._hint, self._applaud, self._give):
                nursery.start_soon(habit)

    # -- habits ---------------------------------------------------------------------------------------------------------

    async def _come_and_go(self) -> None:
        wanted = self._viewers
        while True:
            while (missing := wanted - len(self._crowd)) > 0:
                before = len(self._crowd)
                async with trio.open_nursery() as nursery:
                    for _ in range(min(missing, _AT_ONCE)):
                        nursery.start_soon(self._enter)
                await trio.sleep(_BETWEEN_SECONDS if len(self._crowd) > before else _REFUSED_SECONDS)
            await self._sleep(self._script.pause(_CHANGES_PER_SECOND))
            if leaver := self._crowd.somebody(self._random):
                leaver.leave()
            wanted = math.ceil(self._viewers * self._random.uniform(_FEWEST, 1.0))

    async def _enter(self) -> None:
        language = self._script.language()
        try:
            await self._crowd.enter(self._script.name(language), language)
        except (OSError, RoomcastError) as error:
            log.debug("viewer_not_in", extra={"error": str(error)})

    async def _talk(self) -> None:
        while True:
            await trio.sleep(self._script.pause(self._rate))
            if viewer := self._crowd.somebody(self._random):
                viewer.comment(self._script.chat(viewer.language))

    async def _hint(self) -> None:
        """Say what the demo's word list holds back, now and then."""
        for _ in range(_HELD_MOST):
            await self._sleep(self._script.about(_HELD_SECONDS))
            self._say(HELD)

    async def _applaud(self) -> None:
        height = 0.0
        while True:
            await self._sleep(_APPLAUSE_SECONDS)
            height = 1.0 if self._random.random() < _WAVE_CHANCE else height * _WAVE_FADES
            people = self._crowd.people()
            tapping = min(round(len(people) * _TAPPING * height) + self._random.randint(0, 1), len(people))
            for viewer in self._random.sample(people, tapping):
                reaction = self._random.choice(("🔥", "🎉", "👏", "❤️")) if self._random.random() < 0.2 else ""
                viewer.like(self._random.randint(1, 4), reaction)

    async def _give(self) -> None:
        gifts = list(self._gifts.values())
        # The dearer, the rarer.
        weights = [gift.price**-0.4 for gift in gifts]
        chosen = gifts[-1:]
        while gifts:
            await self._sleep(self._script.about(_GIVE_SECONDS))
            viewer = self._crowd.somebody(self._random)
            # The finest first: whoever has just come sees what there is.
            gift = chosen[0]
            chosen = self._random.choices(gifts, weights)
            for _ in range(self._random.choice(_COMBOS) if gift.price < _DEAR else 1):
                if viewer is not None:
                    viewer.give(gift.id)
                await self._sleep(self._script.about(_COMBO_SECONDS))

    # -- what happens -----------------------------------------------------------------------------------------------------

    def happened(self, item: items.Item) -> None:
        """Take notice of what somebody in the room was told."""
        match item:
            case items.Gift() if item.author.name and item.combo == item.entry and self._random.random() < 0.5:
                gift = self._gifts.get(item.gift)
                self._soon(1.5, self._say, THANKS, name=item.author.name, gift=gift.name if gift else item.gift)
            case items.Packet():
                self._claim(item)
            case items.Share() if self._random.random() < 0.2:
                self._soon(1.0, self._be_glad, item)
            case items.PacketEnd():
                self._soon(1.0, self._say, ENDED)
            case items.State(kind="poll", key=key, value=None):
                self._polls.discard(key)
            case items.State(kind="poll", key=key, value=dict(value)) if value.get("open") and key not in self._polls:
                self._polls.add(key)
                self._vote(key, value["options"])

    def greet(self, author: items.Author) -> None:
        """Somebody has come and said something."""
        if author.name:
            language = language_of(author.name)
            for seconds in (1.5, 3.5):
                self._soon(seconds, self._say, GREETED, only=language, name=author.name)

    def _claim(self, packet: items.Packet) -> None:
        opens = max((packet.opens - packet.time) / 1000, 0.0)
        lasts = (packet.expires - packet.time) / 1000 - _LAST_SECONDS / self._pace
        eager = max(packet.shares - max(math.ceil(packet.shares * _LEFT_FOR_VISITORS), 1), 0)
        people = self._crowd.people()
        self._random.shuffle(people)
        for number, viewer in enumerate(people[: packet.shares]):
            wait = opens + self._script.pause(self._pace / _CLAIM_MEAN_SECONDS)
            if number >= eager:
                wait = max(lasts, wait)
            self._at(wait, viewer.claim, packet.entry)
        for _ in range(2):
            self._soon(1.0, self._say, PACKET)

    def _be_glad(self, share: items.Share) -> None:
        viewer = self._crowd.users.get(share.author.id)
        if viewer is not None:
            viewer.comment(self._script.line(LUCKY, viewer.language, amount=str(share.amount)))

    def _vote(self, poll: str, options: Sequence[str]) -> None:
        weights = [self._random.uniform(0.3, 1.0) for _ in options]
        for viewer in self._crowd.people():
            if self._random.random() < _VOTING:
                choice = self._random.choices(range(len(options)), weights)[0]
                self._soon(self._random.uniform(0.3, _VOTE_SECONDS), self._cast, viewer, poll, choice, options[choice])

    def _cast(self, viewer: Viewer, poll: str, choice: int, option: str) -> None:
        viewer.vote(poll, choice)
        if self._random.random() < 0.05:
            viewer.comment(self._script.line(VOTED, viewer.language, option=spoken(option, viewer.language)))

    # -- means ------------------------------------------------------------------------------------------------------------

    def _say(self, lines: Lines, only: str = "", **words: str) -> None:
        """Somebody says one of these lines.

        :param only: who speaks this language; empty: anybody.
        """
        people = [viewer for viewer in self._crowd.people() if only in ("", viewer.language)]
        if people:
            viewer = self._random.choice(people)
            said = {place: spoken(word, viewer.language) if place in _LABELS else word for place, word in words.items()}
            viewer.comment(self._script.line(lines, viewer.language, **said))

    def _soon(self, seconds: float, do: Callable[..., None], *given: object, **named: str) -> None:
        """After about so many seconds at the usual pace."""
        self._at(self._script.about(seconds) / self._pace, do, *given, **named)

    def _at(self, seconds: float, do: Callable[..., None], *given: object, **named: str) -> None:
        async def later() -> None:
            await trio.sleep(seconds)
            do(*given, **named)

        if self._nursery is not None:
            self._nursery.start_soon(later)

    async def _sleep(self, seconds: float) -> None:
        await trio.sleep(seconds / self._pace)
