"""The JSON of adapters, revisions and aliases in the admin routes."""

from dataclasses import asdict
from typing import Any

from veneer_adapters.catalog.alias import Alias
from veneer_adapters.catalog.revision import Adapter, Progress, Revision, Source
from veneer_server.tenancy.principals import ANYBODY, Principal

Json = dict[str, Any]


def adapter_json(adapter: Adapter, who: Principal = ANYBODY) -> Json:
    """Return one adapter with its aliases and the progress of the work on new content.

    Only who owns it learns where it came from.
    """
    shown: Json = {
        "object": "adapter",
        "name": adapter.name,
        "created": adapter.created,
        "state": adapter.state,
        "live": adapter.live.number if adapter.live else None,
        "latest": adapter.revisions or None,
        "revisions": adapter.revisions,
        "pinned": adapter.pinned,
        "read_only": adapter.read_only,
        "source": _source_json(adapter.source) if who.owns(adapter.name) else None,
        "aliases": {name: alias_json(adapter.name, a) for name, a in adapter.aliases.items()},
        "progress": _progress_json(adapter.progress) if adapter.progress else None,
    }
    if adapter.compressed is not None:
        shown["compressed"] = adapter.compressed
    if adapter.reason is not None:
        shown |= {"reason": adapter.reason, "detail": adapter.detail}
    return shown


def revision_json(revision: Revision, who: Principal = ANYBODY) -> Json:
    """Return one revision with the facts of its manifest and its proof of effect.

    Only who owns it learns where it came from.
    """
    facts, effect = revision.manifest, revision.effect
    shown: Json = {
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
        "source": _source_json(revision.source) if who.owns(revision.adapter) else None,
        "effect": None,
        "training": revision.training if who.owns(revision.adapter) else None,
    }
    if effect is not None:
        shown["effect"] = {"modules": effect.modules, "largest_change": effect.largest_change}
    if revision.reason is not None:
        shown |= {"reason": revision.reason, "detail": revision.detail}
    return shown


def alias_json(adapter: str, alias: Alias) -> Json:
    """Return what one alias points to, and since when."""
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
