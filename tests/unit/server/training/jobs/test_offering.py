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
from veneer_adapters.catalog.catalog import Arrival, Catalog
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
from veneer_server.training.evaluating.asked import Evaluation, Then
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
    refuses: list[AdapterError | None]
    """What the next proofs find; None for nothing."""

    def selected(self, model: str) -> Revision:
        selector = parse_model(model, {"echo"})
        assert selector is not None
        return self.catalog.resolve(selector)


@pytest_asyncio.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with bench(tmp_path / "catalog.db", tmp_path) as made:
        database = made.files._database
        audit, refuses = AuditLog(database), list[AdapterError | None]()
        store = Store(tmp_path / "store", needed=set)
        catalog = await Catalog.open(database, store.path, note=audit.note)

        async def prove(revision: Revision) -> None:
            if refuses and (error := refuses.pop(0)) is not None:
                await catalog.refuse(revision, cast("Any", error))
                raise error
            await catalog.prove(revision, Effect(2, 0.5, finite=True, repeats=False))

        intake = Intake(store, lambda folder: verify(folder, builders.FACTS))
        publishing = Publishing(catalog, prove)
        staging = Staging(intake, catalog, publishing)
        made.publisher = cast("Any", CatalogPublisher(catalog, staging, publishing, audit))
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


async def publish(world: World, then: Then, who: Principal = ME, batch_size: int = 4) -> list[str]:
    """Let a job publish to ``pirate``; return what was said.

    Another ``batch_size`` gives another number of steps, and so other weights.
    """
    name = "pirate" if who.tenant is None else f"{who.tenant}/pirate"
    asked = Evaluation(publish_to=name, then=then)
    job = await world.bench.create(who, n_epochs=1, batch_size=batch_size, evaluation=asked)
    async with world.bench.running():
        done = await world.bench.ended(job)
    assert done.status is Status.SUCCEEDED
    return await world.bench.told(done)


async def test_a_better_model_becomes_live_under_the_name_that_was_asked_for(world: World) -> None:
    told = await publish(world, Then.LIVE, ACME)
    assert "Published as acme/pirate@1, and live" in told
    assert world.selected("acme/pirate").state is State.READY
    entries = [entry.as_json() for entry in await world.audit.page(0, 100)]
    assert ("acme/pirate@live", "done") in [(one["object"], one["outcome"]) for one in entries]


async def test_a_candidate_leaves_what_is_live_where_it_is(world: World) -> None:
    await publish(world, Then.LIVE)
    world.bench.models.losses["ft:"] = 0.5
    told = await publish(world, Then.CANDIDATE, batch_size=2)
    assert "Published as pirate@2; it is asked as pirate@candidate" in told
    assert world.selected("pirate").number == 1
    assert world.selected("pirate@candidate").number == 2


async def test_a_canary_gets_a_share_of_the_requests_and_a_guard(world: World) -> None:
    assert "Published as pirate@1, and live" in await publish(world, Then.CANARY)
    world.bench.models.losses["ft:"] = 0.5
    told = await publish(world, Then.CANARY, batch_size=2)
    assert "Published as pirate@2, a canary with 10% of the requests to pirate" in told
    alias = world.catalog.alias("pirate", "live")
    assert [(one.revision, one.weight) for one in alias.targets] == [(1, 90), (2, 10)]
    assert alias.guard is not None
    world.bench.models.losses["ft:"] = 0.25
    told = await publish(world, Then.CANARY, batch_size=3)
    assert any("because these are split already" in one for one in told)
    assert world.catalog.alias("pirate", "live") == alias


async def test_a_better_model_that_has_no_effect_there_leaves_what_is_live(world: World) -> None:
    await publish(world, Then.LIVE)
    world.bench.models.losses["ft:"] = 0.5
    world.refuses += [None, NoEffect("It changes nothing.")]
    told = await publish(world, Then.LIVE, batch_size=2)
    assert "Not published to pirate: It changes nothing." in told
    assert world.selected("pirate").number == 1


async def test_a_revision_says_how_it_was_trained_also_when_its_job_is_forgotten(
    world: World,
) -> None:
    asked = Evaluation(publish_to="pirate", then=Then.LIVE, graders=("contains",))
    job = await world.bench.create(n_epochs=1, evaluation=asked)
    async with world.bench.running():
        done = await world.bench.ended(job)
    file = await world.bench.files.find("me", job.recipe.training_file)
    await world.bench.jobs.delete_old(-1)
    assert await world.bench.jobs.look(job.id) is None
    database = world.bench.files._database
    reopened = await Catalog.open(database, Path)
    for name in (job.adapter, "pirate"):
        [revision] = reopened.revisions(name)
        told = revision.training
        assert told is not None
        assert (told["job"], told["step"], told["seed"]) == (job.id, 8, job.recipe.seed)
        assert told["data"] == {"training_file": f"sha256:{file.digest}"}
        assert told["hyperparameters"]["n_epochs"] == 1
        assert told["evaluation"] == done.progress.evaluation
        assert told["evaluation"]["candidate"]["grades"].keys() == {"contains"}


async def test_content_that_comes_again_keeps_what_is_known_of_its_training(
    world: World, tmp_path: Path
) -> None:
    job = await world.bench.create(n_epochs=1)
    async with world.bench.running():
        await world.bench.ended(job)
    [known] = world.catalog.revisions(job.adapter)
    arrival = Arrival(job.adapter, known.digest, known.path, known.manifest, known.source)
    assert (await world.catalog.add(arrival)).training == known.training
