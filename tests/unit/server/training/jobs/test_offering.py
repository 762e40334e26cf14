"""Checkpoints reach the catalog as every adapter does: verified, proved, and written down."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest
import pytest_asyncio

from support import builders
from support.fine_tuning import ME, Bench, bench
from veneer_adapters.artifact.checks import verify
from veneer_adapters.catalog.catalog import Catalog
from veneer_adapters.catalog.proof import Effect
from veneer_adapters.catalog.revision import Revision
from veneer_adapters.errors import AdapterError, AdapterNotFound, NoEffect
from veneer_adapters.lifecycle import State
from veneer_adapters.names import parse_model
from veneer_adapters.publishing.intake import Intake
from veneer_adapters.publishing.publishing import Publishing
from veneer_adapters.publishing.staging import Staging
from veneer_adapters.store.store import Store
from veneer_server.auditing.log import AuditLog
from veneer_server.tenancy.principals import Principal
from veneer_server.training.jobs.records import Status
from veneer_server.training.jobs.working.offering import CatalogPublisher

ACME = Principal(owner="me", tenant="acme")
LABEL = "acme/ft-"


@dataclass
class World:
    """Jobs, and the catalog to which their checkpoints come."""

    bench: Bench
    catalog: Catalog
    audit: AuditLog
    refuses: list[AdapterError]

    def selected(self, model: str) -> Revision:
        selector = parse_model(model, {"echo"})
        assert selector is not None
        return self.catalog.resolve(selector)


@pytest_asyncio.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with bench(tmp_path / "catalog.db", tmp_path) as made:
        database = made.files._database
        audit, refuses = AuditLog(database), list[AdapterError]()
        store = Store(tmp_path / "store", needed=set)
        catalog = await Catalog.open(database, store.path, note=audit.note)

        async def prove(revision: Revision) -> None:
            if refuses:
                error = refuses.pop(0)
                await catalog.refuse(revision, cast("Any", error))
                raise error
            await catalog.prove(revision, Effect(2, 0.5, finite=True, repeats=False))

        intake = Intake(store, lambda folder: verify(folder, builders.FACTS))
        publishing = Publishing(catalog, prove)
        staging = Staging(intake, catalog, publishing)
        made.publisher = cast("Any", CatalogPublisher(staging, publishing, audit))
        yield World(made, catalog, audit, refuses)
        intake.close()


@pytest.mark.parametrize("who", [ME, ACME])
async def test_each_checkpoint_and_the_model_are_found_by_the_names_that_the_job_gives(
    world: World, who: Principal
) -> None:
    job = await world.bench.create(who, suffix="pirate")
    async with world.bench.running():
        done = await world.bench.ended(job)
    assert done.status is Status.SUCCEEDED
    assert done.fine_tuned_model is not None
    assert job.adapter.startswith("ft-" if who is ME else "acme/ft-")
    tenant = "veneer" if who is ME else "acme"
    assert done.fine_tuned_model.startswith(f"ft:echo:{tenant}:pirate:")
    live = world.selected(done.fine_tuned_model)
    assert (live.adapter, live.number, live.state) == (job.adapter, 4, State.READY)
    for number, step in enumerate((20, 40, 60, 80), 1):
        found = world.selected(f"{done.fine_tuned_model}:ckpt-step-{step}")
        assert (found.number, found.state) == (number, State.READY)
    for unknown in (":ckpt-step-21", "x"):
        with pytest.raises(AdapterNotFound):
            world.selected(f"{done.fine_tuned_model}{unknown}")
    assert [adapter.name for adapter in world.catalog.adapters()] == [job.adapter]


async def test_a_checkpoint_without_effect_never_answers(world: World) -> None:
    world.refuses.append(NoEffect("It changes nothing."))
    job = await world.bench.create(n_epochs=1)
    async with world.bench.running():
        done = await world.bench.ended(job)
    assert done.failure is not None
    assert (done.status, done.failure.code) == (Status.FAILED, "no_effect")
    assert done.fine_tuned_model is None
    assert all(adapter.live is None for adapter in world.catalog.adapters())


async def test_what_a_job_publishes_is_in_the_audit_log_with_its_tenant(world: World) -> None:
    job = await world.bench.create(ACME, n_epochs=1)
    async with world.bench.running():
        await world.bench.ended(job)
    entries = [entry.as_json() for entry in await world.audit.page(0, 100)]
    assert {(one["actor"], one["action"], one["tenant"]) for one in entries} == {
        ("server", "training.publish", "acme")
    }
    assert [(one["object"], one["outcome"]) for one in entries] == [
        (f"{job.adapter}@ckpt-step-8", "asked"),
        (f"{job.adapter}@ckpt-step-8", "done"),
        (f"{job.adapter}@live", "asked"),
        (f"{job.adapter}@live", "done"),
    ]
