"""Shows answers to a person, in tables without borders, which other programs can read too."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime

from rich.console import Console
from rich.filesize import decimal
from rich.table import Table
from rich.text import Text

from veneer_server.commands.client.documents import (
    Adapter,
    Alias,
    ApiKey,
    AuditEntry,
    Revision,
    Source,
    Training,
    UsageBucket,
)
from veneer_server.commands.client.failures import plain

_NOTHING = "-"
_PIPED_WIDTH = 1000
"""Width of a table that goes to a file or a program, in characters: so no cell is folded."""


def adapters_table(adapters: Iterable[Adapter]) -> Table:
    """Return one row for each adapter."""
    return table(
        ("NAME", "STATE", "LIVE", "REVISIONS", "PINNED", "SOURCE", "REASON"),
        (
            (
                adapter.name,
                state_of(adapter),
                number(adapter.live),
                str(adapter.revisions),
                "yes" if adapter.pinned else "",
                _place(adapter.source) or _NOTHING,
                adapter.reason or "",
            )
            for adapter in adapters
        ),
    )


def revisions_table(revisions: Iterable[Revision]) -> Table:
    """Return one row for each revision."""
    return table(
        ("REVISION", "STATE", "DIGEST", "RANK", "MODULES", "SIZE", "CREATED", "SOURCE", "REASON"),
        (
            (
                number(revision.number),
                revision.state,
                short(revision.digest),
                number(revision.rank),
                number(revision.modules),
                size(revision.size_bytes),
                moment(revision.created),
                revision.source.location if revision.source else _NOTHING,
                revision.reason or "",
            )
            for revision in revisions
        ),
    )


def aliases_table(aliases: Iterable[Alias]) -> Table:
    """Return one row for each alias, or for each move of one."""
    return table(
        ("ALIAS", "REVISIONS", "STICKY", "GUARD", "VERSION", "SINCE", "BY"),
        (
            (
                f"{alias.adapter}@{alias.alias}",
                shares(alias),
                alias.sticky or "",
                guard(alias),
                str(alias.version),
                moment(alias.since),
                alias.by or _NOTHING,
            )
            for alias in aliases
        ),
    )


def keys_table(keys: Iterable[ApiKey]) -> Table:
    """Return one row for each key."""
    return table(
        ("ID", "TENANT", "NAME", "SCOPES", "ADAPTERS", "LIMITS", "CREATED", "EXPIRES", "REVOKED"),
        (
            (
                key.id,
                key.tenant or _NOTHING,
                key.name,
                " ".join(key.scopes),
                "all" if key.adapters is None else " ".join(key.adapters),
                " ".join(f"{name}={most}" for name, most in key.limits.items() if most),
                moment(key.created),
                "never" if key.expires is None else moment(key.expires),
                "" if key.revoked is None else moment(key.revoked),
            )
            for key in keys
        ),
    )


def usage_table(buckets: Iterable[UsageBucket], groups: Sequence[str]) -> Table:
    """Return one row for each group of each bucket in which something was used."""
    return table(
        ("FROM", *(group.upper() for group in groups), "REQUESTS", "INPUT", "CACHED", "OUTPUT"),
        (
            (
                moment(bucket.start_time),
                *(_text_of(getattr(result, group)) for group in groups),
                str(result.num_model_requests),
                str(result.input_tokens),
                str(result.input_cached_tokens),
                str(result.output_tokens),
            )
            for bucket in buckets
            for result in bucket.results
        ),
    )


def audit_table(entries: Iterable[AuditEntry]) -> Table:
    """Return one row for each entry."""
    return table(
        ("NUMBER", "TIME", "ACTOR", "ACTION", "OBJECT", "OUTCOME", "HASH"),
        (
            (
                str(entry.number),
                moment(entry.time),
                entry.actor,
                entry.action,
                entry.object,
                entry.outcome,
                short(entry.hash),
            )
            for entry in entries
        ),
    )


def _text_of(value: object) -> str:
    return _NOTHING if value is None else str(value)


def adapter_facts(adapter: Adapter) -> Table:
    """Return the facts about one adapter, one per line."""
    return _facts(
        ("name", adapter.name),
        ("state", state_of(adapter)),
        ("reason", adapter.reason),
        ("detail", adapter.detail),
        ("live revision", number(adapter.live)),
        ("latest revision", number(adapter.latest)),
        ("revisions", str(adapter.revisions)),
        ("compressed", _error(adapter.compressed)),
        ("pinned", "yes" if adapter.pinned else "no"),
        ("read only", "yes" if adapter.read_only else "no"),
        ("source", _place(adapter.source)),
        ("created", moment(adapter.created)),
    )


def revision_facts(name: str, revision: Revision) -> Table:
    """Return the facts about one revision, one per line."""
    change = revision.effect.largest_change if revision.effect else None
    return _facts(
        ("revision", f"{name}@{revision.number}"),
        ("state", revision.state),
        ("digest", revision.digest),
        ("size", size(revision.size_bytes)),
        ("rank", number(revision.rank)),
        ("alpha", None if revision.alpha is None else f"{revision.alpha:g}"),
        ("modules", number(revision.modules)),
        ("target modules", ", ".join(revision.target_modules) or None),
        ("base", revision.base),
        ("dtype", revision.dtype),
        ("source", _place(revision.source)),
        ("largest change", None if change is None else f"{change:.3g}"),
        *_training_facts(revision.training),
    )


def _place(source: Source | None) -> str | None:
    """Return where content came from; what was uploaded has no place."""
    return (source.location or source.kind) if source else None


def _training_facts(found: Training | None) -> Iterator[tuple[str, str | None]]:
    if found is None:
        return
    yield "trained by", f"{found.job}, step {found.step}, {found.method}"
    if found.started_from is not None:
        yield "went on from", f"{found.started_from.model}, {short(found.started_from.digest)}"
    for field, digest in (found.data or {}).items():
        yield field.replace("_", " "), short(digest)
    if found.evaluation is not None:
        named = found.evaluation.named()
        losses = ", ".join(f"{name} {one.loss:.3f}" for name, one in named.items())
        yield "held-out loss", f"{losses} ({found.evaluation.examples} rows)"
        for grader, share in found.evaluation.candidate.grades.items():
            yield grader, f"{share:.0%}"


def _error(compressed: float | None) -> str | None:
    return None if compressed is None else f"to the rank of the slots, error {compressed:.2g}"


def state_of(adapter: Adapter) -> str:
    """Return the state, and how far the work on new content is."""
    if adapter.progress is None:
        return adapter.state
    done, total = adapter.progress.done_bytes, adapter.progress.total_bytes
    share = f" {100 * done // total}%" if done is not None and total else ""
    return f"{adapter.state} ({adapter.progress.stage}{share})"


def shares(alias: Alias) -> str:
    """Return which revisions get the requests: ``4``, or ``90% 3, 10% 4``."""
    if len(alias.targets) == 1:
        return str(alias.targets[0].revision)
    whole = sum(target.weight for target in alias.targets) or 1
    return ", ".join(f"{100 * t.weight / whole:.3g}% {t.revision}" for t in alias.targets)


def guard(alias: Alias) -> str:
    """Return when the guard takes the canary back: ``+5% after 200``."""
    if alias.guard is None:
        return ""
    return f"+{100 * alias.guard.margin:.3g}% after {alias.guard.min_requests}"


def alias_line(alias: Alias) -> str:
    """Return one sentence about what an alias points to now."""
    several = "revisions" if len(alias.targets) > 1 else "revision"
    where = f"{alias.adapter}@{alias.alias} points to {several} {shares(alias)}"
    sticky = f", sticky by {alias.sticky}" if alias.sticky else ""
    guarded = f", guarded ({guard(alias)})" if alias.guard else ""
    return plain(f"{where}{sticky}{guarded} (version {alias.version}).")


def number(value: int | None) -> str:
    """Return a number, or a dash for none."""
    return _NOTHING if value is None else str(value)


def size(size_bytes: int | None) -> str:
    """Return a size in bytes as people write it, a dash for None."""
    return _NOTHING if size_bytes is None else decimal(size_bytes)


def moment(seconds: float | None) -> str:
    """Return a time (seconds since 1970) in UTC, to the second; a dash for None."""
    if seconds is None:
        return _NOTHING
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def short(digest: str) -> str:
    """Return the beginning of a digest, which a user can write after an ``@``."""
    return digest[: len("sha256:") + 12]


def show(*tables: Table) -> None:
    """Print tables on standard output, with colours only on a terminal that wants them."""
    out = Console()
    if not out.is_terminal:
        out = Console(width=_PIPED_WIDTH)
    for index, table in enumerate(tables):
        if index:
            out.print()
        out.print(table)


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    """Return a table without borders."""
    made = Table(box=None, pad_edge=False, header_style="bold")
    for head in heads:
        made.add_column(head, overflow="fold")
    for row in rows:
        made.add_row(*(Text(plain(cell)) for cell in row))
    return made


def _facts(*facts: tuple[str, str | None]) -> Table:
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in facts:
        if value is not None:
            table.add_row(Text(name, style="bold"), Text(plain(value)))
    return table
