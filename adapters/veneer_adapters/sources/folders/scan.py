"""Look at watched folders: which adapters lie in them, and in which state their files are.

A look opens no file. An adapter is a folder ``name`` or ``team/name`` in a root. A folder that is
itself an adapter is not searched for others, because training leaves checkpoints inside.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from veneer_adapters.artifact.files import is_artifact_file
from veneer_adapters.names import is_adapter_name
from veneer_adapters.sources.base import Root
from veneer_adapters.sources.settling import Seen, Signature


@dataclass(frozen=True, slots=True)
class Ignored:
    """A folder that looks like an adapter but cannot be served under its name."""

    name: str
    folder: Path
    why: str


class Scanner:
    """Remembers what each look found, so that the next one need not look everywhere."""

    def __init__(self, roots: Sequence[Root]) -> None:
        """Look into ``roots``. If two folders have the same name, the earlier root wins."""
        self._roots = roots
        self._found: dict[Root, dict[str, dict[str, tuple[Path, Signature]]]] = {}
        self._unreadable: set[Path] = set()

    def scan(self) -> None:
        """Look at everything. Blocks. A root that does not exist counts as empty."""
        self._unreadable.clear()
        self._found = {root: {} for root in self._roots}
        for root in self._roots:
            for top in self._folders(root.path):
                self._look(root, top)

    def scan_near(self, paths: Iterable[Path]) -> None:
        """Look again at the folders directly below a root in which ``paths`` lie. Blocks."""
        for root, top in {place for path in paths for place in self._places(path)}:
            self._look(root, top)

    def seen(self, now_s: float) -> tuple[dict[str, Seen], list[Ignored]]:
        """Return what the looks found, by name, and the folders that cannot be served.

        ``now_s`` is in seconds since 1970, on the clock of the file system.
        """
        seen: dict[str, Seen] = {}
        ignored = [Ignored(path.name, path, "it cannot be read") for path in self._unreadable]
        for root, name, folder, signature in self._adapters():
            if not is_adapter_name(name):
                ignored.append(Ignored(name, folder, "its name is not an adapter name"))
            elif name in seen:
                ignored.append(Ignored(name, folder, "an earlier root has an adapter of this name"))
            else:
                seen[name] = Seen(folder, root, signature, now_s - _newest_s(signature))
        return seen, ignored

    def _adapters(self) -> Iterator[tuple[Root, str, Path, Signature]]:
        for root, tops in self._found.items():
            for adapters in tops.values():
                for name, (folder, signature) in adapters.items():
                    yield root, name, folder, signature

    def _places(self, path: Path) -> Iterator[tuple[Root, str]]:
        for root in self._roots:
            if path.is_relative_to(root.path) and path != root.path:
                top = path.relative_to(root.path).parts[0]
                if not _is_hidden(top):
                    yield root, top

    def _look(self, root: Root, top: str) -> None:
        adapters = dict(self._adapters_in(root.path / top, top))
        if adapters:
            self._found[root][top] = adapters
        else:
            self._found[root].pop(top, None)

    def _adapters_in(self, folder: Path, top: str) -> Iterator[tuple[str, tuple[Path, Signature]]]:
        signature = self._signature(folder)
        if signature:
            yield top, (folder, signature)
            return
        for inner in self._folders(folder):
            signature = self._signature(folder / inner)
            if signature:
                yield f"{top}/{inner}", (folder / inner, signature)

    def _folders(self, folder: Path) -> list[str]:
        entries = self._entries(folder)
        return sorted(e.name for e in entries if not _is_hidden(e.name) and e.is_dir())

    def _signature(self, folder: Path) -> Signature:
        entries = (e for e in self._entries(folder) if is_artifact_file(e.name))
        return tuple(sorted(_stat(entry) for entry in entries))

    def _entries(self, folder: Path) -> list[os.DirEntry[str]]:
        try:
            with os.scandir(folder) as entries:
                return list(entries)
        except (FileNotFoundError, NotADirectoryError):
            return []
        except PermissionError:
            self._unreadable.add(folder)
            return []


def _is_hidden(name: str) -> bool:
    # These belong to other programs: .git, .cache, rsync's partial copies.
    return name.startswith(".")


def _stat(entry: os.DirEntry[str]) -> tuple[str, int, int, int, int]:
    try:
        s = entry.stat()
    except FileNotFoundError:
        # A dangling link, or removed since it was listed; that is a state like any other.
        return entry.name, -1, 0, 0, 0
    return entry.name, s.st_size, s.st_mtime_ns, s.st_ctime_ns, s.st_ino


def _newest_s(signature: Signature) -> float:
    # ctime, because no copying tool can set it back, unlike mtime.
    return max(ctime_ns for _, _, _, ctime_ns, _ in signature) / 1e9
