"""A log that somebody changed is not whole, wherever and however they changed it."""

from collections.abc import Callable
from typing import Any

import pytest

from veneer_server.auditing.entries import FIRST, Change, broken_at, chained

Entries = list[dict[str, Any]]


def entries(count: int = 4) -> Entries:
    made: Entries = []
    for number in range(1, count + 1):
        change = Change(
            time=number,
            actor="k1",
            tenant="acme",
            action="adapter.remove",
            object=f"acme/ä{number}",
            details={"n": number, "list": ["x"]},
            outcome="done",
            request="req_1",
        )
        previous = made[-1]["hash"] if made else FIRST
        made.append(chained(change, number, previous).as_json())
    return made


def test_a_log_as_it_was_written_is_whole() -> None:
    assert broken_at(entries()) is None
    assert broken_at([]) is None
    later = entries()[2:]
    assert broken_at(later, 2, later[0]["previous"]) is None


def change(entry: dict[str, Any], **fields: Any) -> None:
    entry.update(fields)


@pytest.mark.parametrize(
    ("tamper", "number"),
    [
        (lambda e: change(e[1], object="acme/other"), 2),
        (lambda e: change(e[1], details={"n": 3, "list": ["x"]}), 2),
        (lambda e: change(e[1], tenant=None), 2),
        (lambda e: e[1].pop("actor"), 2),
        (lambda e: change(e[1], more="x"), 2),
        (lambda e: e.pop(1), 2),
        (lambda e: e.pop(0), 1),
        (lambda e: e.reverse(), 1),
        (lambda e: e.insert(2, dict(e[1])), 3),
        (lambda e: change(e[2], hash="0" * 64), 3),
    ],
)
def test_a_changed_log_is_broken_where_it_was_changed(
    tamper: Callable[[Entries], Any], number: int
) -> None:
    found = entries()
    tamper(found)
    assert broken_at(found) == number


def test_a_changed_entry_with_a_hash_made_anew_breaks_the_next_one() -> None:
    found, other = entries(), entries(1)[0]
    change_ = Change(**{**_change_of(other), "object": "acme/other"})
    found[0] = chained(change_, 1, FIRST).as_json()
    assert broken_at(found) == 2


def _change_of(entry: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in entry.items() if k not in ("number", "previous", "hash")}
