"""Every way an adapter can fail.

    AdapterError
    ├── AdapterNotFound         no such name, alias or revision
    ├── AdapterFailed           the name is known, but what it names cannot serve
    ├── CatalogUnreadable       the catalog cannot be opened or trusted: the start is refused
    │   └── CatalogMissing      it is not there, or holds nothing, but its adapters are stored
    ├── CatalogConflict         the request contradicts the catalog: look again
    │   ├── AdapterExists       the name is taken
    │   ├── AdapterPinned       a pinned adapter has to stay loaded
    │   ├── SlotsPinned         one more pin would leave no slot for anybody else
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
    │   ├── Unparsable          the process that read the files crashed or reached a limit
    │   ├── QuotaExceeded       its namespace has as many adapters or bytes as it may have
    │   ├── NoEffect            nothing matches the base, or every product B·A is zero
    │   ├── GarbageOutput       with it, the engine answers with token 0 only
    │   ├── CrashesEngine       the engine was lost twice while it loaded or first used it
    │   ├── MissingFile         adapter_config.json or adapter_model.safetensors is not there
    │   │   └── MissingFolder   the folder itself is not there
    │   ├── TooLarge            more bytes than the store accepts for one adapter
    │   ├── ContentLost         the stored files are lost, and the source cannot replace them
    │   ├── TargetsImpossible   an alias cannot point there, or cannot split traffic like that
    │   ├── PathNotAllowed      a path or link leaves its folder, or is no regular file
    │   ├── SourceNotAllowed    a location is malformed, or not among the configured ones
    │   ├── ChecksumMismatch    the file that arrived does not match the source's checksum
    │   └── NameNotAllowed      the name does not follow the grammar of adapter names
    └── AdapterUnavailable      the moment is wrong: retrying may help
        ├── NoSlotFree          every slot stayed leased or pinned for the whole wait
        ├── LoadFailed          the engine refused the adapter
        ├── LoadTimedOut        the engine did not finish loading in time
        ├── StagingFull         as many adapters are being staged as may be at a time
        ├── CheckupsFull        as many adapters are being checked as may be at a time
        ├── StateBusy           another process kept the catalog's database for too long
        ├── SourceChanging      the files changed while they were being read
        ├── SourceUnavailable   a remote source did not deliver
        └── StorageFailed       the files could not be read, or the store could not be written
            ├── CacheFull       the disk or the quota is full, and all the content is needed
            └── CatalogGone     somebody removed, replaced or overwrote the catalog's file

Catch a branch, raise a leaf. Every class has a stable ``reason`` code. Every message is one plain
sentence that shows no path of the server. This file knows nothing of HTTP:
``veneer_server.api.errors`` chooses the status code of each branch.
"""

from collections.abc import Callable

_SHOWN_CHARS = 100


def quoted(text: object) -> str:
    """Return ``text`` in backquotes, printable, on one line and at most 100 characters long.

    Printable is what Unicode calls so, in every script: no controls, and none that turn the line.
    """
    first = str(text)[: _SHOWN_CHARS + 1]  # a text may have megabytes
    plain = "".join(char if char.isprintable() else "?" for char in first)
    return f"`{plain if len(plain) <= _SHOWN_CHARS else plain[:_SHOWN_CHARS] + '...'}`"


class AdapterError(Exception):
    """An operation on an adapter failed."""

    reason: str = "adapter_error"


class AdapterNotFound(AdapterError):
    """No adapter, alias or revision has this name."""

    reason = "not_found"

    def __init__(self, name: str, close_matches: tuple[str, ...] = ()) -> None:
        self.name = name
        self.close_matches = close_matches
        hint = " or ".join(quoted(match) for match in close_matches)
        question = f" Did you mean {hint}?" if hint else ""
        super().__init__(f"The model {quoted(name)} does not exist.{question}")


class AdapterFailed(AdapterError):
    """The name is known, but what it names cannot serve."""

    def __init__(self, name: str, reason: str, detail: str, *, revision: int | None = None) -> None:
        self.name = name
        self.reason = reason
        self.detail = detail
        self.revision = revision
        """The revision that was chosen to answer, or None."""
        super().__init__(f"The adapter {quoted(name)} cannot be served: {detail}")


class CatalogUnreadable(AdapterError):
    """The catalog is damaged, newer than this version or not reachable; nothing may use it."""

    reason = "catalog_unreadable"


class CatalogMissing(CatalogUnreadable):
    """There are stored adapters, but not the catalog that names them."""

    reason = "catalog_missing"


class CatalogConflict(AdapterError):
    """The request contradicts what the catalog says now; looking again can help."""

    reason = "conflict"


class AdapterExists(CatalogConflict):
    """The name is taken; the caller can publish a new revision of it."""

    reason = "adapter_exists"


class AdapterPinned(CatalogConflict):
    """A pinned adapter has to stay loaded."""

    reason = "adapter_pinned"


class SlotsPinned(CatalogConflict):
    """One more pin would leave no device slot for adapters that are not pinned."""

    reason = "slots_pinned"


class AliasMoved(CatalogConflict):
    """The alias has another version than the one the caller expects."""

    reason = "alias_moved"


class NothingToRollBack(CatalogConflict):
    """The alias has no earlier targets that can serve."""

    reason = "nothing_to_roll_back"


class StateFolderInUse(AdapterError):
    """Another server uses the state folder; two would overwrite each other's work."""

    reason = "state_folder_in_use"


class BaseUnreadable(AdapterError):
    """The base model's files do not say what an adapter must fit."""

    reason = "base_unreadable"


class NotRepairable(AdapterError):
    """No change that is exact, or whose error is measured, makes the adapter loadable."""

    reason = "not_repairable"


class AdapterRejected(AdapterError):
    """The artifact or the request is wrong; the same request cannot succeed later."""

    reason = "rejected"


class Truncated(AdapterRejected):
    """The weights end before the end that their header states."""

    reason = "truncated"


class InvalidTensors(AdapterRejected):
    """The weights are not well-formed safetensors, or not complete pairs of LoRA matrices."""

    reason = "invalid_tensors"


class InvalidConfig(AdapterRejected):
    """``adapter_config.json`` is not strict JSON or contradicts itself or the weights."""

    reason = "invalid_config"


class BaseMismatch(AdapterRejected):
    """The modules or shapes are not those of the served base model."""

    reason = "base_mismatch"


class RankTooLarge(AdapterRejected):
    """The rank is above the largest rank that the engine was started for."""

    reason = "rank_too_large"


class NonFinite(AdapterRejected):
    """A weight, or a value computed with it, is NaN or infinite in the engine's dtype."""

    reason = "non_finite"


class UnsupportedFeature(AdapterRejected):
    """The adapter relies on something that the engine would ignore or refuse."""

    reason = "unsupported_feature"


class UnsafeFormat(AdapterRejected):
    """The weights are a pickle, which can run code when it is read."""

    reason = "unsafe_format"


class Unparsable(AdapterRejected):
    """The sandboxed process that read the files crashed or reached one of its limits."""

    reason = "unparsable"

    def __init__(self, message: str = "") -> None:
        super().__init__(message or "The adapter could not be read within the limits.")


class QuotaExceeded(AdapterRejected):
    """Its namespace has as many adapters, or as many bytes of them, as it may have."""

    reason = "quota_exceeded"


class NoEffect(AdapterRejected):
    """The adapter changes nothing; serving it would silently serve the base model."""

    reason = "no_effect"


class GarbageOutput(AdapterRejected):
    """With the adapter, the engine answers with token 0 again and again."""

    reason = "garbage_output"


class CrashesEngine(AdapterRejected):
    """The engine was lost twice while it loaded the adapter or first used it."""

    reason = "crashes_engine"


class MissingFile(AdapterRejected):
    """The artifact, or one of the files it must have, is not there."""

    reason = "missing_file"


class MissingFolder(MissingFile):
    """There is no folder at the path, which is inside one that adapters may come from."""


class TooLarge(AdapterRejected):
    """The files are larger than the store accepts for one adapter."""

    reason = "too_large"


class ContentLost(AdapterRejected):
    """The stored files are gone or damaged, and the source no longer has the same files."""

    reason = "content_lost"


class TargetsImpossible(AdapterRejected):
    """The alias cannot point to these revisions, or cannot split traffic like this."""

    reason = "targets_impossible"


class PathNotAllowed(AdapterRejected):
    """A path or link leaves the folder it must stay in, or is not a regular file."""

    reason = "path_not_allowed"


class SourceNotAllowed(AdapterRejected):
    """The location is malformed, or adapters may not be fetched from it."""

    reason = "source_not_allowed"


class ChecksumMismatch(AdapterRejected):
    """The file that arrived does not match the source's checksum."""

    reason = "checksum_mismatch"


class NameNotAllowed(AdapterRejected):
    """The name does not follow the grammar of adapter names."""

    reason = "name_not_allowed"


OnFault = Callable[[AdapterRejected], None]
"""Receives each fault when it is found. The search for faults goes on when it returns."""


def raise_it(fault: AdapterRejected) -> None:
    """Raise ``fault``, so that the search ends with the first one."""
    raise fault


class AdapterUnavailable(AdapterError):
    """The request cannot succeed now; the same request may succeed later."""

    reason = "unavailable"


class NoSlotFree(AdapterUnavailable):
    """Every slot stayed leased or pinned for the whole wait."""

    reason = "no_slot_free"


class LoadFailed(AdapterUnavailable):
    """The engine could not load the adapter; what is left of it there is unloaded."""

    reason = "load_failed"


class LoadTimedOut(AdapterUnavailable):
    """The engine did not finish loading the adapter in time."""

    reason = "load_timed_out"


class StagingFull(AdapterUnavailable):
    """As many adapters are being staged by request, unwatched, as may be at a time."""

    reason = "staging_full"


class CheckupsFull(AdapterUnavailable):
    """As many adapters are being checked, or wait for it, as may be at a time."""

    reason = "checkups_full"


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
        """How many seconds the source asked us to wait, or None."""


class StorageFailed(AdapterUnavailable):
    """The files could not be read, or the store or the database could not be written."""

    reason = "storage_failed"


class CacheFull(StorageFailed):
    """The disk or the store's quota is full, and everything in the store is needed."""

    reason = "cache_full"


class CatalogGone(StorageFailed):
    """The file of the catalog was removed, replaced or overwritten; what is written now is lost."""

    reason = "catalog_gone"
