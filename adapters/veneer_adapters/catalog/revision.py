"""What a name can mean: values, frozen, safe to hold for the length of a request."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from veneer_adapters.artifact.manifest import Manifest
from veneer_adapters.catalog.alias import Alias
from veneer_adapters.catalog.proof import Effect
from veneer_adapters.lifecycle import State

_ENGINE_HEX = 24
_LABEL_HEX = 12

SourceKind = Literal["folder", "path", "hf", "https", "s3", "gs", "az"]


@dataclass(frozen=True, slots=True)
class Source:
    """Where an adapter came from, and so what makes it go away again."""

    kind: SourceKind
    """``folder``: a watched folder, gone when the folder goes; all others: added by request."""
    location: str
    """The folder on this server, or a URL without credentials; for operators, not for clients."""
    read_only: bool = False


_NOWHERE = Source("path", "")


@dataclass(frozen=True, slots=True)
class Revision:
    """Immutable content, identified by its digest."""

    adapter: str
    number: int
    """Counts from 1 in each adapter; never given to other content, not even after removal."""
    digest: str
    """sha256, 64 hex digits."""
    path: Path
    """Where the store keeps it, if it does."""
    manifest: Manifest
    created: int
    """When it was first published, in seconds since 1970."""
    source: Source = _NOWHERE
    state: State = State.STAGED
    """STAGED until the engine proved its effect, then READY, or FAILED."""
    reason: str | None = None
    """Why it is FAILED, as a stable code."""
    detail: str | None = None
    effect: Effect | None = None
    """What the engine measured, once it did."""
    allow_no_effect: bool = False
    """Whether its publisher declared that it has no effect."""
    becomes: str | None = None
    """The alias that is to point here once it is READY."""

    @property
    def engine_name(self) -> str:
        """What the engine calls it: different content never shares a name, nor its KV cache."""
        return f"{self.adapter}@sha256:{self.digest[:_ENGINE_HEX]}"

    @property
    def label(self) -> str:
        """What people are shown: ``name@number#sha256:`` and the first 12 hex digits."""
        return f"{self.adapter}@{self.number}#sha256:{self.digest[:_LABEL_HEX]}"


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the staging of one name has come."""

    source: Source
    stage: Literal["fetch", "prove"]
    done_bytes: int = 0
    total_bytes: int | None = None
    """None while it is not known."""


@dataclass(frozen=True, slots=True)
class Adapter:
    """A name, and what it means now."""

    name: str
    state: State
    """From the catalog: STAGED, READY or FAILED. From ``veneer_adapters.adapters``: also what
    the engine does with the live revision, or STAGING while the first content is on its way."""
    live: Revision | None
    """What most requests for the bare name get."""
    source: Source
    created: int | None
    """When the name was first published, or failed, in seconds since 1970; None before that."""
    reason: str | None = None
    """Why the newest content was refused, as a stable code; also while an older one serves."""
    detail: str | None = None
    """The same as one plain sentence."""
    pinned: bool = False
    """Whether what is live stays in its device slot."""
    aliases: Mapping[str, Alias] = field(default_factory=dict)
    revisions: int = 0
    """How many there have been; also the number of the latest."""
    progress: Progress | None = None
    """How far something is that is being staged for this name by request."""

    @property
    def read_only(self) -> bool:
        """Whether its source is a folder Veneer may not change."""
        return self.source.read_only
