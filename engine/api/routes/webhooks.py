"""What could not be told to the product by webhooks: read, sent once more, or forgotten.

Owns these calls. When something is put aside is for `engine.hooks.dispatcher` to say.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Path, Query, Response

from engine.api.context import Engine, authorized
from engine.api.models.webhooks import DeadLettersAnswer, DoneAnswer
from engine.api.paths import Limit, global_only

__all__ = ["router"]

router = APIRouter(prefix="/v1/webhooks", tags=["webhooks"])

_WRITE: Any = [authorized("node:write"), global_only]
_Letter = Annotated[str, Path(min_length=1, max_length=64, description="Id of the dead letter.", examples=["5f0c7a2b-17-3"])]
_encode = msgspec.json.Encoder().encode


@router.get("/dead", dependencies=_WRITE, response_model=DeadLettersAnswer)
async def list_dead_letters(
    engine: Engine,
    after: Annotated[str, Query(max_length=64, description="The `next` of the page before; empty: from the first.")] = "",
    limit: Limit = 100,
) -> Response:
    """What the product was not told because it did not take it, each room's in their order."""
    found = await engine.dead_letters(after, limit + 1)
    letters = [
        {
            **msgspec.structs.asdict(each.happening),
            "attempts": each.attempts,
            "reason": each.reason,
            "again": each.again,
        }
        for each in found[:limit]
    ]
    # Without validating it again: a happening may hold anything that MessagePack can.
    told = {"letters": letters, "next": letters[-1]["id"] if len(found) > limit else None}
    return Response(_encode(told), media_type="application/json")


@router.post("/dead/replay", dependencies=_WRITE)
async def replay_dead_letters(engine: Engine) -> DoneAnswer:
    """Send all of them once more. What fails is put aside again."""
    return DoneAnswer(letters=await engine.replay_letters())


@router.post("/dead/{letter}/replay", dependencies=_WRITE)
async def replay_dead_letter(engine: Engine, letter: _Letter) -> DoneAnswer:
    """Send one of them once more; if it fails, it is put aside again."""
    return DoneAnswer(letters=await engine.replay_letters(letter))


@router.delete("/dead/{letter}", dependencies=_WRITE, status_code=204)
async def drop_dead_letter(engine: Engine, letter: _Letter) -> None:
    """Forget one of them."""
    await engine.drop_letters(letter)
