"""How names, slots and failures look to a client, on the echo engine over real HTTP."""

import asyncio
from pathlib import Path

import httpx
import pytest

from support import builders, clients
from support.serving import POLL_S, logging_to_stderr, serve_echo, until_served
from veneer_server.engine.base import Answer, Call, EngineLost, Frames
from veneer_server.engine.echo import EchoEngine

MESSAGES = [{"role": "user", "content": "one two three"}]


async def test_more_adapters_than_slots_are_all_served(tmp_path: Path) -> None:
    names = [f"a{index}" for index in range(7)]
    for index, name in enumerate(names):
        builders.write(tmp_path / "adapters" / name, seed=index)
    slots = {"device_slots": 2, "host_slots": 4}
    async with (
        serve_echo(tmp_path, adapters=slots) as served,
        clients.openai.AsyncOpenAI(base_url=f"{served.url}/v1", api_key="none") as client,
    ):
        await until_served(served, *names)

        async def ask(name: str) -> str:
            found = await client.chat.completions.create(model=name, messages=MESSAGES)
            return found.choices[0].message.content or ""

        for _ in range(3):
            said = await asyncio.gather(*(ask(name) for name in names))
            assert [text.split("@")[0] for text in said] == [f"[{name}" for name in names]
        assert served.parts is not None
        residents = served.parts.residency.snapshot()
        assert sum(resident.level == "device" for resident in residents) <= 2
        assert len(residents) <= 3


@pytest.mark.parametrize("form", ["mine", "mine@live", "mine@1", "echo:mine", "echo:mine@1"])
async def test_every_form_of_a_name_reaches_the_adapter_and_is_repeated(
    tmp_path: Path, form: str
) -> None:
    builders.write(tmp_path / "adapters" / "mine")
    async with (
        serve_echo(tmp_path) as served,
        httpx.AsyncClient(base_url=served.url) as client,
    ):
        await until_served(served, "mine")
        body = {"model": form, "messages": MESSAGES}
        found = await client.post("/v1/chat/completions", json=body)
        card = await client.get(f"/v1/models/{form}")
        assert found.json()["model"] == form
        assert found.headers["x-veneer-adapter"].startswith("mine@1#sha256:")
        assert card.json()["id"] == form


async def test_a_card_shows_the_revision_that_was_asked_for_or_404(tmp_path: Path) -> None:
    builders.write(tmp_path / "adapters" / "mine")
    async with (
        serve_echo(tmp_path) as served,
        httpx.AsyncClient(base_url=served.url) as client,
    ):
        await until_served(served, "mine")
        assert (await client.get("/v1/models/mine@1")).json()["adapter"]["revision"] == 1
        assert (await client.get("/v1/models/mine@2")).status_code == 404


async def test_an_unknown_model_is_a_404_that_names_what_was_meant(tmp_path: Path) -> None:
    builders.write(tmp_path / "adapters" / "pirate")
    async with (
        serve_echo(tmp_path) as served,
        httpx.AsyncClient(base_url=served.url) as client,
    ):
        await until_served(served, "pirate")
        for asked, meant in (("pirat", "pirate"), ("ecko", "echo")):
            body = {"model": asked, "messages": MESSAGES}
            found = await client.post("/v1/chat/completions", json=body)
            assert found.status_code == 404
            assert found.json()["error"]["code"] == "model_not_found"
            assert f"`{meant}`" in found.json()["error"]["message"]


class DyingEngine(EchoEngine):
    """Dies after the first event of a stream, and before any document."""

    async def respond(self, call: Call) -> Answer | Frames:
        found = await super().respond(call)
        if isinstance(found, Answer):
            raise EngineLost("the engine stopped while it was answering")
        return self._cut(found)

    async def _cut(self, frames: Frames) -> Frames:
        yield await anext(frames)
        raise EngineLost("the engine stopped while it was answering")


async def test_an_engine_that_dies_ends_each_request_with_one_honest_error(
    tmp_path: Path,
) -> None:
    async with (
        serve_echo(tmp_path, DyingEngine()) as served,
        clients.openai.AsyncOpenAI(
            base_url=f"{served.url}/v1", api_key="none", max_retries=0
        ) as client,
        httpx.AsyncClient(base_url=served.url) as raw,
    ):
        with pytest.raises(clients.openai.InternalServerError) as refused:
            await client.chat.completions.create(model="echo", messages=MESSAGES)
        assert (refused.value.status_code, refused.value.code) == (503, "engine_lost")
        assert int(refused.value.response.headers["retry-after"]) <= 60
        stream = await client.chat.completions.create(model="echo", messages=MESSAGES, stream=True)
        with pytest.raises(clients.openai.APIError, match="engine stopped"):
            async for _ in stream:
                pass
        body = {"model": "echo", "messages": MESSAGES, "stream": True}
        text = (await raw.post("/v1/chat/completions", json=body)).text
        assert '"code":"engine_lost"' in text
        assert "[DONE]" not in text
        assert served.parts is not None
        failed = {"adapter": "echo", "endpoint": "chat", "outcome": "failed"}
        registry = served.parts.server.metrics.registry
        assert registry.get_sample_value("veneer_requests_total", failed) == 3


class SilentEngine(EchoEngine):
    """Begins to answer and never ends; tells when it was stopped from outside."""

    def __init__(self) -> None:
        super().__init__()
        self.begun = asyncio.Event()
        self.closed = asyncio.Event()

    async def respond(self, call: Call) -> Answer | Frames:
        if call.body.get("stream"):
            return self._silence()
        return await self._never()

    async def _never(self) -> Answer:
        self.begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.closed.set()
        raise AssertionError

    async def _silence(self) -> Frames:
        yield b'data: {"model":"x","choices":[]}\n\n'
        await self._never()


@pytest.mark.parametrize("stream", [True, False])
async def test_a_client_that_hangs_up_stops_the_generation(tmp_path: Path, stream: bool) -> None:
    engine = SilentEngine()
    body = {"model": "echo", "messages": MESSAGES, "stream": stream}
    async with serve_echo(tmp_path, engine) as served, asyncio.timeout(30):
        async with httpx.AsyncClient(base_url=served.url, timeout=30) as client:
            asking = asyncio.create_task(client.post("/v1/chat/completions", json=body))
            await engine.begun.wait()
            asking.cancel()
        await engine.closed.wait()
        assert served.parts is not None
        labels = {"adapter": "echo", "endpoint": "chat", "outcome": "cancelled"}
        registry = served.parts.server.metrics.registry
        while registry.get_sample_value("veneer_requests_total", labels) != 1:
            await asyncio.sleep(POLL_S)


@pytest.mark.parametrize("stream", [True, False])
async def test_at_the_drain_deadline_what_still_runs_gets_an_error(
    tmp_path: Path, stream: bool
) -> None:
    engine = SilentEngine()
    body = {"model": "echo", "messages": MESSAGES, "stream": stream}
    async with (
        serve_echo(tmp_path, engine) as served,
        httpx.AsyncClient(base_url=served.url, timeout=30) as client,
        asyncio.timeout(30),
    ):
        asking = asyncio.create_task(client.post("/v1/chat/completions", json=body))
        await engine.begun.wait()
        assert served.parts is not None
        served.parts.server.deadline.set()
        found = await asking
        assert '"code":"server_shutting_down"' in found.text
        assert found.status_code == (200 if stream else 503)
        await engine.closed.wait()


async def connect(url: str) -> asyncio.StreamWriter:
    host, _, port = url.removeprefix("http://").partition(":")
    while True:
        try:
            return (await asyncio.open_connection(host, int(port)))[1]
        except ConnectionRefusedError:
            await asyncio.sleep(POLL_S)


async def test_a_client_that_leaves_in_the_middle_of_its_body_is_no_error_of_the_servers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    raw = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{"
    with logging_to_stderr("json"):
        async with serve_echo(tmp_path) as served, asyncio.timeout(10):
            writer = await connect(served.url)
            writer.write(raw)
            await writer.drain()
            writer.close()
            said = ""
            while '"status": 499' not in said:
                await asyncio.sleep(POLL_S)
                said += capsys.readouterr().err
    assert "Traceback" not in said
    assert '"level": "error"' not in said
