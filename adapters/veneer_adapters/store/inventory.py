"""What the store holds, how large each content is, and which was used least recently.

Only ``scan`` touches files. Every other call is short, and any thread may make it.
"""

import re
import stat
import threading
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

READ_ONLY = 0o555
"""The mode of the folder of stored content."""
_DIGEST = re.compile(r"[0-9a-f]{64}")


def choose_removed(sizes: Mapping[str, int], needed: Collection[str], free_bytes: int) -> list[str]:
    """Return which of ``sizes``, in the order of last use, to remove to free ``free_bytes``.

    The least recently used are chosen first, and nothing that is ``needed`` is chosen. As few are
    chosen as that takes. When all of them together are not enough, all are chosen.
    """
    chosen: list[str] = []
    for digest, size in sizes.items():
        if free_bytes <= 0:
            break
        if digest not in needed:
            chosen.append(digest)
            free_bytes -= size
    return chosen


class Inventory:
    """The contents of one store, in memory."""

    def __init__(self, sizes: Iterable[tuple[str, int]] = ()) -> None:
        """Begin with ``sizes``: digests and bytes, the least recently used first."""
        self._sizes = dict(sizes)
        self._total_bytes = sum(self._sizes.values())
        self._held: Counter[str] = Counter()
        self._lock = threading.Lock()

    @property
    def total_bytes(self) -> int:
        """The size of all contents together, in bytes."""
        return self._total_bytes

    def digests(self) -> frozenset[str]:
        """Return the digest of every content."""
        with self._lock:
            return frozenset(self._sizes)

    def add(self, digest: str, size_bytes: int) -> None:
        """Add ``digest`` as the most recently used; adding it twice is a no-op."""
        with self._lock:
            self._total_bytes += size_bytes - self._sizes.pop(digest, 0)
            self._sizes[digest] = size_bytes

    def remove(self, digest: str) -> None:
        """Remove ``digest``; removing an unknown one is a no-op."""
        with self._lock:
            self._total_bytes -= self._sizes.pop(digest, 0)

    def use(self, digest: str) -> bool:
        """Make ``digest`` the most recently used and return whether the order changed."""
        with self._lock:
            if digest not in self._sizes or next(reversed(self._sizes)) == digest:
                return False
            self._sizes[digest] = self._sizes.pop(digest)
            return True

    def hold(self, digest: str) -> None:
        """Keep ``digest``, which may come later, from being chosen. Holds are counted."""
        with self._lock:
            self._held[digest] += 1

    def release(self, digest: str) -> None:
        """End one ``hold``; a call without a hold is a no-op."""
        with self._lock:
            self._held[digest] -= 1
            if self._held[digest] <= 0:
                del self._held[digest]

    def held(self) -> frozenset[str]:
        """Return the digests that are held now."""
        with self._lock:
            return frozenset(self._held)

    def choose_removed(self, needed: Collection[str], free_bytes: int) -> list[str]:
        """Return what the function ``choose_removed`` chooses among the contents."""
        with self._lock:
            return choose_removed(self._sizes, needed, free_bytes)

    def weigh(self, digests: Iterable[str]) -> int:
        """Return the size of ``digests`` together, in bytes."""
        with self._lock:
            return sum(self._sizes.get(digest, 0) for digest in digests)


def scan(content: Path) -> Inventory:
    """Return what lies in ``content`` as ``ab/abcdef...``; the times of the folders give the order.

    A folder that a crash left writable, on its way in or out, is made read-only.
    """
    found: list[tuple[int, str, int]] = []
    for folder in content.glob("??/*"):
        if not (_DIGEST.fullmatch(folder.name) and folder.is_dir()):
            continue
        seen = folder.stat()
        if stat.S_IMODE(seen.st_mode) != READ_ONLY:
            folder.chmod(READ_ONLY)
        size = sum(file.stat().st_size for file in folder.iterdir())
        found.append((seen.st_mtime_ns, folder.name, size))
    return Inventory((digest, size) for _, digest, size in sorted(found))
