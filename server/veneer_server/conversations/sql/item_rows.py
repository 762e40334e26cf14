"""The statements on the items of conversations, in the transaction of the connection they get."""

from collections.abc import Collection

import orjson
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from veneer_server.conversations.records import Item, Page
from veneer_server.conversations.sql.tables import conversation_items, conversations


async def all_items(connection: AsyncConnection, conversation_id: str) -> list[Item]:
    """Return every item, in order."""
    asked = (
        sa.select(conversation_items.c.content)
        .where(conversation_items.c.conversation == conversation_id)
        .order_by(conversation_items.c.position)
    )
    return [orjson.loads(text) for text in (await connection.execute(asked)).scalars()]


async def page(
    connection: AsyncConnection,
    conversation_id: str,
    *,
    after: str | None,
    limit: int,
    newest: bool,
) -> Page | None:
    """Return ``limit`` items behind the item ``after``; None when that item is not there."""
    position = conversation_items.c.position
    asked = sa.select(conversation_items.c.content).where(
        conversation_items.c.conversation == conversation_id
    )
    if after is not None:
        begin = await _position(connection, conversation_id, after)
        if begin is None:
            return None
        asked = asked.where(position < begin if newest else position > begin)
    asked = asked.order_by(position.desc() if newest else position).limit(limit + 1)
    found = [orjson.loads(text) for text in (await connection.execute(asked)).scalars()]
    return Page(found[:limit], len(found) > limit)


async def find_items(
    connection: AsyncConnection, owner: str, ids: Collection[str], *, now: int
) -> dict[str, Item]:
    """Return those of the items that a conversation of ``owner`` has, by their ids."""
    asked = (
        sa.select(conversation_items.c.item, conversation_items.c.content)
        .join(conversations, conversations.c.id == conversation_items.c.conversation)
        .where(
            conversation_items.c.item.in_(ids),
            conversations.c.owner == owner,
            conversations.c.expires > now,
        )
    )
    rows = await connection.execute(asked)
    return {item: orjson.loads(text) for item, text in rows}


async def find_item(connection: AsyncConnection, conversation_id: str, item_id: str) -> Item | None:
    """Return one item of a conversation, None when it has no such item."""
    asked = sa.select(conversation_items.c.content).where(*_item(conversation_id, item_id))
    text = (await connection.execute(asked)).scalar()
    return None if text is None else orjson.loads(text)


async def delete_item(connection: AsyncConnection, conversation_id: str, item_id: str) -> bool:
    """Remove one item; return False when there was nothing to remove."""
    gone = sa.delete(conversation_items).where(*_item(conversation_id, item_id))
    return (await connection.execute(gone)).rowcount > 0


async def _position(connection: AsyncConnection, conversation_id: str, item_id: str) -> int | None:
    asked = sa.select(sa.func.max(conversation_items.c.position))
    found: int | None = await connection.scalar(asked.where(*_item(conversation_id, item_id)))
    return found


def _item(conversation_id: str, item_id: str) -> tuple[sa.ColumnElement[bool], ...]:
    return (
        conversation_items.c.conversation == conversation_id,
        conversation_items.c.item == item_id,
    )
