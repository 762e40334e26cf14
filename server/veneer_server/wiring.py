"""Builds everything between HTTP and the engine from the settings.

``app`` starts the engine, tracing, the database and the sandbox, and passes them in. This file
builds the other parts and starts nothing: ``app`` runs the parts that must run, and ends them.
"""

import asyncio
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Protocol

from prometheus_client import CollectorRegistry
from stamina.instrumentation import set_on_retry_hooks

from veneer_adapters.adapters import Adapters
from veneer_adapters.artifact.manifest import BaseFacts
from veneer_adapters.canaries.guarding import Guarding
from veneer_adapters.catalog.catalog import Catalog
from veneer_adapters.catalog.database import Database
from veneer_adapters.catalog.replays import Replays
from veneer_adapters.catalog.revision import Revision
from veneer_adapters.catalog.upkeep import Upkeep
from veneer_adapters.catalog.usage import Usage
from veneer_adapters.events import Observers
from veneer_adapters.lifecycle import State
from veneer_adapters.names import OPERATOR
from veneer_adapters.publishing.allowances import Allowance, Allowances
from veneer_adapters.publishing.arriving import Arriving
from veneer_adapters.publishing.checkup import Checkup
from veneer_adapters.publishing.following import Following
from veneer_adapters.publishing.intake import Intake, source_of
from veneer_adapters.publishing.needs import ranks_of
from veneer_adapters.publishing.publishing import Publishing
from veneer_adapters.publishing.pulling import Puller
from veneer_adapters.publishing.staging import Offer, Staging
from veneer_adapters.residency.compressing import Compressing
from veneer_adapters.residency.hot_set import HotSet
from veneer_adapters.residency.residency import Residency
from veneer_adapters.residency.vouching import Vouching
from veneer_adapters.sandbox.sandbox import Sandbox
from veneer_adapters.sources.base import Root
from veneer_adapters.sources.fetching import Fetching
from veneer_adapters.sources.remote import remote_sources
from veneer_adapters.store.ownership import has_content, owner_of, set_owner
from veneer_adapters.store.store import Store
from veneer_server.accounting.ledger import Ledger
from veneer_server.api.admin.paths import RESERVED
from veneer_server.api.batches.answering import LineAnswers
from veneer_server.api.deps import Server
from veneer_server.api.official.answers.response_events import to_last
from veneer_server.api.official.bounds import MOST_ITEMS
from veneer_server.auditing.around import around
from veneer_server.auditing.entries import Change
from veneer_server.auditing.log import AuditLog
from veneer_server.auditing.unasked import expired
from veneer_server.background import Background
from veneer_server.batches.batches import Batches
from veneer_server.batches.batches import Bounds as BatchBounds
from veneer_server.batches.folders import Folders
from veneer_server.batches.ordering import slots_for_cold
from veneer_server.batches.pace import Live, Room
from veneer_server.batches.records import Batch
from veneer_server.batches.runner import Runner
from veneer_server.batches.working.shared import Shared
from veneer_server.batches.working.slots import Slots
from veneer_server.batches.working.turns import Turns
from veneer_server.conversations.keeping import MIGRATIONS, Bounds, Kept
from veneer_server.engine.base import Engine, ModelFacts
from veneer_server.engine.sizing.sizes import Needs, Sizes
from veneer_server.files.contents import Contents
from veneer_server.files.files import Bounds as FileBounds
from veneer_server.files.files import Files
from veneer_server.files.upkeep import FileUpkeep
from veneer_server.serving.admission import Admission
from veneer_server.serving.canaries.trials import Canaries
from veneer_server.serving.cold_starts import ColdStarts
from veneer_server.serving.recovery import EngineRecovery
from veneer_server.serving.requests import RequestService
from veneer_server.serving.resolving import Resolver
from veneer_server.serving.spending import Spending
from veneer_server.serving.watching import Watching
from veneer_server.serving.wishes import ColdStart
from veneer_server.settings import Settings, TenantSettings
from veneer_server.telemetry.metrics import Metrics
from veneer_server.telemetry.tracing import Tracing
from veneer_server.tenancy.errors import KeyNeeded
from veneer_server.tenancy.failures import Failures
from veneer_server.tenancy.keyring import Keyring
from veneer_server.tenancy.limits import Limits
from veneer_server.tenancy.principals import Principal
from veneer_server.tenancy.quotas.memory import MemoryStore
from veneer_server.tenancy.quotas.quotas import Quotas
from veneer_server.tenancy.quotas.stores import QuotaStore
from veneer_server.training.jobs.folders import Folders as JobFolders
from veneer_server.training.jobs.jobs import Jobs
from veneer_server.training.jobs.preparing import Preparing
from veneer_server.training.jobs.runner import Runner as Training
from veneer_server.training.jobs.trainable import find_trainable
from veneer_server.training.jobs.working.asking import ServedModels
from veneer_server.training.jobs.working.offering import CatalogPublisher
from veneer_server.training.jobs.working.running import CHILD
from veneer_server.training.jobs.working.shared import Shared as TrainingShared


class Threaded(Protocol):
    """Something with threads."""

    def close(self) -> None:
        """Begin no further work in them."""


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of a server: ``server`` for its routes, and those that ``app`` runs and ends."""

    server: Server
    catalog: Catalog
    staging: Staging
    residency: Residency
    following: Following
    hot_set: HotSet
    usage: Usage
    upkeep: Upkeep
    file_upkeep: FileUpkeep
    runner: Runner
    training: Training
    guarding: Guarding
    recovery: EngineRecovery
    background: Background
    threads: tuple[Threaded, ...]
    """What has threads of its own and may still be waiting for them at the end."""

    async def warm(self, room: int) -> None:
        """Load the pinned adapters, then the most used ones, until ``room`` are in slots."""
        ready = {a.name: a.live for a in self.catalog.adapters() if a.live}
        names = await self.usage.most_used(room)
        hot = [ready[name] for name in names if name in ready]
        await self.hot_set.load([r for r in hot if r.state is State.READY], room=room)


async def open_database(settings: Settings, *, new_catalog: bool) -> Database:
    """Return the catalog's database, made or migrated if necessary.

    Raises:
        CatalogMissing: it is new although the store has content, and ``new_catalog`` is not set.
        CatalogUnreadable: it cannot be opened or understood.
        StorageFailed: the store cannot be written.
    """
    store = store_folder(settings)
    database = await Database.open(
        settings.state.database(),
        may_be_new=new_catalog or not has_content(store),
        known=owner_of(store),
        further=(MIGRATIONS,),
    )
    try:
        set_owner(store, database.identity)
    except BaseException:
        await database.close()
        raise
    return database


async def find_needs(settings: Settings, database: Database) -> Needs:
    """Return what the adapters need that the catalog knows or that lie in the folders now.

    Raises:
        CatalogUnreadable: the content of the database contradicts itself.
    """
    store = store_folder(settings)
    catalog = await Catalog.open(database, lambda digest: store / digest)
    ranks = await asyncio.to_thread(ranks_of, catalog, roots(settings))
    return Needs(max(ranks, default=0), len(ranks))


async def assemble(
    settings: Settings,
    sizes: Sizes,
    engine: Engine,
    tracing: Tracing,
    database: Database,
    keyring: Keyring,
    sandbox: Sandbox,
    background: Background,
) -> Parts:
    """Return the parts of a server for ``engine``; no task runs yet, and nothing is staged.

    Raises:
        AdapterError: the store or the catalog cannot be used.
    """
    metrics = Metrics(CollectorRegistry())
    observers = Observers(metrics, tracing)

    def needed() -> set[str]:
        return compressing.also(catalog.digests() | residency.digests())

    facts = _facts_of(settings, engine)
    store = _open_store(settings, needed)
    compressing = Compressing(store_folder(settings) / "copies", store, sandbox.compress, facts)
    audit = AuditLog(database)
    catalog = await Catalog.open(database, store.path, note=audit.note)
    intake = Intake(
        store,
        lambda folder: sandbox.verify(folder, facts()),
        roots=roots(settings),
        fetching=_fetching(settings),
    )
    vouching = Vouching(
        *(catalog, store, engine, intake.restore),
        shared=database.shared,
        observer=observers,
        compressing=compressing,
    )
    residency = _open_residency(settings, sizes, engine, vouching, observers)
    hot_set = HotSet(residency)
    catalog.watch(hot_set.on_change)
    publishing = Publishing(catalog, residency.warm)
    reserved = {**RESERVED, engine.model.id: "the name of the base model"}
    staging = Staging(
        intake,
        catalog,
        publishing,
        reserved=reserved,
        allowances=Allowances(catalog, lambda name: _allowance(server.settings, name)),
        observer=observers,
    )
    usage = Usage(database)
    guarding = Guarding(catalog, observers)
    canaries = Canaries(guarding)
    resolver = _resolver(settings, engine.model, catalog, staging, reserved, canaries)
    _observe(metrics, sizes, engine, catalog, residency)
    ledger = Ledger(
        database,
        days=settings.tenants.usage_days,
        lost=metrics.usage_lost,
        expiring=partial(_expiring, audit),
    )
    watching = Watching(engine.model.id, metrics, tracing, usage, canaries, ledger)
    quotas = _quotas(settings, database, lambda: server.settings.tenants)
    spending = Spending(quotas, engine.model.max_model_len)
    checkup = Checkup(intake, sandbox, facts())
    admission = _admission(settings, sizes, residency, metrics)
    files = _files(settings, database)
    server = Server(
        settings=settings,
        engine=engine,
        adapters=Adapters(catalog, staging, publishing, residency, checkup, compressing.error_of),
        requests=RequestService(
            engine,
            resolver,
            residency,
            watching,
            admission,
            ColdStarts(
                residency,
                catalog.revisions,
                ColdStart(settings.adapters.cold_start),
                most_loading=sizes.device_slots,
            ),
            spending,
            secret=database.identity,
        ),
        replays=Replays(database),
        usage=usage,
        guarding=guarding,
        kept=_keep(settings, database),
        files=files,
        batches=_batches(settings, database, files),
        jobs=_jobs(settings, database, files, engine),
        keyring=keyring,
        ledger=ledger,
        audit=audit,
        failures=Failures(settings.tenants.auth_failures_per_minute),
        quotas=quotas.store,
        background=background,
        metrics=metrics,
        tracing=tracing,
        started_s=int(time.time()),
        # Without a shared database every server would be unready at once, and nobody be served.
        state_trouble=lambda: None if database.shared else database.trouble,
    )
    return Parts(
        server=server,
        catalog=catalog,
        staging=staging,
        residency=residency,
        following=Following(
            staging, catalog, shared_roots=roots(settings) if database.shared else None
        ),
        hot_set=hot_set,
        usage=usage,
        upkeep=Upkeep(catalog, usage, database),
        file_upkeep=FileUpkeep(files),
        runner=_runner(server, sizes, admission, lambda m: _is_warm(resolver, residency, m)),
        training=_training(server, CatalogPublisher(catalog, staging, publishing, audit)),
        guarding=guarding,
        recovery=EngineRecovery(residency, catalog, metrics),
        background=background,
        threads=(canaries, checkup, intake, vouching, compressing, server.apart),
    )


def _resolver(
    settings: Settings,
    base: ModelFacts,
    catalog: Catalog,
    staging: Staging,
    reserved: Mapping[str, str],
    canaries: Canaries,
) -> Resolver:
    return Resolver(
        base,
        catalog,
        _puller(settings, staging, reserved),
        Arriving(roots(settings), catalog.knows, reserved=reserved),
        name_required=settings.model.name_required,
        on_failed=canaries.failed,
    )


async def open_keyring(settings: Settings, database: Database) -> Keyring:
    """Return the keys that ``database`` has.

    Raises:
        KeyNeeded: other machines reach the server, and there is no key at all.
        AdapterUnavailable: the database cannot be read.
    """
    pepper = settings.tenants.pepper
    keyring = Keyring(
        database,
        pepper=pepper.get_secret_value() if pepper else None,
        has_other_admin=settings.server.api_key is not None,
    )
    await keyring.refresh()
    if keyring.is_empty and settings.server.api_key is None and not settings.server.is_loopback():
        raise KeyNeeded(
            f"host {settings.server.host} is reachable from other machines, so there must be a key:"
            " set server.api_key (for instance with VENEER_SERVER__API_KEY), or make one with"
            " 'veneer keys create' while server.host is 127.0.0.1"
        )
    return keyring


def _expiring(audit: AuditLog, rows: int, before: int) -> AbstractAsyncContextManager[None]:
    def change(outcome: str) -> Change:
        return expired(outcome, rows, before, now=audit.now)

    return around(audit, change, lambda error: getattr(error, "reason", "failed"))


def _quotas(settings: Settings, database: Database, now: Callable[[], TenantSettings]) -> Quotas:
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


def _allowance(settings: Settings, tenant: str) -> Allowance:
    found = settings.tenants.of_tenant(tenant)
    stored = found.stored_gib
    return Allowance(found.adapters, None if stored is None else int(stored * 2**30))


def _keep(settings: Settings, database: Database) -> Kept:
    kept = settings.conversations
    bounds = Bounds(max_items=MOST_ITEMS, **kept.model_dump(exclude={"store"}))
    return Kept.within(bounds, database, to_last, by_default=kept.store)


def _facts_of(settings: Settings, engine: Engine) -> Callable[[], BaseFacts]:
    # Asked for each time: an engine that was started again may have others.
    return lambda: replace(engine.facts, compress=settings.adapters.compress)


def _files_folder(settings: Settings) -> Path:
    return settings.files.dir or settings.state.dir / "files"


def _files(settings: Settings, database: Database) -> Files:
    bounds = FileBounds(**settings.files.model_dump(exclude={"dir"}))
    return Files(database, Contents(_files_folder(settings)), bounds)


def _batches(settings: Settings, database: Database, files: Files) -> Batches:
    bounds = BatchBounds(**settings.batches.model_dump(exclude={"beside", "concurrency", "days"}))
    folders = Folders(_files_folder(settings) / "batches")
    return Batches(database, files, folders, bounds)


def _jobs(settings: Settings, database: Database, files: Files, engine: Engine) -> Jobs:
    folders = JobFolders((settings.training.dir or settings.state.dir / "training").absolute())
    return Jobs(
        database,
        folders,
        Preparing(files, folders),
        lambda: find_trainable(settings, engine),
        unfinished=settings.training.unfinished,
        organization=OPERATOR,
    )


def _training(server: Server, publisher: CatalogPublisher) -> Training:
    chosen = server.settings.training
    shared = TrainingShared(
        server.jobs,
        server.files,
        publisher,
        server.engine.model.id,
        chosen.command or CHILD,
        server.metrics.training,
        server.draining,
        ServedModels(server.requests, server.engine),
        chosen.evaluated_rows,
    )
    training = Training(shared, days=chosen.days)
    server.metrics.observe_jobs(training.count)
    return training


def _runner(
    server: Server, sizes: Sizes, admission: Admission, is_warm: Callable[[str], bool]
) -> Runner:
    settings = server.settings
    most = settings.batches.concurrency or max(sizes.max_seqs // 2, 1)
    beside = settings.batches.beside or max(sizes.max_seqs // 32, 1)

    def who_is(batch: Batch) -> Principal | None:
        if batch.key is None:
            return Principal(owner=batch.owner)
        key = server.keyring.by_id(batch.key)
        return key.principal() if key else None

    shared = Shared(
        server.batches,
        LineAnswers(server.requests, server.kept.turns),
        Turns(
            lambda: Live(admission.live_waiting, admission.live_running),
            Room(most, min(beside, most)),
        ),
        Slots(is_warm, slots_for_cold(sizes.device_slots)),
        who_is,
        server.draining,
        settings.limits.max_body_bytes,
        server.metrics.batch_line,
    )
    runner = Runner(shared, days=settings.batches.days)
    server.metrics.observe_batches(runner.count)
    return runner


def _is_warm(resolver: Resolver, residency: Residency, model: str) -> bool:
    flow = resolver.flow_of(model)
    return flow is None or residency.is_open(flow)


def _open_residency(
    settings: Settings, sizes: Sizes, engine: Engine, voucher: Vouching, observers: Observers
) -> Residency:
    return Residency(
        engine,
        device_slots=sizes.device_slots,
        host_slots=sizes.host_slots,
        load_timeout_s=settings.adapters.load_timeout_s,
        clock=time.monotonic,
        observer=observers,
        voucher=voucher,
    )


def _open_store(settings: Settings, needed: Callable[[], Collection[str]]) -> Store:
    gib = settings.adapters.quota_gib
    return Store(
        store_folder(settings),
        max_bytes=settings.sources.max_bytes,
        quota_bytes=int(gib * 2**30) if gib else None,
        needed=needed,
    )


def store_folder(settings: Settings) -> Path:
    """Return the folder of the verified adapter files."""
    return settings.adapters.store or settings.state.dir / "store"


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


def _puller(settings: Settings, staging: Staging, reserved: Collection[str]) -> Puller:
    async def pull(name: str, location: str) -> Revision:
        return await staging.stage(Offer(name, source_of(location), is_new=True))

    deadline_s = settings.sources.timeout_s
    return Puller(settings.sources.pull, pull, deadline_s=deadline_s, reserved=reserved)


def _admission(
    settings: Settings, sizes: Sizes, residency: Residency, metrics: Metrics
) -> Admission:
    admission = Admission(
        sizes.max_seqs,
        settings.limits.max_queue,
        is_open=residency.is_open,
        most_fetching=sizes.device_slots,
    )
    metrics.observe_waiting(lambda: admission.waiting)
    return admission


def _observe(
    metrics: Metrics, sizes: Sizes, engine: Engine, catalog: Catalog, residency: Residency
) -> None:
    metrics.built(base_model=engine.model.id, lora_op=engine.lora_op())
    metrics.observe_slots(lambda: _count_slots(sizes, residency))
    metrics.observe_residents(lambda: [(r.adapter, r.level) for r in residency.snapshot()])
    metrics.observe_routing(sizes.device_slots, lambda: _routed(catalog, residency))
    metrics.observe_adapters(
        engine.model.id, lambda: {a.name: str(a.state) for a in catalog.adapters()}
    )


def _routed(catalog: Catalog, residency: Residency) -> tuple[list[str], list[str]]:
    """Return the adapters in device slots and those waited for, under the names clients use."""
    live = {a.live.engine_name: a.name for a in catalog.adapters() if a.live}
    loaded = [r.revision for r in residency.snapshot() if r.level == "device"]
    # Clients may use the engine's name of an older revision too; it is only a longer name.
    return (
        sorted(live.get(name, name) for name in loaded),
        sorted(live.get(name, name) for name in residency.waiting()),
    )


def _count_slots(sizes: Sizes, residency: Residency) -> dict[tuple[str, ...], int]:
    residents = residency.snapshot()
    device = sum(r.level == "device" for r in residents)
    return {
        ("device", "used"): device,
        ("device", "free"): sizes.device_slots - device,
        ("host", "used"): len(residents),
        ("host", "free"): sizes.host_slots - 1 - len(residents),
    }


def roots(settings: Settings) -> tuple[Root, ...]:
    """Return the folders from which adapters may come, the writable one first."""
    own = Root(settings.adapters.dir, read_only=False)
    return own, *(Root(path, read_only=True) for path in settings.adapters.roots)
