"""The catalog's one file: what it looks like, and how it is read and written.

Rule 1: it is replaced as a whole, by rename, after a flush: a crash leaves the old or the new.
Rule 2: a file that is not exactly what this schema says is refused, never repaired or ignored:
        an empty catalog would hand out revision numbers a second time.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from veneer_adapters.catalog.revision import Source
from veneer_adapters.copying import write_atomically
from veneer_adapters.errors import CatalogUnreadable, StorageFailed
from veneer_adapters.manifest import Manifest

VERSION = 1
"""Raised by one with every change of this schema."""


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class RevisionRecord(_Record):
    """One revision, without the path: that is the store's to say."""

    number: int = Field(ge=1)
    digest: str = Field(pattern=r"^[0-9a-f]{64}$")
    created: int
    manifest: Manifest


class AdapterRecord(_Record):
    """One name, present or removed: its numbers outlive it."""

    created: int
    source: Source
    live: int | None
    """The number served by default, or None when the adapter was removed."""
    revisions: tuple[RevisionRecord, ...]

    @model_validator(mode="after")
    def _numbers_are_unique(self) -> Self:
        numbers = [revision.number for revision in self.revisions]
        if len(set(numbers)) != len(numbers):
            raise ValueError("two revisions have one number")
        if self.live is not None and self.live not in numbers:
            raise ValueError("the live revision does not exist")
        return self


class CatalogRecord(_Record):
    """The whole file."""

    version: int
    adapters: dict[str, AdapterRecord]


def read_record(path: Path) -> CatalogRecord:
    """Return what the file at ``path`` says; nothing when there is no file yet.

    Raises:
        CatalogUnreadable: damaged, or written by a newer version; the file stays as it is.
    """
    try:
        record = CatalogRecord.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return CatalogRecord(version=VERSION, adapters={})
    except ValidationError as error:
        where = ".".join(str(part) for part in error.errors()[0]["loc"])
        raise _unreadable(path, f"is damaged ({where or 'not JSON'})") from error
    except OSError as error:
        raise _unreadable(path, f"cannot be read ({error.strerror})") from error
    if record.version != VERSION:
        raise _unreadable(path, f"has version {record.version}, this Veneer reads {VERSION}")
    return record


def write_records(path: Path, records: Mapping[str, bytes]) -> None:
    """Replace the file at ``path``; afterwards ``records`` survive a power loss.

    ``records`` are AdapterRecords by name, already JSON: a write then costs no more than
    putting them together, however many adapters did not change.

    Raises:
        StorageFailed: the file could not be written and holds what it held.
    """
    members = b",\n".join(json.dumps(name).encode() + b":" + r for name, r in records.items())
    try:
        write_atomically(path, b'{"version":%d,"adapters":{\n%s\n}}\n' % (VERSION, members))
    except OSError as error:
        raise StorageFailed(f"The catalog could not be written: {error.strerror}.") from error


def _unreadable(path: Path, what: str) -> CatalogUnreadable:
    return CatalogUnreadable(
        f"The catalog {path.name} {what}; it was left as it is. Restore it from a copy, or move"
        " it away to begin with an empty catalog whose revision numbers start again at 1."
    )
