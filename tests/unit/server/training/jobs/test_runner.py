"""Jobs that are worked on: trained to the end, paused, cancelled, and gone on with after a kill.

The trainer is a stand-in, which writes the files of a job as the real one does.
"""

import asyncio
import csv
import io
import json
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from support.fine_tuning import STAND_IN, Bench, bench
from support.serving import POLL_S
from veneer_adapters.errors import LoadFailed, NoEffect
from veneer_server.training.jobs.errors import JobsUnavailable
from veneer_server.training.jobs.records import FineTuningJob, Status
from veneer_server.training.jobs.working.trainer import end_left_behind, environment, start

pytestmark = pytest.mark.slow

SLOW = ("--step-s", "0.1")


@pytest_asyncio.fixture
async def made(tmp_path: Path) -> AsyncIterator[Bench]:
    async with bench(tmp_path / "catalog.db", tmp_path) as found:
        yield found


def is_beyond(step: int, job: FineTuningJob) -> bool:
    return job.status is Status.RUNNING and job.progress.step >= step


def pid_of(made: Bench, job: FineTuningJob) -> int:
    found: int = json.loads((made.jobs.folders.of(job.id) / "trainer.json").read_text())["pid"]
    return found


def runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes() != b""
    except FileNotFoundError:
        return False


async def until_gone(pid: int, within_s: float = 30) -> None:
    async with asyncio.timeout(within_s):
        while runs(pid):
            await asyncio.sleep(POLL_S)


async def test_a_job_ends_with_proved_checkpoints_a_live_model_and_a_file_of_results(
    made: Bench,
) -> None:
    job = await made.create(suffix="pirate")
    async with made.running():
        done = await made.ended(job)
    assert (done.status, done.failure) == (Status.SUCCEEDED, None)
    short = job.adapter.removeprefix("ft-")
    assert done.fine_tuned_model == f"ft:echo:veneer:pirate:{short}"
    assert (done.progress.step, done.progress.total_steps) == (80, 80)
    assert done.progress.trained_tokens == 800
    steps = (20, 40, 60, 80)
    assert made.publisher.published == [
        (job.adapter, f"step-{step}", f"ckpt-step-{step}") for step in steps
    ]
    assert made.publisher.made_live == [4]
    _, page = await made.jobs.checkpoints("me", job.id, after=None, limit=2)
    assert ([one.step for one in page.items], page.more) == ([80, 60], True)
    assert page.items[0].metrics["valid_loss"] == 2 / 80
    _, page = await made.jobs.checkpoints("me", job.id, after=page.items[-1].id, limit=2)
    assert ([one.step for one in page.items], page.more) == ([40, 20], False)
    assert not made.jobs.folders.of(job.id).exists()
    assert done.result_file is not None
    with await made.files.open(await made.files.find("me", done.result_file)) as content:
        lines = list(csv.DictReader(io.StringIO(content.read().decode())))
    assert [int(line["step"]) for line in lines] == [*range(1, 81)]
    assert (lines[79]["train_loss"], lines[79]["valid_loss"]) == (str(1 / 80), str(2 / 80))
    assert lines[0]["valid_loss"] == ""
    told = await made.told(job)
    said = [one for one in told if not one.startswith("Checkpoint of step ")]
    assert said[4:6] == ["Fine-tuning job started", "Step 1/80: training loss=1.000"]
    assert said[-5:-3] == ["Step 80/80: training loss=0.013", "Checkpoint created at step 80"]
    assert said[-3].startswith("Held-out loss, measured by this server: base 2.000, candidate 1")
    assert len(told) - len(said) == 4
    assert told[-2:] == [
        f"New fine-tuned model created: {done.fine_tuned_model}",
        "The job has successfully completed",
    ]


async def test_what_a_job_does_is_counted_and_its_loss_is_shown_while_it_is_trained(
    made: Bench,
) -> None:
    job = await made.create()
    runner = made.runner(*SLOW)
    task = asyncio.create_task(runner.run())
    try:
        await made.until(job, lambda found: is_beyond(25, found))
        loss = made.counted("veneer_training_loss", rows="train")
        assert loss is not None
        assert loss <= 1 / 25
        assert (made.counted("veneer_training_steps_total") or 0) >= 25
        await made.ended(job)
        assert made.counted("veneer_training_jobs_ended_total", status="succeeded") == 1
        assert made.counted("veneer_training_steps_total") == 80
        assert made.counted("veneer_training_tokens_total") == 800
        assert made.counted("veneer_training_loss", rows="train") is None
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_paused_job_waits_lets_others_run_and_goes_on_where_it_was(made: Bench) -> None:
    job = await made.create()
    async with made.running(*SLOW):
        await made.until(job, lambda found: is_beyond(25, found))
        pid = pid_of(made, job)
        assert (await made.jobs.pause("me", job.id)).status is Status.QUEUED
        await until_gone(pid)
        other = await made.create(n_epochs=1)
        assert (await made.ended(other)).status is Status.SUCCEEDED
        waiting = await made.jobs.find("me", job.id)
        assert (waiting.status, waiting.paused) == (Status.QUEUED, True)
        assert 25 <= waiting.progress.step < 80
        await made.jobs.resume("me", job.id)
        assert (await made.ended(job)).status is Status.SUCCEEDED
    told = await made.told(job)
    [again] = [one for one in told if "goes on from step" in one]
    assert f"goes on from step {waiting.progress.step}/80" in again
    assert len([one for one in told if one.startswith("Step ")]) == 80


async def test_a_job_that_is_paused_when_all_is_learned_ends_after_it_was_resumed(
    made: Bench,
) -> None:
    job = await made.create(n_epochs=1)
    made.publisher.may_go_on.clear()
    async with made.running():
        await made.until(job, lambda found: found.progress.step == 8)
        async with asyncio.timeout(30):
            await made.publisher.begun.wait()
            while not (made.jobs.folders.of(job.id) / "result.json").exists():
                await asyncio.sleep(POLL_S)
        await made.jobs.pause("me", job.id)
        made.publisher.may_go_on.set()
        await made.ended(await made.create(n_epochs=1))
        waiting = await made.jobs.find("me", job.id)
        assert (waiting.status, waiting.paused) == (Status.QUEUED, True)
        await made.jobs.resume("me", job.id)
        assert (await made.ended(job)).status is Status.SUCCEEDED


async def test_what_a_trainer_said_before_its_server_was_killed_is_told(made: Bench) -> None:
    job = await made.create()
    left = await start(STAND_IN, made.jobs.folders.of(job.id))
    assert await left.wait() == 0
    async with made.running():
        done = await made.ended(job)
    assert (done.status, done.progress.step) == (Status.SUCCEEDED, 80)
    assert len([one for one in await made.told(job) if one.startswith("Step ")]) == 80


async def test_a_cancelled_jobs_trainer_is_gone_at_once_and_its_checkpoints_stay(
    made: Bench,
) -> None:
    job = await made.create()
    async with made.running("--step-s", "0.1", "--deaf"):
        await made.until(job, lambda found: is_beyond(25, found))
        async with asyncio.timeout(30):
            while not await made.jobs.published(job.id):
                await asyncio.sleep(POLL_S)
        pid = pid_of(made, job)
        cancelled = await made.jobs.cancel("me", job.id)
        assert cancelled.status is Status.CANCELLED
        await until_gone(pid, within_s=15)  # far less than it takes to give up a save
        other = await made.create(n_epochs=1)
        await made.ended(other)
    assert (await made.jobs.find("me", job.id)).status is Status.CANCELLED
    steps = {one.step for one in await made.jobs.published(job.id)}
    assert 20 in steps
    assert 80 not in steps
    assert not made.jobs.folders.of(job.id).exists()


async def test_a_job_that_is_cancelled_before_its_turn_leaves_no_folder(made: Bench) -> None:
    job = await made.create()
    await made.jobs.pause("me", job.id)
    other = await made.create(n_epochs=1)
    async with made.running():
        await made.jobs.cancel("me", job.id)
        await made.ended(other)
        async with asyncio.timeout(30):
            while made.jobs.folders.of(job.id).exists():
                await asyncio.sleep(POLL_S)


@pytest.mark.parametrize("name", ["result.json", "events.jsonl"])
async def test_a_job_that_makes_no_sense_fails_and_holds_up_no_other(
    made: Bench, name: str
) -> None:
    job = await made.create(n_epochs=1)
    (made.jobs.folders.of(job.id) / name).write_text("no JSON\n")
    other = await made.create(n_epochs=1)
    async with made.running("--step-s", "0.05"):
        assert (await made.ended(other)).status is Status.SUCCEEDED
        assert (await made.ended(job)).failure is not None


async def test_a_killed_trainer_goes_on_from_its_last_checkpoint(made: Bench) -> None:
    job = await made.create()
    async with made.running("--die-at", "45"):
        done = await made.ended(job)
    assert (done.status, done.progress.deaths) == (Status.SUCCEEDED, 1)
    told = await made.told(job)
    assert any("goes on from step 40/80" in one for one in told)
    steps = [one for one in told if one.startswith("Step ")]
    assert len(steps) == len(set(steps)) == 80
    assert len([one for one in told if one.startswith("Checkpoint created")]) == 4


async def test_a_trainer_that_dies_again_and_again_fails_the_job(made: Bench) -> None:
    job = await made.create()
    async with made.running("--die-at", "45", "--die-always"):
        done = await made.ended(job)
    assert done.status is Status.FAILED
    assert [one.id for one in await made.jobs.failed(5)] == [done.id]
    assert done.failure is not None
    assert done.failure.code == "server_error"
    assert done.progress.deaths == 3
    assert [one.step for one in await made.jobs.published(job.id)] == [40, 20]


async def test_a_trainer_that_fails_says_why(made: Bench) -> None:
    job = await made.create()
    async with made.running("--fail", "diverged"):
        done = await made.ended(job)
    assert done.failure is not None
    assert (done.failure.code, done.failure.message) == ("diverged", "It was told to fail.")
    assert (await made.told(job))[-1] == "The job failed: It was told to fail."
    assert (done.fine_tuned_model, made.publisher.made_live) == (None, [])


async def test_what_cannot_be_proved_is_told_and_the_last_one_fails_the_job(made: Bench) -> None:
    job = await made.create(n_epochs=3)
    made.publisher.fails += [NoEffect("It changes nothing.")]
    async with made.running():
        done = await made.ended(job)
    assert [one.step for one in await made.jobs.published(job.id)] == [24]
    assert done.status is Status.SUCCEEDED
    assert any("step 20 cannot be served: It changes" in one for one in await made.told(job))
    made.publisher.fails += [NoEffect("It changes nothing.")]
    failing = await made.create(n_epochs=1)
    async with made.running():
        done = await made.ended(failing)
    assert done.failure is not None
    assert (done.status, done.failure.code) == (Status.FAILED, "no_effect")


async def test_a_checkpoint_waits_for_an_engine_that_is_away(
    made: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("veneer_server.training.jobs.working.publishing.AGAIN_S", 0.1)
    job = await made.create(n_epochs=1)
    made.publisher.fails += [LoadFailed("not now"), LoadFailed("not now")]
    async with made.running():
        done = await made.ended(job)
    assert (done.status, made.publisher.made_live) == (Status.SUCCEEDED, [1])


async def test_a_server_that_stops_lets_the_trainer_save_and_the_next_goes_on(
    made: Bench,
) -> None:
    job = await made.create()
    async with made.running(*SLOW):
        await made.until(job, lambda found: is_beyond(25, found))
        pid = pid_of(made, job)
    await until_gone(pid)
    stopped = await made.jobs.find("me", job.id)
    assert (stopped.status, stopped.paused) == (Status.RUNNING, False)
    async with made.running():
        done = await made.ended(job)
    assert (done.status, done.progress.deaths) == (Status.SUCCEEDED, 0)
    again = [one for one in await made.told(job) if "goes on from step" in one]
    assert len(again) == 1
    assert "from step 20/" not in again[0]


async def test_a_server_stops_though_a_checkpoint_cannot_be_kept_just_then(made: Bench) -> None:
    job = await made.create()
    made.publisher.may_go_on.clear()
    made.publisher.fails += [JobsUnavailable("not now")]
    task = asyncio.create_task(made.runner(*SLOW).run())
    async with asyncio.timeout(30):
        await made.publisher.begun.wait()
        task.cancel()
        made.publisher.may_go_on.set()
        await asyncio.wait((task,))
    assert task.cancelled()
    async with made.running():
        assert (await made.ended(job)).status is Status.SUCCEEDED


async def test_a_trainer_whose_pid_cannot_be_written_does_not_run_on(
    made: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = made.jobs.folders.of((await made.create()).id)
    (folder / "trainer.json").mkdir()
    started: list[int] = []
    real = asyncio.create_subprocess_exec

    async def noted(*command: str, **options: Any) -> asyncio.subprocess.Process:
        process = await real(*command, **options)
        started.append(process.pid)
        return process

    monkeypatch.setattr("asyncio.create_subprocess_exec", noted)
    with pytest.raises(OSError, match=r"trainer\.json"):
        await start((*STAND_IN, "--step-s", "5"), folder)
    [pid] = started
    assert not runs(pid)


async def test_a_trainer_that_a_killed_server_left_behind_is_ended_first(
    made: Bench,
) -> None:
    job = await made.create()
    folder = made.jobs.folders.of(job.id)
    left = await start((*STAND_IN, "--step-s", "0.1"), folder)
    async with asyncio.timeout(30):
        while not (folder / "events.jsonl").exists():
            await asyncio.sleep(POLL_S)
    async with made.running():
        done = await made.ended(job)
    assert await left.wait() in (0, -signal.SIGTERM)
    assert (done.status, done.progress.deaths) == (Status.SUCCEEDED, 0)


async def test_a_pid_that_is_another_process_now_is_left_alone(made: Bench, tmp_path: Path) -> None:
    sleeper = await asyncio.create_subprocess_exec("sleep", "600", start_new_session=True)
    try:
        async with asyncio.timeout(30):
            while not runs(sleeper.pid):  # a process has no command line in the middle of its exec
                await asyncio.sleep(POLL_S)
        (tmp_path / "trainer.json").write_text(json.dumps({"pid": sleeper.pid}))
        await asyncio.to_thread(end_left_behind, tmp_path)
        assert runs(sleeper.pid)
    finally:
        sleeper.kill()
        await sleeper.wait()


async def test_a_program_that_is_not_there_fails_the_job(made: Bench) -> None:
    job = await made.create()
    runner = made.runner()
    object.__setattr__(runner._shared, "command", ("/no/such/program",))
    task = asyncio.create_task(runner.run())
    try:
        done = await made.ended(job)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert done.failure is not None
    assert done.failure.code == "server_error"


def test_a_trainer_knows_none_of_the_servers_secrets() -> None:
    known = environment(
        {"PATH": "/bin", "VENEER_SERVER__API_KEY": "x", "HF_TOKEN": "x", "AWS_SECRET": "x"}
    )
    assert known == {"PATH": "/bin"}
