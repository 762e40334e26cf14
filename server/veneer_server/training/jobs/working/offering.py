"""How checkpoints reach the catalog: by the way of all adapters, with an entry in the audit log."""

from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path

from veneer_adapters.catalog.alias import Alias, Guard, Target
from veneer_adapters.catalog.catalog import Catalog
from veneer_adapters.catalog.revision import Source
from veneer_adapters.errors import AdapterError
from veneer_adapters.names import LIVE
from veneer_adapters.publishing.publishing import Publishing, Wanted
from veneer_adapters.publishing.staging import Offer, Staging
from veneer_adapters.sources.base import Root
from veneer_server.auditing.around import around
from veneer_server.auditing.entries import Change
from veneer_server.auditing.log import AuditLog
from veneer_server.auditing.unasked import trained
from veneer_server.training.evaluating.asked import Then
from veneer_server.training.folder import step_of
from veneer_server.training.jobs.describing import described
from veneer_server.training.jobs.records import FineTuningJob

CANDIDATE = "candidate"
SHARES = (90, 10)
"""What of the requests the live revision keeps, and what a canary gets."""
GUARD = Guard(min_requests=50, margin=0.05)


class CatalogPublisher:
    """See ``working.shared.Publisher``."""

    def __init__(
        self, catalog: Catalog, staging: Staging, publishing: Publishing, audit: AuditLog
    ) -> None:
        self._catalog = catalog
        self._staging = staging
        self._publishing = publishing
        self._audit = audit

    async def publish(self, job: FineTuningJob, folder: Path, root: Path, alias: str) -> int:
        """Stage the adapter in ``folder``; it is proved before ``alias`` points to it."""
        return await self._stage(job, folder, root, job.adapter, alias)

    async def make_live(self, job: FineTuningJob, revision: int) -> None:
        """Let the bare name mean ``revision``, which says what it was measured to do."""
        found = self._catalog.revisions(job.adapter)[revision - 1].training
        if found is not None and job.progress.evaluation is not None:
            told = {**found, "evaluation": job.progress.evaluation}
            await self._catalog.describe(job.adapter, revision, told)
        await self._move(job, job.adapter, Wanted((Target(revision),)))

    def live(self, name: str) -> int | None:
        """Return the revision with the largest share of the requests to ``name``."""
        found = self._alias(name)
        return None if found is None else found.main

    async def promote(
        self, job: FineTuningJob, folder: Path, root: Path, name: str, then: Then
    ) -> str:
        """Stage the adapter in ``folder`` as a revision of ``name``, and move its aliases."""
        if then is Then.LIVE or (self._alias(name) is None and then is Then.CANARY):
            number = await self._stage(job, folder, root, name, LIVE)
            return f"Published as {name}@{number}, and live"
        number = await self._stage(job, folder, root, name, CANDIDATE)
        now = self._alias(name)
        if then is not Then.CANARY or now is None:
            return f"Published as {name}@{number}; it is asked as {name}@{CANDIDATE}"
        if number in {target.revision for target in now.targets}:
            return f"{name}@{number} gets requests to {name} already"
        if len(now.targets) > 1:
            return (
                f"Published as {name}@{number}; it is asked as {name}@{CANDIDATE} and gets no"
                f" requests to {name}, because these are split already"
            )
        await self._move(job, name, _canary(now, number))
        return f"Published as {name}@{number}, a canary with {SHARES[1]}% of the requests to {name}"

    async def _stage(
        self, job: FineTuningJob, folder: Path, root: Path, name: str, alias: str
    ) -> int:
        told = described(job, step_of(folder.parent))
        offer = Offer(name, Source("path", str(folder)), alias, training=told)
        async with self._noted(job, f"{name}@{alias}"):
            root_of_job = Root(root, read_only=True).resolved()
            return (await self._staging.stage(offer, root=root_of_job)).number

    async def _move(self, job: FineTuningJob, name: str, wanted: Wanted) -> None:
        async with self._noted(job, f"{name}@{LIVE}"):
            await self._publishing.move(name, LIVE, wanted)

    def _alias(self, name: str) -> Alias | None:
        try:
            return self._catalog.alias(name, LIVE)
        except AdapterError:
            return None

    def _noted(self, job: FineTuningJob, label: str) -> AbstractAsyncContextManager[None]:
        change = partial(_change, self._audit, label, job.tenant)
        return around(self._audit, change, lambda error: getattr(error, "reason", "failed"))


def _canary(now: Alias, number: int) -> Wanted:
    """Return ``now`` with some of its requests for revision ``number``, guarded."""
    targets = Target(now.main, SHARES[0]), Target(number, SHARES[1])
    return Wanted(targets, now.sticky, GUARD, now.version)


def _change(audit: AuditLog, label: str, tenant: str | None, outcome: str) -> Change:
    return trained(outcome, label, tenant, now=audit.now)
