"""How checkpoints reach the catalog: by the way of all adapters, with an entry in the audit log."""

from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path

from veneer_adapters.catalog.alias import Target
from veneer_adapters.catalog.revision import Source
from veneer_adapters.names import LIVE
from veneer_adapters.publishing.publishing import Publishing, Wanted
from veneer_adapters.publishing.staging import Offer, Staging
from veneer_adapters.sources.base import Root
from veneer_server.auditing.around import around
from veneer_server.auditing.entries import Change
from veneer_server.auditing.log import AuditLog
from veneer_server.auditing.unasked import trained
from veneer_server.training.jobs.records import FineTuningJob


class CatalogPublisher:
    """See ``working.shared.Publisher``."""

    def __init__(self, staging: Staging, publishing: Publishing, audit: AuditLog) -> None:
        self._staging = staging
        self._publishing = publishing
        self._audit = audit

    async def publish(self, job: FineTuningJob, folder: Path, root: Path, alias: str) -> int:
        """Stage the adapter in ``folder``; it is proved before ``alias`` points to it."""
        offer = Offer(job.adapter, Source("path", str(folder)), alias)
        async with self._noted(job, alias):
            root_of_job = Root(root, read_only=True).resolved()
            return (await self._staging.stage(offer, root=root_of_job)).number

    async def make_live(self, job: FineTuningJob, revision: int) -> None:
        """Let the bare name mean ``revision``."""
        async with self._noted(job, LIVE):
            await self._publishing.move(job.adapter, LIVE, Wanted((Target(revision),)))

    def _noted(self, job: FineTuningJob, alias: str) -> AbstractAsyncContextManager[None]:
        change = partial(_change, self._audit, f"{job.adapter}@{alias}", job.tenant)
        return around(self._audit, change, lambda error: getattr(error, "reason", "failed"))


def _change(audit: AuditLog, label: str, tenant: str | None, outcome: str) -> Change:
    return trained(outcome, label, tenant, now=audit.now)
