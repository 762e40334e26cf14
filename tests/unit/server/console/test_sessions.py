"""Sessions of the console end when their key does."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from support.clock import Clock
from veneer_adapters.catalog.database import Database
from veneer_server.console.sessions import LASTS_S, MOST, Sessions
from veneer_server.conversations.keeping import MIGRATIONS
from veneer_server.tenancy.keyring import Keyring
from veneer_server.tenancy.principals import Principal
from veneer_server.tenancy.scopes import Scope


@pytest_asyncio.fixture
async def keyring(tmp_path: Path) -> AsyncIterator[Keyring]:
    database = await Database.open(tmp_path / "catalog.db", further=(MIGRATIONS,))
    yield Keyring(database, has_other_admin=True)
    await database.close()


async def test_a_session_is_known_by_its_text_alone(keyring: Keyring) -> None:
    sessions = Sessions(keyring)
    operator = Principal(owner="o")
    text = sessions.begin(operator)
    assert len(text) > 40
    assert sessions.find(text) == operator
    assert sessions.find(text[:-1]) is None
    assert sessions.find("") is None
    assert text not in repr(vars(sessions))


async def test_a_session_ends_when_somebody_signs_out_and_after_its_time(keyring: Keyring) -> None:
    clock = Clock()
    sessions = Sessions(keyring, clock)
    text, other = sessions.begin(Principal()), sessions.begin(Principal())
    sessions.end(text)
    sessions.end(text)
    assert sessions.find(text) is None
    assert sessions.find(other) is not None
    clock.advance(LASTS_S + 1)
    assert sessions.find(other) is None


async def test_a_session_ends_with_its_key(keyring: Keyring) -> None:
    key, _ = await keyring.create(
        tenant="acme", name="", scopes=(Scope.INFER,), patterns=None, expires=None
    )
    sessions = Sessions(keyring)
    text = sessions.begin(key.principal())
    assert sessions.find(text) == key.principal()
    await keyring.revoke(key.id)
    assert sessions.find(text) is None


@pytest.mark.parametrize("owner", ["", "a digest of what was typed"])
async def test_a_session_that_began_without_any_key_ends_with_the_first_one(
    keyring: Keyring, owner: str
) -> None:
    sessions = Sessions(keyring)
    text = sessions.begin(Principal(owner=owner))
    assert sessions.find(text) == Principal(owner=owner)
    await keyring.create(tenant=None, name="", scopes=(Scope.INFER,), patterns=None, expires=None)
    assert sessions.find(text) is None


async def test_a_session_of_the_configured_key_ends_when_another_one_is_configured(
    keyring: Keyring,
) -> None:
    sessions = Sessions(keyring)
    text = sessions.begin(Principal(owner="o"))
    await keyring.create(tenant=None, name="", scopes=(Scope.INFER,), patterns=None, expires=None)
    assert sessions.find(text, "o") == Principal(owner="o")
    assert sessions.find(text, "another") is None


async def test_the_oldest_session_makes_room(keyring: Keyring) -> None:
    sessions = Sessions(keyring)
    first = sessions.begin(Principal())
    for _ in range(MOST):
        sessions.begin(Principal())
    assert sessions.find(first) is None
