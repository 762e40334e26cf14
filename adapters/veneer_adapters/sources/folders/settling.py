"""When is a folder that somebody writes to finished? When it has stayed the same for a while.

Rule 1: this file makes the decision, from what each look saw and when it looked.
Rule 2: this file opens nothing and reads no clock.

A folder that vanishes gets the same time: many tools replace a folder by removing it first, and a
name must not answer 404 for the moment in between.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from veneer_adapters.sources.base import Changed, Removed, Root

Signature = tuple[tuple[str, int, int, int, int], ...]
"""For each file of an adapter: name, size in bytes, mtime_ns, ctime_ns, inode."""


@dataclass(frozen=True, slots=True)
class Seen:
    """One adapter folder, as one look found it."""

    folder: Path
    root: Root
    signature: Signature
    quiet_s: float
    """Seconds since its newest change, on the file system's clock; may be negative."""


@dataclass(frozen=True, slots=True)
class _Pending:
    identity: tuple[Path, Signature] | None
    since_s: float


class Settling:
    """Remembers what was reported, and reports what differs once it has settled."""

    def __init__(self, settle_s: float) -> None:
        self._settle_s = settle_s
        self._told: dict[str, tuple[Path, Signature]] = {}
        self._pending: dict[str, _Pending] = {}

    def look(self, seen: Mapping[str, Seen], now_s: float) -> list[Changed | Removed]:
        """Return what has settled, given everything that is there at ``now_s``.

        ``now_s`` is monotonic. What has not settled yet needs another look at ``due_s``.
        """
        changes: list[Changed | Removed] = []
        for name in sorted(seen.keys() | self._told.keys() | self._pending.keys()):
            found = seen.get(name)
            identity = (found.folder, found.signature) if found else None
            if identity == self._told.get(name):
                self._pending.pop(name, None)
            elif self._is_settled(name, identity, found.quiet_s if found else 0.0, now_s):
                changes.append(self._tell(name, found))
        return changes

    def due_s(self) -> float | None:
        """Return when the next look is due, on the clock of ``look``, or None for never."""
        return min((p.since_s + self._settle_s for p in self._pending.values()), default=None)

    def pending(self) -> list[tuple[str, Path | None]]:
        """Return each name that has not settled, with its folder, or None if that is gone."""
        return [(n, p.identity[0] if p.identity else None) for n, p in self._pending.items()]

    def forget(self, name: str) -> None:
        """Report ``name`` again at the next look, whatever the look finds."""
        if name in self._told:
            self._told[name] = (Path(), ())

    def _is_settled(
        self, name: str, identity: tuple[Path, Signature] | None, quiet_s: float, now_s: float
    ) -> bool:
        pending = self._pending.get(name)
        if pending is None or pending.identity != identity:
            pending = self._pending[name] = _Pending(identity, now_s)
        return max(quiet_s, now_s - pending.since_s) >= self._settle_s

    def _tell(self, name: str, found: Seen | None) -> Changed | Removed:
        del self._pending[name]
        if found is None:
            del self._told[name]
            return Removed(name)
        self._told[name] = (found.folder, found.signature)
        return Changed(name, found.folder, found.root)
