"""Fine-tuning jobs for tests: on a database with a stand-in for the trainer, and over HTTP."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from prometheus_client import CollectorRegistry

from support.filing import BOUNDS
from support.serving import POLL_S, serve_echo
from support.training_rows import numbered
from veneer_adapters.catalog.database import Database
from veneer_adapters.catalog.revision import Revision
from veneer_adapters.errors import AdapterError, AdapterNotFound
from veneer_server.conversations.keeping import MIGRATIONS
from veneer_server.engine.echo import EchoRows
from veneer_server.engine.echo_scores import scores_of
from veneer_server.files.contents import Contents
from veneer_server.files.files import Files, Named
from veneer_server.telemetry.metrics import Metrics
from veneer_server.tenancy.principals import Principal
from veneer_server.training.evaluating.asked import Then
from veneer_server.training.evaluating.grading import Score
from veneer_server.training.job import Means
from veneer_server.training.jobs.errors import JobFault, JobsUnavailable
from veneer_server.training.jobs.folders import Folders
from veneer_server.training.jobs.hours import Hours
from veneer_server.training.jobs.jobs import Jobs
from veneer_server.training.jobs.preparing import Preparing
from veneer_server.training.jobs.records import FineTuningJob
from veneer_server.training.jobs.rules import Asked, Base
from veneer_server.training.jobs.runner import Runner
from veneer_server.training.jobs.trainable import Trainable
from veneer_server.training.jobs.working.asking import NotMeasured
from veneer_server.training.jobs.working.shared import Shared

STAND_IN = (sys.executable, "-S", "-E", str(Path(__file__).with_name("stand_in_trainer.py")))
JOBS = "/v1/fine_tuning/jobs"
ENDED = ("succeeded", "failed", "cancelled")
ME = Principal(owner="me")
BASE = Base(
    id="echo",
    trained_for="echo",
    names=frozenset({"echo"}),
    folder=Path(),
    width=576,
    most_tokens=4096,
    most_rank=64,
)


def to_jsonl(rows: Iterable[Any]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


@dataclass
class Recorded:
    """A publisher that remembers what it was given; ``fails`` has the next errors.

    Unless ``may_go_on`` is set, it has ``begun`` and waits.
    """

    published: list[tuple[str, str, str]] = field(default_factory=list)
    made_live: list[int] = field(default_factory=list)
    lives: dict[str, int] = field(default_factory=dict)
    """The live revisions of other names."""
    promoted: list[tuple[str, str, Then]] = field(default_factory=list)
    unavailable_after_promotion: int = 0
    """After so many promotions the database fails."""
    fails: list[AdapterError | JobFault] = field(default_factory=list)
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    may_go_on: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.may_go_on.set()

    async def publish(self, job: FineTuningJob, folder: Path, root: Path, alias: str) -> int:
        assert (folder / "adapter_model.safetensors").exists()
        assert folder.is_relative_to(root)
        self.begun.set()
        await self.may_go_on.wait()
        if self.fails:
            raise self.fails.pop(0)
        self.published.append((job.adapter, folder.parent.name, alias))
        return len(self.published)

    async def make_live(self, job: FineTuningJob, revision: int) -> None:
        self.made_live.append(revision)

    def live(self, name: str) -> int | None:
        return self.lives.get(name)

    async def promote(
        self, job: FineTuningJob, folder: Path, root: Path, name: str, then: Then
    ) -> str:
        assert folder.is_relative_to(root)
        if self.fails:
            raise self.fails.pop(0)
        self.promoted.append((folder.parent.name, name, then))
        self.lives[name] = len(self.promoted)
        if self.unavailable_after_promotion:
            self.unavailable_after_promotion -= 1
            raise JobsUnavailable("not now")
        return f"Published as {name}"


@dataclass
class Told:
    """Models whose losses and answers a test decides; a model without a loss has 1."""

    losses: dict[str, float] = field(default_factory=dict)
    answers: dict[str, str] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    silent: str | None = None
    """Why no model answers."""
    held: asyncio.Event | None = None
    """What every answer waits for."""
    most_tokens: int = 4096
    stops: tuple[int, ...] = (0,)

    async def complete(
        self, tenant: str | None, model: str, body: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        self.asked.append(model)
        if self.held is not None:
            await self.held.wait()
        if self.silent is not None:
            raise NotMeasured(self.silent)
        loss = next((self.losses[key] for key in self.losses if model.startswith(key)), 1.0)
        scores = scores_of({**body, "model": model}, "", {"": loss})
        said = next((self.answers[key] for key in self.answers if model.startswith(key)), "")
        return {"text": said, "prompt_logprobs": scores}

    async def text(self, tenant: str | None, model: str, tokens: Sequence[int]) -> str:
        return bytes(tokens).decode()


@dataclass
class KnownStarts:
    """The adapters from which a job can go on, by name."""

    known: dict[str, Revision] = field(default_factory=dict)

    def find(self, model: str, bases: Collection[str]) -> Revision | None:
        if model in bases:
            return None
        if model not in self.known:
            raise AdapterNotFound(model)
        return self.known[model]

    async def copy(self, revision: Revision, to: Path) -> None:
        await asyncio.to_thread(_write_start, revision, to)


def _write_start(revision: Revision, to: Path) -> None:
    to.mkdir()
    (to / "of").write_text(revision.digest)


@dataclass
class Bench:
    """Jobs on a database of their own, and what a runner of them needs."""

    jobs: Jobs
    files: Files
    starts: KnownStarts
    publisher: Recorded = field(default_factory=Recorded)
    models: Told = field(default_factory=lambda: Told({"echo": 2.0}))
    draining: asyncio.Event = field(default_factory=asyncio.Event)
    evaluated_rows: int = 100
    score: Score = lambda name, pairs: [1.0] * len(pairs)
    hours: Hours = field(default_factory=lambda: Hours.parse(None))
    metrics: Metrics = field(default_factory=lambda: Metrics(CollectorRegistry()))

    def counted(self, name: str, **labels: str) -> float | None:
        """Return the value of a metric; None where it has none."""
        return self.metrics.registry.get_sample_value(name, labels)

    async def upload(self, rows: Iterable[Any], purpose: str = "fine-tune") -> str:
        async with self.files.receiving("me") as arriving:
            arriving.write(to_jsonl(rows))
            return (await self.files.add("me", arriving, Named("r", purpose, None))).id

    async def create(self, who: Principal = ME, **asked: Any) -> FineTuningJob:
        """Make a job of 80 steps, or as it is ``asked``."""
        file = asked.pop("training_file", None) or await self.upload(numbered(40))
        usual = {"model": "echo", "n_epochs": 10, "batch_size": 4}
        return await self.jobs.create(who, Asked(training_file=file, **{**usual, **asked}))

    def runner(self, *options: str) -> Runner:
        command = (*STAND_IN, *options)
        shared = Shared(
            self.jobs,
            self.files,
            self.publisher,
            "echo",
            command,
            self.metrics.training,
            self.draining,
            self.models,
            self.evaluated_rows,
            self.score,
            self.hours,
        )
        return Runner(shared, days=1)

    @asynccontextmanager
    async def running(self, *options: str) -> AsyncIterator[None]:
        """Run a runner whose stand-in gets ``options``, as long as the block."""
        task = asyncio.create_task(self.runner(*options).run())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def until(
        self, job: FineTuningJob, holds: Callable[[FineTuningJob], bool], within_s: float = 60
    ) -> FineTuningJob:
        """Return the job as soon as something ``holds`` of it."""
        async with asyncio.timeout(within_s):
            while True:
                found = await self.jobs.look(job.id)
                assert found is not None
                if holds(found):
                    return found
                await asyncio.sleep(POLL_S)

    async def ended(self, job: FineTuningJob) -> FineTuningJob:
        return await self.until(job, lambda found: found.is_over)

    async def told(self, job: FineTuningJob) -> list[str]:
        """Return every message, the oldest first."""
        page = await self.jobs.events(job.owner, job.id, after=None, limit=1000)
        return [event.message for event in page.items][::-1]


@asynccontextmanager
async def bench(where: str | Path, folder: Path, unfinished: int = 5) -> AsyncIterator[Bench]:
    """Open jobs on a database that may be new, with their folders in ``folder``."""
    database = await Database.open(where, further=(MIGRATIONS,))
    try:
        files = Files(database, Contents(folder / "files"), BOUNDS_FOR_ROWS)
        folders = Folders(folder / "training")
        trainable = Trainable(BASE, EchoRows(), Means())
        starts = KnownStarts()
        jobs = Jobs(
            database,
            folders,
            Preparing(files, folders),
            lambda: trainable,
            starts,
            unfinished=unfinished,
            organization="veneer",
        )
        yield Bench(jobs, files, starts)
    finally:
        await database.close()


BOUNDS_FOR_ROWS = type(BOUNDS)(max_bytes=1 << 20, tenant_bytes=1 << 24, tenant_files=100)


@asynccontextmanager
async def asking(folder: Path, *options: str, **sections: Any) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a server on the echo engine, with ``options`` for the stand-in trainer."""
    training = {"command": [*STAND_IN, *options], **sections.pop("training", {})}
    async with (
        serve_echo(folder, training=training, **sections) as served,
        httpx.AsyncClient(base_url=served.url, timeout=30) as client,
    ):
        yield client


async def upload(client: httpx.AsyncClient, rows: Iterable[Any]) -> str:
    sent = {"file": ("rows.jsonl", to_jsonl(rows))}
    made = await client.post("/v1/files", files=sent, data={"purpose": "fine-tune"})
    assert made.status_code == 200, made.text
    return str(made.json()["id"])


async def create(client: httpx.AsyncClient, **asked: Any) -> dict[str, Any]:
    """Make a job of 80 steps over HTTP, or as it is ``asked``."""
    file = asked.pop("training_file", None) or await upload(client, numbered(40))
    numbers = {"n_epochs": 10, "batch_size": 4}
    body = {"model": "echo", "training_file": file, "hyperparameters": numbers, **asked}
    made = await client.post(JOBS, json=body)
    assert made.status_code == 200, made.text
    job: dict[str, Any] = made.json()
    return job


async def until(
    client: httpx.AsyncClient,
    job_id: str,
    holds: Callable[[dict[str, Any]], bool],
    within_s: float = 60,
) -> dict[str, Any]:
    """Poll a job until something ``holds`` of it, and return it."""
    async with asyncio.timeout(within_s):
        while True:
            found = await client.get(f"{JOBS}/{job_id}")
            assert found.status_code == 200, found.text
            job: dict[str, Any] = found.json()
            if holds(job):
                return job
            await asyncio.sleep(POLL_S)


async def ended(client: httpx.AsyncClient, job_id: str, within_s: float = 60) -> dict[str, Any]:
    return await until(client, job_id, lambda job: job["status"] in ENDED, within_s)
