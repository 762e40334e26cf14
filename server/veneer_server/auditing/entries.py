"""One entry of the audit log, and whether a chain of them is whole. Pure.

Each entry has the hash of the one before it in its own hash. Whoever changes, removes or moves one
must make all later hashes again, and then the last one is not what somebody has written down.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

FIRST = "0" * 64
"""The hash before the first entry."""
ASKED, DONE = "asked", "done"
"""Outcomes: somebody is about to do it; it is done. Any other one is the code of an error."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What somebody does."""

    time: int
    """In seconds since the epoch."""
    actor: str
    """The id of the key or ``operator``; without a request ``folder``, ``guard`` or ``server``."""
    tenant: str | None
    action: str
    """For instance ``key.create``."""
    object: str
    """What is changed: a key's id, an adapter's name."""
    details: Mapping[str, Any]
    """Whatever else is to be known; never a secret."""
    outcome: str
    request: str
    """The id of the request, which the entries of one change share; empty without one."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A change in its place in the chain."""

    number: int
    """Counts from 1, without gaps."""
    previous: str
    """The hash of the entry before."""
    hash: str
    change: Change

    def as_json(self) -> dict[str, Any]:
        """Return the entry as it is shown, and as ``broken_at`` reads it."""
        found = asdict(self.change)
        return {"number": self.number, **found, "previous": self.previous, "hash": self.hash}


def chained(change: Change, number: int, previous: str) -> Entry:
    """Return the entry for ``change`` that follows the one with the hash ``previous``."""
    fields = {"number": number, **asdict(change), "previous": previous}
    return Entry(number, previous, hash_of(fields), change)


def hash_of(fields: Mapping[str, Any]) -> str:
    """Return the SHA-256 of an entry without its hash, as canonical JSON."""
    text = json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def broken_at(
    entries: Iterable[Mapping[str, Any]], number: int = 0, previous: str = FIRST
) -> int | None:
    """Return the number of the first entry that is not as it was written; None if all are.

    ``entries`` follow the entry ``number``, whose hash is ``previous``.
    """
    for entry in entries:
        number += 1
        fields = {name: value for name, value in entry.items() if name != "hash"}
        is_next = entry.get("number") == number and entry.get("previous") == previous
        if not is_next or entry.get("hash") != hash_of(fields):
            return number
        previous = entry["hash"]
    return None
