"""A private copy of somebody else's artifact, which may be verified without it changing."""

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from veneer_adapters.artifact.files import FILES, digest_of, require_files
from veneer_adapters.errors import SourceChanging
from veneer_adapters.store.copying import copy_hashing


@dataclass(frozen=True, slots=True)
class Received:
    """A private copy of an artifact, waiting to be verified; ends in ``keep`` or ``discard``."""

    digest: str
    path: Path
    size_bytes: int


def receive(folder: Path, tmp: Path, *, max_bytes: int) -> Received:
    """Return a copy in ``tmp`` of the artifact in ``folder`` as it was at one instant.

    Raises:
        AdapterRejected: a file is missing, has, with the other, more than ``max_bytes``, or
            leaves the folder.
        SourceChanging: the files changed while they were read.
        OSError: reading or writing failed; nothing is left in ``tmp``.
    """
    copy = Path(tempfile.mkdtemp(dir=tmp))
    try:
        try:
            require_files(folder)
        except FileNotFoundError:
            raise SourceChanging("The adapter's folder vanished while it was read.") from None
        hashes = copy_hashing(folder, FILES, copy, limit_bytes=max_bytes)
        return Received(digest_of(hashes), copy, size_bytes(copy))
    except BaseException:
        shutil.rmtree(copy)
        raise


def size_bytes(folder: Path) -> int:
    """Return what the files of an artifact weigh together."""
    return sum((folder / name).stat().st_size for name in FILES)
