"""Fine-tuning jobs by the official client, as strict as it can be, and by the official schema."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from conformance.schema import OfficialSchema
from support import clients
from support.fine_tuning import ENDED, STAND_IN, to_jsonl
from support.serving import POLL_S, serve_echo
from support.training_rows import numbered, preferences


class Client:
    """The official client, and the schema to which every answer is held."""

    def __init__(self, official: Any, schema: OfficialSchema) -> None:
        self.official = official
        self.jobs = official.fine_tuning.jobs
        self._schema = schema

    def checked(self, found: Any, kind: str = "FineTuningJob") -> Any:
        self._schema.check(kind, found.model_dump(mode="json", exclude_unset=True))
        return found

    async def file(self, rows: list[Any]) -> str:
        content = ("rows.jsonl", to_jsonl(rows))
        return str((await self.official.files.create(file=content, purpose="fine-tune")).id)

    async def create(self, **asked: Any) -> Any:
        file = await self.file(numbered(40))
        return self.checked(await self.jobs.create(model="echo", training_file=file, **asked))

    async def ended(self, job: Any) -> Any:
        async with asyncio.timeout(60):
            while job.status not in ENDED:
                await asyncio.sleep(POLL_S)
                job = self.checked(await self.jobs.retrieve(job.id))
        return job


@pytest_asyncio.fixture
async def client(tmp_path: Path, openai_schema: OfficialSchema) -> AsyncIterator[Client]:
    command = [*STAND_IN, "--step-s", "0.01"]
    async with (
        serve_echo(tmp_path, training={"command": command}) as served,
        clients.openai.AsyncOpenAI(
            base_url=f"{served.url}/v1",
            api_key="none",
            max_retries=0,
            _strict_response_validation=True,
        ) as official,
    ):
        yield Client(official, openai_schema)


@pytest.mark.requirement("fine_tuning:object")
async def test_a_job_its_events_and_its_checkpoints_have_the_official_shapes(
    client: Client,
) -> None:
    numbers = {"n_epochs": 10, "batch_size": 4}
    first = await client.create(hyperparameters=numbers, metadata={"of": "a test"})
    done = await client.ended(first)
    assert done.status == "succeeded"
    assert done.finished_at >= done.created_at
    many = {"n_epochs": 50, "batch_size": 1}
    second = await client.create(suffix="other", hyperparameters=many)
    paused = client.checked(await client.jobs.pause(second.id))
    assert (paused.status, paused.model_extra["veneer"]["paused"]) == ("queued", True)
    client.checked(await client.jobs.resume(second.id))
    cancelled = client.checked(await client.jobs.cancel(second.id))
    assert (cancelled.status, cancelled.fine_tuned_model) == ("cancelled", None)
    page = client.checked(await client.jobs.list(limit=1), "ListPaginatedFineTuningJobsResponse")
    assert [job.id async for job in page] == [second.id, first.id]
    filtered = await client.jobs.list(metadata={"of": "a test"})
    assert [job.id for job in filtered.data] == [first.id]
    events = client.checked(
        await client.jobs.list_events(first.id, limit=5), "ListFineTuningJobEventsResponse"
    )
    assert events.data[0].message == "The job has successfully completed"
    every = [event async for event in events]
    assert len({event.id for event in every}) == len(every) > 80
    made = client.checked(
        await client.jobs.checkpoints.list(first.id, limit=2),
        "ListFineTuningJobCheckpointsResponse",
    )
    assert (made.first_id, made.last_id) == (made.data[0].id, made.data[-1].id)
    assert [one.step_number async for one in made] == [80, 60, 40, 20]
    none = await client.jobs.checkpoints.list(second.id)
    client.checked(none, "ListFineTuningJobCheckpointsResponse")


@pytest.mark.requirement("fine_tuning:results")
async def test_a_job_that_succeeded_names_a_model_that_answers_and_a_file(client: Client) -> None:
    done = await client.ended(await client.create(suffix="pirate", seed=3))
    said = await client.official.chat.completions.create(
        model=done.fine_tuned_model, messages=[{"role": "user", "content": "hi"}]
    )
    assert said.model == done.fine_tuned_model
    assert done.seed == 3
    [file] = done.result_files
    assert (await client.official.files.retrieve(file)).purpose == "fine-tune-results"
    text = (await client.official.files.content(file)).text
    head = "step,train_loss,train_accuracy,valid_loss,valid_mean_token_accuracy,"
    assert text.startswith(head)


@pytest.mark.requirement("fine_tuning:files")
async def test_a_file_with_wrong_rows_is_refused_with_their_lines(client: Client) -> None:
    file = await client.file([*numbered(12), {"messages": "x"}])
    with pytest.raises(clients.openai.BadRequestError, match="Line 13: ") as told:
        await client.jobs.create(model="echo", training_file=file)
    assert (told.value.code, told.value.param) == ("invalid_training_file", "training_file")


@pytest.mark.requirement("fine_tuning:hyperparameters")
async def test_hyperparameters_may_stand_in_the_method_or_beside_it(client: Client) -> None:
    numbers = {"n_epochs": 2, "batch_size": "auto", "learning_rate_multiplier": 0.5}
    supervised = {"type": "supervised", "supervised": {"hyperparameters": numbers}}
    for asked in ({"hyperparameters": numbers}, {"method": supervised}):
        job = await client.create(**asked)
        found = job.hyperparameters
        assert (found.n_epochs, found.batch_size, found.learning_rate_multiplier) == (2, 8, 0.5)
        assert job.method.supervised.hyperparameters.n_epochs == 2


@pytest.mark.requirement("fine_tuning:preferences")
async def test_a_job_learns_from_preferences(client: Client) -> None:
    file = await client.file(preferences(40))
    asked = {"type": "dpo", "dpo": {"hyperparameters": {"beta": "auto", "n_epochs": 2}}}
    job = await client.jobs.create(model="echo", training_file=file, method=asked)
    found = client.checked(job).method
    assert (found.type, found.supervised) == ("dpo", None)
    assert (found.dpo.hyperparameters.beta, found.dpo.hyperparameters.n_epochs) == (0.1, 2)
    assert (await client.ended(job)).status == "succeeded"
