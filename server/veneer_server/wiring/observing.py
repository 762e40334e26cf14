"""What metrics read of the other parts at each scrape."""

from veneer_adapters.catalog.catalog import Catalog
from veneer_adapters.residency.residency import Residency
from veneer_server.engine.sizing.sizes import Sizes
from veneer_server.telemetry.metrics import Metrics
from veneer_server.wiring.parts import Given


def observe(metrics: Metrics, given: Given, catalog: Catalog, residency: Residency) -> None:
    """Make ``metrics`` show, at each scrape, the engine, its slots and the adapters."""
    engine, sizes = given.engine, given.sizes
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
