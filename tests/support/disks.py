"""Disks of a megabyte, to be filled: a real one where this process may mount, and a pretence."""

import errno
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from veneer_adapters.store import copying

SIZE_BYTES = 1 << 20


@contextmanager
def mounted(folder: Path, size_bytes: int = SIZE_BYTES) -> Iterator[None]:
    """Mount a tmpfs of ``size_bytes`` at ``folder``."""
    folder.mkdir()
    _run("mount", "-t", "tmpfs", "-o", f"size={size_bytes}", "tmpfs", str(folder))
    try:
        yield
    finally:
        _run("umount", "--lazy", str(folder))


@contextmanager
def filled(folder: Path) -> Iterator[None]:
    """Leave not one byte free on the disk of ``folder`` until the block ends."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file:
        for size in (1 << 16, 1):
            try:
                while file.write(bytes(size)) == size:
                    pass
            except OSError:
                continue
    yield
    filler.unlink()


@contextmanager
def pretended(folder: Path) -> Iterator[None]:
    """Let the writes of adapters fail with ENOSPC once ``folder`` holds ``SIZE_BYTES``."""
    folder.mkdir()

    def full_at(point: str) -> None:
        files = (file for file in folder.rglob("*") if file.is_file())
        if point == "store.write" and sum(f.stat().st_size for f in files) > SIZE_BYTES:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(copying, "fault_point", full_at)
        yield


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, timeout=30)


def may_mount() -> bool:
    """Return whether this process may mount a tmpfs."""
    probe = ["unshare", "--mount", "mount", "-t", "tmpfs", "tmpfs", "/tmp"]  # noqa: S108 - its own
    try:
        return subprocess.run(probe, check=False, capture_output=True, timeout=30).returncode == 0
    except FileNotFoundError:
        return False


DISKS: list[Callable[[Path], AbstractContextManager[None]]] = [pretended]
if may_mount():
    DISKS.append(mounted)
