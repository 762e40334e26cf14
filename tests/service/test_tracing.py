"""The spans of one request: one trace, the right parents, and nothing users wrote."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from support import builders
from support.serving import POLL_S, logging_to_stderr, serve_echo
from veneer_server.engine.base import Answer, Call, EngineLost, Frames
from veneer_server.engine.echo import EchoEngine
from veneer_server.telemetry.tracing import Tracing

SECRET = "xylophone"
TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
HEADERS = {"traceparent": f"00-{TRACE}-{PARENT}-01"}


def body(model: str, *, stream: bool = True) -> dict[str, object]:
    messages = [{"role": "user", "content": f"one {SECRET}"}]
    return {"model": model, "messages": messages, "stream": stream, "max_tokens": 9}


class Listening(EchoEngine):
    """Remembers the headers it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.headers: list[dict[str, str]] = []

    async def respond(self, call: Call) -> Answer | Frames:
        self.headers.append(dict(call.headers))
        return await super().respond(call)


class Rig:
    """A server whose spans are kept in memory."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        self.provider = TracerProvider()
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.engine = Listening()

    @asynccontextmanager
    async def client(self, folder: Path) -> AsyncIterator[httpx.AsyncClient]:
        builders.write(folder / "adapters" / "mine")
        async with (
            serve_echo(folder, self.engine, Tracing(self.provider)) as served,
            httpx.AsyncClient(base_url=served.url) as client,
        ):
            # Told just after the adapter is there, and of no interest here.
            async with asyncio.timeout(30):
                while "adapter stage" not in self.spans():
                    await asyncio.sleep(POLL_S)
            self.exporter.clear()
            yield client

    def spans(self) -> dict[str, ReadableSpan]:
        return {span.name: span for span in self.exporter.get_finished_spans()}


@pytest.fixture
def rig() -> Iterator[Rig]:
    made = Rig()
    yield made
    made.provider.shutdown()


def is_child(span: ReadableSpan, parent: ReadableSpan) -> bool:
    return span.parent is not None and span.parent.span_id == parent.context.span_id


@pytest.mark.parametrize("stream", [True, False])
async def test_a_cold_request_is_one_trace_from_the_client_to_the_load(
    rig: Rig, tmp_path: Path, stream: bool
) -> None:
    async with rig.client(tmp_path) as client:
        asked = body("mine", stream=stream)
        await client.post("/v1/chat/completions", json=asked, headers=HEADERS)
    spans = rig.spans()
    http, answer = spans["POST /v1/chat/completions"], spans["chat mine"]
    lease, load = spans["adapter lease"], spans["adapter load"]
    assert {f"{span.context.trace_id:032x}" for span in spans.values()} == {TRACE}
    assert http.parent is not None
    assert f"{http.parent.span_id:016x}" == PARENT
    assert is_child(answer, http)
    assert is_child(lease, answer)
    assert is_child(load, lease)


async def test_the_engine_is_told_which_span_its_own_belong_to(rig: Rig, tmp_path: Path) -> None:
    async with rig.client(tmp_path) as client:
        await client.post("/v1/chat/completions", json=body("echo"), headers=HEADERS)
    context = rig.spans()["chat echo"].context
    assert rig.engine.headers == [{"traceparent": f"00-{TRACE}-{context.span_id:016x}-01"}]


async def test_an_answers_span_has_the_attributes_of_the_conventions(
    rig: Rig, tmp_path: Path
) -> None:
    async with rig.client(tmp_path) as client:
        await client.post("/v1/chat/completions", json=body("mine"))
    found = dict(rig.spans()["chat mine"].attributes or {})
    assert found.pop("gen_ai.server.time_to_first_token")
    assert str(found.pop("gen_ai.response.model")).startswith("mine@1#sha256:")
    assert found == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "veneer",
        "gen_ai.request.model": "mine",
        "gen_ai.request.max_tokens": 9,
        "gen_ai.usage.input_tokens": 2,
        "gen_ai.usage.output_tokens": 3,
    }
    assert SECRET not in "".join(span.to_json() for span in rig.spans().values())


class Dying(Listening):
    """Is lost whenever it is asked."""

    async def respond(self, call: Call) -> Answer | Frames:
        raise EngineLost("the engine stopped while it was answering")


async def test_a_failed_request_is_an_error_with_its_kind(rig: Rig, tmp_path: Path) -> None:
    rig.engine = Dying()
    async with rig.client(tmp_path) as client:
        await client.post("/v1/chat/completions", json=body("mine"))
    http, answer = rig.spans()["POST /v1/chat/completions"], rig.spans()["chat mine"]
    assert not http.status.is_ok
    assert not answer.status.is_ok
    assert (http.attributes or {})["error.type"] == "engine_lost"
    assert (answer.attributes or {})["error.type"] == "EngineLost"


class Blurting(Listening):
    """Fails in a way nobody foresaw, and quotes the prompt."""

    async def respond(self, call: Call) -> Answer | Frames:
        raise ZeroDivisionError(str(call.body))


async def test_an_exception_that_quotes_the_prompt_leaves_only_its_kind(
    rig: Rig, tmp_path: Path
) -> None:
    rig.engine = Blurting()
    async with rig.client(tmp_path) as client:
        answer = await client.post("/v1/chat/completions", json=body("mine"))
    assert answer.status_code == 500
    assert (rig.spans()["chat mine"].attributes or {})["error.type"] == "ZeroDivisionError"
    assert SECRET not in "".join(span.to_json() for span in rig.spans().values())


async def test_loading_by_request_puts_staging_into_its_trace(rig: Rig, tmp_path: Path) -> None:
    async with rig.client(tmp_path) as client:
        asked = {"lora_name": "other", "lora_path": str(tmp_path / "adapters" / "mine")}
        answer = await client.post("/v1/load_lora_adapter", json=asked, headers=HEADERS)
        assert answer.status_code == 200
    traces = {name: f"{span.context.trace_id:032x}" for name, span in rig.spans().items()}
    assert traces["adapter stage"] == traces["adapter load"] == TRACE


async def test_the_log_and_the_exemplars_name_the_trace(
    rig: Rig, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    openmetrics = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8"
    with logging_to_stderr("json"):
        async with rig.client(tmp_path) as client:
            await client.post("/v1/chat/completions", json=body("mine"), headers=HEADERS)
            page = (await client.get("/metrics", headers={"accept": openmetrics})).text
    lines = [json.loads(line) for line in capfd.readouterr().err.splitlines()]
    [line] = [line for line in lines if line["event"] == "request"]
    assert line["trace_id"] == TRACE
    assert f'trace_id="{TRACE}"' in page
    assert f'request_id="{line["request_id"]}"' in page


async def test_probes_and_scrapes_are_no_traces(rig: Rig, tmp_path: Path) -> None:
    async with rig.client(tmp_path) as client:
        for path in ("/metrics", "/readyz"):
            await client.get(path, headers=HEADERS)
    assert rig.spans() == {}


async def test_unasked_no_span_is_made_and_the_engine_gets_no_headers(tmp_path: Path) -> None:
    engine = Listening()
    async with (
        serve_echo(tmp_path, engine) as served,
        httpx.AsyncClient(base_url=served.url) as client,
    ):
        await client.post("/v1/chat/completions", json=body("echo"), headers=HEADERS)
    assert engine.headers == [{}]
