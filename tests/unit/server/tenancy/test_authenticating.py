"""Who sends a key is who the key says, and nobody without one gets in where there are keys."""

from pathlib import Path

import pytest

from veneer_adapters.catalog.database import Database
from veneer_server.conversations.keeping import MIGRATIONS
from veneer_server.tenancy.authenticating import authenticate, require
from veneer_server.tenancy.errors import ScopeMissing, Unauthorized
from veneer_server.tenancy.keyring import Keyring
from veneer_server.tenancy.principals import Principal
from veneer_server.tenancy.scopes import EVERY_SCOPE, Scope


async def test_as_long_as_there_is_no_key_anybody_is_the_operator(tmp_path: Path) -> None:
    database = await Database.open(tmp_path / "c.db", further=(MIGRATIONS,))
    keyring = Keyring(database)
    assert authenticate("", None, keyring).scopes == EVERY_SCOPE
    assert authenticate("whatever", None, keyring).tenant is None
    _, text = await keyring.create(
        tenant="acme", name="", scopes=(Scope.KEYS_ADMIN,), patterns=("*",), expires=None
    )
    for wrong in ("", "whatever", text[:-1]):
        with pytest.raises(Unauthorized):
            authenticate(wrong, None, keyring)
    assert authenticate(text, None, keyring).tenant == "acme"
    await database.close()


async def test_the_operators_own_key_may_do_everything(tmp_path: Path) -> None:
    database = await Database.open(tmp_path / "c.db", further=(MIGRATIONS,))
    keyring = Keyring(database, has_other_admin=True)
    assert authenticate("secret", "secret", keyring).scopes == EVERY_SCOPE
    for wrong in ("", "Secret", "secret "):
        with pytest.raises(Unauthorized):
            authenticate(wrong, "secret", keyring)
    await database.close()


def test_a_missing_scope_is_named() -> None:
    with pytest.raises(ScopeMissing, match="keys:admin"):
        require(Principal(scopes=frozenset({Scope.INFER})), Scope.KEYS_ADMIN)
    require(Principal(scopes=frozenset({Scope.INFER})), Scope.INFER)
