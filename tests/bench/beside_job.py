"""What live streams get beside a fine-tuning job: their first token and their gaps.

    python tests/bench/beside_job.py [--rounds 3] [--seconds 25] [--users 2]

A real server with the embedded model and the four demo adapters, and the users of
``beside_batch.py``. One job trains on the pirate's rows, and stands still (SIGSTOP) while the users
are measured alone; ratios are taken in a round. The steps of the trainer say what it got.
"""

import argparse
import asyncio
import json
import os
import signal
import statistics
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import httpx
from beside_batch import MODELS, Tally, phase, stream

from support.fine_tuning import JOBS
from support.places import DEMO
from support.serving import start_process

BASE = "smollm2-135m-instruct"
EPOCHS, BATCH = 50, 8


class Job:
    """A job that trains for longer than the measurement."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def steps(self) -> int:
        try:
            return int(json.loads((self._folder / "heartbeat.json").read_text())["step"])
        except FileNotFoundError:
            return 0

    @contextmanager
    def still(self) -> Iterator[None]:
        """Let the trainer stand still for the length of the block."""
        pid = json.loads((self._folder / "trainer.json").read_text())["pid"]
        os.killpg(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.killpg(pid, signal.SIGCONT)


async def create(client: httpx.AsyncClient, state: Path) -> tuple[str, Job]:
    """Return the id of a new job, and the job, when it has made its first step."""
    rows = (DEMO / "pirate" / "train.jsonl").read_bytes()
    sent = {"file": ("rows.jsonl", rows)}
    file = await client.post("/v1/files", files=sent, data={"purpose": "fine-tune"})
    numbers = {"n_epochs": EPOCHS, "batch_size": BATCH}
    body: dict[str, Any] = {
        "model": BASE,
        "training_file": file.json()["id"],
        "hyperparameters": numbers,
    }
    made = await client.post(JOBS, json=body)
    made.raise_for_status()
    job_id = made.json()["id"]
    job = Job(state / "training" / job_id)
    async with asyncio.timeout(300):
        while not job.steps:
            await asyncio.sleep(0.2)
    return job_id, job


async def measure(served_url: str, state: Path, rounds: int, users: int, seconds: float) -> None:
    print("| round | job | requests | first p50 | p95 | gap p50 | p95, ms | steps/min |")
    print("|---|---|---|---|---|---|---|---|")
    ratios = []
    async with httpx.AsyncClient(base_url=served_url, timeout=600) as client:
        await asyncio.gather(*(stream(client, model, 1, Tally()) for model in MODELS))
        job_id, job = await create(client, state)
        for number in range(rounds):
            with job.still():
                alone = await phase(client, users, seconds, 100 * number)
            before = job.steps
            beside = await phase(client, users, seconds, 100 * number)
            steps = (job.steps - before) * 60 / seconds
            for name, tally, rate in (("no", alone, 0.0), ("yes", beside, steps)):
                shown = " | ".join(f"{figure:.1f}" for figure in tally.figures())
                line = f"| {number} | {name} | {len(tally.first_s)} | {shown} | {rate:.1f} |"
                print(line, flush=True)
            pairs = zip(beside.figures(), alone.figures(), strict=True)
            ratios.append([with_it / without for with_it, without in pairs])
        await client.post(f"{JOBS}/{job_id}/cancel")
    middle = [statistics.median(column) for column in zip(*ratios, strict=True)]
    print("median ratio: " + ", ".join(f"{ratio:.2f}" for ratio in middle))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=25)
    parser.add_argument("--users", type=int, default=2)
    asked = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        start_process(Path(folder), roots=[DEMO]) as served,
    ):
        state = Path(folder) / "state"
        asyncio.run(measure(served.url, state, asked.rounds, asked.users, asked.seconds))


if __name__ == "__main__":
    main()
