"""What every call has at hand: who calls and what that one may do, the node, a room, the key that makes a retry harmless.

Owns the dependencies that routes declare. Must not know how a caller is recognised (`engine.api.callers`), nor what an answer
looks like.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b
from typing import Annotated, Any, Final, Protocol

from fastapi import Depends, Path, Request, Security
from fastapi.security import HTTPBearer
from starlette.requests import HTTPConnection

from engine.access import PRODUCT, SERVER, Standing, check_room_name
from engine.api.target import SLASH
from engine.backend import Backend, Room
from engine.errors import Code, Refused
from engine.schema import BACKSTAGE, CONSOLE, Author
from engine.settings import Scope
from engine.tokens import Claims

__all__ = [
    "SLASH",
    "Caller",
    "Callers",
    "Engine",
    "Retry",
    "RetryKey",
    "RoomName",
    "Scope",
    "allowed",
    "authorized",
    "bearer",
    "identified",
    "permitted",
    "room_of",
    "sanctioned",
]


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls.

    :ivar name: for logs, and for keeping callers' retry keys apart: that of an API key, or ``user:`` and the id in a token.
    :ivar scopes: what it may do; ``*``: everything.
    :ivar rooms: where; one that ends in ``*`` stands for all that begin so.
    :ivar author: whom events name unless the request names somebody.
    :ivar standing: in which it acts; of a user of the room, for whom bans and mutes hold, that user's.
    :ivar claims: of its token, if it has come with one.
    """

    name: str
    scopes: frozenset[str]
    rooms: tuple[str, ...] = ("*",)
    author: Author = SERVER
    standing: Standing = PRODUCT
    claims: Claims | None = None

    def may(self, scope: Scope) -> bool:
        """Whether this may be done at all."""
        return "*" in self.scopes or scope in self.scopes

    @property
    def everywhere(self) -> bool:
        """Whether it may be done in all rooms, and to what they share."""
        return "*" in self.rooms

    def names(self, author: Author) -> bool:
        """Whether what it does may name such an author: the product's servers speak for anybody, users for themselves."""
        return self.standing is PRODUCT or author.id == self.author.id

    def covers(self, room: str) -> bool:
        """Whether it may be done in this room."""
        return any(room.startswith(each[:-1]) if each.endswith("*") else room == each for each in self.rooms)


class Callers(Protocol):
    """Recognises callers; `engine.api.callers` does it."""

    def identify(self, authorization: str | None, address: str) -> Caller:
        """The caller with this Authorization header, at this address. Raises `engine.api.problems.Problem` (401, 429)."""


@dataclass(frozen=True, slots=True)
class RetryKey:
    """From the Idempotency-Key of a write (draft-ietf-httpapi-idempotency-key-header), for those parts of the engine that
    recognise a retry themselves, at any node and after a restart.

    :ivar key: of the ledger.
    :ivar session: with a ref of 1 the key of an event; the i-th event of a batch has ref 1 + i.
    """

    key: str
    session: str


bearer: Final = HTTPBearer(
    scheme_name="key", auto_error=False, description="An API key, or a token (JWT) of a user whose role allows it."
)
"""The security scheme of the OpenAPI document; `authorized` declares it."""


def authorized(scope: Scope) -> Any:
    """Declares what a route needs: ``dependencies=[authorized("publish")]``. The caller is then in ``request.state.caller``."""

    async def check(request: Request, _: Annotated[object, Security(bearer)]) -> None:
        permitted(request, scope)
        room = request.path_params.get("room")
        if room is not None:
            await sanctioned(request, room.replace(SLASH, "/"), speaks=scope == "publish")

    # As Security, so that the OpenAPI document says which scope a call needs.
    return Security(check, scopes=[scope])


def identified(request: HTTPConnection) -> Caller:
    """Who calls, recognised once a request. Raises `engine.api.problems.Problem` (401, 429)."""
    state = request.state
    if not hasattr(state, "caller"):
        callers: Callers = request.app.state.callers
        address = request.client.host if request.client is not None else ""
        state.caller = callers.identify(request.headers.get("authorization"), address)
    caller: Caller = state.caller
    return caller


def permitted(request: Request, scope: Scope) -> None:
    """Raise `engine.errors.Refused` or `engine.api.problems.Problem` for a caller who may not do this here."""
    caller = identified(request)
    if not caller.may(scope):
        raise Refused(Code.FORBIDDEN, f"this needs the scope {scope}")
    room = request.path_params.get("room")
    if room is not None:
        allowed(caller, room.replace(SLASH, "/"))


def allowed(caller: Caller, room: str) -> None:
    """Raise `Refused` for a room that is none, or not the caller's. Backstage is for who may moderate in front of it."""
    check_room_name(room)
    front = room.removesuffix(BACKSTAGE)
    if front == CONSOLE:
        raise Refused(Code.FORBIDDEN, f"{CONSOLE} is the nodes' own: they speak there, and a pass lets in who may listen")
    if front != room and not caller.may("moderate"):
        raise Refused(Code.FORBIDDEN, "backstage needs the scope moderate")
    if not caller.covers(front):
        raise Refused(Code.FORBIDDEN, "this key or token is not for this room")


async def sanctioned(request: Request, room: str, *, speaks: bool) -> None:
    """Raise `Refused` for a user who is banned in this room or, if it is to speak, muted."""
    caller: Caller = request.state.caller
    if caller.standing is not PRODUCT:
        engine: Backend = request.app.state.backend
        await engine.room(room, author=caller.author).check(speaks=speaks)


# Coroutines all of them: FastAPI calls plain functions in threads.


async def _engine(request: Request) -> Backend:
    backend: Backend = request.app.state.backend
    return backend


async def _retry(request: Request) -> RetryKey | None:
    given = request.headers.get("idempotency-key")
    if not given:
        return None
    whole = f"{request.state.caller.name}\0{request.method}\0{request.scope['path']}\0{given}"
    digest = blake2b(whole.encode(), digest_size=18, person=b"idempotency").hexdigest()
    return RetryKey(f"api/{digest}", f"api-{digest}")


Engine = Annotated[Backend, Depends(_engine)]
"""The node, as a parameter of a route."""
Retry = Annotated[RetryKey | None, Depends(_retry)]
"""The retry key, as a parameter of a route; None if the request has none."""


async def _room_name(
    room: Annotated[str, Path(description="Name of the room.", min_length=1, max_length=128, examples=["lobby"])],
) -> str:
    return room.replace(SLASH, "/")


RoomName = Annotated[str, Depends(_room_name)]
"""The room in the path, as a parameter of a route."""


def room_of(request: Request, engine: Backend, name: str, author: Author | None = None) -> Room:
    """A room in which events name the author given, or the caller. Raises `Refused` if the caller may not name that one."""
    caller: Caller = request.state.caller
    if author is not None and not caller.names(author):
        raise Refused(Code.FORBIDDEN, "the token is for another user: only an API key names others")
    return engine.room(name, author=author or caller.author, standing=caller.standing)
