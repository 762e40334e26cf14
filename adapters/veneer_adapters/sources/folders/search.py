"""Look for adapters in one folder of a root, and in the folders below it.

A folder that is itself an adapter is not searched for others, because training leaves checkpoints
inside. A link is searched where it leads to another place in the root, but not a second link on the
same way: so no search is endless.
"""

import os
import stat
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from veneer_adapters.artifact.opening import open_inside, resolved
from veneer_adapters.errors import AdapterError
from veneer_adapters.sources.folders import naming
from veneer_adapters.sources.folders.entries import (
    Identity,
    Ignored,
    is_passing,
    is_utf8,
    listing,
    why,
)
from veneer_adapters.sources.folders.settling import Signature

_MOST_FOLDERS = 10_000
_TOLD_DEPTH = 2
_COMMIT_CHARS = 40
_SPECIAL = "it is a pipe, a socket or a device"


@dataclass(frozen=True, slots=True)
class Found:
    """What one search found."""

    adapters: dict[Path, tuple[str, Signature]] = field(default_factory=dict)
    """By folder: the name and the state of its files."""
    ignored: list[Ignored] = field(default_factory=list)
    unread: list[Path] = field(default_factory=list)
    """Folders that could not be looked at now, but perhaps later."""
    folders: dict[Path, Identity] = field(default_factory=dict)
    """The resolved paths of all folders in which a change can matter."""

    def completed(self, earlier: "Found") -> "Found":
        """Return this, with the adapters that ``earlier`` found where this could not look."""
        if not self.unread:
            return self
        kept = {
            folder: adapter
            for folder, adapter in earlier.adapters.items()
            if any(folder.is_relative_to(unread) for unread in self.unread)
        }
        return replace(self, adapters=kept | self.adapters)


@dataclass(frozen=True, slots=True)
class _Place:
    folder: Path
    real: Path
    names: tuple[str, ...]
    linked: bool = False

    def inner(self, name: str) -> "_Place":
        folder = self.folder / name
        real = self.real / name if self.linked else folder
        return _Place(folder, real, (*self.names, name), self.linked)


class Search:
    """One search in the folder ``top`` of ``root``. Blocks."""

    def __init__(self, root: Path, top: str) -> None:
        self._root = root
        self._found = Found()
        folder = root / top
        self._waiting = deque([_Place(folder, folder, (top,))])

    def run(self) -> Found:
        """Return what is there. An entry that cannot be looked at is ignored with a reason."""
        top, left = self._waiting[0], _MOST_FOLDERS
        while self._waiting and left:
            left -= 1
            place = self._waiting.popleft()
            try:
                self._look(place)
            except FileNotFoundError:
                continue  # It has gone since its folder was listed.
            except (OSError, ValueError, RuntimeError, AdapterError) as error:
                self._ignore(place, why(error))
                if is_passing(error):
                    self._found.unread.append(place.folder)
        if self._waiting:
            self._ignore(top, f"it holds more than {_MOST_FOLDERS} folders; not all were looked at")
        return self._found

    def _look(self, place: _Place) -> None:
        mode = os.lstat(place.folder).st_mode
        if stat.S_ISLNK(mode):
            self._follow(place)
        elif stat.S_ISDIR(mode):
            self._enter(place)
        elif not stat.S_ISREG(mode):
            self._tell(place, _SPECIAL)

    def _follow(self, place: _Place) -> None:
        try:
            target = resolved(place.folder)
        except FileNotFoundError:
            self._tell(place, "it is a link to nothing")
            return
        if place.real.parent.is_relative_to(target):
            self._ignore(place, "it is a link to a folder in which it lies")
        elif target.is_dir():
            self._enter(replace(place, real=target, linked=True), again=place.linked)
        elif not target.is_file():
            self._tell(place, _SPECIAL)

    def _enter(self, place: _Place, *, again: bool = False) -> None:
        if not is_utf8(place.names[-1]):
            self._ignore(place, "its name is not UTF-8")
            return
        seen = listing(place.folder)
        inside = not place.linked or place.real.is_relative_to(self._root)
        if inside:
            self._found.folders[place.real] = seen.identity
        if seen.signature:
            name = naming.adapter_name(place.names)
            self._found.adapters[place.folder] = (name, seen.signature)
        elif not inside:
            self._tell(place, "it is a link that leads out of the watched folder")
        elif not again:
            self._waiting.extend(place.inner(name) for name in _to_search(place, seen.others))

    def _tell(self, place: _Place, reason: str) -> None:
        # Deeper down, such things are the business of other programs: no adapter's name is there.
        if len(place.names) <= _TOLD_DEPTH:
            self._ignore(place, reason)

    def _ignore(self, place: _Place, reason: str) -> None:
        self._found.ignored.append(Ignored("/".join(place.names), place.folder, reason))


def _to_search(place: _Place, names: Sequence[str]) -> Sequence[str]:
    if not names or not naming.holds_snapshots(place.names):
        return names
    made: dict[str, float] = {}
    for name in names:
        with suppress(OSError):
            made[name] = os.lstat(place.folder / name).st_mtime
    return [naming.current(made, _main(place.folder.parent))] if made else []


def _main(repository: Path) -> str:
    # The only file that a look opens: it says which snapshot the name of a repository means.
    try:
        with open_inside(repository / "refs", "main") as file:
            return file.read(_COMMIT_CHARS).decode(errors="replace")
    except (OSError, AdapterError):
        return ""
