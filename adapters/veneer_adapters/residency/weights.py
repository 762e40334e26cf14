"""Which files the engine reads for a revision."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Weights:
    """A folder with an adapter that fits the engine's slots."""

    path: Path
    error: float | None = None
    """Its relative error when it was compressed; None when it is the revision's own content."""
