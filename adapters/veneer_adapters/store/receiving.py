"""A private copy of somebody else's artifact: it cannot change while it is verified."""

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from veneer_adapters.artifact.files import FILES, digest_of, require_names
from veneer_adapters.artifact.opening import open_folder, resolved
from veneer_adapters.errors import SourceChanging
from veneer_adapters.store.copying import copy_hashing


@dataclass(frozen=True, slots=True)
class Received:
    """A private copy of an artifact, not verified yet; ``keep`` or ``discard`` ends it."""

    digest: str
    path: Path
    size_bytes: int


def receive(folder: Path, tmp: Path, *, max_bytes: int, root: Path | None = None) -> Received:
    """Return a copy in ``tmp`` of the artifact in ``folder``, as it was at one instant.

    Its digest comes from the bytes that were read from ``folder``; the copy is not read again.
    Links may lead to what lies in ``root``, which is resolved; without it, in ``folder``.

    Raises:
        AdapterRejected: a file is missing or leaves the root, or both together have more than
            ``max_bytes``.
        SourceChanging: the files changed while they were read.
        OSError: reading or writing failed; nothing is left in ``tmp``.
    """
    copy = Path(tempfile.mkdtemp(dir=tmp))
    try:
        hashes = _copy(folder, root, copy, max_bytes)
        return Received(digest_of(hashes), copy, size_bytes(copy))
    except BaseException:
        shutil.rmtree(copy)
        raise


def _copy(folder: Path, root: Path | None, copy: Path, max_bytes: int) -> dict[str, str]:
    try:
        with open_folder(folder, root or resolved(folder)) as opened:
            require_names(opened.names())
            return copy_hashing(opened, FILES, copy, limit_bytes=max_bytes)
    except (FileNotFoundError, NotADirectoryError):
        raise SourceChanging("The adapter's folder vanished while it was read.") from None


def size_bytes(folder: Path) -> int:
    """Return the size of the files of an artifact together, in bytes."""
    return sum((folder / name).stat().st_size for name in FILES)
