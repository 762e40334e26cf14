"""Copy files that somebody else may be writing: hashed on the way, refused when they change.

Nothing is opened outside the named folder. A link is followed only to a regular file inside that
folder; pipes, sockets and devices are refused without being read.
"""

import hashlib
import os
from pathlib import Path

from veneer_adapters.artifact.opening import open_inside
from veneer_adapters.errors import SourceChanging, TooLarge, quoted
from veneer_adapters.faults import fault_point

_CHUNK_BYTES = 1 << 20

_Signature = tuple[int, int, int, int]


def copy_hashing(
    folder: Path, names: tuple[str, ...], target: Path, *, limit_bytes: int
) -> dict[str, str]:
    """Copy files of ``folder`` into the empty folder ``target``; return the sha256 of each.

    The copies are what the files were at one instant: if any of them changes meanwhile, also by a
    rename, this function raises.

    Raises:
        PathNotAllowed: a file is not a regular file inside ``folder``.
        TooLarge: together the files have more than ``limit_bytes``.
        SourceChanging: a file changed or vanished while it was read.
        OSError: reading or writing failed.
    """
    try:
        before = {name: _signature((folder / name).stat()) for name in names}
        if sum(size for size, *_ in before.values()) > limit_bytes:
            raise TooLarge(f"The adapter is larger than the allowed {limit_bytes} bytes.")
        hashes = {name: _copy(folder, name, target / name, before[name]) for name in names}
        after = {name: _signature((folder / name).stat()) for name in names}
    except FileNotFoundError:
        raise SourceChanging("The adapter's files vanished while they were being read.") from None
    if before != after:
        raise SourceChanging("The adapter's files changed while they were being read.")
    return hashes


def fsync(path: Path) -> None:
    """Return when a file's content, or a folder's list of entries, would survive a power loss."""
    fault_point("store.fsync")
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _copy(folder: Path, name: str, target: Path, expected: _Signature) -> str:
    hashed = hashlib.sha256()
    left = expected[0]
    with open_inside(folder, name) as source, target.open("xb") as out:
        if _signature(os.fstat(source.fileno())) != expected:
            raise SourceChanging(f"{quoted(name)} changed while it was being read.")
        # Never more than the size at the first look: a growing source must not fill the disk.
        while chunk := source.read(min(left, _CHUNK_BYTES)):
            fault_point("source.read")
            left -= len(chunk)
            hashed.update(chunk)
            out.write(chunk)
            fault_point("store.write")
    return hashed.hexdigest()


def _signature(found: os.stat_result) -> _Signature:
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino
