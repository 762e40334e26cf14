"""Keys are made, found, revoked and followed, in a real database."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from veneer_adapters.catalog.database import Database
from veneer_server.conversations.keeping import MIGRATIONS
from veneer_server.tenancy.errors import KeyNotFound, NobodyLeft
from veneer_server.tenancy.keyring import Keyring
from veneer_server.tenancy.keys import Key
from veneer_server.tenancy.scopes import Scope

ADMIN = (Scope.KEYS_ADMIN,)


@pytest_asyncio.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    database = await Database.open(tmp_path / "catalog.db", further=(MIGRATIONS,))
    yield database
    await database.close()


async def make(
    keyring: Keyring,
    tenant: str | None = None,
    scopes: tuple[Scope, ...] = (Scope.INFER,),
    expires: int | None = None,
) -> tuple[Key, str]:
    return await keyring.create(
        tenant=tenant, name="n", scopes=scopes, patterns=("*",), expires=expires
    )


async def test_a_key_is_found_by_its_text_and_by_nothing_else(database: Database) -> None:
    keyring = Keyring(database, has_other_admin=True)
    key, text = await make(keyring, "acme")
    _, other = await make(keyring, "b")
    assert keyring.find(text) == key
    assert keyring.find(other) != key
    assert keyring.find(text[:-1]) is None
    assert keyring.find("") is None
    assert text not in repr(keyring.every())


async def test_another_server_finds_it_after_a_refresh(database: Database) -> None:
    ours, other = (Keyring(database, has_other_admin=True) for _ in range(2))
    key, text = await make(ours, "acme", expires=None)
    assert other.find(text) is None
    await other.refresh()
    assert other.find(text) == key
    await ours.revoke(key.id)
    await other.refresh()
    assert other.find(text) is None


@pytest.mark.parametrize("shared", [False, True])
async def test_keys_are_looked_at_again_only_where_another_server_may_change_them(
    database: Database, monkeypatch: pytest.MonkeyPatch, shared: bool
) -> None:
    keyring = Keyring(database)
    looked = asyncio.Event()

    async def look() -> None:
        looked.set()

    monkeypatch.setattr(Database, "shared", shared)
    monkeypatch.setattr("veneer_server.tenancy.keyring.FOLLOW_S", 0)
    monkeypatch.setattr(keyring, "refresh", look)
    following = asyncio.create_task(keyring.follow())
    for _ in range(20):
        await asyncio.sleep(0)
    following.cancel()
    assert looked.is_set() is shared


async def test_with_another_pepper_no_key_is_known(database: Database) -> None:
    _, text = await make(Keyring(database, pepper="one", has_other_admin=True))
    other = Keyring(database, pepper="two")
    await other.refresh()
    assert other.find(text) is None
    assert not other.is_empty


async def test_the_database_has_no_secret(database: Database, tmp_path: Path) -> None:
    _, text = await make(Keyring(database, has_other_admin=True))
    secret = text.split("_", 3)[3].rsplit("_", 1)[0]
    kept = b"".join(file.read_bytes() for file in tmp_path.iterdir())  # noqa: ASYNC240 - small
    assert secret.encode() not in kept


async def test_a_key_ends_when_it_expires(database: Database) -> None:
    now = 1000.0
    keyring = Keyring(database, has_other_admin=True, now=lambda: now)
    key, text = await make(keyring, expires=1010)
    assert keyring.find(text) == key
    now = 1010.0
    assert keyring.find(text) is None


async def test_a_revoked_key_stays_in_the_list_and_opens_nothing(database: Database) -> None:
    keyring = Keyring(database, has_other_admin=True, now=lambda: 7.0)
    key, text = await make(keyring)
    assert (await keyring.revoke(key.id)).revoked == 7
    assert (await keyring.revoke(key.id)).revoked == 7
    assert keyring.find(text) is None
    assert [each.id for each in keyring.every()] == [key.id]


async def test_a_key_that_is_not_there_cannot_be_revoked(database: Database) -> None:
    with pytest.raises(KeyNotFound, match="no key with the id `abcdefg2`"):
        await Keyring(database).revoke("abcdefg2")


@pytest.mark.parametrize(("scopes", "expires"), [((Scope.INFER,), None), (ADMIN, 10**12)])
async def test_the_first_key_must_be_able_to_make_others(
    database: Database, scopes: tuple[Scope, ...], expires: int | None
) -> None:
    keyring = Keyring(database)
    with pytest.raises(NobodyLeft):
        await make(keyring, scopes=scopes, expires=expires)
    assert keyring.is_empty
    await make(keyring, scopes=ADMIN)
    await make(keyring, scopes=scopes, expires=expires)


async def test_the_last_key_that_makes_keys_cannot_be_revoked(database: Database) -> None:
    keyring = Keyring(database)
    first, _ = await make(keyring, scopes=ADMIN)
    with pytest.raises(NobodyLeft):
        await keyring.revoke(first.id)
    await make(keyring, scopes=ADMIN)
    await keyring.revoke(first.id)
