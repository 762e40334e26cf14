"""The statements on stored responses. Each runs in the transaction of the connection it gets."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import orjson
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from veneer_server.conversations.records import UNFINISHED, Item, StoredResponse
from veneer_server.conversations.sql.tables import response_items, responses

_RECORD = (
    responses.c.id,
    responses.c.owner,
    responses.c.status,
    responses.c.context,
    responses.c.input,
    responses.c.document,
)


async def insert(
    connection: AsyncConnection, records: Sequence[StoredResponse], *, now: int, expires: int
) -> int:
    """Add ``records`` and return their size; those that are not finished begin to beat."""
    rows = [_to_row(record, now, expires) for record in records]
    await connection.execute(sa.insert(responses), rows)
    await _index(
        connection,
        {record.id: [*record.input, *record.document["output"]] for record in records},
    )
    return sum(row["size"] for row in rows)


def _to_row(record: StoredResponse, now: int, expires: int) -> dict[str, Any]:
    texts = [orjson.dumps(part) for part in (record.context, record.input, record.document)]
    context, given, document = [text.decode() for text in texts]
    return {
        "id": record.id,
        "owner": record.owner,
        "created": now,
        "expires": expires,
        "size": sum(map(len, texts)),
        "status": record.status,
        "beat": None if record.finished else now,
        "context": context,
        "input": given,
        "document": document,
    }


async def find(
    connection: AsyncConnection, owner: str, response_id: str, *, now: int
) -> StoredResponse | None:
    """Return the response unless it is expired or another owner's."""
    asked = sa.select(*_RECORD).where(responses.c.id == response_id, *_seen_by(owner, now))
    row = (await connection.execute(asked)).first()
    return None if row is None else _to_record(*row)


async def find_items(
    connection: AsyncConnection, owner: str, ids: Collection[str], *, now: int
) -> dict[str, Item]:
    """Return those of the items that a response of ``owner`` has, by their ids."""
    holders = sa.select(response_items.c.response).where(response_items.c.item.in_(ids))
    asked = (
        sa.select(responses.c.input, responses.c.document)
        .where(responses.c.id.in_(holders), *_seen_by(owner, now))
        .order_by(responses.c.created)
    )
    found: dict[str, Item] = {}
    for given, document in await connection.execute(asked):
        items = [*orjson.loads(given), *orjson.loads(document)["output"]]
        found |= {item["id"]: item for item in items if item.get("id") in ids}
    return found


async def settle(
    connection: AsyncConnection, response_id: str, status: str, document: Mapping[str, Any]
) -> bool:
    """Give an unfinished response a new state; return False when it is finished or gone."""
    text = orjson.dumps(document)
    change = (
        sa.update(responses)
        .where(responses.c.id == response_id, responses.c.status.in_(UNFINISHED))
        .values(
            status=status,
            document=text.decode(),
            size=responses.c.size + len(text),
        )
    )
    if status not in UNFINISHED:
        change = change.values(beat=None)
    if (await connection.execute(change)).rowcount == 0:
        return False
    await _index(connection, {response_id: document["output"]})
    return True


async def delete(connection: AsyncConnection, owner: str, response_id: str, *, now: int) -> bool:
    """Remove a response and its items; return False when there was nothing to remove."""
    gone = sa.delete(responses).where(responses.c.id == response_id, *_seen_by(owner, now))
    return (await connection.execute(gone)).rowcount > 0


async def beat(connection: AsyncConnection, ids: Collection[str], *, now: int) -> set[str]:
    """Note that the responses are still being generated; return those that still should be."""
    change = (
        sa.update(responses)
        .where(responses.c.id.in_(ids), responses.c.status.in_(UNFINISHED))
        .values(beat=now)
        .returning(responses.c.id)
    )
    return set((await connection.execute(change)).scalars())


async def find_silent(connection: AsyncConnection, *, before: int) -> list[StoredResponse]:
    """Return unfinished responses whose server has said nothing since ``before``."""
    asked = sa.select(*_RECORD).where(responses.c.beat <= before).limit(100)
    return [_to_record(*row) for row in await connection.execute(asked)]


def _seen_by(owner: str, now: int) -> tuple[sa.ColumnElement[bool], ...]:
    return responses.c.owner == owner, responses.c.expires > now


def _to_record(response_id: str, owner: str, status: str, *texts: str) -> StoredResponse:
    return StoredResponse(response_id, owner, status, *map(orjson.loads, texts))


async def _index(connection: AsyncConnection, items: Mapping[str, Sequence[Item]]) -> None:
    rows = [
        {"item": item_id, "response": response_id}
        for response_id, held in items.items()
        for item_id in {str(item["id"]) for item in held}
    ]
    if rows:
        await connection.execute(sa.insert(response_items), rows)
