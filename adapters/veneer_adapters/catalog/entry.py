"""One name in the catalog: its history, and how each event changes it. No I/O, no clock."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from veneer_adapters.catalog.record import AdapterRecord, RevisionRecord
from veneer_adapters.catalog.revision import Adapter, Revision, Source
from veneer_adapters.errors import MissingFile
from veneer_adapters.lifecycle import Event, State, advance
from veneer_adapters.manifest import Manifest


@dataclass(frozen=True, slots=True)
class Entry:
    """All that is known about one name; every change returns a new one."""

    name: str
    source: Source
    created: int
    state: State = State.ABSENT
    history: tuple[Revision, ...] = ()
    """Every revision there ever was, by number."""
    live: Revision | None = None
    reason: str | None = None
    detail: str | None = None
    gone: frozenset[str] = frozenset()
    """Digests in the history whose content the store no longer has."""

    @property
    def present(self) -> bool:
        """Whether the name exists for a client."""
        return self.state is not State.ABSENT

    def by_digest(self, digest: str) -> Revision | None:
        """Return the revision with this content, if there ever was one."""
        return next((r for r in self.history if r.digest == digest), None)

    def _next_number(self) -> int:
        return max((r.number for r in self.history), default=0) + 1

    def published(
        self, digest: str, path: Path, manifest: Manifest, *, source: Source, now: int
    ) -> tuple["Entry", Revision]:
        """Return the entry with ``digest`` live, numbered anew only if it was never seen."""
        known = self.by_digest(digest)
        number = known.number if known else self._next_number()
        created = known.created if known else now
        live = Revision(self.name, number, digest, path, manifest, created)
        earlier = tuple(r for r in self.history if r.digest != digest)
        entry = replace(
            self,
            source=source,
            created=now if self.state is State.ABSENT else self.created,
            state=advance(advance(self.state, Event.STAGE), Event.VERIFIED),
            history=tuple(sorted((*earlier, live), key=lambda r: r.number)),
            live=live,
            reason=None,
            detail=None,
            gone=self.gone - {digest},
        )
        return entry, live

    def failed(self, reason: str, detail: str) -> "Entry":
        """Return the entry after new content was refused; what is live keeps serving."""
        event = Event.REJECTED if self.live is None else Event.KEPT
        state = advance(advance(self.state, Event.STAGE), event)
        return replace(self, state=state, reason=reason, detail=detail)

    def removed(self) -> "Entry":
        """Return the entry as a memory of its numbers only."""
        state = advance(self.state, Event.REMOVE)
        return replace(self, state=state, live=None, reason=None, detail=None)

    def to_adapter(self) -> Adapter:
        """Return what the outside may know."""
        return Adapter(
            name=self.name,
            state=self.state,
            live=self.live,
            source=self.source,
            created=self.created,
            reason=self.reason,
            detail=self.detail,
        )

    def to_json(self) -> bytes:
        """Return the AdapterRecord that is written to disk: no failure and no paths."""
        record = AdapterRecord(
            created=self.created,
            source=self.source,
            live=self.live.number if self.live else None,
            revisions=tuple(_revision_record(r) for r in self.history),
        )
        return record.model_dump_json().encode()

    @classmethod
    def from_record(
        cls, name: str, record: AdapterRecord, find: Callable[[str], Path | None]
    ) -> "Entry":
        """Return the entry as it was, apart from content ``find`` does not find any more."""
        paths = {r.digest: find(r.digest) for r in record.revisions}
        history = tuple(
            Revision(name, r.number, r.digest, paths[r.digest] or Path(), r.manifest, r.created)
            for r in record.revisions
        )
        gone = frozenset(digest for digest, path in paths.items() if path is None)
        entry = cls(name, record.source, record.created, history=history, gone=gone)
        live = next((r for r in history if r.number == record.live), None)
        if live is None:
            return entry
        if live.digest in gone:
            return entry.failed(MissingFile.reason, "The stored files of the adapter are gone.")
        return replace(entry, state=State.READY, live=live)


def _revision_record(revision: Revision) -> RevisionRecord:
    return RevisionRecord(
        number=revision.number,
        digest=revision.digest,
        created=revision.created,
        manifest=revision.manifest,
    )
