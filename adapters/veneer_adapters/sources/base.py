"""What a source of adapters tells the stager, whatever lies behind it."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Root:
    """A folder of the server whose sub-folders are adapters."""

    path: Path
    read_only: bool = False
    """Whether Veneer must leave what lies there as it is."""


@dataclass(frozen=True, slots=True)
class Changed:
    """New or other files lie under this name, and nobody has touched them for a while."""

    name: str
    folder: Path
    root: Root


@dataclass(frozen=True, slots=True)
class Removed:
    """Nothing lies under this name any more."""

    name: str


@dataclass(frozen=True, slots=True)
class FirstScanDone:
    """Everything that lay quiet at the start has been told."""

    names: frozenset[str]
    """What there was at the start, also what was still being copied."""


Change = Changed | Removed | FirstScanDone


class Watch(Protocol):
    """Tells what changes in a source, for as long as somebody listens."""

    def changes(self) -> AsyncGenerator[Change]:
        """Yield what is there, FirstScanDone once, then every change. The caller closes it."""

    def retry(self, name: str) -> None:
        """Tell ``name`` again at the next look, although nothing about it changed."""
