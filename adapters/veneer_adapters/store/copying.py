"""Copy files that somebody else may be writing: hashed on the way, refused when they change.

The files are opened from the folder's descriptor. A link is followed only to a regular file inside
the folder's root; pipes, sockets and devices are refused without being opened.
"""

import hashlib
import os
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

from veneer_adapters.artifact.opening import OpenFolder
from veneer_adapters.errors import SourceChanging, TooLarge
from veneer_adapters.faults import fault_point

_CHUNK_BYTES = 1 << 20

_Signature = tuple[int, int, int, int]


def copy_hashing(
    folder: OpenFolder, names: tuple[str, ...], target: Path, *, limit_bytes: int
) -> dict[str, str]:
    """Copy files of ``folder`` into the empty folder ``target``; return the sha256 of each.

    The copies are what the files were at one instant: if any of them changes meanwhile, also by a
    rename, this function raises.

    Raises:
        PathNotAllowed: a file is not a regular file inside the folder's root.
        TooLarge: together the files have more than ``limit_bytes``.
        SourceChanging: a file changed or vanished while it was read.
        OSError: reading or writing failed.
    """
    try:
        with ExitStack() as stack:
            files = {name: stack.enter_context(folder.open(name)) for name in names}
            before = {name: _signature(file) for name, file in files.items()}
            if sum(size for size, *_ in before.values()) > limit_bytes:
                raise TooLarge(f"The adapter is larger than the allowed {limit_bytes} bytes.")
            hashes = {n: _copy(file, before[n][0], target / n) for n, file in files.items()}
        after = {name: _signature_of(folder, name) for name in names}
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


def _copy(source: BinaryIO, size_bytes: int, target: Path) -> str:
    hashed = hashlib.sha256()
    left = size_bytes
    with target.open("xb") as out:
        # Never more than the size at the first look: a growing source must not fill the disk.
        while chunk := source.read(min(left, _CHUNK_BYTES)):
            fault_point("source.read")
            left -= len(chunk)
            hashed.update(chunk)
            out.write(chunk)
            fault_point("store.write")
    return hashed.hexdigest()


def _signature_of(folder: OpenFolder, name: str) -> _Signature:
    # By its name again, because another file may have this name by now.
    with folder.open(name) as file:
        return _signature(file)


def _signature(file: BinaryIO) -> _Signature:
    found = os.fstat(file.fileno())
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino
