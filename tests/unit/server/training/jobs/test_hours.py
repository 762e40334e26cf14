"""The trainer computes in its hours only, and loses no step by them."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import time
from pathlib import Path

import pytest
import pytest_asyncio

from support.fine_tuning import Bench, bench
from support.serving import POLL_S
from veneer_server.training.folder import PAUSED
from veneer_server.training.jobs.hours import Hours, local_time
from veneer_server.training.jobs.records import FineTuningJob, Status
from veneer_server.training.jobs.working.trainer import Trainer

SLOW = ("--step-s", "0.1")
WAITS = "The job waits: this server trains only from 22:00 to 06:00"


@pytest.mark.parametrize(
    ("text", "inside", "outside"),
    [
        ("22:00-06:00", ["22:00", "23:59", "00:00", "05:59"], ["06:00", "12:00", "21:59"]),
        ("09:30-17:00", ["09:30", "16:59"], ["09:29", "17:00", "00:00"]),
        ("00:00-00:00", ["00:00", "12:00"], []),
        (None, ["00:00", "12:00"], []),
    ],
)
def test_hours_begin_at_the_first_and_end_before_the_second(
    text: str | None, inside: list[str], outside: list[str]
) -> None:
    hours = Hours.parse(text)

    def is_open(now: str) -> bool:
        return Hours(hours.begin, hours.end, lambda: time.fromisoformat(now)).is_open()

    assert all(is_open(now) for now in inside)
    assert not any(is_open(now) for now in outside)


def test_hours_are_those_of_the_local_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    import time as clock

    found = []
    for zone in ("UTC", "Etc/GMT-7"):
        monkeypatch.setenv("TZ", zone)
        clock.tzset()
        found.append(local_time().hour)
    monkeypatch.undo()
    clock.tzset()
    assert (found[1] - found[0]) % 24 in (7, 8)


@dataclass
class Clock:
    says: time = time(23)

    def __call__(self) -> time:
        return self.says


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest_asyncio.fixture
async def made(tmp_path: Path, clock: Clock) -> AsyncIterator[Bench]:
    async with bench(tmp_path / "catalog.db", tmp_path) as found:
        found.hours = Hours(time(22), time(6), clock)
        yield found


async def until_told(made: Bench, job: FineTuningJob, message: str) -> None:
    async with asyncio.timeout(60):
        while message not in await made.told(job):
            await asyncio.sleep(POLL_S)


@pytest.mark.slow
async def test_at_the_end_of_its_hours_a_job_waits_and_then_goes_on(
    made: Bench, clock: Clock
) -> None:
    job = await made.create()
    async with made.running(*SLOW):
        await made.until(job, lambda found: found.progress.step > 3)
        clock.says = time(6)
        waiting = await made.until(job, lambda found: found.status is Status.QUEUED)
        assert not waiting.paused
        await until_told(made, job, WAITS)
        result = made.jobs.folders.of(job.id) / "result.json"
        assert json.loads(result.read_text()) == PAUSED
        clock.says = time(22)
        done = await made.ended(job)
    assert done.status is Status.SUCCEEDED
    told = await made.told(job)
    assert told.count(WAITS) == 1
    steps = [said for said in told if said.startswith("Step ")]
    assert len(steps) == len(set(steps)) == done.progress.total_steps


@pytest.mark.slow
async def test_a_job_that_ran_when_its_server_was_killed_is_queued_outside_the_hours(
    made: Bench, clock: Clock
) -> None:
    job = await made.create()
    async with made.running(*SLOW):
        await made.until(job, lambda found: found.progress.step > 3)
    assert (await made.until(job, lambda _: True)).status is Status.RUNNING
    clock.says = time(12)
    async with made.running():
        waiting = await made.until(job, lambda found: found.status is Status.QUEUED)
        assert WAITS in await made.told(waiting)


@pytest.mark.slow
async def test_a_trainer_that_ends_while_it_is_stopped_is_published_outside_the_hours(
    made: Bench, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def wait(trainer: Trainer, within_s: float = 0) -> None:
        await trainer.wait()

    monkeypatch.setattr(Trainer, "save", wait)
    job = await made.create()
    async with made.running("--step-s", "0.02"):
        await made.until(job, lambda found: found.progress.step > 3)
        clock.says = time(12)
        done = await made.ended(job)
    assert done.status is Status.SUCCEEDED
    assert WAITS not in await made.told(job)


@pytest.mark.slow
async def test_outside_the_hours_no_job_begins_and_each_says_so_once(
    made: Bench, clock: Clock
) -> None:
    clock.says = time(12)
    jobs = [await made.create(), await made.create()]
    async with made.running():
        for job in jobs:
            await until_told(made, job, WAITS)
        clock.says = time(23)
        ended: list[FineTuningJob] = [await made.ended(job) for job in jobs]
    assert {job.status for job in ended} == {Status.SUCCEEDED}
    for job in jobs:
        assert (await made.told(job)).count(WAITS) == 1
