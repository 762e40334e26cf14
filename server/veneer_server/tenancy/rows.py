"""The statements on keys. Each runs in the transaction of the connection it gets."""

import json
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from veneer_server.tenancy.keys import Key
from veneer_server.tenancy.limits import Limits
from veneer_server.tenancy.scopes import Scope
from veneer_server.tenancy.tables import api_keys


async def insert(connection: AsyncConnection, key: Key, digest: str, version: int) -> None:
    """Add a key."""
    row = {
        "id": key.id,
        "digest": digest,
        "tenant": key.tenant,
        "name": key.name,
        "scopes": json.dumps(key.scopes),
        "patterns": None if key.patterns is None else json.dumps(key.patterns),
        "created": key.created,
        "expires": key.expires,
        "revoked": key.revoked,
        "version": version,
        "rpm": key.limits.rpm,
        "tpm": key.limits.tpm,
        "concurrency": key.limits.concurrency,
    }
    await connection.execute(sa.insert(api_keys), row)


async def revoke(connection: AsyncConnection, key_id: str, now: int, version: int) -> None:
    """Note when the key was revoked, unless it was already."""
    change = sa.update(api_keys).where(api_keys.c.id == key_id, api_keys.c.revoked.is_(None))
    await connection.execute(change.values(revoked=now, version=version))


async def every(connection: AsyncConnection) -> dict[str, Key]:
    """Return every key, revoked ones too, by the digest of its secret."""
    rows = await connection.execute(sa.select(api_keys))
    return {row.digest: _to_key(row) for row in rows}


async def last_version(connection: AsyncConnection) -> int:
    """Return the version of the last change of any key, 0 when there was none."""
    return await connection.scalar(sa.select(sa.func.max(api_keys.c.version))) or 0


def _to_key(row: Any) -> Key:
    return Key(
        id=row.id,
        tenant=row.tenant,
        name=row.name,
        scopes=tuple(Scope(scope) for scope in json.loads(row.scopes)),
        patterns=None if row.patterns is None else tuple(json.loads(row.patterns)),
        created=row.created,
        expires=row.expires,
        revoked=row.revoked,
        limits=Limits(row.rpm, row.tpm, row.concurrency),
    )
