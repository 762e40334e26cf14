"""Entries as rows, rows as entries, and the rows that a change has to write. No I/O."""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter
from sqlalchemy import Table

from veneer_adapters.artifact.manifest import Manifest
from veneer_adapters.catalog import tables
from veneer_adapters.catalog.alias import Alias
from veneer_adapters.catalog.entry import Entry
from veneer_adapters.catalog.proof import Effect
from veneer_adapters.catalog.revision import Revision, Source
from veneer_adapters.lifecycle import State

Row = dict[str, Any]

_MANIFEST = TypeAdapter(Manifest)
_SOURCE = TypeAdapter(Source)
_EFFECT = TypeAdapter(Effect | None)
_ALIAS = TypeAdapter(Alias)


@dataclass(slots=True)
class Writes:
    """The rows to write, by table, so that many entries need few statements."""

    inserted: dict[Table, list[Row]] = field(default_factory=dict)
    updated: dict[Table, list[Row]] = field(default_factory=dict)
    deleted: dict[Table, list[Row]] = field(default_factory=dict)

    def replace(self, before: Entry | None, after: Entry, version: int) -> None:
        """Add the rows that turn ``before`` into ``after``, changed at clock ``version``."""
        row = {**_adapter_row(after), "changed": version}
        self._put(tables.adapters, row, is_new=before is None)
        old = {r.number: r for r in before.revisions} if before else {}
        for revision in after.revisions:
            if revision != old.get(revision.number):
                is_new = revision.number not in old
                self._put(tables.revisions, _revision_row(revision), is_new=is_new)
        self._replace_aliases(before.aliases if before else {}, after)

    def _replace_aliases(self, old: Mapping[str, Alias], after: Entry) -> None:
        for name in old.keys() - after.aliases.keys():
            gone = {"adapter": after.name, "name": name}
            self.deleted.setdefault(tables.aliases, []).append(gone)
        for name, alias in after.aliases.items():
            if alias == old.get(name):
                continue
            record = _ALIAS.dump_json(alias).decode()
            row = {"adapter": after.name, "name": name, "record": record}
            self._put(tables.aliases, {**row, "version": alias.version}, is_new=name not in old)
            self.inserted.setdefault(tables.moves, []).append(row)

    def _put(self, table: Table, row: Row, *, is_new: bool) -> None:
        rows = self.inserted if is_new else self.updated
        rows.setdefault(table, []).append(row)


def to_entries(
    adapters: Iterable[Row],
    revisions: Iterable[Row],
    aliases: Iterable[Row],
    where: Callable[[str], Path],
) -> dict[str, Entry]:
    """Return the entries that these rows describe; ``where`` says where a digest is stored.

    Raises:
        ValueError: the rows contradict each other or their schema.
    """
    kept: dict[str, dict[int, Revision]] = {}
    for row in revisions:
        kept.setdefault(row["adapter"], {})[row["number"]] = _to_revision(row, where)
    pointing: dict[str, dict[str, Alias]] = {}
    for row in aliases:
        alias = to_alias(row["record"])
        pointing.setdefault(row["adapter"], {})[alias.name] = alias
    return {
        row["name"]: _to_entry(row, kept.get(row["name"], {}), pointing.get(row["name"], {}))
        for row in adapters
    }


def to_alias(record: str) -> Alias:
    """Return the alias that ``record``, of a row of ``moves`` or ``aliases``, describes.

    Raises:
        ValueError: it describes none.
    """
    found = json.loads(record)
    # Before migration 0003 only the targets of what an alias was earlier were kept.
    earlier = found.get("earlier", ()) if isinstance(found, dict) else ()
    if any(isinstance(item, list) for item in earlier):
        found["earlier"] = [{"targets": i} if isinstance(i, list) else i for i in earlier]
    return _ALIAS.validate_python(found)


def _to_entry(row: Row, kept: Mapping[int, Revision], aliases: Mapping[str, Alias]) -> Entry:
    numbers = range(1, len(kept) + 1)
    targets = [t.revision for alias in aliases.values() for t in alias.targets]
    if not kept.keys() >= {*numbers, *targets}:
        raise ValueError(f"the revisions of {row['name']} are not complete")
    return Entry(
        name=row["name"],
        source=_SOURCE.validate_json(row["source"]),
        created=row["created"],
        present=row["present"],
        pinned=row["pinned"],
        offered=row["offered"],
        revisions=tuple(kept[number] for number in numbers),
        aliases=aliases,
    )


def _adapter_row(entry: Entry) -> Row:
    return {
        "name": entry.name,
        "created": entry.created,
        "source": _SOURCE.dump_json(entry.source).decode(),
        "present": entry.present,
        "pinned": entry.pinned,
        "offered": entry.offered,
    }


def _revision_row(revision: Revision) -> Row:
    return {
        "adapter": revision.adapter,
        "number": revision.number,
        "digest": revision.digest,
        "created": revision.created,
        "manifest": _MANIFEST.dump_json(revision.manifest).decode(),
        "source": _SOURCE.dump_json(revision.source).decode(),
        "state": str(revision.state),
        "reason": revision.reason,
        "detail": revision.detail,
        "effect": _EFFECT.dump_json(revision.effect).decode(),
        "allow_no_effect": revision.allow_no_effect,
        "becomes": revision.becomes,
        "training": None if revision.training is None else json.dumps(revision.training),
    }


def _to_revision(row: Row, where: Callable[[str], Path]) -> Revision:
    return Revision(
        adapter=row["adapter"],
        number=row["number"],
        digest=row["digest"],
        path=where(row["digest"]),
        manifest=_MANIFEST.validate_json(row["manifest"]),
        created=row["created"],
        source=_SOURCE.validate_json(row["source"]),
        state=State(row["state"]),
        reason=row["reason"],
        detail=row["detail"],
        effect=_EFFECT.validate_json(row["effect"] or "null"),
        allow_no_effect=row["allow_no_effect"],
        becomes=row["becomes"],
        training=None if row["training"] is None else json.loads(row["training"]),
    )
