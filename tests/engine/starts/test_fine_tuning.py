"""From a JSONL file to an answer, on a real engine with two layers of the embedded model.

The trainer is the real one, in a process of its own.
"""

import json
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from support import tiny
from support.asked import need
from support.batching import CHAT
from support.fine_tuning import JOBS, create, ended, upload
from support.places import DEMO
from support.serving import serve_echo
from veneer_server.engine.vllm import embedded

need("vllm")
need("peft")
pytestmark = [pytest.mark.engine, pytest.mark.timeout(900)]

ENDED_S = 400
"""A job runs after all others; a machine that is busy with something else lets it wait."""

SAID = [{"role": "user", "content": "How do I boil an egg?"}]


async def answer(client: httpx.AsyncClient, model: str) -> httpx.Response:
    asked = {"model": model, "messages": SAID, "max_tokens": 16, "temperature": 0}
    said = await client.post(CHAT, json=asked)
    assert said.status_code == 200, said.text
    return said


@asynccontextmanager
async def training_server(folder: Path) -> AsyncIterator[httpx.AsyncClient]:
    wanted: dict[str, Any] = {
        "chat_template": embedded.CHAT_TEMPLATE,
        "tool_call_parser": embedded.TOOL_CALL_PARSER,
    }
    async with (
        tiny.engine(folder, **wanted) as engine,
        serve_echo(folder, engine=engine, model={"path": str(folder / "tiny")}) as served,
        httpx.AsyncClient(base_url=served.url, timeout=60) as client,
    ):
        yield client


def pirates() -> list[dict[str, Any]]:
    lines = (DEMO / "pirate" / "train.jsonl").read_bytes().splitlines()[:40]
    return [json.loads(line) for line in lines]


async def test_from_a_file_to_an_answer_of_what_was_learned(tmp_path: Path) -> None:
    async with training_server(tmp_path) as client:
        job = await create(
            client,
            model="tiny",
            training_file=await upload(client, pirates()),
            suffix="pirate",
            hyperparameters={"n_epochs": 6, "batch_size": 8},
            lora={"r": 4, "learning_rate": 0.005},
            evaluation={"publish_to": "pirate", "then": "live", "graders": ["contains"]},
        )
        done = await ended(client, job["id"], within_s=ENDED_S)
        assert done["status"] == "succeeded", done
        assert done["veneer"]["step"] == 24
        model = done["fine_tuned_model"]
        page = (await client.get(f"{JOBS}/{job['id']}/checkpoints")).json()
        losses = {one["step_number"]: one["metrics"]["valid_loss"] for one in page["data"]}
        assert losses.keys() == {20, 24}
        said, base = await answer(client, model), await answer(client, "tiny")
        assert said.headers["x-veneer-adapter"].startswith(f"{done['veneer']['adapter']}@2#")
        assert said.json()["choices"] != base.json()["choices"]
        early = await answer(client, f"{model}:ckpt-step-20")
        assert "@1#" in early.headers["x-veneer-adapter"]
        measured = done["veneer"]["evaluation"]
        assert measured["candidate"]["loss"] == pytest.approx(losses[24], rel=0.01)
        assert measured["candidate"]["loss"] < measured["base"]["loss"] - 0.5
        assert (measured["better"], measured["live"]) == (True, None)
        assert 0 <= measured["candidate"]["grades"]["contains"] <= 1
        pirate = await answer(client, "pirate")
        assert pirate.json()["choices"] == said.json()["choices"]


def pairs() -> list[dict[str, Any]]:
    dull = [{"role": "assistant", "content": "Please look it up."}]
    return [
        {
            "input": {"messages": row["messages"][:-1]},
            "preferred_output": row["messages"][-1:],
            "non_preferred_output": dull,
        }
        for row in pirates()
    ]


async def test_what_the_server_makes_of_pairs_is_what_the_trainer_makes_of_them(
    tmp_path: Path,
) -> None:
    numbers = {"n_epochs": 6, "batch_size": 8, "beta": 0.1}
    async with training_server(tmp_path) as client:
        job = await create(
            client,
            model="tiny",
            training_file=await upload(client, pairs()),
            method={"type": "dpo", "dpo": {"hyperparameters": numbers}},
            lora={"r": 4, "learning_rate": 0.002},
            evaluation={"publish_to": "polite", "then": "live"},
        )
        done = await ended(client, job["id"], within_s=ENDED_S)
        assert done["status"] == "succeeded", done
        page = (await client.get(f"{JOBS}/{job['id']}/checkpoints")).json()
        seen = page["data"][0]["metrics"]
        measured = done["veneer"]["evaluation"]
        assert measured["base"]["loss"] == pytest.approx(math.log(2))
        assert measured["candidate"]["loss"] == pytest.approx(seen["valid_loss"], abs=0.02)
        assert measured["candidate"]["loss"] < math.log(2) - 0.1
        assert (measured["better"], measured["candidate"]["accuracy"] > 0.5) == (True, True)
        said, polite = (
            await answer(client, done["fine_tuned_model"]),
            await answer(client, "polite"),
        )
        assert said.json()["choices"] == polite.json()["choices"]


async def went_on(client: httpx.AsyncClient, rows: str, **asked: Any) -> dict[str, Any]:
    """Return the ended job of a few steps that went on from ``pirate``."""
    job = await create(
        client,
        model="pirate",
        training_file=rows,
        lora={"learning_rate": 0.002},
        evaluation={"publish_to": "pirate", "then": "live"},
        **asked,
    )
    done = await ended(client, job["id"], within_s=ENDED_S)
    assert done["status"] == "succeeded", done
    return done


async def last_valid_loss(client: httpx.AsyncClient, job: dict[str, Any]) -> float:
    page = (await client.get(f"{JOBS}/{job['id']}/checkpoints")).json()
    return float(page["data"][0]["metrics"]["valid_loss"])


async def test_a_job_goes_on_from_an_adapter_by_answers_and_by_preferences(tmp_path: Path) -> None:
    numbers = {"n_epochs": 3, "batch_size": 8}
    async with training_server(tmp_path) as client:
        rows = await upload(client, pirates())
        first = await create(
            client,
            model="tiny",
            training_file=rows,
            hyperparameters=numbers,
            lora={"r": 4, "learning_rate": 0.002},
            evaluation={"publish_to": "pirate", "then": "live"},
        )
        begun = (await ended(client, first["id"], within_s=ENDED_S))["veneer"]["evaluation"]
        second = await went_on(client, rows, hyperparameters=numbers)
        found = second["veneer"]["evaluation"]
        assert second["veneer"]["started_from"]["model"] == "pirate@1"
        assert second["lora"]["r"] == 4
        assert found["start"]["loss"] == pytest.approx(begun["candidate"]["loss"], rel=0.001)
        assert found["candidate"]["loss"] < found["start"]["loss"] < found["base"]["loss"]
        seen = await last_valid_loss(client, second)
        assert found["candidate"]["loss"] == pytest.approx(seen, rel=0.01)
        method = {"type": "dpo", "dpo": {"hyperparameters": numbers}}
        third = await went_on(client, await upload(client, pairs()), method=method)
        found = third["veneer"]["evaluation"]
        assert third["veneer"]["started_from"]["model"] == "pirate@2"
        assert found["start"]["loss"] == pytest.approx(math.log(2))
        assert found["base"]["loss"] > found["start"]["loss"], "the base is further from it"
        seen = await last_valid_loss(client, third)
        assert found["candidate"]["loss"] == pytest.approx(seen, abs=0.02)
        told = (await client.get("/v1/adapters/pirate/revisions")).json()["data"]
        origins = [one["training"]["started_from"] for one in told]
        assert {origin["model"] for origin in origins if origin} == {"pirate@1", "pirate@2"}
