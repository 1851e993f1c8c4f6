"""What the simulated host does: shows teas, asks, gives red packets, announces, and answers visitors.

Owns its programme. It acts as the product behind the node does (`engine.backend.Room`). Must not know the audience.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from itertools import cycle
from typing import Any, Final

import msgspec
import trio

from engine.access import Role, Standing
from engine.backend import Backend
from engine.client import items
from engine.demo.lines import HOST_ANSWERS, HOST_NOTICES, HOST_SAYS, HOST_THANKS, HOST_WELCOMES, Language
from engine.demo.script import Script, language_of, spoken
from engine.errors import RoomcastError
from engine.ledger.values import Gift
from engine.schema import LinkedCommentEvent, RankedAuthor

__all__ = ["HOST", "Host"]

log = logging.getLogger("roomcast.demo")

HOST: Final = RankedAuthor("mei", "小美 Mei", {}, Role.HOST.value)

_TITLE: Final = "Tea at sunset · 日落茶席"
_CARDS: Final[tuple[tuple[str, dict[str, Any]], ...]] = (
    ("longjing", {"title": "Longjing, first spring 明前龙井", "price": "¥ 168", "stock": 42}),
    ("oolong", {"title": "Mountain oolong 高山乌龙", "price": "¥ 99", "stock": 120}),
    ("gaiwan", {"title": "White gaiwan 白瓷盖碗", "price": "¥ 59", "stock": 18}),
)
_POLLS: Final[tuple[tuple[str, tuple[str, ...]], ...]] = (
    ("Which one next? 下一泡喝什么？", ("Longjing 龙井", "Oolong 乌龙", "Pu'er 普洱")),
    ("Which music? 换什么音乐？", ("Piano 钢琴", "Guzheng 古筝", "Rain 雨声", "None 安静")),
    ("How do you like it? 喜欢浓一点还是淡一点？", ("Strong 浓", "Light 淡")),
)
_PACKET_TEXTS: Final = ("Cheers! 干杯！", "Good luck! 恭喜发财", "For all who came 见者有份")

_CARD_SECONDS: Final = 45.0
_POLL_FIRST_SECONDS: Final = 8.0
_POLL_SECONDS: Final = 150.0
_POLL_OPEN_SECONDS: Final = 60.0
_PACKET_FIRST_SECONDS: Final = 15.0
_PACKET_SECONDS: Final = 60.0
_PACKET_OPENS_SECONDS: Final = 8.0
_PACKET_LASTS_SECONDS: Final = 25.0
_NOTICE_FIRST_SECONDS: Final = 4.0
_NOTICE_SECONDS: Final = 90.0
_TALK_SECONDS: Final = 20.0
_ANSWER_SECONDS: Final = 1.2
_SILENT_SECONDS: Final = 6.0
"""Between two answers to the same visitor, but for the first."""
_NAMELESS: Final[dict[Language, str]] = {"en": "friend", "zh": "朋友"}
_VISITORS: Final = 1_000
"""Whom it remembers."""

_encode = msgspec.msgpack.Encoder().encode


class Host:
    """See the module's docstring.

    :param gifts: by id, what can be given.
    :param audience: how many viewers there are; more get more shares.
    :param pace: how many times faster than usual everything goes.
    """

    def __init__(
        self, backend: Backend, room: str, script: Script, *, gifts: dict[str, Gift], audience: int, pace: float = 1.0
    ) -> None:
        self._backend = backend
        self._name = room
        self._room = backend.room(room, author=HOST, standing=Standing(Role.HOST.value))
        self._script = script
        self._gifts = gifts
        self._shares = min(max(audience // 8, 5), 60)
        self._pace = pace
        self._answered: dict[str, float] = {}
        self._nursery: trio.Nursery | None = None

    async def run(self) -> None:
        """Host until cancelled."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            with _tried("begin"):
                await self._begin()
            for programme in (self._cards, self._polls, self._packets, self._notices, self._talk):
                nursery.start_soon(programme)

    async def _begin(self) -> None:
        stream = f"demo-{await self._room.time()}"
        await self._room.life("open", title=_TITLE, stream=stream)
        for key, card in _CARDS:
            await self._room.set("card", key, {**card, "now": key == _CARDS[0][0]})
        await self._room.set("attribute", "topic", {"value": _TITLE})
        language = self._script.language()
        await self._room.pin(await self._room.comment(self._script.line(HOST_SAYS, language)))

    # -- programme ------------------------------------------------------------------------------------------------------

    async def _cards(self) -> None:
        left = {key: card["stock"] for key, card in _CARDS}
        turns = cycle([key for key, _ in _CARDS])
        shown = next(turns)
        while True:
            await self._sleep(_CARD_SECONDS / 3)
            left[shown] = max(left[shown] - self._script.random.randint(0, 3), 0)
            with _tried("card"):
                await self._room.set("card", shown, {"stock": left[shown]})
            if self._script.random.random() < 1 / 3:
                shown = next(turns)
                left[shown] = left[shown] or 30
                with _tried("card"):
                    await self._room.set("card", shown, {"now": True, "stock": left[shown]})

    async def _polls(self) -> None:
        await self._sleep(_POLL_FIRST_SECONDS)
        for number, (question, options) in enumerate(cycle(_POLLS), 1):
            with _tried("poll"):
                await self._room.poll(f"poll-{number}", question, options, seconds=_POLL_OPEN_SECONDS / self._pace)
            await self._sleep(_POLL_SECONDS)
            with _tried("poll"):
                await self._room.set("poll", f"poll-{number}", None)

    async def _packets(self) -> None:
        await self._sleep(_PACKET_FIRST_SECONDS)
        for number, text in enumerate(cycle(_PACKET_TEXTS), 1):
            with _tried("packet"):
                await self._room.red_packet(
                    HOST,
                    self._shares * self._script.random.randint(6, 20),
                    self._shares,
                    opens_seconds=_PACKET_OPENS_SECONDS / self._pace,
                    lasts_seconds=max(_PACKET_LASTS_SECONDS / self._pace, 1.0),
                    text=text,
                    key=f"demo-{number}",
                )
            await self._sleep(_PACKET_SECONDS)

    async def _notices(self) -> None:
        await self._sleep(_NOTICE_FIRST_SECONDS)
        for text in cycle(HOST_NOTICES):
            with _tried("notice"):
                await self._room.notice(text)
            await self._sleep(_NOTICE_SECONDS)

    async def _talk(self) -> None:
        while True:
            await self._sleep(self._script.about(_TALK_SECONDS))
            with _tried("talk"):
                await self._room.comment(self._script.line(HOST_SAYS, self._script.language()))

    # -- visitors ---------------------------------------------------------------------------------------------------------

    def visited(self, item: items.Comment | items.Gift) -> bool:
        """A visitor has said or given something. Returns whether it is somebody new."""
        now = trio.current_time()
        before = self._answered.get(item.author.id)
        given = isinstance(item, items.Gift)
        if before is not None and not given and now - before < _SILENT_SECONDS / self._pace:
            return False
        self._answered[item.author.id] = now
        while len(self._answered) > _VISITORS:
            self._answered.pop(next(iter(self._answered)))
        body = item.body if isinstance(item, items.Comment) else ""
        language = language_of(item.author.name, body)
        name = item.author.name or _NAMELESS[language]
        if isinstance(item, items.Gift):
            gift = self._gifts.get(item.gift)
            label = spoken(gift.name if gift else item.gift, language)
            text = self._script.line(HOST_THANKS, language, name=name, gift=label)
            self._answer(self._room.comment, text)
            return before is None
        lines = HOST_WELCOMES if before is None else HOST_ANSWERS
        text = self._script.line(lines, language, name=name)
        event = LinkedCommentEvent(HOST, 0, text, item.offset, [item.author.id])
        self._answer(self._backend.publish, self._name, _encode(event))
        return before is None

    def _answer(self, say: Callable[..., Awaitable[Any]], *given: object) -> None:
        async def later() -> None:
            await self._sleep(self._script.about(_ANSWER_SECONDS))
            with _tried("answer"):
                await say(*given)

        if self._nursery is not None:
            self._nursery.start_soon(later)

    async def _sleep(self, seconds: float) -> None:
        await trio.sleep(seconds / self._pace)


@contextmanager
def _tried(what: str) -> Iterator[None]:
    """What cannot be done is left out: the show goes on."""
    try:
        yield
    except RoomcastError as error:
        log.warning("demo_host", extra={"task": what, "error": str(error)})
