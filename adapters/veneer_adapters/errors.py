"""Every way an adapter can fail.

    AdapterError
    ├── AdapterNotFound         no such name, alias or revision
    ├── AdapterFailed           the name is known, but no revision of it ever became ready
    ├── CatalogUnreadable       the catalog is damaged or newer: the start is refused
    ├── CatalogConflict         what is there contradicts what was asked: look again
    │   ├── AdapterExists       the name is taken
    │   ├── AdapterPinned       it has to stay loaded while it is pinned
    │   ├── AliasMoved          somebody moved the alias meanwhile
    │   └── NothingToRollBack   the alias never pointed to anything else
    ├── StateFolderInUse        another server has the state folder: the start is refused
    ├── BaseUnreadable          the base model's files do not say what an adapter must fit
    ├── NotRepairable           no exact or bounded change makes this adapter loadable
    ├── AdapterRejected         the artifact or the request is wrong: retrying cannot help
    │   ├── Truncated           the weights end before their header says so
    │   ├── InvalidTensors      the weights are not safetensors, or not pairs of LoRA matrices
    │   ├── InvalidConfig       adapter_config.json does not say what it must
    │   ├── BaseMismatch        made for another base model
    │   ├── RankTooLarge        rank above what the engine was started for
    │   ├── NonFinite           NaN or infinity among the weights, or in what they compute
    │   ├── UnsupportedFeature  DoRA, bias, modules_to_save, ...: it would not be applied
    │   ├── UnsafeFormat        a pickle: loading it could run code
    │   ├── Unparsable          reading the files took more than a sandbox allows
    │   ├── NoEffect            nothing matches the base, or every product B·A is zero
    │   ├── GarbageOutput       in the engine it answers with one meaningless token only
    │   ├── MissingFile         adapter_config.json or adapter_model.safetensors is not there
    │   ├── TooLarge            more bytes than the store accepts for one adapter
    │   ├── ContentLost         its stored files are gone or damaged, its source has others
    │   ├── TargetsImpossible   an alias cannot point there, or split traffic so
    │   ├── PathNotAllowed      a path, or a link, that leaves the configured folders
    │   ├── SourceNotAllowed    a location that is malformed, or not among the configured ones
    │   ├── ChecksumMismatch    what arrived is not what the source's checksum names
    │   └── NameNotAllowed      the name does not follow the grammar of adapter names
    └── AdapterUnavailable      the moment is wrong: retrying may help
        ├── NoSlotFree          every slot stayed leased or pinned for the whole wait
        ├── LoadFailed          the engine refused the adapter
        ├── LoadTimedOut        the engine did not finish loading in time
        ├── StateBusy           another process holds the catalog's database
        ├── SourceChanging      the files changed while they were being read
        ├── SourceUnavailable   a remote source did not deliver, although it was asked repeatedly
        └── StorageFailed       the files could not be read, or the store not written
            └── CacheFull       disk or quota are full of what somebody needs

Catch a branch, raise a leaf. Every class has a stable ``reason`` code; every message is one
plain sentence that never shows where on the server something lies. This file knows nothing
of HTTP; the status code of each branch is chosen once, in ``veneer_server.api.errors``.
"""

from collections.abc import Callable

_SHOWN_CHARS = 100


def quoted(text: object) -> str:
    """Return ``text`` in backquotes, printable, on one line and at most 100 characters long."""
    plain = str(text).encode("ascii", "backslashreplace").decode()
    plain = "".join(char if char.isprintable() else "?" for char in plain)
    return f"`{plain if len(plain) <= _SHOWN_CHARS else plain[:_SHOWN_CHARS] + '...'}`"


class AdapterError(Exception):
    """An adapter cannot do what was asked of it."""

    reason: str = "adapter_error"


class AdapterNotFound(AdapterError):
    """No adapter, alias or revision answers to this name."""

    reason = "not_found"

    def __init__(self, name: str, close_matches: tuple[str, ...] = ()) -> None:
        self.name = name
        self.close_matches = close_matches
        hint = " or ".join(quoted(match) for match in close_matches)
        question = f" Did you mean {hint}?" if hint else ""
        super().__init__(f"The model {quoted(name)} does not exist.{question}")


class AdapterFailed(AdapterError):
    """The name is known, but none of its revisions ever passed verification."""

    def __init__(self, name: str, reason: str, detail: str, *, revision: int | None = None) -> None:
        self.name = name
        self.reason = reason
        self.detail = detail
        self.revision = revision
        """The revision that was to answer, when one was chosen."""
        super().__init__(f"The adapter {quoted(name)} cannot be served: {detail}")


class CatalogUnreadable(AdapterError):
    """The catalog cannot be trusted, so nothing may be built on it."""

    reason = "catalog_unreadable"


class CatalogConflict(AdapterError):
    """The catalog is not as whoever asked believes; looking again can help."""

    reason = "conflict"


class AdapterExists(CatalogConflict):
    """The name is taken; a new revision of it can be published."""

    reason = "adapter_exists"


class AdapterPinned(CatalogConflict):
    """It has to stay loaded while it is pinned."""

    reason = "adapter_pinned"


class AliasMoved(CatalogConflict):
    """The alias has another version than the one that was to be replaced."""

    reason = "alias_moved"


class NothingToRollBack(CatalogConflict):
    """The alias never pointed to anything else."""

    reason = "nothing_to_roll_back"


class StateFolderInUse(AdapterError):
    """Another server has the state folder; two would overwrite each other's work."""

    reason = "state_folder_in_use"


class BaseUnreadable(AdapterError):
    """What an adapter must fit cannot be read from the base model's files."""

    reason = "base_unreadable"


class NotRepairable(AdapterError):
    """No change that is exact, or whose error is known, makes the adapter loadable."""

    reason = "not_repairable"


class AdapterRejected(AdapterError):
    """The artifact is wrong; only another artifact can help."""

    reason = "rejected"


class Truncated(AdapterRejected):
    """The weights end before their header says they do."""

    reason = "truncated"


class InvalidTensors(AdapterRejected):
    """The weights are not well-formed safetensors, or not complete pairs of LoRA matrices."""

    reason = "invalid_tensors"


class InvalidConfig(AdapterRejected):
    """``adapter_config.json`` is not strict JSON or contradicts itself or the weights."""

    reason = "invalid_config"


class BaseMismatch(AdapterRejected):
    """Modules or shapes are not those of the served base model."""

    reason = "base_mismatch"


class RankTooLarge(AdapterRejected):
    """The rank exceeds what the engine was started for."""

    reason = "rank_too_large"


class NonFinite(AdapterRejected):
    """A weight or what is computed with it is NaN or infinite in the engine's dtype."""

    reason = "non_finite"


class UnsupportedFeature(AdapterRejected):
    """The adapter relies on something the engine would ignore or refuse."""

    reason = "unsupported_feature"


class UnsafeFormat(AdapterRejected):
    """The weights are a pickle, which can run code when it is read."""

    reason = "unsafe_format"


class Unparsable(AdapterRejected):
    """The sandboxed process that read the files crashed or reached one of its limits."""

    reason = "unparsable"

    def __init__(self, message: str = "") -> None:
        super().__init__(message or "The adapter could not be read within the limits.")


class NoEffect(AdapterRejected):
    """Serving the adapter would silently serve the base model."""

    reason = "no_effect"


class GarbageOutput(AdapterRejected):
    """With the adapter the engine answers with one token that means nothing, again and again."""

    reason = "garbage_output"


class MissingFile(AdapterRejected):
    """A file every adapter must have is not there."""

    reason = "missing_file"


class TooLarge(AdapterRejected):
    """The files are larger than the store accepts for one adapter."""

    reason = "too_large"


class ContentLost(AdapterRejected):
    """The stored files are gone or damaged, and the source no longer has the same ones."""

    reason = "content_lost"


class TargetsImpossible(AdapterRejected):
    """The alias cannot point to these revisions, or split traffic in this way."""

    reason = "targets_impossible"


class PathNotAllowed(AdapterRejected):
    """A path or link leads out of the folders adapters may come from."""

    reason = "path_not_allowed"


class SourceNotAllowed(AdapterRejected):
    """The location is malformed, or not among those adapters may be fetched from."""

    reason = "source_not_allowed"


class ChecksumMismatch(AdapterRejected):
    """What arrived is not what the source says it sent."""

    reason = "checksum_mismatch"


class NameNotAllowed(AdapterRejected):
    """The name does not follow the grammar of adapter names."""

    reason = "name_not_allowed"


OnFault = Callable[[AdapterRejected], None]
"""Is told each fault as it is found; the search goes on when it returns."""


def raise_it(fault: AdapterRejected) -> None:
    """Raise ``fault``: the search ends with the first one."""
    raise fault


class AdapterUnavailable(AdapterError):
    """The moment is wrong; the same request may succeed later."""

    reason = "unavailable"


class NoSlotFree(AdapterUnavailable):
    """Every slot stayed leased or pinned for the whole wait."""

    reason = "no_slot_free"


class LoadFailed(AdapterUnavailable):
    """The engine could not load the adapter; it left no trace there."""

    reason = "load_failed"


class LoadTimedOut(AdapterUnavailable):
    """The engine did not finish loading the adapter in time."""

    reason = "load_timed_out"


class StateBusy(AdapterUnavailable):
    """Another process kept the catalog's database for too long."""

    reason = "state_busy"


class SourceChanging(AdapterUnavailable):
    """The source files changed while they were being read."""

    reason = "source_changing"


class SourceUnavailable(AdapterUnavailable):
    """A remote source refused, failed or was too slow; nothing of it was kept."""

    reason = "source_unavailable"

    def __init__(self, message: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s
        """How long the source asked not to be asked again, if it said so."""


class StorageFailed(AdapterUnavailable):
    """The source could not be read, or the store could not be written."""

    reason = "storage_failed"


class CacheFull(StorageFailed):
    """The disk or the store's quota is full, and everything in the store is needed."""

    reason = "cache_full"
