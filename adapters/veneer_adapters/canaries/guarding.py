"""Takes a canary back when it does worse than the baseline.

Each server counts only what it served itself, in memory, since it started. A count belongs to one
version of one alias and ends with it. If somebody moves the alias meanwhile, that move wins.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import structlog
from cachetools import LRUCache

from veneer_adapters.canaries.tally import Ending, Tally, verdict
from veneer_adapters.catalog.alias import Alias, Guard, Target
from veneer_adapters.catalog.catalog import Catalog
from veneer_adapters.errors import AdapterError, AdapterUnavailable, NothingToRollBack
from veneer_adapters.events import CanaryTakenBack, CanaryWatched, Observer, Reason

logger = structlog.get_logger(__name__)

MOST = 1000
"""How many aliases are counted at a time. Beyond that, the one that was idle longest is counted
anew."""
RETRY_S = 5.0
"""How long to wait, in seconds, before the next try when the catalog could not be written."""


@dataclass(slots=True)
class _Trial:
    adapter: str
    alias: Alias
    guard: Guard
    tallies: dict[int, Tally]
    decided: bool = False

    def verdict(self) -> "_Verdict | None":
        baseline, *canaries = (target.revision for target in self.alias.targets)
        for canary in canaries:
            reason = verdict(self.guard, self.tallies[baseline], self.tallies[canary])
            if reason is not None:
                return _Verdict(baseline, canary, reason)
        return None


@dataclass(frozen=True, slots=True)
class _Verdict:
    baseline: int
    canary: int
    reason: Reason


class Guarding:
    """Counts how requests through guarded aliases end, and acts on it. For one event loop."""

    def __init__(
        self, catalog: Catalog, observer: Observer, *, most: int = MOST, retry_s: float = RETRY_S
    ) -> None:
        self._catalog = catalog
        self._observer = observer
        self._retry_s = retry_s
        self._trials: LRUCache[tuple[str, str], _Trial] = LRUCache(most)
        self._work: set[asyncio.Task[None]] = set()

    def count(self, adapter: str, alias: Alias, revision: int, ending: Ending) -> None:
        """Count one request that ``revision`` answered through ``alias``, as the alias was then.

        The request does not count when the alias has moved or was removed since.
        """
        if alias.guard is None or not self._is_current(adapter, alias):
            return
        trial = self._trial(adapter, alias, alias.guard)
        if revision not in trial.tallies:
            return
        trial.tallies[revision] = trial.tallies[revision].plus(ending)
        found = None if trial.decided else trial.verdict()
        if found is not None:
            trial.decided = True
            task = asyncio.create_task(self._take_back(trial, found))
            self._work.add(task)
            task.add_done_callback(self._work.discard)

    def tallies(self, adapter: str, alias: str) -> Mapping[int, Tally]:
        """Return the counts for each target of the alias as it is now; {} if there are none."""
        trial = self._trials.get((adapter, alias))
        return dict(trial.tallies) if trial and self._is_current(adapter, trial.alias) else {}

    async def settled(self) -> None:
        """Return when no canary is being taken back."""
        await asyncio.gather(*self._work)

    async def close(self) -> None:
        """Stop every attempt to take a canary back."""
        for task in self._work:
            task.cancel()
        await asyncio.gather(*self._work, return_exceptions=True)

    def _is_current(self, adapter: str, alias: Alias) -> bool:
        try:
            return self._catalog.alias(adapter, alias.name) == alias
        except AdapterError:
            return False

    def _trial(self, adapter: str, alias: Alias, guard: Guard) -> _Trial:
        trial = self._trials.get((adapter, alias.name))
        # Compare the whole alias, because the version of a removed alias begins at 1 again.
        if trial is None or trial.alias != alias:
            trial = _Trial(adapter, alias, guard, {t.revision: Tally() for t in alias.targets})
            self._trials[adapter, alias.name] = trial
            self._observer.on_event(CanaryWatched(adapter))
        return trial

    async def _take_back(self, trial: _Trial, found: _Verdict) -> None:
        log = logger.bind(
            adapter=trial.adapter,
            alias=trial.alias.name,
            canary=found.canary,
            reason=found.reason,
            counts={number: asdict(tally) for number, tally in trial.tallies.items()},
        )
        while True:
            try:
                back = await self._move_back(trial, found)
            except AdapterUnavailable as error:
                log.warning("canary not taken back yet", why=str(error))
                await asyncio.sleep(self._retry_s)
            except AdapterError as error:
                log.warning("canary not taken back", why=str(error))
                return
            else:
                log.warning("canary taken back", back_to=back.main, version=back.version)
                self._observer.on_event(CanaryTakenBack(trial.adapter, found.reason))
                return

    async def _move_back(self, trial: _Trial, found: _Verdict) -> Alias:
        adapter, alias, version = trial.adapter, trial.alias.name, trial.alias.version
        try:
            return await self._catalog.roll_back(
                adapter, alias, without=found.canary, expected=version, by="guard"
            )
        except NothingToRollBack:
            # The alias was split from its beginning, or never was without this canary.
            only = (Target(found.baseline),)
            return await self._catalog.move(adapter, alias, only, expected=version, by="guard")
