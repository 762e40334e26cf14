"""What every adapter name means now.

Reads come from memory, cost no I/O and need no lock: they see one immutable snapshot. Writes
take turns, reach the disk first and the snapshot second, so what was once answered survives
a crash. Writers block for one flush: call them off the event loop.
"""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from veneer_adapters.catalog.entry import Entry
from veneer_adapters.catalog.record import read_record, write_records
from veneer_adapters.catalog.revision import Adapter, Revision, Source
from veneer_adapters.errors import AdapterError, AdapterFailed, AdapterNotFound
from veneer_adapters.manifest import Manifest
from veneer_adapters.names import LIVE, Selector, close_matches


@dataclass(frozen=True, slots=True)
class Arrival:
    """Verified content that is to become the live revision of ``name``."""

    name: str
    digest: str
    path: Path
    manifest: Manifest
    source: Source


class Catalog:
    """Names, their revisions and what each serves by default."""

    def __init__(
        self, file: Path, entries: Mapping[str, Entry], *, now: Callable[[], float] = time.time
    ) -> None:
        self._file = file
        self._entries = dict(entries)
        self._records = {name: e.to_json() for name, e in entries.items() if e.history}
        self._now = now
        self._writing = threading.Lock()

    @classmethod
    def open(
        cls,
        file: Path,
        find: Callable[[str], Path | None],
        *,
        now: Callable[[], float] = time.time,
    ) -> "Catalog":
        """Return the catalog kept in ``file``; ``find`` tells where a digest is stored, if it is.

        An adapter whose live content is no longer stored is FAILED until it is staged again.

        Raises:
            CatalogUnreadable: the file is damaged or newer.
        """
        file.parent.mkdir(parents=True, exist_ok=True)
        records = read_record(file).adapters
        entries = {name: Entry.from_record(name, r, find) for name, r in records.items()}
        return cls(file, entries, now=now)

    def resolve(self, selector: Selector) -> Revision:
        """Return the revision that answers to ``selector`` now.

        Raises:
            AdapterNotFound: no such adapter, alias or revision; names close matches.
            AdapterFailed: the adapter is known, but has no revision that can serve.
        """
        entry = self._entry(selector.adapter, str(selector))
        revision = _choose(entry, selector)
        if revision is not None:
            return revision
        if entry.live is None and selector.alias == LIVE:
            raise AdapterFailed(entry.name, entry.reason or "absent", entry.detail or "")
        raise AdapterNotFound(str(selector))

    def get(self, name: str) -> Adapter:
        """Return the adapter called ``name``, whatever its state; raises AdapterNotFound."""
        return self._entry(name, name).to_adapter()

    def adapters(self) -> list[Adapter]:
        """Return every adapter there is, failed ones too, by name."""
        entries = self._entries
        return [entries[name].to_adapter() for name in sorted(entries) if entries[name].present]

    def revisions(self, name: str) -> list[Revision]:
        """Return every revision of ``name`` that can still be served, by number."""
        entry = self._entry(name, name)
        return [revision for revision in entry.history if revision.digest not in entry.gone]

    def publish(
        self, name: str, digest: str, path: Path, manifest: Manifest, source: Source
    ) -> Revision:
        """Make the content with ``digest`` the live revision of ``name`` and return it.

        Content published before keeps its number, other content gets the next one. Publishing
        what is live already is a no-op, except that an earlier failure is forgotten.

        Raises:
            StorageFailed: nothing changed.
        """
        return self.publish_all([Arrival(name, digest, path, manifest, source)])[0]

    def publish_all(self, arrivals: Sequence[Arrival]) -> list[Revision]:
        """Publish each arrival, with one flush for all of them: all or none is published."""
        now = int(self._now())
        with self._writing:
            changed: dict[str, Entry] = {}
            revisions = []
            for a in arrivals:
                entry = changed.get(a.name) or self._entries.get(a.name)
                entry = entry or Entry(a.name, a.source, now)
                changed[a.name], live = entry.published(
                    a.digest, a.path, a.manifest, source=a.source, now=now
                )
                revisions.append(live)
            self._replace(changed)
        return revisions

    def fail(self, name: str, error: AdapterError, source: Source) -> None:
        """Record that the newest content of ``name`` was refused.

        A live revision keeps serving, with the failure shown beside it; without one the
        adapter is FAILED. Not written to disk: the content is judged again after a restart.
        """
        with self._writing:
            entry = self._entries.get(name) or Entry(name, source, int(self._now()))
            failed = entry.failed(error.reason, str(error))
            self._entries = {**self._entries, name: failed}

    def remove(self, name: str) -> tuple[Revision, ...]:
        """Forget ``name``, so that it is not found; return the revisions nobody may ask for now.

        Its numbers survive: publishing again continues where they ended.

        Raises:
            AdapterNotFound: there is no such adapter.
            StorageFailed: nothing changed.
        """
        with self._writing:
            entry = self._entry(name, name)
            self._replace({name: entry.removed()})
        return entry.history

    def _entry(self, name: str, asked: str) -> Entry:
        entries = self._entries
        entry = entries.get(name)
        if entry is not None and entry.present:
            return entry
        serving = (e.name for e in entries.values() if e.live is not None)
        raise AdapterNotFound(asked, close_matches(name, serving))

    def _replace(self, changed: Mapping[str, Entry]) -> None:
        # Disk before memory; most restarts find what they left, so most writes are none.
        new = {name: entry.to_json() for name, entry in changed.items() if entry.history}
        if any(self._records.get(name) != record for name, record in new.items()):
            records = {**self._records, **new}
            write_records(self._file, records)
            self._records = records
        self._entries = {**self._entries, **changed}


def _choose(entry: Entry, selector: Selector) -> Revision | None:
    if selector.alias == LIVE:
        return entry.live
    for revision in entry.history:
        if revision.digest in entry.gone:
            continue
        if revision.number == selector.number:
            return revision
        if selector.digest is not None and revision.digest.startswith(selector.digest):
            return revision
    return None
