"""Revisions of a higher rank than the slots have, compressed when they are first loaded.

    <folder>/<digest>.json     which content serves for this one, at which rank, how well

A revision keeps its digest and its files. The compressed copy is content like any other: it has a
digest of its own, it is hashed before it is used, and it may be removed to make room, for it can be
made again. Slots of another rank after a restart need another copy, which takes its place.
"""

import json
import os
import shutil
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from veneer_adapters.artifact.checks import check_rank
from veneer_adapters.artifact.compression import Compression, is_compressible
from veneer_adapters.artifact.manifest import BaseFacts
from veneer_adapters.catalog.revision import Revision
from veneer_adapters.residency.weights import Weights
from veneer_adapters.store.store import Store
from veneer_adapters.threads import Threads

_CHECKED_AT_ONCE = 4

Compress = Callable[[Path, Path, BaseFacts], Compression]
"""Writes the adapter of one folder, at the rank of the slots, into another, which is empty."""


@dataclass(frozen=True, slots=True)
class Copy:
    """The content that serves in place of another."""

    digest: str
    rank: int
    error: float

    def serves(self, facts: BaseFacts) -> bool:
        """Return whether it fits the slots and loses no more than is allowed now."""
        allowed = facts.compress is not None and self.error <= facts.compress
        return allowed and self.rank == facts.max_rank


_COPY = TypeAdapter(Copy)


class Compressing:
    """Makes and remembers compressed copies."""

    def __init__(
        self, folder: Path, store: Store, compress: Compress, facts: Callable[[], BaseFacts]
    ) -> None:
        """Remember copies in ``folder``, made if missing, and keep them in ``store``.

        ``facts`` returns what adapters must fit now, and how much they may lose.
        """
        self._folder = folder
        self._store = store
        self._compress = compress
        self._facts = facts
        self._copies = _read(folder)
        self._checking = Threads("copies", _CHECKED_AT_ONCE)
        self._making = Threads("compressing", 1)  # each copy takes a core for seconds

    async def weights_of(self, revision: Revision) -> Weights:
        """Return what to load for ``revision``, whose own content is in the store.

        Raises:
            RankTooLarge: it does not fit the slots, and may not be compressed as far as that.
            AdapterRejected: its files cannot be compressed.
            AdapterUnavailable: the disk does not work now.
        """
        facts, rank = self._facts(), revision.manifest.rank
        check_rank(rank, facts)
        if not is_compressible(rank, facts):
            return Weights(revision.path)
        copy = self._copies.get(revision.digest)
        if copy is None or not await self._checking.run(self._is_there, copy, facts):
            copy = await self._making.run(self._make, revision, facts)
        self._store.used(copy.digest)
        return Weights(self._store.path(copy.digest), copy.error)

    def error_of(self, revision: Revision) -> float | None:
        """Return the relative error with which ``revision`` is served.

        None when it is served as it is, or was not compressed yet.
        """
        copy = self._copies.get(revision.digest)
        if copy is None:
            return None
        facts = self._facts()
        served = is_compressible(revision.manifest.rank, facts) and copy.serves(facts)
        return copy.error if served else None

    def also(self, needed: Collection[str]) -> set[str]:
        """Return the digests ``needed``, and those of the copies of their content."""
        copies = dict(self._copies)
        return {*needed, *(copies[digest].digest for digest in needed if digest in copies)}

    def close(self) -> None:
        """Begin to make no further copy."""
        self._checking.close()
        self._making.close()

    def _is_there(self, copy: Copy, facts: BaseFacts) -> bool:
        return copy.serves(facts) and self._store.check(copy.digest)

    def _make(self, revision: Revision, facts: BaseFacts) -> Copy:
        out = self._store.free_path()
        self._store.make_folder(out)
        try:
            found = self._compress(revision.path, out, facts)
            received = self._store.receive(out)
        finally:
            shutil.rmtree(out, ignore_errors=True)
        self._store.keep(received)
        copy = Copy(received.digest, found.rank, found.error)
        self._copies[revision.digest] = copy
        # From here on it stays because its original is needed; see ``also``.
        self._store.release(copy.digest)
        with suppress(OSError):  # Then the next start makes it again.
            _write(self._folder / f"{revision.digest}.json", copy)
        return copy


def _read(folder: Path) -> dict[str, Copy]:
    folder.mkdir(parents=True, exist_ok=True)
    copies = {}
    for path in folder.glob("*.json"):
        # What cannot be read is forgotten: the copy is made again and written over it.
        with suppress(OSError, ValidationError):
            copies[path.stem] = _COPY.validate_json(path.read_bytes())
    return copies


def _write(path: Path, copy: Copy) -> None:
    draft = path.with_suffix(".tmp")
    draft.write_text(json.dumps(asdict(copy)), encoding="utf-8")
    os.replace(draft, path)
