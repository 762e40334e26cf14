"""Adapters: the catalog, the store, the way in, and the slots."""

import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace

from stamina.instrumentation import set_on_retry_hooks

from veneer_adapters.adapters import Adapters
from veneer_adapters.artifact.manifest import BaseFacts
from veneer_adapters.catalog.catalog import Catalog
from veneer_adapters.events import Observers
from veneer_adapters.publishing.allowances import Allowances
from veneer_adapters.publishing.checkup import Checkup
from veneer_adapters.publishing.intake import Intake
from veneer_adapters.publishing.publishing import Publishing
from veneer_adapters.publishing.staging import Staging
from veneer_adapters.residency.compressing import Compressing
from veneer_adapters.residency.hot_set import HotSet
from veneer_adapters.residency.residency import Residency
from veneer_adapters.residency.vouching import Vouching
from veneer_adapters.sources.fetching import Fetching
from veneer_adapters.sources.remote import remote_sources
from veneer_adapters.store.store import Store
from veneer_server.api.admin.paths import RESERVED
from veneer_server.auditing.log import AuditLog
from veneer_server.engine.base import Engine
from veneer_server.settings import Settings
from veneer_server.wiring.parts import Given, Threaded
from veneer_server.wiring.places import roots, store_folder
from veneer_server.wiring.tenants import allowance


@dataclass(frozen=True, slots=True)
class AdapterParts:
    """What knows adapters, keeps their files, and holds them in the engine's slots."""

    catalog: Catalog
    intake: Intake
    vouching: Vouching
    compressing: Compressing
    residency: Residency
    hot_set: HotSet
    publishing: Publishing
    staging: Staging
    checkup: Checkup
    reserved: Mapping[str, str]
    """Names that no adapter may have, each with its reason."""

    @property
    def threads(self) -> tuple[Threaded, ...]:
        """What has threads of its own."""
        return (self.checkup, self.intake, self.vouching, self.compressing)

    def service(self) -> Adapters:
        """Return one method for each thing a person can ask for."""
        return Adapters(
            self.catalog,
            self.staging,
            self.publishing,
            self.residency,
            self.checkup,
            self.compressing.error_of,
        )


async def build_adapters(
    given: Given, audit: AuditLog, observers: Observers, now: Callable[[], Settings]
) -> AdapterParts:
    """Return the parts of ``given.engine``'s adapters; nothing is staged or loaded yet.

    ``now`` returns the settings of this instant, because the allowances of tenants may change.

    Raises:
        AdapterError: the store or the catalog cannot be used.
    """
    settings, sandbox, database = given.settings, given.sandbox, given.database

    def needed() -> set[str]:
        return compressing.also(catalog.digests() | residency.digests())

    facts = _facts_of(settings, given.engine)
    store = _open_store(settings, needed)
    compressing = Compressing(store_folder(settings) / "copies", store, sandbox.compress, facts)
    catalog = await Catalog.open(database, store.path, note=audit.note)
    intake = Intake(
        store,
        lambda folder: sandbox.verify(folder, facts()),
        roots=roots(settings),
        fetching=_fetching(settings),
    )
    vouching = Vouching(
        *(catalog, store, given.engine, intake.restore),
        shared=database.shared,
        observer=observers,
        compressing=compressing,
    )
    residency = _open_residency(given, vouching, observers)
    hot_set = HotSet(residency)
    catalog.watch(hot_set.on_change)
    publishing = Publishing(catalog, residency.warm)
    reserved = {**RESERVED, given.engine.model.id: "the name of the base model"}
    staging = Staging(
        intake,
        catalog,
        publishing,
        reserved=reserved,
        allowances=Allowances(catalog, lambda name: allowance(now(), name)),
        observer=observers,
    )
    return AdapterParts(
        catalog=catalog,
        intake=intake,
        vouching=vouching,
        compressing=compressing,
        residency=residency,
        hot_set=hot_set,
        publishing=publishing,
        staging=staging,
        checkup=Checkup(intake, sandbox, facts()),
        reserved=reserved,
    )


def _facts_of(settings: Settings, engine: Engine) -> Callable[[], BaseFacts]:
    # Asked for each time: an engine that was started again may have others.
    return lambda: replace(engine.facts, compress=settings.adapters.compress)


def _open_store(settings: Settings, needed: Callable[[], Collection[str]]) -> Store:
    gib = settings.adapters.quota_gib
    return Store(
        store_folder(settings),
        max_bytes=settings.sources.max_bytes,
        quota_bytes=int(gib * 2**30) if gib else None,
        needed=needed,
    )


def _fetching(settings: Settings) -> Fetching:
    sources = settings.sources
    # By default stamina counts each retry in the registry that /metrics shows, as its own metric.
    set_on_retry_hooks(())
    return remote_sources(
        hub_orgs=sources.hub_orgs,
        https_hosts=sources.https_hosts,
        private_hosts=sources.private_hosts,
        buckets=sources.buckets,
        timeout_s=sources.timeout_s,
        max_bytes=sources.max_bytes,
        ca_file=sources.ca_file,
    )


def _open_residency(given: Given, voucher: Vouching, observers: Observers) -> Residency:
    return Residency(
        given.engine,
        device_slots=given.sizes.device_slots,
        host_slots=given.sizes.host_slots,
        load_timeout_s=given.settings.adapters.load_timeout_s,
        clock=time.monotonic,
        observer=observers,
        voucher=voucher,
    )
