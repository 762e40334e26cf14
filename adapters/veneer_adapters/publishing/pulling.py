"""Fetch an adapter when a request first asks for it, where the operator allows that.

Each name is looked for only once at a time, however many requests ask. After a failure the sources
are not asked for that name for a while, so a client that invents names costs them little.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Sequence

from cachetools import TLRUCache

from veneer_adapters.catalog.revision import Revision
from veneer_adapters.errors import (
    AdapterError,
    AdapterNotFound,
    MissingFile,
    SourceUnavailable,
)
from veneer_adapters.names import is_adapter_name

Pull = Callable[[str, str], Awaitable[Revision]]
"""Publishes the artifact at a location under a name: called as ``pull(name, location)``."""

_LONGEST_MEMORY_S = 60.0
_PLACE = "{name}"


class Puller:
    """Looks for unknown names in ``templates``: locations with ``{name}``, tried in order."""

    def __init__(
        self,
        templates: Sequence[str],
        pull: Pull,
        *,
        deadline_s: float,
        reserved: Collection[str] = (),
        negative_ttl_s: float = 5.0,
        max_remembered: int = 10_000,
        parallel: int = 4,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Remember a failure for ``negative_ttl_s``, or as long as the source asked, up to 60 s.

        ``reserved`` names are never looked for. At most ``parallel`` names are pulled at once; one
        pull, and the wait for its turn, take at most ``deadline_s``.
        """
        self._templates = templates
        self._pull = pull
        self._deadline_s = deadline_s
        self._reserved = frozenset(reserved)
        self._free = asyncio.Semaphore(parallel)
        self._running: dict[str, asyncio.Task[Revision]] = {}

        def forgotten_at(name: str, error: AdapterError, now: float) -> float:
            asked_s = getattr(error, "retry_after_s", None) or 0.0
            return now + max(negative_ttl_s, min(asked_s, _LONGEST_MEMORY_S))

        self._failed: TLRUCache[str, AdapterError] = TLRUCache(
            max_remembered, ttu=forgotten_at, timer=clock
        )

    @property
    def possible(self) -> bool:
        """Whether there is any location to look in."""
        return bool(self._templates)

    async def pull(self, name: str) -> Revision:
        """Return the live revision of ``name`` after it was fetched, verified and published.

        When a caller is cancelled, the pull goes on for the other callers and for later ones.

        Raises:
            AdapterNotFound: no template leads to such an adapter.
            SourceUnavailable: a source could not be asked, or the pull took too long.
            AdapterError: what was found cannot be served; the leaf says why.
        """
        remembered = self._failed.get(name)
        if remembered is not None:
            raise remembered.with_traceback(None)
        if not (self._templates and self._may_be_one(name)):
            raise AdapterNotFound(name)
        if name not in self._running:
            task = asyncio.create_task(self._look_everywhere(name))
            self._running[name] = task
            task.add_done_callback(lambda done: self._finish(name, done))
        return await asyncio.shield(self._running[name])

    def _may_be_one(self, name: str) -> bool:
        return is_adapter_name(name) and name not in self._reserved

    def _finish(self, name: str, task: asyncio.Task[Revision]) -> None:
        del self._running[name]
        # This also marks the error as seen for asyncio, when every caller has gone.
        error = None if task.cancelled() else task.exception()
        if isinstance(error, AdapterError):
            self._failed[name] = error

    async def _look_everywhere(self, name: str) -> Revision:
        try:
            async with asyncio.timeout(self._deadline_s), self._free:
                for template in self._templates:
                    try:
                        return await self._pull(name, template.replace(_PLACE, name))
                    except MissingFile:
                        continue
        except TimeoutError as error:
            raise SourceUnavailable(
                f"The adapter could not be fetched within {self._deadline_s:g} seconds."
            ) from error
        raise AdapterNotFound(name)
