"""All parts of a server, built in the one order in which they can be."""

import time
from functools import partial

from prometheus_client import CollectorRegistry

from veneer_adapters.canaries.guarding import Guarding
from veneer_adapters.catalog.replays import Replays
from veneer_adapters.catalog.upkeep import Upkeep
from veneer_adapters.catalog.usage import Usage
from veneer_adapters.events import Observers
from veneer_adapters.publishing.following import Following
from veneer_server.api.deps import Server
from veneer_server.auditing.log import AuditLog
from veneer_server.batches.runner import Runner
from veneer_server.files.upkeep import FileUpkeep
from veneer_server.serving.canaries.trials import Canaries
from veneer_server.serving.recovery import EngineRecovery
from veneer_server.serving.watching import Watching
from veneer_server.telemetry.metrics import Metrics
from veneer_server.tenancy.failures import Failures
from veneer_server.training.jobs.starting import CatalogStarts
from veneer_server.training.jobs.working.offering import CatalogPublisher
from veneer_server.wiring.adapters import AdapterParts, build_adapters
from veneer_server.wiring.keeping import build_batches, build_files, build_jobs, build_kept
from veneer_server.wiring.observing import observe
from veneer_server.wiring.parts import Given, Parts
from veneer_server.wiring.places import roots
from veneer_server.wiring.requests import build_admission, build_requests, build_resolver, is_warm
from veneer_server.wiring.running import build_runner, build_training
from veneer_server.wiring.tenants import build_ledger, build_quotas


async def assemble(given: Given) -> Parts:
    """Return the parts of a server for ``given.engine``; no task runs yet, and nothing is staged.

    Raises:
        AdapterError: the store or the catalog cannot be used.
    """
    settings, engine, database = given.settings, given.engine, given.database
    metrics = Metrics(CollectorRegistry())
    observers = Observers(metrics, given.tracing)
    audit = AuditLog(database)
    adapters = await build_adapters(given, audit, observers, lambda: server.settings)
    catalog, residency = adapters.catalog, adapters.residency
    usage = Usage(database)
    guarding = Guarding(catalog, observers)
    canaries = Canaries(guarding)
    resolver = build_resolver(given, adapters, canaries)
    observe(metrics, given, catalog, residency)
    ledger = build_ledger(settings, database, audit, metrics.usage_lost)
    watching = Watching(engine.model.id, metrics, given.tracing, usage, canaries, ledger)
    quotas = build_quotas(settings, database, lambda: server.settings.tenants)
    admission = build_admission(given, residency, metrics)
    files = build_files(settings, database)
    server = Server(
        settings=settings,
        engine=engine,
        adapters=adapters.service(),
        requests=build_requests(given, adapters, resolver, watching, admission, quotas),
        replays=Replays(database),
        usage=usage,
        guarding=guarding,
        kept=build_kept(settings, database),
        files=files,
        batches=build_batches(settings, database, files),
        jobs=build_jobs(given, files, CatalogStarts(catalog, adapters.vouching.require_content)),
        keyring=given.keyring,
        ledger=ledger,
        audit=audit,
        failures=Failures(settings.tenants.auth_failures_per_minute),
        quotas=quotas.store,
        background=given.background,
        metrics=metrics,
        tracing=given.tracing,
        started_s=int(time.time()),
        # Without a shared database every server would be unready at once, and nobody be served.
        state_trouble=lambda: None if database.shared else database.trouble,
    )
    warm = partial(is_warm, resolver, residency)
    runner = build_runner(server, given.sizes, admission, warm)
    return _parts(given, server, adapters, runner, canaries)


def _parts(
    given: Given, server: Server, adapters: AdapterParts, runner: Runner, canaries: Canaries
) -> Parts:
    settings, database, catalog = given.settings, given.database, adapters.catalog
    publisher = CatalogPublisher(catalog, adapters.staging, adapters.publishing, server.audit)
    return Parts(
        server=server,
        catalog=catalog,
        staging=adapters.staging,
        residency=adapters.residency,
        following=Following(
            adapters.staging, catalog, shared_roots=roots(settings) if database.shared else None
        ),
        hot_set=adapters.hot_set,
        usage=server.usage,
        upkeep=Upkeep(catalog, server.usage, database),
        file_upkeep=FileUpkeep(server.files),
        runner=runner,
        training=build_training(server, publisher, given.sandbox),
        guarding=server.guarding,
        recovery=EngineRecovery(adapters.residency, catalog, server.metrics),
        background=given.background,
        threads=(canaries, *adapters.threads, server.apart),
    )
