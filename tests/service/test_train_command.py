"""``veneer train`` as a user types it, on the echo engine, with a stand-in for the trainer."""

import asyncio
import json
import os
import re
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio

from support.fine_tuning import STAND_IN, to_jsonl
from support.serving import Served, serve_echo
from support.training_rows import numbered, preferences

pytestmark = pytest.mark.slow

COMMAND = (sys.executable, "-c", "from veneer_server.commands.main import main; main()")
QUIET = {"NO_COLOR": "1", "TERM": "dumb", "COLUMNS": "200"}


@pytest_asyncio.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    async with serve_echo(tmp_path, training={"command": STAND_IN}) as found:
        yield found


@pytest.fixture
def rows(tmp_path: Path) -> str:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(to_jsonl(numbered(40)))
    return str(path)


@dataclass
class Ended:
    exit_code: int | None
    stdout: str
    stderr: str


async def begin(served: Served, *arguments: str, command: Sequence[str] = ("train",)) -> Process:
    command = [*COMMAND, *command, *arguments, "--url", served.url]
    return await asyncio.create_subprocess_exec(
        *command, stdout=PIPE, stderr=PIPE, env={**os.environ, **QUIET}
    )


async def call(served: Served, *arguments: str, command: Sequence[str] = ("train",)) -> Ended:
    process = await begin(served, *arguments, command=command)
    try:
        async with asyncio.timeout(90):
            out, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return Ended(process.returncode, out.decode(), err.decode())


async def test_from_a_file_to_a_model_that_is_live_with_curve_and_table(
    served: Served, rows: str
) -> None:
    ended = await call(served, rows, "--name", "pirate", "--epochs", "10", "--batch-size", "4")
    assert ended.exit_code == 0, ended.stderr
    assert "Step 8/80: training loss=0.125" in ended.stderr
    assert "Step 9/80" not in ended.stderr, "only some of the steps are told"
    assert "Published as pirate@1, and live" in ended.stderr
    assert "Training loss\n" in ended.stdout
    assert "step  1" in ended.stdout
    lines = [line.split() for line in ended.stdout.splitlines()]
    assert ["base", "echo", "2.000", "0%"] in lines
    [candidate] = [line for line in lines if line[:1] == ["candidate"]]
    assert candidate[2:] == ["1.000", "100%"]
    assert "It is better than the base. (8 rows, " in ended.stdout
    assert ended.stdout.splitlines()[-1].startswith("Ask it as: pirate, ft:echo:veneer:pirate:")
    again = await call(served, rows, "--name", "pirate", "--epochs", "1")
    assert again.exit_code == 0
    assert "Not published to pirate, because it is not better" in again.stderr
    assert any(line.split()[:2] == ["live", "pirate@1"] for line in again.stdout.splitlines())
    assert again.stdout.splitlines()[-1].startswith("Ask it as: ft:echo:veneer:pirate:")
    shown = await call(served, "pirate", command=("adapters", "show"))
    facts = dict(re.findall(r"^(\S.*?)  +(.*?) *$", shown.stdout, re.MULTILINE))
    assert facts["trained by"].startswith("ftjob-"), shown.stdout
    assert facts["trained by"].endswith(", step 80, supervised")
    assert facts["training file"].startswith("sha256:")
    assert facts["held-out loss"] == "base 2.000, candidate 1.000 (8 rows)"


async def test_programs_get_the_job_and_the_answers_as_json(served: Served, rows: str) -> None:
    options = ("--json", "--epochs", "1", "--validation", rows, "--rank", "4", "--compare", "hi")
    ended = await call(served, rows, *options)
    assert ended.exit_code == 0, ended.stderr
    job = json.loads(ended.stdout)
    assert (job["status"], job["lora"]["r"]) == ("succeeded", 4)
    assert job["veneer"]["evaluation"]["examples"] == 40
    assert [one["model"] for one in job["answers"]] == ["echo", job["fine_tuned_model"]]
    said = await call(served, "--follow", job["id"], "--compare", "hi there")
    assert "hi there" in said.stdout
    assert job["fine_tuned_model"] in said.stdout


async def test_the_rows_say_what_is_learned(served: Served, rows: str, tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_bytes(b"\n" + to_jsonl(preferences(40)))
    ended = await call(served, str(path), "--json", "--epochs", "1", "--beta", "0.3")
    assert ended.exit_code == 0, ended.stderr
    job = json.loads(ended.stdout)
    assert job["method"]["type"] == "dpo"
    found = job["method"]["dpo"]["hyperparameters"]
    assert (found["n_epochs"], found["beta"]) == (1, 0.3)
    unknown = await call(served, rows, "--grader", "good")
    assert (unknown.exit_code, unknown.stdout) == (1, "")
    assert "has no Python grader 'good'; there is: none" in unknown.stderr
    other = await call(served, rows, "--method", "dpo")
    assert (other.exit_code, other.stdout) == (1, "")
    assert "Line 1: it has no 'input'; the method 'dpo' needs it" in other.stderr


async def test_wrong_rows_are_named(served: Served, tmp_path: Path) -> None:
    path = tmp_path / "wrong.jsonl"
    path.write_bytes(to_jsonl([*numbered(12), {"messages": []}]))
    ended = await call(served, str(path))
    assert (ended.exit_code, ended.stdout) == (1, "")
    assert "Line 13: " in ended.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("ROWS", "--follow", "ftjob-1"),
        ("ROWS", "--then", "always"),
        ("ROWS", "--method", "osmosis"),
        ("ROWS", "--beta", "0.1"),
        ("ROWS", "--name", "a/b/c"),
        ("no-such-file",),
    ],
)
async def test_what_makes_no_sense_is_said(
    served: Served, rows: str, arguments: tuple[str, ...]
) -> None:
    ended = await call(served, *[rows if one == "ROWS" else one for one in arguments])
    assert (ended.exit_code, ended.stdout) == (2, "")


async def test_after_ctrl_c_the_job_goes_on_and_is_watched_again(tmp_path: Path, rows: str) -> None:
    command = [*STAND_IN, "--step-s", "0.2"]
    async with serve_echo(tmp_path, training={"command": command}) as served:
        process = await begin(served, rows)
        assert process.stderr is not None
        async with asyncio.timeout(90):
            while b"Fine-tuning job started" not in await process.stderr.readline():
                pass
            process.send_signal(signal.SIGINT)
            _, err = await process.communicate()
        assert process.returncode == 130
        assert b"veneer train --follow ftjob-" in err
        job_id = err.decode().split("--follow ")[1].split()[0]
        ended = await call(served, "--follow", job_id)
        assert ended.exit_code == 0, ended.stderr
        assert "Ask it as: ft:echo:veneer::" in ended.stdout
        told = ended.stderr.splitlines()
        assert len(told) == len(set(told)), "nothing is told twice"


async def test_a_job_that_failed_or_was_cancelled_fails_the_command(
    tmp_path: Path, rows: str
) -> None:
    command = [*STAND_IN, "--step-s", "0.2", "--fail", "diverged"]
    async with serve_echo(tmp_path, training={"command": command}) as served:
        ended = await call(served, rows)
        assert (ended.exit_code, ended.stdout) == (1, "")
        assert "is failed: It was told to fail." in ended.stderr
        job_id = ended.stderr.split("The job ")[-1].split()[0]
        refused = await call(served, "--cancel", job_id)
        assert refused.exit_code == 1
        assert "Cannot cancel a job" in refused.stderr
