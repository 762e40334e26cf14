"""What an engine leaves behind when its gateway is killed: written down, and removed later.

The gateway removes the folder and the shared memory of an engine that ends. When the gateway itself
is killed, nobody does: sockets, files and 160 MiB of memory stay. So their names are in a record in
the state folder, with who owns them.

Rule: only what a record names is removed, only under the names that engines have, and only when the
owner is dead.
"""

import json
import os
import shutil
from collections.abc import Collection
from contextlib import suppress
from dataclasses import asdict, dataclass
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path

RECORD_FILE = "ENGINE"
"""The record in the state folder, while there is an engine."""
FOLDER_PREFIX, SHARED_PREFIX = "veneer-engine-", "psm_"


@dataclass(frozen=True, slots=True)
class Owner:
    """One process, and no other one that gets the same number later."""

    pid: int
    boot: str
    began: str
    """When it began, in the kernel's own count since the start of the machine."""

    @classmethod
    def of(cls, pid: int) -> "Owner | None":
        """Return the process ``pid``, or None when there is none, or one that has ended."""
        try:
            boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
            # pid (name) state ...; the name may hold spaces and parentheses.
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return None
        return None if fields[0] in "ZX" else cls(pid, boot, fields[19])


def note(record: Path, folder: Path, shared: Collection[str] = ()) -> None:
    """Write down that this process owns ``folder`` and the ``shared`` memory; raises OSError."""
    owner = Owner.of(os.getpid())
    if owner is None:
        return
    text = json.dumps({**asdict(owner), "folder": str(folder), "shared": sorted(shared)})
    draft = record.with_name(f".{record.name}")
    draft.write_text(text)
    draft.replace(record)


def remove(folder: Path, shared: Collection[str]) -> None:
    """Remove ``folder`` and the ``shared`` memory; what is gone already is gone."""
    for name in shared:
        with suppress(FileNotFoundError):
            segment = SharedMemory(name)
            segment.close()
            segment.unlink()
    shutil.rmtree(folder, ignore_errors=True)


def clear(record: Path) -> bool:
    """Remove what ``record`` names if its owner is dead, and return whether there was such."""
    try:
        told = json.loads(record.read_text())
        owner = Owner(told["pid"], told["boot"], told["began"])
        folder, shared = Path(told["folder"]), list(map(str, told["shared"]))
    except (OSError, ValueError, TypeError, KeyError):
        return False
    if Owner.of(owner.pid) == owner:
        return False
    if not folder.name.startswith(FOLDER_PREFIX) or folder.is_symlink():
        return False
    remove(folder, [name for name in shared if name.startswith(SHARED_PREFIX) and "/" not in name])
    record.unlink(missing_ok=True)
    return True
