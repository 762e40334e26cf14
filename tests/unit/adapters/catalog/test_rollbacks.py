"""A rollback brings back all that an alias was: targets, whom they stick to, and their guard."""

import json
from dataclasses import replace

import pytest

from veneer_adapters.catalog.alias import Alias, Earlier, Guard, Target
from veneer_adapters.catalog.rows import _ALIAS, to_alias
from veneer_adapters.errors import NothingToRollBack

ONE, TWO = (Target(1),), (Target(2),)
SPLIT = (Target(1, 90), Target(2, 10))
GUARD = Guard(min_requests=20, margin=0.1)


def test_a_split_comes_back_sticky_and_guarded() -> None:
    alias = Alias("live", ONE).moved(SPLIT, now=1, by="move", sticky="user", guard=GUARD)
    published = alias.moved(TWO, now=2, by="publish")
    assert (published.sticky, published.guard) == (None, None)
    back = published.rolled_back(now=3)
    assert (back.targets, back.sticky, back.guard) == (SPLIT, "user", GUARD)
    assert (back.version, back.by) == (4, "rollback")


def test_what_was_neither_comes_back_as_neither() -> None:
    alias = Alias("live", ONE).moved(SPLIT, now=1, by="move", sticky="user", guard=GUARD)
    back = alias.rolled_back(now=2)
    assert (back.targets, back.sticky, back.guard) == (ONE, None, None)
    with pytest.raises(NothingToRollBack):
        back.rolled_back(now=3)


def test_an_alias_is_read_as_it_was_written() -> None:
    alias = Alias("live", ONE).moved(SPLIT, now=1, by="move", sticky="key", guard=GUARD)
    alias = alias.moved(TWO, now=2, by="publish")
    assert to_alias(_ALIAS.dump_json(alias).decode()) == alias


def test_an_alias_of_an_older_version_keeps_its_earlier_targets() -> None:
    alias = Alias("live", TWO).moved(SPLIT, now=1, by="move", sticky="user", guard=GUARD)
    older = json.loads(_ALIAS.dump_json(alias))
    older["earlier"] = [[{"revision": 1, "weight": 1}], [{"revision": 2, "weight": 3}]]
    read = to_alias(json.dumps(older))
    assert read == replace(alias, earlier=(Earlier(ONE), Earlier((Target(2, 3),))))


@pytest.mark.parametrize("record", ["[]", "7", "{", '{"name": "live"}'])
def test_what_is_no_alias_contradicts_the_catalog(record: str) -> None:
    with pytest.raises(ValueError, match=r"validation error|Expecting"):
        to_alias(record)
