"""What a name can mean: values, frozen, safe to hold for the length of a request."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from veneer_adapters.lifecycle import State
from veneer_adapters.manifest import Manifest

_ENGINE_HEX = 24
_HEADER_HEX = 12


@dataclass(frozen=True, slots=True)
class Source:
    """Where an adapter came from, and so what makes it go away again."""

    kind: Literal["folder", "path"]
    """``folder``: a watched folder, gone when the folder goes; ``path``: published by request."""
    location: str
    """The folder on this server; for operators, never for clients."""
    read_only: bool = False


@dataclass(frozen=True, slots=True)
class Revision:
    """Immutable content, identified by its digest."""

    adapter: str
    number: int
    """Counts from 1 in each adapter; never given to other content, not even after removal."""
    digest: str
    """sha256, 64 hex digits."""
    path: Path
    manifest: Manifest
    created: int
    """When it was first published, in seconds since 1970."""

    @property
    def engine_name(self) -> str:
        """What the engine calls it: different content never shares a name, nor its KV cache."""
        return f"{self.adapter}@sha256:{self.digest[:_ENGINE_HEX]}"

    @property
    def header(self) -> str:
        """The value of ``x-veneer-adapter``."""
        return f"{self.adapter}@{self.number}#sha256:{self.digest[:_HEADER_HEX]}"


@dataclass(frozen=True, slots=True)
class Adapter:
    """A name, and what it means now."""

    name: str
    state: State
    """READY or FAILED; what the engine does with the live revision is residency's to say."""
    live: Revision | None
    source: Source
    created: int
    """When the name was first published, or failed, in seconds since 1970."""
    reason: str | None = None
    """Why the newest content was refused, as a stable code; also while an older one serves."""
    detail: str | None = None
    """The same as one plain sentence."""

    @property
    def read_only(self) -> bool:
        """Whether its source is a folder Veneer may not change."""
        return self.source.read_only
