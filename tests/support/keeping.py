"""Stores of responses and conversations for tests, on any database."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from veneer_adapters.catalog.database import Database
from veneer_server.conversations.keeping import MIGRATIONS
from veneer_server.conversations.records import StoredResponse
from veneer_server.conversations.sql.store import Store

TTL_S = 100


class Clock:
    """A time that a test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@asynccontextmanager
async def opened(where: str | Path, clock: Clock) -> AsyncIterator[Store]:
    """Open the store in a database that may be new."""
    database = await Database.open(where, further=(MIGRATIONS,))
    try:
        yield Store(database, ttl_s=TTL_S, now=clock)
    finally:
        await database.close()


def message(id_: str, text: str = "x") -> dict[str, Any]:
    part = {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
    return {"id": id_, "type": "message", "role": "assistant", "content": [part]}


def record(number: int = 1, status: str = "completed", **more: Any) -> StoredResponse:
    """Return a response with one item of input and one of output."""
    output = [] if status in ("queued", "in_progress") else [message(f"msg_out{number}")]
    document = {"id": f"resp_{number}", "status": status, "output": output, "background": True}
    found = {"owner": "me", "context": [], "input": [message(f"msg_in{number}")], **more}
    return StoredResponse(id=f"resp_{number}", status=status, document=document, **found)
