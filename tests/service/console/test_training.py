"""Jobs in the console on the echo engine, with a stand-in for the trainer."""

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from support.console import browser
from support.fine_tuning import JOBS, STAND_IN, create, ended, to_jsonl, until
from support.serving import serve_echo
from support.training_rows import numbered, preferences

pytestmark = pytest.mark.slow

XSS = "<img src=x onerror=alert(1)>"
START = "/console/training/start"


@pytest_asyncio.fixture
async def client(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    async with (
        serve_echo(tmp_path, training={"command": STAND_IN}) as served,
        browser(served.url) as found,
    ):
        yield found


async def start(
    client: httpx.AsyncClient,
    rows: list[Any],
    name: str = "rows.jsonl",
    held: Any = None,
    **form: str,
) -> httpx.Response:
    # A browser sends a field for a file also when none was chosen.
    held_out = ("", b"") if held is None else ("held.jsonl", to_jsonl(held))
    files = {"file": (name, to_jsonl(rows)), "validation_file": held_out}
    return await client.post(START, files=files, data=form)


def job_in(started: httpx.Response) -> str:
    assert started.status_code == 303, started.text
    return started.headers["location"].rpartition("/")[2]


async def test_a_form_with_rows_starts_a_job_which_the_pages_show(
    client: httpx.AsyncClient,
) -> None:
    assert "There is no job yet" in (await client.get("/console/training")).text
    more = {"publish_to": "pirate", "then": "live", "n_epochs": "10", "batch_size": "4"}
    job_id = job_in(await start(client, numbered(40), **more))
    job = await ended(client, job_id)
    assert job["evaluation"]["publish_to"] == "pirate"
    assert job_id in (await client.get("/console/training")).text
    page = (await client.get(f"/console/training/{job_id}")).text
    assert "succeeded" in page
    assert job["fine_tuned_model"] in page
    assert page.count('<tr><th scope="row" class="number" data-value="') == 80
    assert f"veneer train --follow {job_id}" in page
    assert f"/console/files/{job['result_files'][0]}" in page
    sent = await client.get(f"/console/files/{job['result_files'][0]}")
    assert sent.text.startswith("step,train_loss")
    assert sent.headers["content-disposition"].startswith("attachment")
    assert "script-src 'self'" in sent.headers["content-security-policy"]


async def test_rows_of_preferences_start_a_job_of_their_method(client: httpx.AsyncClient) -> None:
    job_id = job_in(await start(client, preferences(20), beta="0.3"))
    job = (await client.get(f"{JOBS}/{job_id}")).json()
    assert job["method"]["dpo"]["hyperparameters"]["beta"] == 0.3


async def test_rows_to_measure_with_come_in_a_file_of_their_own(
    client: httpx.AsyncClient,
) -> None:
    job_id = job_in(await start(client, numbered(40), held=numbered(12)))
    job = (await client.get(f"{JOBS}/{job_id}")).json()
    kept = {file["filename"]: file["id"] for file in (await client.get("/v1/files")).json()["data"]}
    assert kept["rows.jsonl"] == job["training_file"]
    assert kept["held.jsonl"] == job["validation_file"]


async def test_of_two_files_the_wrong_one_is_named_and_none_is_kept(
    client: httpx.AsyncClient,
) -> None:
    refused = await start(client, numbered(40), held=[*numbered(12), {"messages": []}])
    assert refused.status_code == 400
    assert "wrong in held.jsonl" in refused.text
    assert (await start(client, numbered(40), held=[])).status_code == 400
    assert (await client.get("/v1/files")).json()["data"] == []


async def test_a_job_goes_on_from_the_adapter_that_the_form_names(
    client: httpx.AsyncClient,
) -> None:
    unknown = await start(client, numbered(20), **{"from": "no-such-adapter"})
    assert unknown.status_code == 404
    assert "no-such-adapter" in unknown.text
    first = await ended(client, job_in(await start(client, numbered(20))))
    adapter = first["veneer"]["adapter"]
    job_id = job_in(await start(client, numbered(20), **{"from": f"{adapter}@1"}))
    job = (await client.get(f"{JOBS}/{job_id}")).json()
    assert job["veneer"]["started_from"]["model"] == f"{adapter}@1"


async def test_wrong_rows_are_listed_and_neither_a_job_nor_the_file_is_kept(
    client: httpx.AsyncClient,
) -> None:
    wrong = [*numbered(12), {"messages": [], XSS: 1}]
    refused = await start(client, wrong, name=f"{XSS}.jsonl")
    assert refused.status_code == 400
    assert '<th scope="row" class="number">13</th>' in refused.text
    assert "<img" not in refused.text
    short = await start(client, numbered(3))
    assert "must have at least 10" in short.text
    assert short.status_code == 400
    assert (await start(client, numbered(20), n_epochs="many")).status_code == 400
    assert (await start(client, numbered(20), publish_to="no/such/name")).status_code == 400
    assert (await client.get(JOBS)).json()["data"] == []
    assert (await client.get("/v1/files")).json()["data"] == []


async def test_a_job_is_paused_resumed_and_cancelled(tmp_path: Path) -> None:
    async with (
        serve_echo(tmp_path, training={"command": [*STAND_IN, "--step-s", "0.02"]}) as served,
        browser(served.url) as client,
    ):
        job_id = (await create(client))["id"]
        await until(client, job_id, lambda job: job["status"] == "running")
        for action, words in (("pause", "paused"), ("resume", "Pause"), ("cancel", "cancelled")):
            done = await client.post(f"/console/training/{action}", data={"job": job_id})
            assert done.headers["location"] == f"/console/training/{job_id}"
            assert words in (await client.get(f"/console/training/{job_id}")).text
        again = await client.post("/console/training/cancel", data={"job": job_id})
        assert again.status_code == 400


async def test_a_checkpoint_gets_an_alias_unless_somebody_was_faster(
    client: httpx.AsyncClient,
) -> None:
    job = await ended(client, (await create(client))["id"])
    asked = {"job": job["id"], "revision": "1", "alias": "candidate"}
    to = "/console/training/publish"
    assert (await client.post(to, data=asked)).status_code == 303
    adapter = job["veneer"]["adapter"]
    alias = (await client.get(f"/v1/adapters/{adapter}/aliases/candidate")).json()
    assert [target["revision"] for target in alias["targets"]] == [1]
    assert (await client.post(to, data=asked)).status_code == 412
    seen = {**asked, "revision": "2", "version-candidate": str(alias["version"])}
    assert (await client.post(to, data=seen)).status_code == 303
    for wrong in ({"revision": "99"}, {"revision": "x"}, {"alias": "3"}, {"job": "ftjob-none"}):
        assert (await client.post(to, data={**seen, **wrong})).status_code in (400, 404)


async def test_texts_of_a_job_are_escaped(client: httpx.AsyncClient) -> None:
    for path in (f"/console/training/{XSS}", f"/console/training?after={XSS}"):
        page = await client.get(path)
        assert page.status_code == 404
        assert not re.search("<img", page.text)
