"""What happens to adapters when the engine is lost: who waits is told, and all comes back.

A revision that was being loaded, or was just used for the first time, when the engine was lost
is a suspect. One that was a suspect twice is refused: it would take the engine down again. One
that has been used for a while since its last load is no suspect any more: whatever kills engines
now and then would otherwise, in time, be blamed on everybody.
"""

from collections import Counter

import structlog

from veneer_adapters.catalog.catalog import Catalog
from veneer_adapters.catalog.revision import Revision
from veneer_adapters.errors import AdapterError, CrashesEngine, quoted
from veneer_adapters.residency.residency import Residency
from veneer_server.collecting import exempt_what_lives
from veneer_server.engine.base import EngineLost
from veneer_server.engine.supervision import Loss
from veneer_server.telemetry.metrics import Metrics

logger = structlog.get_logger(__name__)

_SUSPECT_S = 10.0
"""How long after its load an adapter in use is a suspect."""
_DEATHS = 2
"""How many engines a revision may be a suspect of before it is refused."""


class EngineRecovery:
    """Forgets what was in the lost engine, and brings it back into the next one."""

    def __init__(self, residency: Residency, catalog: Catalog, metrics: Metrics) -> None:
        self._residency = residency
        self._catalog = catalog
        self._metrics = metrics
        self._wanted: list[Revision] = []
        self._suspected: Counter[str] = Counter()
        self._condemned: list[Revision] = []

    def lost(self, reason: Loss) -> None:
        """Note the suspects, and end every wait for a load with the truth."""
        self._metrics.engine_restarted(reason)
        for revision in self._residency.survivors(_SUSPECT_S):
            self._suspected.pop(revision.digest, None)
        for revision in self._residency.suspects(_SUSPECT_S):
            self._suspected[revision.digest] += 1
            logger.warning("adapter suspected", revision=revision.label, engine=reason)
            if self._suspected[revision.digest] >= _DEATHS:
                self._condemned.append(revision)
        failure = EngineLost("The engine stopped while it loaded an adapter.")
        held = self._residency.reset(failure)
        # An engine that is lost while it restores leaves the rest of the old set wanted.
        known = {revision.engine_name for revision in held}
        self._wanted = held + [r for r in self._wanted if r.engine_name not in known]

    async def restore(self) -> None:
        """Refuse who is condemned, then load what was in device slots; failures are logged."""
        exempt_what_lives()  # among it the new engine, and no longer the lost one
        await self._refuse_condemned()
        while self._wanted:
            revision = self._wanted[0]
            try:
                await self._residency.warm(self._catalog.current(revision))
            except AdapterError as error:
                logger.warning("adapter not restored", revision=revision.label, why=str(error))
            if self._wanted and self._wanted[0] is revision:
                self._wanted.pop(0)

    async def _refuse_condemned(self) -> None:
        while self._condemned:
            revision = self._condemned.pop()
            self._wanted = [r for r in self._wanted if r.digest != revision.digest]
            error = CrashesEngine(
                f"The engine was lost {_DEATHS} times while it loaded or first used"
                f" {quoted(revision.label)}, so it is not served any more."
            )
            try:
                await self._catalog.refuse(revision, error)
            except AdapterError as failed:
                self._suspected[revision.digest] -= 1
                logger.warning("adapter not refused", revision=revision.label, why=str(failed))
            else:
                logger.error("adapter refused", revision=revision.label, reason=error.reason)
