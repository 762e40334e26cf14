"""``/v1/fine_tuning/jobs`` over HTTP on the echo engine, with a stand-in for the trainer."""

import asyncio
import csv
import io
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from support import builders
from support.batching import CHAT
from support.fine_tuning import JOBS, asking, create, ended, until, upload
from support.serving import POLL_S, Served
from support.training_rows import numbered, preference, preferences

pytestmark = pytest.mark.slow

SAID = {"messages": [{"role": "user", "content": "hi"}]}


@pytest_asyncio.fixture
async def client(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    async with asking(tmp_path) as found:
        yield found


async def answer(client: httpx.AsyncClient, model: str) -> httpx.Response:
    return await client.post(CHAT, json={"model": model, **SAID})


async def test_from_a_file_to_an_answer_of_the_model_and_of_each_checkpoint(
    client: httpx.AsyncClient,
) -> None:
    made = await create(client, suffix="pirate", metadata={"of": "a test"})
    assert (made["status"], made["organization_id"]) == ("queued", "veneer")
    done = await ended(client, made["id"])
    assert (done["status"], done["error"]) == ("succeeded", None)
    model = done["fine_tuned_model"]
    assert model.startswith("ft:echo:veneer:pirate:")
    said = await answer(client, model)
    adapter = done["veneer"]["adapter"]
    assert said.status_code == 200, said.text
    assert said.json()["model"] == model
    assert said.headers["x-veneer-adapter"].startswith(f"{adapter}@4#")
    page = (await client.get(f"{JOBS}/{made['id']}/checkpoints")).json()
    assert [one["step_number"] for one in page["data"]] == [80, 60, 40, 20]
    last = page["data"][-1]["fine_tuned_model_checkpoint"]
    assert last == f"{model}:ckpt-step-20"
    said = await answer(client, last)
    assert said.headers["x-veneer-adapter"].startswith(f"{adapter}@1#")
    card = await client.get(f"/v1/models/{model}")
    assert card.json()["id"] == model
    assert (await answer(client, f"{model}:ckpt-step-21")).status_code == 404
    [results] = done["result_files"]
    file = (await client.get(f"/v1/files/{results}")).json()
    assert file["purpose"] == "fine-tune-results"
    content = (await client.get(f"/v1/files/{results}/content")).text
    assert len(list(csv.DictReader(io.StringIO(content)))) == 80


async def test_wrong_rows_are_named_and_there_is_no_job(client: httpx.AsyncClient) -> None:
    wrong = await upload(client, [*numbered(12), {"messages": []}, preference()])
    body = {"model": "echo", "training_file": wrong}
    refused = await client.post(JOBS, json=body)
    error = refused.json()["error"]
    assert (refused.status_code, error["code"]) == (400, "invalid_training_file")
    assert error["param"] == "training_file"
    assert "Line 13: " in error["message"]
    assert "Line 14: " in error["message"]
    few = await client.post(JOBS, json={**body, "training_file": await upload(client, numbered(9))})
    assert few.json()["error"]["code"] == "invalid_n_examples"
    assert (await client.get(JOBS)).json()["data"] == []


async def test_from_preferences_to_an_answer(client: httpx.AsyncClient) -> None:
    numbers = {"n_epochs": 10, "batch_size": 4, "beta": 0.2}
    method = {"type": "dpo", "dpo": {"hyperparameters": numbers}}
    made = await create(client, training_file=await upload(client, preferences(40)), method=method)
    assert made["method"]["type"] == "dpo"
    found = made["method"]["dpo"]["hyperparameters"]
    assert found == {**numbers, "learning_rate_multiplier": 1.0}
    assert made["hyperparameters"] == {k: v for k, v in found.items() if k != "beta"}
    done = await ended(client, made["id"])
    assert (done["status"], done["veneer"]["total_steps"]) == ("succeeded", 80)
    assert (await answer(client, done["fine_tuned_model"])).status_code == 200
    content = (await client.get(f"/v1/files/{done['result_files'][0]}/content")).text
    rows = list(csv.DictReader(io.StringIO(content)))
    assert (rows[0]["train_reward_margin"], rows[-1]["train_reward_margin"]) == ("0.1", "8.0")


async def test_rows_of_another_method_are_named(client: httpx.AsyncClient) -> None:
    few = {"method": {"type": "dpo"}, "model": "echo"}
    for rows, more, why in (
        (numbered(12), few, "Line 1: it has no 'input'; the method 'dpo' needs it"),
        ([preference()] * 9, few, "has 9 example(s)"),
        ([preference()] * 12, {"model": "echo"}, "Line 1: it is a row for the method 'dpo'"),
    ):
        file = await upload(client, rows)
        refused = await client.post(JOBS, json={"training_file": file, **more})
        assert refused.status_code == 400
        assert why in refused.json()["error"]["message"]


async def test_a_job_goes_on_from_what_another_has_made(client: httpx.AsyncClient) -> None:
    asked = {"publish_to": "pirate", "then": "live"}
    first = await ended(client, (await create(client, evaluation=asked))["id"])
    digests = {}
    for model in ("pirate", "pirate@1", first["fine_tuned_model"]):
        job = await create(client, model=model, suffix="again")
        assert job["model"] == model
        assert job["lora"] == {
            "r": 4,
            "alpha": 8,
            "dropout": 0.0,
            "target_modules": ["q_proj", "v_proj"],
        }
        digests[model] = job["veneer"]["started_from"]["digest"]
        done = await ended(client, job["id"])
        assert done["status"] == "succeeded", done
    adapter = done["veneer"]["adapter"]
    assert len(set(digests.values())) == 1
    page = (await client.get(f"/v1/adapters/{adapter}/revisions")).json()
    assert page["data"][0]["training"]["started_from"] == {
        "model": f"{first['veneer']['adapter']}@4",
        "digest": digests["pirate"],
    }
    body = {"model": "pirate", "training_file": await upload(client, numbered(12))}
    refused = await client.post(JOBS, json={**body, "lora": {"r": 8}})
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "lora.r")


async def test_a_job_cannot_go_on_from_what_cannot_serve(tmp_path: Path) -> None:
    async with asking(tmp_path) as client:
        for name, spoiled, why in (
            ("dora", {"use_dora": True}, "use_dora"),
            ("saved", {"modules_to_save": ["lm_head"]}, "modules_to_save"),
            ("biased", {"lora_bias": True}, "lora_bias"),
        ):
            builders.write(tmp_path / "adapters" / name, **spoiled)
            file = await upload(client, numbered(12))
            async with asyncio.timeout(30):
                while (await client.get(f"/v1/adapters/{name}")).status_code == 404:
                    await asyncio.sleep(POLL_S)
            refused = await client.post(JOBS, json={"model": name, "training_file": file})
            assert refused.status_code == 409, refused.text
            error = refused.json()["error"]
            assert (error["code"], error["param"]) == ("adapter_failed", "model")
            assert why in error["message"]


@pytest.mark.parametrize(
    ("more", "status", "code", "param"),
    [
        ({"method": {"type": "reinforcement"}}, 400, "unsupported", "method.type"),
        ({"integrations": [{"type": "wandb"}]}, 400, "unsupported", "integrations"),
        ({"model": "nobody"}, 404, "model_not_found", "model"),
        ({"training_file": "file-none"}, 404, None, "training_file"),
        ({"training_file": None}, 400, None, "training_file"),
        ({"seed": "x"}, 400, None, "seed"),
        ({"nonsense": 1}, 400, None, "nonsense"),
        ({"lora": {"r": 65}}, 400, None, "lora.r"),
    ],
)
async def test_what_cannot_be_trained_is_refused(
    client: httpx.AsyncClient, more: dict[str, Any], status: int, code: str | None, param: str
) -> None:
    file = await upload(client, numbered(12))
    refused = await client.post(JOBS, json={"model": "echo", "training_file": file, **more})
    error = refused.json()["error"]
    assert (refused.status_code, error["code"], error["param"]) == (status, code, param)


async def test_an_engine_without_a_model_trains_nothing_and_says_so(echo: Served) -> None:
    async with httpx.AsyncClient(base_url=echo.url, timeout=30) as client:
        file = await upload(client, numbered(12))
        refused = await client.post(JOBS, json={"model": "echo", "training_file": file})
        error = refused.json()["error"]
        assert (refused.status_code, error["code"]) == (400, "training_unavailable")
        assert "echo engine has no model" in error["message"]


async def test_a_job_is_paused_resumed_and_cancelled(tmp_path: Path) -> None:
    async with asking(tmp_path, "--step-s", "0.1") as client:
        job = await create(client)
        path = f"{JOBS}/{job['id']}"
        await until(client, job["id"], lambda found: found["veneer"]["step"] > 3)
        running = (await client.get(path)).json()
        assert (running["status"], running["estimated_finish"] is None) == ("running", False)
        paused = (await client.post(f"{path}/pause")).json()
        assert (paused["status"], paused["veneer"]["paused"]) == ("queued", True)
        assert (await client.post(f"{path}/pause")).status_code == 200
        resumed = (await client.post(f"{path}/resume")).json()
        assert resumed["veneer"]["paused"] is False
        again = await client.post(f"{path}/resume")
        assert again.status_code == 400
        assert again.json()["error"]["message"].startswith("Cannot resume a job with status")
        await until(client, job["id"], lambda found: found["status"] == "running")
        assert (await client.post(f"{path}/cancel")).json()["status"] == "cancelled"
        for action in ("cancel", "pause", "resume"):
            assert (await client.post(f"{path}/{action}")).status_code == 400
        events = (await client.get(f"{path}/events", params={"limit": 100})).json()["data"]
        told = [event["message"] for event in events]
        assert {"The job was paused", "The job was resumed"} < set(told)
        assert "The job was cancelled" in told


async def test_a_tenant_may_have_so_many_unfinished_jobs(tmp_path: Path) -> None:
    slow = ("--step-s", "5")
    async with asking(tmp_path, *slow, training={"unfinished": 1}) as client:
        job = await create(client)
        file = await upload(client, numbered(12))
        refused = await client.post(JOBS, json={"model": "echo", "training_file": file})
        assert refused.status_code == 429
        assert refused.json()["error"]["code"] == "insufficient_quota"
        await client.post(f"{JOBS}/{job['id']}/cancel")
        await create(client, training_file=file)


async def test_a_server_that_stops_and_starts_goes_on_with_the_job(tmp_path: Path) -> None:
    async with asking(tmp_path, "--step-s", "0.1") as client:
        job = await create(client)
        await until(client, job["id"], lambda found: found["veneer"]["step"] > 25)
    async with asking(tmp_path) as client:
        done = await ended(client, job["id"])
        assert done["status"] == "succeeded"
        assert (await answer(client, done["fine_tuned_model"])).status_code == 200
        events: list[str] = []
        after: dict[str, Any] = {}
        async with asyncio.timeout(60):
            while True:
                page = (await client.get(f"{JOBS}/{job['id']}/events", params=after)).json()
                events += [event["message"] for event in page["data"]]
                if not page["has_more"]:
                    break
                after = {"after": page["data"][-1]["id"]}
                await asyncio.sleep(POLL_S / 50)
        steps = [one for one in events if one.startswith("Step ")]
        assert len(steps) == len(set(steps)) == 80
        assert any("goes on from step" in one for one in events)


async def test_a_model_is_measured_by_the_server_and_serves_where_it_was_made_for(
    client: httpx.AsyncClient,
) -> None:
    asked = {"publish_to": "pirate", "then": "live"}
    made = await create(client, evaluation=asked)
    assert made["evaluation"] == {**asked, "margin": 0.0, "graders": []}
    done = await ended(client, made["id"])
    found = done["veneer"]["evaluation"]
    assert (found["base"]["loss"], found["live"], found["candidate"]["loss"]) == (2.0, None, 1.0)
    said = await answer(client, "pirate")
    assert said.headers["x-veneer-adapter"].startswith("pirate@1#")
    again = await ended(client, (await create(client, evaluation=asked))["id"])
    found = again["veneer"]["evaluation"]
    assert (found["live"]["model"], found["live"]["loss"], found["better"]) == (
        "pirate@1",
        1.0,
        False,
    )
    path = f"{JOBS}/{again['id']}/events"
    told = [one["message"] for one in (await client.get(path)).json()["data"]]
    assert "Not published to pirate, because it is not better" in told
    assert (await answer(client, "pirate@2")).status_code == 404
    page = (await client.get(f"{JOBS}/{again['id']}/checkpoints")).json()
    assert page["data"][0]["metrics"]["full_valid_loss"] == 1.0


async def test_jobs_name_the_operators_graders_and_never_a_file(tmp_path: Path) -> None:
    async with asking(tmp_path, training={"graders": {"brief": str(tmp_path / "g.py")}}) as client:
        brief = {"type": "python", "name": "brief"}
        made = await create(client, evaluation={"graders": [brief]})
        assert made["evaluation"]["graders"] == [{**brief, "schema": None}]
        await client.post(f"{JOBS}/{made['id']}/cancel")
        body = {"model": "echo", "training_file": made["training_file"]}
        for wrong in ({"name": str(tmp_path / "g.py")}, {"name": "brief", "source": "x = 1"}, {}):
            asked = {"evaluation": {"graders": [{"type": "python", **wrong}]}}
            refused = await client.post(JOBS, json={**body, **asked})
            error = refused.json()["error"]
            assert refused.status_code == 400
            assert error["param"].startswith("evaluation.graders")


async def test_what_follows_is_as_the_server_is_set_unless_the_job_says_it(tmp_path: Path) -> None:
    async with asking(tmp_path, training={"then": "canary"}) as client:
        for asked, then in (
            ({"publish_to": "new"}, "canary"),
            ({"publish_to": "new", "then": "nothing"}, "nothing"),
            ({}, "nothing"),
        ):
            job = await create(client, evaluation=asked)
            assert job["evaluation"]["then"] == then
            await client.post(f"{JOBS}/{job['id']}/cancel")


@pytest.mark.parametrize(
    ("asked", "param"),
    [
        ({"publish_to": "echo"}, "evaluation.publish_to"),
        ({"publish_to": "a/b/c"}, "evaluation.publish_to"),
        ({"then": "always"}, "evaluation.then"),
        ({"graders": ["good"]}, "evaluation.graders"),
        ({"nonsense": 1}, "evaluation.nonsense"),
    ],
)
async def test_an_evaluation_that_cannot_be_is_refused(
    client: httpx.AsyncClient, asked: dict[str, Any], param: str
) -> None:
    file = await upload(client, numbered(12))
    body = {"model": "echo", "training_file": file, "evaluation": asked}
    refused = await client.post(JOBS, json=body)
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, param)
