"""What a watched source of adapters reports, whatever kind of source it is."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Root:
    """A folder of the server whose sub-folders are adapters."""

    path: Path
    read_only: bool = False
    """Whether Veneer must not change what lies there."""

    def resolved(self) -> "Root":
        """Return the same root without links in its path; a path that cannot be resolved stays."""
        try:
            return replace(self, path=self.path.resolve())
        except (OSError, ValueError, RuntimeError):
            return replace(self, path=self.path.absolute())


@dataclass(frozen=True, slots=True)
class Changed:
    """There are new or other files under this name, and nobody has touched them for a while."""

    name: str
    folder: Path
    root: Root


@dataclass(frozen=True, slots=True)
class Removed:
    """There is nothing under this name any more."""

    name: str


@dataclass(frozen=True, slots=True)
class FirstScanDone:
    """Everything that lay quiet at the start has been reported."""

    names: frozenset[str]
    """The names that were there at the start; those still being copied count."""
    unread: frozenset[Path] = frozenset()
    """Folders that could not be looked at: what lies in them is not known to be gone."""


Change = Changed | Removed | FirstScanDone


class Watch(Protocol):
    """Reports what changes in a source, as long as somebody listens."""

    def changes(self) -> AsyncGenerator[Change]:
        """Yield what is there, FirstScanDone once, then every change. The caller closes it."""

    def retry(self, name: str) -> None:
        """Report ``name`` again at the next look, although nothing about it changed."""
