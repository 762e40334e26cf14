"""One prompt for several models, on the echo engine over real HTTP."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from conformance.wire import events
from support import builders
from support.serving import Served, serve_echo, until_served
from veneer_server.engine.base import Answer, Call, EngineLost, Frames
from veneer_server.engine.echo import EchoEngine

PATH = "/v1/veneer/compare"
BODY: dict[str, Any] = {
    "models": ["echo", "mine", "mine@1"],
    "messages": [{"role": "user", "content": "one two three"}],
}


class Held(EchoEngine):
    """Streams one event, and then waits for ever; counts the streams that are open."""

    def __init__(self) -> None:
        super().__init__()
        self.open = 0
        self.begun = asyncio.Event()
        self.closed = asyncio.Event()

    async def respond(self, call: Call) -> Answer | Frames:
        found = await super().respond(call)
        assert not isinstance(found, Answer)
        return self._hold(found)

    async def _hold(self, frames: Frames) -> Frames:
        self.open += 1
        try:
            yield await anext(frames)
            if self.open == len(BODY["models"]):
                self.begun.set()
            await asyncio.Event().wait()
        finally:
            self.open -= 1
            if not self.open:
                self.closed.set()


@pytest_asyncio.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    builders.write(tmp_path / "adapters" / "mine")
    scripts: Any = {"broken": EngineLost}
    builders.write(tmp_path / "adapters" / "broken", seed=1)
    async with serve_echo(tmp_path, EchoEngine(answers=scripts)) as served:
        await until_served(served, "mine", "broken")
        yield served


async def post(served: Served, **members: Any) -> httpx.Response:
    async with httpx.AsyncClient(base_url=served.url, timeout=30) as client:
        return await client.post(PATH, json={**BODY, **members})


async def test_every_model_answers_under_its_place_and_the_report_ends_the_stream(
    served: Served,
) -> None:
    found = await post(served)
    assert found.headers["content-type"].startswith("text/event-stream")
    told = events(found.text)
    texts: dict[int, str] = defaultdict(str)
    for event in told:
        if event["type"] == "variant.chunk" and event["chunk"]["choices"]:
            texts[event["variant"]] += event["chunk"]["choices"][0]["delta"].get("content") or ""
    assert texts[0] == "one two three"
    assert texts[1] == texts[2] != texts[0]
    assert texts[1].endswith("one two three")
    assert [e["type"] for e in told].count("variant.completed") == 3
    assert told[-1]["type"] == "compare.completed"
    rows = told[-1]["variants"]
    assert [row["model"] for row in rows] == BODY["models"]
    assert rows[0]["adapter"] is None
    assert rows[1]["adapter"].startswith("mine@1#sha256:")
    assert all(row["usage"]["completion_tokens"] for row in rows)
    assert all(row["finish_reason"] == "stop" for row in rows)
    assert all(row["timing"]["ttft_ms"] <= row["timing"]["duration_ms"] for row in rows)


async def test_without_a_stream_the_report_has_every_completion(served: Served) -> None:
    found = await post(served, stream=False)
    rows = found.json()["variants"]
    said = [row["completion"]["choices"][0]["message"]["content"] for row in rows]
    assert said[0] == "one two three"
    assert said[1].endswith("one two three")
    assert [row["completion"]["model"] for row in rows] == BODY["models"]


@pytest.mark.parametrize("stream", [True, False])
async def test_a_model_that_fails_leaves_the_others_alone(served: Served, stream: bool) -> None:
    found = await post(served, models=["nobody", "echo", "broken"], stream=stream)
    assert found.status_code == 200
    document = events(found.text)[-1] if stream else found.json()
    codes = [row["error"] and row["error"]["code"] for row in document["variants"]]
    assert codes == ["model_not_found", None, "engine_lost"]


async def test_if_no_model_answers_the_first_error_chooses_the_status(served: Served) -> None:
    found = await post(served, models=["nobody", "nothing"])
    assert found.status_code == 404
    assert found.json()["error"]["code"] == "model_not_found"


@pytest.mark.parametrize(
    ("members", "param"),
    [
        ({"models": None}, "models"),
        ({"models": []}, "models"),
        ({"models": "echo"}, "models"),
        ({"models": ["echo", 7]}, "models"),
        ({"models": ["echo"] * 17}, "models"),
        ({"model": "echo"}, "model"),
        ({"n": 2}, "n"),
        ({"max_tokens": -1}, "max_tokens"),
    ],
)
async def test_what_cannot_be_compared_is_refused_by_name(
    served: Served, members: dict[str, Any], param: str
) -> None:
    found = await post(served, **members)
    assert found.status_code == 400
    assert found.json()["error"]["param"] == param


async def test_a_client_that_leaves_ends_every_generation(tmp_path: Path) -> None:
    engine = Held()
    async with (
        asyncio.timeout(30),
        serve_echo(tmp_path, engine) as served,
        httpx.AsyncClient(base_url=served.url) as client,
    ):
        body = {**BODY, "models": ["echo"] * 3}
        async with client.stream("POST", PATH, json=body) as stream:
            assert stream.status_code == 200
            await engine.begun.wait()
        await engine.closed.wait()
