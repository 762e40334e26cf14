"""What changes in the catalog although no request asked for it. Pure.

A watched folder publishes and removes adapters, and a guard takes a canary back. What a request
changes has entries of its own, around the change.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from veneer_adapters.catalog.alias import Alias
from veneer_adapters.catalog.entry import Entry
from veneer_adapters.catalog.revision import Revision
from veneer_server.auditing.entries import ASKED, DONE, Change

FOLDER, GUARD, SERVER = "folder", "guard", "server"
"""Who changes something without a request: a watched folder, the guard of an alias, and the server
itself, because of a setting."""
CANCELLED = "cancelled"


def unasked(before: Entry | None, after: Entry, now: int) -> list[Change]:
    """Return what nobody asked for of what is different between ``before`` and ``after``.

    Content of a folder that must be proved first is ``asked`` when it comes, and later ``done`` or
    the reason why it never serves.
    """
    moved = _moved(before, after)
    return [
        *(_change(GUARD, "alias.rollback", *told, now=now) for told in _taken_back(moved, after)),
        *(_change(FOLDER, "adapter.publish", *told, now=now) for told in _published(moved, after)),
        *(_change(FOLDER, "adapter.publish", *told, now=now) for told in _proving(before, after)),
        *(_change(FOLDER, "adapter.remove", *told, now=now) for told in _removed(before, after)),
    ]


_Told = tuple[str, str, Mapping[str, Any]]
"""The object, the outcome, and the details."""


def _moved(before: Entry | None, after: Entry) -> list[Alias]:
    old = before.aliases if before else {}
    return [alias for alias in after.aliases.values() if alias != old.get(alias.name)]


def _taken_back(moved: list[Alias], after: Entry) -> Iterator[_Told]:
    for alias in moved:
        if alias.by == "guard":
            revisions = [target.revision for target in alias.targets]
            yield f"{after.name}@{alias.name}", DONE, {"revisions": revisions}


def _published(moved: list[Alias], after: Entry) -> Iterator[_Told]:
    for alias in moved:
        revision = after.revisions[alias.main - 1]
        if alias.by == "publish" and _is_in_folder(revision):
            yield revision.label, DONE, {"alias": alias.name}


def _proving(before: Entry | None, after: Entry) -> Iterator[_Told]:
    live = {alias.main for alias in _moved(before, after)}
    for revision in after.revisions:
        old = before.by_number(revision.number) if before else None
        waited = old is not None and _waits(old)
        if _waits(revision) and not waited:
            yield revision.label, ASKED, {"alias": revision.becomes}
        elif waited and not _waits(revision) and revision.number not in live:
            yield revision.label, revision.reason or CANCELLED, {}


def _removed(before: Entry | None, after: Entry) -> Iterator[_Told]:
    was_there = before is not None and before.present
    # What a request removes remembers what the folder offered, so that it stays removed.
    if was_there and not after.present and after.source.kind == "folder" and not after.offered:
        yield after.name, DONE, {}


def _waits(revision: Revision) -> bool:
    return revision.becomes is not None and _is_in_folder(revision)


def _is_in_folder(revision: Revision) -> bool:
    return revision.source.kind == "folder"


def expired(outcome: str, rows: int, before: int, *, now: int) -> Change:
    """Return that the server removes the rows of usage that are older than ``before``."""
    return _change(SERVER, "usage.expire", "", outcome, {"rows": rows, "before": before}, now=now)


def trained(outcome: str, label: str, tenant: str | None, *, now: int) -> Change:
    """Return that a fine-tuning job publishes a checkpoint, or lets its adapter mean one."""
    change = _change(SERVER, "training.publish", label, outcome, {}, now=now)
    return replace(change, tenant=tenant)


def _change(
    actor: str, action: str, object_: str, outcome: str, details: Mapping[str, Any], *, now: int
) -> Change:
    return Change(
        time=now,
        actor=actor,
        tenant=None,
        action=action,
        object=object_,
        details=details,
        outcome=outcome,
        request="",
    )
