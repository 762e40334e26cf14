"""What the admin routes tell about adapters, revisions and aliases, as JSON."""

from dataclasses import asdict
from typing import Any

from veneer_adapters.catalog.alias import Alias
from veneer_adapters.catalog.revision import Adapter, Revision, Source
from veneer_adapters.lifecycle import State as Stage
from veneer_adapters.publishing.staging import Progress
from veneer_server.api.deps import State

Json = dict[str, Any]


def adapter_json(adapter: Adapter, state: State) -> Json:
    """Return everything there is to know about one name."""
    progress = state.staging.progress().get(adapter.name)
    told: Json = {
        "object": "adapter",
        "name": adapter.name,
        "created": adapter.created,
        "state": state_of(adapter, state),
        "live": adapter.live.number if adapter.live else None,
        "latest": adapter.revisions or None,
        "revisions": adapter.revisions,
        "pinned": adapter.pinned,
        "read_only": adapter.read_only,
        "source": _source_json(adapter.source),
        "aliases": {name: alias_json(adapter.name, a) for name, a in adapter.aliases.items()},
        "progress": _progress_json(progress) if progress else None,
    }
    if adapter.reason is not None:
        told |= {"reason": adapter.reason, "detail": adapter.detail}
    return told


def arriving_json(name: str, progress: Progress) -> Json:
    """Return what there is to know about a name that is being fetched for the first time."""
    return {
        "object": "adapter",
        "name": name,
        "created": None,
        "state": Stage.STAGING,
        "live": None,
        "latest": None,
        "revisions": 0,
        "pinned": False,
        "read_only": False,
        "source": _source_json(progress.source),
        "aliases": {},
        "progress": _progress_json(progress),
    }


def state_of(adapter: Adapter, state: State) -> Stage:
    """Return what the engine does with what is live, or else what it has proved."""
    if adapter.live is None:
        return adapter.state
    in_engine = state.residency.state_of(adapter.live)
    return adapter.live.state if in_engine is Stage.READY else in_engine


def revision_json(revision: Revision) -> Json:
    """Return everything there is to know about one revision."""
    facts, effect = revision.manifest, revision.effect
    told: Json = {
        "object": "adapter.revision",
        "adapter": revision.adapter,
        "number": revision.number,
        "digest": f"sha256:{revision.digest}",
        "created": revision.created,
        "state": revision.state,
        "size_bytes": facts.size_bytes,
        "rank": facts.rank,
        "alpha": facts.alpha,
        "target_modules": facts.target_modules,
        "modules": facts.modules,
        "base": facts.base_name,
        "dtype": facts.dtype,
        "source": _source_json(revision.source),
        "effect": None,
    }
    if effect is not None:
        told["effect"] = {"modules": effect.modules, "largest_change": effect.largest_change}
    if revision.reason is not None:
        told |= {"reason": revision.reason, "detail": revision.detail}
    return told


def alias_json(adapter: str, alias: Alias) -> Json:
    """Return what one alias means."""
    return {
        "object": "adapter.alias",
        "adapter": adapter,
        "alias": alias.name,
        "version": alias.version,
        "targets": [asdict(target) for target in alias.targets],
        "sticky": alias.sticky,
        "guard": asdict(alias.guard) if alias.guard else None,
        "since": alias.since,
        "by": alias.by,
    }


def _progress_json(progress: Progress) -> Json:
    return {
        "stage": progress.stage,
        "done_bytes": progress.done_bytes,
        "total_bytes": progress.total_bytes,
    }


def _source_json(source: Source) -> Json:
    return {"kind": source.kind, "location": source.location}
