"""What a name can mean: frozen values that a request may hold until it ends."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from veneer_adapters.artifact.manifest import Manifest
from veneer_adapters.catalog.alias import Alias
from veneer_adapters.catalog.proof import Effect
from veneer_adapters.lifecycle import State

_ENGINE_HEX = 24
_LABEL_HEX = 12

SourceKind = Literal["folder", "path", "upload", "hf", "https", "s3", "gs", "az"]


@dataclass(frozen=True, slots=True)
class Source:
    """Where an adapter came from."""

    kind: SourceKind
    """``folder`` is a watched folder: when it is removed, the adapter is removed. All others were
    added by request; what was uploaded (``upload``) is only in the store."""
    location: str
    """The folder on this server, or a URL without credentials; operators may see it, clients may
    not. Empty for an upload."""
    read_only: bool = False


_NOWHERE = Source("path", "")


@dataclass(frozen=True, slots=True)
class Revision:
    """Immutable content, identified by its digest."""

    adapter: str
    number: int
    """Counts from 1 in each adapter. A number is never given to other content, not even after
    removal."""
    digest: str
    """sha256, 64 hex digits."""
    path: Path
    """Where the store keeps the files, or would keep them."""
    manifest: Manifest
    created: int
    """When it was first published, in seconds since 1970."""
    source: Source = _NOWHERE
    state: State = State.STAGED
    """STAGED until the engine has proved its effect; then READY or FAILED."""
    reason: str | None = None
    """Why it is FAILED, as a stable code; else None."""
    detail: str | None = None
    effect: Effect | None = None
    """What the engine measured; None before the proof."""
    allow_no_effect: bool = False
    """Whether its publisher allows it to have no effect."""
    becomes: str | None = None
    """The alias that will point here when the revision is READY, or None."""
    training: Mapping[str, Any] | None = field(default=None, hash=False)
    """How it was trained and what it was measured to do, as who trained it here says; else None.
    The catalog keeps it, and reads nothing of it."""

    @property
    def engine_name(self) -> str:
        """The name it has in the engine. Different contents never share a name, nor a KV cache."""
        return f"{self.adapter}@sha256:{self.digest[:_ENGINE_HEX]}"

    @property
    def label(self) -> str:
        """The name for people: ``name@number#sha256:`` and 12 hex digits of the digest."""
        return f"{self.adapter}@{self.number}#sha256:{self.digest[:_LABEL_HEX]}"


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the staging of one name by request has come."""

    source: Source
    stage: Literal["fetch", "prove"]
    done_bytes: int = 0
    total_bytes: int | None = None
    """None while the size is not known."""


@dataclass(frozen=True, slots=True)
class Adapter:
    """A name, and what it means now."""

    name: str
    state: State
    """The catalog gives STAGED, READY or FAILED. ``veneer_adapters.adapters`` also gives what the
    engine does with the live revision, and STAGING while the first content is being staged."""
    live: Revision | None
    """The revision that most requests for the bare name get, or None."""
    source: Source
    created: int | None
    """When the name was first published, or refused, in seconds since 1970; None before that."""
    reason: str | None = None
    """Why the newest content was refused, as a stable code; also while an older revision serves."""
    detail: str | None = None
    """The same in one plain sentence."""
    pinned: bool = False
    """Whether the live revision stays in its device slot."""
    aliases: Mapping[str, Alias] = field(default_factory=dict)
    revisions: int = 0
    """How many revisions it has; also the number of the latest."""
    progress: Progress | None = None
    """How far a staging by request for this name has come; None when there is none."""
    compressed: float | None = None
    """The relative error with which the live revision is served, because its rank is above that of
    the slots; None when it is served as it is. ``veneer_adapters.adapters`` gives it."""

    @property
    def read_only(self) -> bool:
        """Whether its source is a folder that Veneer may not change."""
        return self.source.read_only
