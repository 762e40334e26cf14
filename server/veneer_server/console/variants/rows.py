"""What the table shows of one adapter. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass

from veneer_adapters.catalog.revision import Adapter
from veneer_adapters.events import Level
from veneer_server.console.figures.reading import Traffic
from veneer_server.console.figures.recent import Lately


@dataclass(frozen=True, slots=True)
class Row:
    """One adapter. A figure is None where there is none, or where it is not for who asks."""

    name: str
    state: str
    live: int | None
    rank: int | None
    size_bytes: int | None
    slot: Level | None
    pinned: bool
    requests_per_s: float | None
    first_token_p95_s: float | None
    gap_p95_s: float | None
    failed: float | None
    """Requests since the server started, as are ``cold_starts``."""
    cold_starts: float | None
    used_s: float | None
    """When a request last asked for it, in seconds since the epoch."""
    reason: str | None
    detail: str | None


def to_row(
    adapter: Adapter,
    levels: Mapping[str, Level],
    lately: Lately | None,
    used: Mapping[str, int],
) -> Row:
    """Return the row of ``adapter``; ``lately`` is None for who may not see figures."""
    live = adapter.live
    manifest = live.manifest if live else None
    counts = lately.now.counts_of(adapter.name) if lately else None
    traffic = lately.of(adapter.name) if lately else None
    return Row(
        name=adapter.name,
        state=str(adapter.state),
        live=live.number if live else None,
        rank=manifest.rank if manifest else None,
        size_bytes=manifest.size_bytes if manifest else None,
        slot=levels.get(live.engine_name) if live else None,
        pinned=adapter.pinned,
        failed=counts.failed if counts else None,
        cold_starts=counts.cold_starts if counts else None,
        used_s=used.get(adapter.name) if lately else None,
        reason=adapter.reason,
        detail=adapter.detail,
        **_figures(traffic),
    )


def _figures(traffic: Traffic | None) -> dict[str, float | None]:
    if traffic is None:
        return {"requests_per_s": None, "first_token_p95_s": None, "gap_p95_s": None}
    return {
        "requests_per_s": traffic.requests_per_s,
        "first_token_p95_s": traffic.first_token_p95_s,
        "gap_p95_s": traffic.gap_p95_s,
    }
