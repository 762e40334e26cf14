"""The last incidents: what is wrong now first, then what was, the newest first."""

from typing import Any

from veneer_adapters.catalog.revision import Adapter, Source
from veneer_adapters.lifecycle import State
from veneer_server.auditing.entries import FIRST, Change, Entry, chained
from veneer_server.console.overview.incidents import MOST, incidents

NOWHERE = Source("folder", "/a")


def entry(at_s: int, actor: str, object_: str, outcome: str) -> Entry:
    fields: dict[str, Any] = {"tenant": None, "details": {}, "request": "", "action": "x"}
    change = Change(time=at_s, actor=actor, object=object_, outcome=outcome, **fields)
    return chained(change, at_s, FIRST)


def test_what_is_wrong_now_comes_before_what_was_and_the_newest_first() -> None:
    adapters = [
        Adapter("cut", State.FAILED, None, NOWHERE, 1, "truncated"),
        Adapter("well", State.READY, None, NOWHERE, 1),
    ]
    entries = [
        entry(30, "guard", "pirate@live", "done"),
        entry(50, "key1", "team/x@2#sha256:ab", "no_effect"),
    ]
    found = incidents(adapters, entries, [], [(40.0, 2.0)])
    assert [(one.at_s, one.about, one.page) for one in found] == [
        (None, "cut", "variants/cut"),
        (50.0, "team/x@2#sha256:ab", "variants/team/x"),
        (40.0, "engine", ""),
        (30.0, "pirate@live", "variants/pirate"),
    ]
    assert "truncated" in found[0].told
    assert "no_effect" in found[1].told
    assert "2 times" in found[2].told
    assert "guard" in found[3].told


def test_a_few_are_shown_and_not_all() -> None:
    many = [entry(at_s, "guard", "a@live", "done") for at_s in range(100)]
    found = incidents([], many, [], [])
    assert [one.at_s for one in found] == [99.0 - n for n in range(MOST)]
