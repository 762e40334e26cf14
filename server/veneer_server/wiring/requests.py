"""The life of one request: its model, its turn, and what serves it."""

from collections.abc import Collection

from veneer_adapters.catalog.revision import Revision
from veneer_adapters.publishing.arriving import Arriving
from veneer_adapters.publishing.intake import source_of
from veneer_adapters.publishing.pulling import Puller
from veneer_adapters.publishing.staging import Offer, Staging
from veneer_adapters.residency.residency import Residency
from veneer_server.serving.admission import Admission
from veneer_server.serving.canaries.trials import Canaries
from veneer_server.serving.cold_starts import ColdStarts
from veneer_server.serving.requests import RequestService
from veneer_server.serving.resolving import Resolver
from veneer_server.serving.spending import Spending
from veneer_server.serving.watching import Watching
from veneer_server.serving.wishes import ColdStart
from veneer_server.settings import Settings
from veneer_server.telemetry.metrics import Metrics
from veneer_server.tenancy.quotas.quotas import Quotas
from veneer_server.wiring.adapters import AdapterParts
from veneer_server.wiring.parts import Given
from veneer_server.wiring.places import roots


def build_resolver(given: Given, adapters: AdapterParts, canaries: Canaries) -> Resolver:
    """Return what finds the model that a request names."""
    settings, catalog, reserved = given.settings, adapters.catalog, adapters.reserved
    return Resolver(
        given.engine.model,
        catalog,
        _puller(settings, adapters.staging, reserved),
        Arriving(roots(settings), catalog.knows, reserved=reserved),
        name_required=settings.model.name_required,
        on_failed=canaries.failed,
    )


def build_admission(given: Given, residency: Residency, metrics: Metrics) -> Admission:
    """Return what lets requests in, in turns; ``metrics`` shows how many wait."""
    admission = Admission(
        given.sizes.max_seqs,
        given.settings.limits.max_queue,
        is_open=residency.is_open,
        most_fetching=given.sizes.device_slots,
    )
    metrics.observe_waiting(lambda: admission.waiting)
    return admission


def build_requests(
    given: Given,
    adapters: AdapterParts,
    resolver: Resolver,
    watching: Watching,
    admission: Admission,
    quotas: Quotas,
) -> RequestService:
    """Return what serves requests, from the model's name to the end of the answer."""
    cold_starts = ColdStarts(
        adapters.residency,
        adapters.catalog.revisions,
        ColdStart(given.settings.adapters.cold_start),
        most_loading=given.sizes.device_slots,
    )
    return RequestService(
        given.engine,
        resolver,
        adapters.residency,
        watching,
        admission,
        cold_starts,
        Spending(quotas, given.engine.model.max_model_len),
        secret=given.database.identity,
    )


def is_warm(resolver: Resolver, residency: Residency, model: str) -> bool:
    """Return whether a request for ``model`` would wait for no load."""
    flow = resolver.flow_of(model)
    return flow is None or residency.is_open(flow)


def _puller(settings: Settings, staging: Staging, reserved: Collection[str]) -> Puller:
    async def pull(name: str, location: str) -> Revision:
        return await staging.stage(Offer(name, source_of(location), is_new=True))

    deadline_s = settings.sources.timeout_s
    return Puller(settings.sources.pull, pull, deadline_s=deadline_s, reserved=reserved)
