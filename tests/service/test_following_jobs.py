"""The events of a fine-tuning job as a stream, over HTTP on the echo engine."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from support.fine_tuning import JOBS, asking, create
from support.serving import POLL_S

pytestmark = pytest.mark.slow

Told = tuple[str, dict[str, Any]]


async def followed(answer: httpx.Response) -> AsyncIterator[Told]:
    """Yield the id and the data of each event until the stream says that it is the last one."""
    known = ""
    async for line in answer.aiter_lines():
        name, _, value = line.partition(": ")
        if name == "id":
            known = value
        elif name == "data":
            if value == "[DONE]":
                return
            yield known, json.loads(value)
    raise AssertionError("the stream ended before the job")


STREAM = {"accept": "text/event-stream"}


async def test_events_are_streamed_as_they_come_and_again_from_where_one_was_left(
    tmp_path: Path,
) -> None:
    async with asking(tmp_path, "--step-s", "0.05") as client, asyncio.timeout(60):
        job = await create(client)
        path = f"{JOBS}/{job['id']}/events"
        first: list[Told] = []
        async with client.stream("GET", path, headers=STREAM) as answer:
            assert answer.headers["content-type"].startswith("text/event-stream")
            async for told in followed(answer):
                first.append(told)
                if told[1]["message"].startswith("Step 3/"):
                    break
        running = (await client.get(f"{JOBS}/{job['id']}")).json()
        assert running["status"] == "running", "they came while it ran"
        again = {**STREAM, "last-event-id": first[-1][0]}
        async with client.stream("GET", path, headers=again) as answer:
            rest = [told async for told in followed(answer)]
        done = (await client.get(f"{JOBS}/{job['id']}")).json()
        assert done["status"] == "succeeded"
        page = (await client.get(path, params={"limit": 100})).json()["data"]
        assert [told for _, told in first + rest][-len(page) :] == page[::-1]
        assert len({each for each, _ in first + rest}) == len(first + rest)
        asked = {"stream": "true", "after": rest[-2][0]}
        async with client.stream("GET", path, params=asked) as answer:
            assert [told async for told in followed(answer)] == rest[-1:]


async def test_who_follows_nothing_or_too_much_is_told_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("veneer_server.training.jobs.jobs.MOST_FOLLOWED", 1)
    async with asking(tmp_path, "--step-s", "0.2") as client, asyncio.timeout(60):
        job = await create(client)
        path = f"{JOBS}/{job['id']}/events"
        for unknown, headers in ((f"{JOBS}/ftjob-1/events", {}), (path, {"last-event-id": "x"})):
            refused = await client.get(unknown, headers={**STREAM, **headers})
            assert refused.status_code == 404, refused.text
        assert (await client.head(path, headers=STREAM)).status_code == 200
        async with client.stream("GET", path, headers=STREAM) as answer:
            held = followed(answer)
            await anext(held)
            full = await client.get(path, headers=STREAM)
            assert (full.status_code, full.json()["error"]["code"]) == (429, "insufficient_quota")
        async with asyncio.timeout(30):  # who hung up follows no more
            while True:
                async with client.stream("GET", path, headers=STREAM) as answer:
                    if answer.status_code == 200:
                        break
                await asyncio.sleep(POLL_S)


async def test_a_quiet_stream_says_that_the_job_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("veneer_server.api.fine_tuning.following.LOOK_S", 0.02)
    monkeypatch.setattr("veneer_server.api.fine_tuning.following.KEEP_ALIVE_S", 0.1)
    async with asking(tmp_path, "--step-s", "30") as client, asyncio.timeout(60):
        job = await create(client)
        async with client.stream("GET", f"{JOBS}/{job['id']}/events", headers=STREAM) as answer:
            async for line in answer.aiter_lines():
                if line == ": the job goes on":
                    break
