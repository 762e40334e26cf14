"""One server for one state folder: the kernel holds the lock and frees it when the process dies."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from veneer_adapters.errors import StateFolderInUse, StorageFailed

LOCK_FILE = "LOCK"
"""A file in the state folder that holds the process id of the server. It is never removed."""
_PATIENCE_S = 1.0
"""How long to try. A process that a server was just starting when it was killed has the server's
files until it becomes another program, and with them the lock."""
_PAUSE_S = 0.02


@contextmanager
def state_folder(folder: Path) -> Iterator[None]:
    """Keep ``folder`` for this server alone until the block ends; make the folder if it is missing.

    Until the block ends or this process dies, another server is refused.

    Raises:
        StateFolderInUse: another server uses it.
        StorageFailed: the folder cannot be made or locked.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / LOCK_FILE).open("a+b")
    except OSError as error:
        raise _unusable(error) from error
    # A forked child inherits the lock; it must not keep it after this process has died.
    os.register_at_fork(after_in_child=file.close)
    with file:
        _lock(file)
        yield


def _lock(file: BinaryIO) -> None:
    try:
        _take(file, time.monotonic() + _PATIENCE_S)
        file.truncate(0)
        file.write(f"{os.getpid()}\n".encode())
        file.flush()
    except BlockingIOError:
        raise StateFolderInUse(
            f"Another server{_holder(file)} uses the state folder; stop it, or set state.dir to"
            " another folder for this server."
        ) from None
    except OSError as error:
        raise _unusable(error) from error


def _take(file: BinaryIO, until_s: float) -> None:
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() >= until_s:
                raise
            time.sleep(_PAUSE_S)


def _holder(file: BinaryIO) -> str:
    file.seek(0)
    pid = file.read(20).decode("ascii", "replace").strip()
    return f" (process {pid})" if pid.isdecimal() else ""


def _unusable(error: OSError) -> StorageFailed:
    why = error.strerror or "it cannot be written"
    return StorageFailed(f"The state folder (setting state.dir) cannot be used: {why}.")
