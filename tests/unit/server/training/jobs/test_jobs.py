"""Jobs in a database: made whole or not at all, listed, and found by their owner only."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from support.fine_tuning import Bench, bench
from support.training_rows import numbered
from veneer_adapters.errors import AdapterNotFound
from veneer_server.files.errors import FileNotFound
from veneer_server.tenancy.principals import Principal
from veneer_server.training.job import Job
from veneer_server.training.jobs.errors import (
    JobNotFound,
    JobRefused,
    JobsFull,
    TrainingImpossible,
)
from veneer_server.training.jobs.records import Status
from veneer_server.training.rows.faults import InvalidTrainingFile, TooFewRows


@pytest_asyncio.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.services)])
async def made(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Bench]:
    where: str | Path = tmp_path / "catalog.db"
    if request.param == "postgresql":
        where = request.getfixturevalue("postgres_url")
    async with bench(where, tmp_path) as found:
        yield found


async def test_a_job_is_queued_with_numbers_and_a_folder_to_train_in(made: Bench) -> None:
    job = await made.create(suffix="pirate", seed=7, metadata={"of": "me"})
    assert (job.status, job.paused, job.recipe.seed) == (Status.QUEUED, False, 7)
    assert job == await made.jobs.find("me", job.id)
    work = Job.read(made.jobs.folders.of(job.id))
    assert (work.epochs, work.batch_size, work.checkpoint_steps) == (10, 4, 20)
    names = {path.name for path in made.jobs.folders.of(job.id).iterdir()}
    assert names == {"job.json", "train.jsonl", "valid.jsonl"}
    assert await made.told(job) == [
        f"Created fine-tuning job: {job.id}",
        f"Validating training file: {job.recipe.training_file}",
        "Rows: 32 rows to train on with 820 tokens, 8 rows to measure with",
        "Files validated, moving job to queued state",
    ]


async def gone(made: Bench, once: str) -> None:
    """Ask for a job, and go as soon as there is a file called ``once`` in its folder."""
    file = await made.upload(numbered(40))
    asking = asyncio.create_task(made.create(training_file=file))
    async with asyncio.timeout(30):
        while not list(made.jobs.folders.root.glob(f"*/{once}")):
            await asyncio.sleep(0)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking


async def test_who_goes_while_the_files_are_read_leaves_no_job_and_no_folder(made: Bench) -> None:
    await gone(made, "training_file")
    assert await made.jobs.unfinished() == []
    assert list(made.jobs.folders.root.iterdir()) == []


async def test_who_goes_while_the_job_is_written_leaves_a_whole_one(made: Bench) -> None:
    await gone(made, "job.json")
    [job] = await made.jobs.unfinished()
    assert made.jobs.folders.has(job.id)
    assert made.jobs.arrived.is_set()
    async with made.running():
        assert (await made.ended(job)).status is Status.SUCCEEDED


async def test_a_validation_file_is_all_that_is_measured_with(made: Bench) -> None:
    valid = await made.upload(numbered(3))
    job = await made.create(validation_file=valid)
    told = await made.told(job)
    assert "40 rows to train on" in told[3]
    assert "3 rows to measure with" in told[3]


async def test_a_file_with_wrong_rows_leaves_no_job_and_no_folder(
    made: Bench, tmp_path: Path
) -> None:
    wrong = await made.upload([*numbered(12), {"messages": []}, "x"])
    with pytest.raises(InvalidTrainingFile, match=r"Line 13: .* Line 14: ") as told:
        await made.create(training_file=wrong)
    assert told.value.param == "training_file"
    few = await made.upload(numbered(9))
    with pytest.raises(TooFewRows):
        await made.create(training_file=few)
    with pytest.raises(InvalidTrainingFile) as told:
        await made.create(validation_file=wrong)
    assert told.value.param == "validation_file"
    assert list((tmp_path / "training").iterdir()) == []
    page = await made.jobs.page("me", after=None, limit=10, metadata=None)
    assert page.items == []


async def test_what_cannot_be_trained_is_refused_and_names_the_field(made: Bench) -> None:
    with pytest.raises(AdapterNotFound):
        await made.create(model="pirate")
    with pytest.raises(FileNotFound):
        await made.create(training_file="file-none")
    batch = await made.upload(numbered(12), "batch")
    with pytest.raises(JobRefused, match="'fine-tune', not 'batch'") as told:
        await made.create(training_file=batch)
    assert told.value.param == "training_file"
    with pytest.raises(TrainingImpossible):
        await made.create(Principal(owner="me", tenant="veneer"))


async def test_a_tenant_has_as_many_unfinished_jobs_as_it_may(made: Bench) -> None:
    file = await made.upload(numbered(40))
    jobs = [await made.create(training_file=file) for _ in range(5)]
    with pytest.raises(JobsFull):
        await made.create(training_file=file)
    await made.jobs.cancel("me", jobs[0].id)
    await made.create(training_file=file)


async def test_jobs_are_found_by_their_owner_and_listed_in_pages(made: Bench) -> None:
    file = await made.upload(numbered(40))
    labels = [{"a": "1"}, {"a": "1", "b": "2"}, None]
    ids = [(await made.create(training_file=file, metadata=one)).id for one in labels]

    async def listed(owner: str = "me", **asked: object) -> tuple[list[str], bool]:
        usual = {"after": None, "limit": 10, "metadata": None} | asked
        page = await made.jobs.page(owner, **usual)  # type: ignore[arg-type]
        return [job.id for job in page.items], page.more

    assert await listed() == (ids[::-1], False)
    assert await listed(limit=1, after=ids[2]) == ([ids[1]], True)
    assert await listed(metadata={"a": "1"}) == ([ids[1], ids[0]], False)
    assert await listed(metadata={"a": "1", "b": "2"}) == ([ids[1]], False)
    assert await listed(metadata={"b": "3"}) == ([], False)
    assert await listed(metadata={}) == ([ids[2]], False)
    assert await listed("you") == ([], False)
    for ask in (made.jobs.find, made.jobs.cancel, made.jobs.pause, made.jobs.resume):
        with pytest.raises(JobNotFound):
            await ask("you", ids[0])
    with pytest.raises(JobNotFound):
        await made.jobs.find("me", "a/b?" * 99)


async def test_events_come_in_pages_the_newest_first(made: Bench) -> None:
    job = await made.create()
    first = await made.jobs.events("me", job.id, after=None, limit=3)
    assert [event.message.split()[0] for event in first.items] == ["Files", "Rows:", "Validating"]
    assert first.more
    last = await made.jobs.events("me", job.id, after=first.items[-1].id, limit=3)
    assert ([event.message.split()[0] for event in last.items], last.more) == (["Created"], False)
    for wrong in ("ftevent-none", "\0"):
        with pytest.raises(JobNotFound):
            await made.jobs.events("me", job.id, after=wrong, limit=3)


async def test_one_server_works_on_a_job_until_it_is_silent(made: Bench) -> None:
    job = await made.create()
    assert await made.jobs.claim(job.id, "one", silent_s=60)
    assert await made.jobs.claim(job.id, "one", silent_s=60)
    assert not await made.jobs.claim(job.id, "two", silent_s=60)
    assert await made.jobs.claim(job.id, "two", silent_s=-1)
    assert not await made.jobs.claim(job.id, "one", silent_s=60)


async def test_what_is_known_of_a_job_goes_after_its_days(made: Bench) -> None:
    job, other = await made.create(metadata={"a": "1"}), await made.create()
    await made.jobs.cancel("me", job.id)
    await made.jobs.delete_old(1)
    assert await made.jobs.look(job.id) is not None
    await made.jobs.delete_old(-1)
    assert await made.jobs.look(job.id) is None
    assert await made.jobs.look(other.id) is not None


async def test_a_job_is_paused_resumed_and_cancelled_once(made: Bench) -> None:
    job = await made.create()
    with pytest.raises(JobRefused, match="not paused"):
        await made.jobs.resume("me", job.id)
    for _ in range(2):
        paused = await made.jobs.pause("me", job.id)
        assert (paused.status, paused.paused) == (Status.QUEUED, True)
    assert not (await made.jobs.resume("me", job.id)).paused
    cancelled = await made.jobs.cancel("me", job.id)
    assert cancelled.status is Status.CANCELLED
    assert cancelled.finished is not None
    for ask in (made.jobs.cancel, made.jobs.pause, made.jobs.resume):
        with pytest.raises(JobRefused, match="'cancelled'"):
            await ask("me", job.id)
    assert (await made.told(job))[4:] == [
        "The job was paused",
        "The job was resumed",
        "The job was cancelled",
    ]
