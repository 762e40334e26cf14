"""What becomes of a request whose adapter is in no slot: it waits, is refused, or falls back.

A request that is refused or answered by something else still begins the load, unless too many are
under way, so that the next one finds the adapter in its slot. Nothing is ever answered by another
model in silence: what falls back says so, and only who asked for it falls back.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import replace
from statistics import median

import structlog

from veneer_adapters.catalog.revision import Revision
from veneer_adapters.errors import AdapterError, quoted
from veneer_adapters.lifecycle import State
from veneer_adapters.residency.residency import Residency
from veneer_server.serving.resolving import Asker, Resolved
from veneer_server.serving.wishes import ColdStart

logger = structlog.get_logger(__name__)

_REMEMBERED = 32
_UNKNOWN_S = 1.0
"""How long a load is said to take before the first one was measured."""


class AdapterCold(Exception):
    """The adapter is in no slot, and the client did not want to wait for it."""

    def __init__(self, adapter: str, *, is_loading: bool, retry_after_s: float) -> None:
        """``retry_after_s`` is how long a load usually takes here."""
        then = "It is being loaded" if is_loading else "Too many others are being loaded"
        super().__init__(
            f"The adapter {quoted(adapter)} is in no slot of the engine, and the request asked not"
            f" to wait for it. {then}; try again."
        )
        self.retry_after_s = retry_after_s


def choose_fallback(
    revision: Revision, others: Iterable[Revision], is_open: Callable[[Revision], bool]
) -> Revision | None:
    """Return the newest earlier revision that can answer at once; None means only the base can."""
    earlier = (r for r in others if r.number < revision.number and r.state is State.READY)
    return max(filter(is_open, earlier), key=lambda found: found.number, default=None)


class ColdStarts:
    """Carries out what the server's setting and each request say about cold adapters."""

    def __init__(
        self,
        residency: Residency,
        revisions: Callable[[str], Iterable[Revision]],
        usual: ColdStart = ColdStart.WAIT,
        *,
        most_loading: int = 1,
    ) -> None:
        """Begin at most ``most_loading`` loads at a time for requests that do not wait.

        ``revisions`` returns those of an adapter. ``usual`` is for requests that ask for nothing.
        """
        self._residency = residency
        self._revisions = revisions
        self._usual = usual
        self._most_loading = most_loading
        self._loading: dict[str, asyncio.Task[None]] = {}
        self._took_s: deque[float] = deque(maxlen=_REMEMBERED)

    def took(self, seconds: float | None) -> None:
        """Note how long a request waited for a load; None means that it did not."""
        if seconds is not None:
            self._took_s.append(seconds)

    async def settle(self, resolved: Resolved, asker: Asker) -> Resolved:
        """Return what answers the request: what it named, or what it falls back to.

        Raises:
            AdapterCold: the request asked not to wait.
        """
        revision, wishes = resolved.revision, asker.wishes
        wanted = wishes.cold_start or self._usual
        if revision is None or wanted is ColdStart.WAIT or self._is_open(revision):
            return resolved
        loading = self._begin(revision)
        if loading is not None and wishes.patience_s:
            await asyncio.wait({loading}, timeout=wishes.patience_s)
            if self._is_open(revision):
                return resolved
        found = None
        if wanted is ColdStart.FALLBACK:
            found = choose_fallback(revision, self._revisions(revision.adapter), self._is_open)
        if wanted is ColdStart.REJECT or (found is None and not asker.principal.sees_base()):
            usual_s = median(self._took_s) if self._took_s else _UNKNOWN_S
            raise AdapterCold(
                revision.adapter, is_loading=loading is not None, retry_after_s=usual_s
            )
        return replace(resolved, revision=found, guarded=None, instead_of=revision.adapter)

    def _is_open(self, revision: Revision) -> bool:
        return self._residency.is_open(revision.engine_name)

    def _begin(self, revision: Revision) -> asyncio.Task[None] | None:
        name = revision.engine_name
        if name not in self._loading and len(self._loading) < self._most_loading:
            self._loading[name] = task = asyncio.create_task(self._load(revision))
            task.add_done_callback(lambda _: self._loading.pop(name))
        return self._loading.get(name)

    async def _load(self, revision: Revision) -> None:
        try:
            await self._residency.warm(revision)
        except AdapterError as error:
            logger.warning("adapter not loaded", revision=revision.label, error=repr(error))
