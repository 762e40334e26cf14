"""What tenants may use, and what they have used."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from functools import partial

from veneer_adapters.catalog.database import Database
from veneer_adapters.publishing.allowances import Allowance
from veneer_server.accounting.ledger import Ledger
from veneer_server.auditing.around import around
from veneer_server.auditing.entries import Change
from veneer_server.auditing.log import AuditLog
from veneer_server.auditing.unasked import expired
from veneer_server.settings import Settings, TenantSettings
from veneer_server.tenancy.limits import Limits
from veneer_server.tenancy.quotas.memory import MemoryStore
from veneer_server.tenancy.quotas.quotas import Quotas
from veneer_server.tenancy.quotas.stores import QuotaStore


def build_quotas(
    settings: Settings, database: Database, now: Callable[[], TenantSettings]
) -> Quotas:
    """Return what counts against the limits that ``now`` returns at each request."""
    url = settings.tenants.quota_url
    store: QuotaStore = MemoryStore()
    if url is not None:
        from veneer_server.tenancy.quotas.shared import SharedStore  # Redis's client, for few

        store = SharedStore(url.get_secret_value(), database.identity)

    def of_everybody() -> Limits:
        tenants = now()
        return Limits(tenants.server_rpm, tenants.server_tpm, tenants.server_concurrency)

    def of_tenant(name: str) -> Limits:
        found = now().of_tenant(name)
        return Limits(found.rpm, found.tpm, found.concurrency)

    return Quotas(store, of_everybody=of_everybody, of_tenant=of_tenant)


def allowance(settings: Settings, tenant: str) -> Allowance:
    """Return how much ``tenant`` may keep."""
    found = settings.tenants.of_tenant(tenant)
    stored = found.stored_gib
    return Allowance(found.adapters, None if stored is None else int(stored * 2**30))


def build_ledger(
    settings: Settings, database: Database, audit: AuditLog, lost: Callable[[], None]
) -> Ledger:
    """Return what keeps a row of usage for each request; ``lost`` is told of a row it cannot."""
    return Ledger(
        database,
        days=settings.tenants.usage_days,
        lost=lost,
        expiring=partial(_expiring, audit),
    )


def _expiring(audit: AuditLog, rows: int, before: int) -> AbstractAsyncContextManager[None]:
    def change(outcome: str) -> Change:
        return expired(outcome, rows, before, now=audit.now)

    return around(audit, change, lambda error: getattr(error, "reason", "failed"))
