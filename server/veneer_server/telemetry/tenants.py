"""The metrics of tenants: what each asked for, and what it was refused."""

from functools import partial

from prometheus_client import CollectorRegistry, Counter, Histogram

from veneer_server.telemetry.labels import REQUEST_S, AdapterLabels
from veneer_server.telemetry.observation import Observation

OPERATOR = "__operator__"
"""The value of the ``tenant`` label of whoever has no tenant; no tenant can have this name."""


class TenantMetrics:
    """What the tenants of one server do."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Count in ``registry``."""
        self._tenants = AdapterLabels()
        counter = partial(Counter, registry=registry)
        self._tenant_requests = counter(
            "veneer_tenant_requests", "Requests that ended, by tenant.", ["tenant", "outcome"]
        )
        self._tenant_tokens = counter(
            "veneer_tenant_tokens", "Tokens read and written, by tenant.", ["tenant", "direction"]
        )
        self._tenant_refusals = counter(
            "veneer_tenant_refusals",
            "Requests of a tenant answered with an error, by its code.",
            ["tenant", "reason"],
        )
        self._tenant_queue = Histogram(
            "veneer_tenant_queue_seconds",
            "Waits for a turn before the engine gets a request, by tenant.",
            ["tenant"],
            buckets=REQUEST_S,
            registry=registry,
        )

    def served(self, tenant: str | None, seen: Observation) -> None:
        """Count a request that ended for its tenant; None is the operator."""
        label = self._label(tenant)
        self._tenant_requests.labels(label, seen.outcome).inc()
        self._tenant_queue.labels(label).observe(seen.queue_s)
        for direction, number in (("input", seen.input_tokens), ("output", seen.output_tokens)):
            if number:
                self._tenant_tokens.labels(label, direction).inc(number)

    def refused(self, reason: str, tenant: str | None) -> None:
        """Count an answer to ``tenant`` that is an error."""
        self._tenant_refusals.labels(self._label(tenant), reason).inc()

    def _label(self, tenant: str | None) -> str:
        return self._tenants.value(tenant) if tenant else OPERATOR
