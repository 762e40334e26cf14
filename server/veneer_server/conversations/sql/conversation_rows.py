"""The statements on conversations. Each runs in the transaction of the connection it gets."""

from collections.abc import Sequence
from typing import Any

import orjson
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from veneer_server.conversations.records import Conversation, Item
from veneer_server.conversations.sql.tables import conversation_items, conversations

_RECORD = (
    conversations.c.id,
    conversations.c.owner,
    conversations.c.created,
    conversations.c.length,
    conversations.c.metadata,
)


async def insert(connection: AsyncConnection, conversation: Conversation, *, expires: int) -> None:
    """Add a conversation without items."""
    metadata = _dump(conversation.metadata)
    row = {
        "id": conversation.id,
        "owner": conversation.owner,
        "created": conversation.created,
        "expires": expires,
        "size": len(metadata),
        "length": 0,
        "metadata": metadata,
    }
    await connection.execute(sa.insert(conversations), row)


async def find(
    connection: AsyncConnection, owner: str, conversation_id: str, *, now: int
) -> Conversation | None:
    """Return the conversation unless it is expired or another owner's."""
    asked = sa.select(*_RECORD).where(*_seen_by(owner, conversation_id, now))
    row = (await connection.execute(asked)).first()
    return None if row is None else _to_record(*row)


async def update(
    connection: AsyncConnection, owner: str, conversation_id: str, metadata: Any, *, now: int
) -> Conversation | None:
    """Replace the metadata; return the conversation, None when there is none."""
    change = (
        sa.update(conversations)
        .where(*_seen_by(owner, conversation_id, now))
        .values(metadata=_dump(metadata))
        .returning(*_RECORD)
    )
    row = (await connection.execute(change)).first()
    return None if row is None else _to_record(*row)


async def delete(
    connection: AsyncConnection, owner: str, conversation_id: str, *, now: int
) -> bool:
    """Remove a conversation with its items; return False when there was nothing to remove."""
    gone = sa.delete(conversations).where(*_seen_by(owner, conversation_id, now))
    return (await connection.execute(gone)).rowcount > 0


async def append(
    connection: AsyncConnection, conversation_id: str, items: Sequence[Item], *, expires: int
) -> bool:
    """Add ``items`` at the end, one after the other; return False when it is gone.

    Who appends counts the conversation up first. So two that append at once take turns, and the
    items of neither are lost or mixed.
    """
    texts = [orjson.dumps(item) for item in items]
    counted = (
        sa.update(conversations)
        .where(conversations.c.id == conversation_id)
        .values(
            length=conversations.c.length + len(items),
            size=conversations.c.size + sum(map(len, texts)),
            expires=expires,
        )
        .returning(conversations.c.length)
    )
    end = (await connection.execute(counted)).scalar()
    if end is None:
        return False
    rows = [
        {
            "conversation": conversation_id,
            "position": end - len(items) + index,
            "item": item["id"],
            "content": text.decode(),
        }
        for index, (item, text) in enumerate(zip(items, texts, strict=True))
    ]
    if rows:
        await connection.execute(sa.insert(conversation_items), rows)
    return True


def _seen_by(owner: str, conversation_id: str, now: int) -> tuple[sa.ColumnElement[bool], ...]:
    return (
        conversations.c.id == conversation_id,
        conversations.c.owner == owner,
        conversations.c.expires > now,
    )


def _to_record(
    conversation_id: str, owner: str, created: int, length: int, metadata: str
) -> Conversation:
    return Conversation(conversation_id, owner, created, length, orjson.loads(metadata))


def _dump(found: Any) -> str:
    return orjson.dumps(found).decode()
