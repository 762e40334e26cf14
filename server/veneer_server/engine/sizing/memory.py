"""How much memory a program may still take: the machine's, or less in a group with a limit.

A container and a systemd service are control groups of Linux. What goes beyond a group's limit is
ended by the kernel, however much memory the machine has.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath


@dataclass(frozen=True, slots=True)
class _Files:
    """What one version of control groups calls its files."""

    folder: str
    limits: tuple[str, ...]
    """The kernel ends what goes beyond one, or holds it back for so long that it stands still."""
    used: str
    reclaimable: str
    """In ``memory.stat``: cached files, which the kernel drops before anything else."""


_SECOND = _Files("sys/fs/cgroup", ("memory.max", "memory.high"), "memory.current", "inactive_file")
_FIRST = _Files(
    "sys/fs/cgroup/memory",
    ("memory.limit_in_bytes",),
    "memory.usage_in_bytes",
    "total_inactive_file",
)


def available_bytes(root: Path = Path("/")) -> int:
    """Return the bytes that can be allocated without swapping, and within every group's limit.

    Source: ``MemAvailable`` in Linux's /proc/meminfo; the kernel's pages on control groups. What
    a group has left counts as in Kubernetes' working set: its limit less what it uses, where files
    that the kernel cached and nobody uses do not count.
    """
    return max(0, min([_machines(root), *_groups(root)]))


def _machines(root: Path) -> int:
    for line in _lines(root / "proc/meminfo"):
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")


def _groups(root: Path) -> Iterator[int]:
    """Yield what is left of each limit that holds for this process, its group's and those above."""
    for line in _lines(root / "proc/self/cgroup"):
        number, controllers, name = line.split(":", 2)
        if number != "0" and "memory" not in controllers.split(","):
            continue
        files = _SECOND if number == "0" else _FIRST
        group = PurePosixPath(name.lstrip("/"))
        # In a container its own group is often the top one that it sees, under whatever name.
        for above in (group, *group.parents):
            left = _left(root / files.folder / above, files)
            if left is not None:
                yield left


def _left(group: Path, files: _Files) -> int | None:
    """Return what ``group`` may still take; None without a limit, or where there is no group."""
    said = [line for name in files.limits for line in _lines(group / name)]
    limits = [int(line) for line in said if line != "max"]
    used = next(_lines(group / files.used), None)
    if not limits or used is None:
        return None
    pairs = (line.split(maxsplit=1) for line in _lines(group / "memory.stat"))
    cached = next((int(size) for key, size in pairs if key == files.reclaimable), 0)
    return min(limits) - max(0, int(used) - cached)


def _lines(file: Path) -> Iterator[str]:
    """Return the lines of ``file``; none where it is not there, as on other systems than Linux."""
    try:
        return iter(file.read_text(encoding="utf-8").splitlines())
    except OSError:
        return iter(())
