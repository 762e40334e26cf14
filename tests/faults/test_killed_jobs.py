"""D1: a server that is killed while a job trains goes on with the job, and loses no step of it."""

import json
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from support.fine_tuning import ENDED, JOBS, STAND_IN, to_jsonl
from support.serving import POLL_S, Served, start_process
from support.training_rows import numbered

pytestmark = pytest.mark.slow

FLAGS = ["--engine", "echo"]
KILLED = -signal.SIGKILL


def variables(step_s: float) -> dict[str, str]:
    return {"VENEER_TRAINING__COMMAND": json.dumps([*STAND_IN, "--step-s", str(step_s)])}


def make(served: Served) -> str:
    with httpx.Client(base_url=served.url, timeout=20) as client:
        sent = {"file": ("rows.jsonl", to_jsonl(numbered(40)))}
        file = client.post("/v1/files", files=sent, data={"purpose": "fine-tune"}).json()
        numbers = {"n_epochs": 10, "batch_size": 4}
        body = {"model": "echo", "training_file": file["id"], "hyperparameters": numbers}
        made = client.post(JOBS, json=body)
        assert made.status_code == 200, made.text
        return str(made.json()["id"])


def until(served: Served, job_id: str, holds: Callable[[Any], bool]) -> dict[str, Any]:
    deadline = time.monotonic() + 60
    while True:
        job: dict[str, Any] = httpx.get(f"{served.url}{JOBS}/{job_id}").json()
        if holds(job):
            return job
        assert time.monotonic() < deadline, job
        time.sleep(POLL_S)


def told(served: Served, job_id: str) -> list[str]:
    params = {"limit": 100}
    url = f"{served.url}{JOBS}/{job_id}/events"
    found: list[str] = []
    while True:
        page = httpx.get(url, params=params).json()
        found += [event["message"] for event in page["data"]]
        if not page["has_more"]:
            return found
        params["after"] = page["data"][-1]["id"]


def test_d1_a_job_survives_a_kill_of_the_server_with_every_step_told_once(tmp_path: Path) -> None:
    with start_process(tmp_path, flags=FLAGS, environ=variables(0.3), ends_with=KILLED) as served:
        job_id = make(served)
        until(served, job_id, lambda job: job["veneer"]["step"] > 25)
        assert served.process is not None
        served.process.kill()
        served.process.wait(timeout=30)
    with start_process(tmp_path, flags=FLAGS, environ=variables(0.0)) as served:
        job = until(served, job_id, lambda job: job["status"] in ENDED)
        assert job["status"] == "succeeded", job
        said = {"model": job["fine_tuned_model"], "messages": [{"role": "user", "content": "x"}]}
        answer = httpx.post(f"{served.url}/v1/chat/completions", json=said, timeout=20)
        assert answer.status_code == 200, answer.text
        events = told(served, job_id)
        steps = [one for one in events if one.startswith("Step ")]
        assert len(steps) == len(set(steps)) == 80
        # The trainer that was left behind was asked to save, so nothing was learned twice.
        [again] = [one for one in events if "goes on from step" in one]
        assert "from step 20/" not in again
        url = f"{served.url}/v1/files/{job['result_files'][0]}/content"
        assert len(httpx.get(url).text.splitlines()) == 81
