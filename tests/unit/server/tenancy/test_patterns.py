"""An allow-list takes what it says, and nothing in another namespace."""

import pytest

from veneer_server.tenancy.patterns import is_pattern, matches
from veneer_server.tenancy.principals import Principal, cache_salt, default_patterns


@pytest.mark.parametrize(
    ("pattern", "taken", "left"),
    [
        ("pirate", ["pirate"], ["pirates", "acme/pirate", "Pirate"]),
        ("*", ["pirate", "haiku"], ["acme/pirate"]),
        ("acme/*", ["acme/pirate"], ["pirate", "acme2/pirate", "acme"]),
        ("*/*", ["acme/pirate", "b/c"], ["pirate"]),
        ("acme/p*", ["acme/pirate"], ["acme/haiku"]),
    ],
)
def test_a_pattern_takes_the_names_of_its_namespace(
    pattern: str, taken: list[str], left: list[str]
) -> None:
    assert [name for name in [*taken, *left] if matches(name, [pattern])] == taken


def test_a_character_class_is_no_pattern() -> None:
    assert not is_pattern("[a-z]*")
    assert not is_pattern("a/b/c")
    assert not is_pattern("")
    assert is_pattern("acme/*")


def test_a_tenant_sees_the_base_what_nobody_owns_and_its_own() -> None:
    who = Principal(tenant="acme", patterns=default_patterns("acme"))
    assert who.sees_base()
    assert [name for name in ("pirate", "acme/x", "other/x") if who.sees(name)] == [
        "pirate",
        "acme/x",
    ]
    assert [name for name in ("pirate", "acme/x", "acme", "acmes/x") if who.owns(name)] == [
        "acme/x"
    ]


def test_tenants_have_different_salts_and_the_operator_none() -> None:
    assert cache_salt(None, "secret") is None
    salts = {cache_salt("a", "secret"), cache_salt("b", "secret"), cache_salt("a", "other")}
    assert len(salts) == 3
    assert cache_salt("a", "secret") == cache_salt("a", "secret")
