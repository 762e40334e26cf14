"""One contract, two engines: what the server may rely on, whatever stands behind the seam."""

import asyncio
from contextlib import aclosing
from pathlib import Path
from typing import Any

import orjson
import pytest

from support import builders
from veneer_adapters.catalog.proof import judge
from veneer_adapters.errors import LoadFailed
from veneer_server.engine.base import (
    Answer,
    Call,
    ContextLengthExceeded,
    Endpoint,
    Engine,
    RequestRejected,
)
from veneer_server.engine.echo import EchoEngine

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(300)]


@pytest.fixture(params=["echo", pytest.param("vllm", marks=pytest.mark.engine)])
def engine(request: pytest.FixtureRequest) -> Engine:
    if request.param == "echo":
        return EchoEngine()
    found: Engine = request.getfixturevalue("vllm_engine")
    return found


def call(engine: Engine, text: str = "one two three", **more: Any) -> Call:
    call.count += 1
    body = {
        "model": engine.model.id,
        "messages": [{"role": "user", "content": text}],
        "max_tokens": 8,
        "temperature": 0,
        **more,
    }
    return Call(Endpoint.CHAT, body, f"contract-{call.count}")


call.count = 0


async def document(engine: Engine, asked: Call) -> dict[str, Any]:
    found = await engine.respond(asked)
    assert isinstance(found, Answer)
    return found.body


async def events(engine: Engine, asked: Call) -> list[bytes]:
    found = await engine.respond(asked)
    assert not isinstance(found, Answer)
    async with aclosing(found) as frames:
        return [frame async for frame in frames]


def write_adapter(engine: Engine, folder: Path) -> Path:
    modules = dict(list(engine.facts.modules.items())[:2]) or builders.MODULES
    weights = builders.safetensors(builders.tensors(modules))
    return builders.write(folder, weights=weights)


async def test_a_document_carries_the_text_the_usage_and_how_it_ended(engine: Engine) -> None:
    body = await document(engine, call(engine, max_tokens=1))
    assert body["object"] == "chat.completion"
    assert body["choices"][0]["message"]["content"]
    assert body["choices"][0]["finish_reason"] == "length"
    assert body["usage"]["completion_tokens"] == 1


def response(engine: Engine, given: Any, **more: Any) -> Call:
    found = call(engine)
    body = {"model": engine.model.id, "input": given, "max_output_tokens": 8, "temperature": 0}
    return Call(Endpoint.RESPONSES, {**body, **more}, found.request_id)


async def test_a_response_has_the_id_that_it_was_given(engine: Engine) -> None:
    ids = iter(("resp_contract1", "resp_contract2"))
    body = await document(engine, response(engine, "one two", request_id=next(ids), store=False))
    assert (body["id"], body["object"]) == ("resp_contract1", "response")
    asked = response(engine, "one two", request_id=next(ids), store=False, stream=True)
    first, *_, last = await events(engine, asked)
    for frame in (first, last):
        assert orjson.loads(frame[frame.index(b"{") :])["response"]["id"] == "resp_contract2"


async def test_the_tokens_of_an_input_are_counted_as_they_are_used(engine: Engine) -> None:
    given = [{"role": "user", "content": "one"}, {"role": "assistant", "content": "two"}]
    given += [{"role": "user", "content": "three four"}]
    asked = response(engine, given)
    used = (await document(engine, asked))["usage"]["input_tokens"]
    counted = await document(engine, Call(Endpoint.INPUT_TOKENS, asked.body, "contract-count"))
    assert counted == {"object": "response.input_tokens", "input_tokens": used}


async def test_n_asks_for_that_many_choices(engine: Engine) -> None:
    body = await document(engine, call(engine, n=3, temperature=1))
    assert [choice["index"] for choice in body["choices"]] == [0, 1, 2]


async def test_a_stream_begins_with_the_role_and_says_the_same_as_the_document(
    engine: Engine,
) -> None:
    whole = await document(engine, call(engine))
    *parts, last = await events(engine, call(engine, stream=True))
    chunks = [orjson.loads(part.removeprefix(b"data: ")) for part in parts]
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
    assert deltas[0]["role"] == "assistant"
    text = "".join(delta.get("content") or "" for delta in deltas)
    assert text == whole["choices"][0]["message"]["content"]
    assert last == b"data: [DONE]\n\n"


async def test_usage_comes_last_when_it_is_asked_for(engine: Engine) -> None:
    *_, usage, _done = await events(
        engine, call(engine, stream=True, stream_options={"include_usage": True})
    )
    chunk = orjson.loads(usage.removeprefix(b"data: "))
    assert chunk["choices"] == []
    assert chunk["usage"]["completion_tokens"] > 0


async def test_an_adapter_answers_from_its_load_to_its_unload(
    engine: Engine, tmp_path: Path
) -> None:
    path = write_adapter(engine, tmp_path / "a")
    with pytest.raises(RequestRejected):
        await engine.respond(call(engine, model="a@sha256:1"))
    await engine.load_adapter(9001, "a@sha256:1", path)
    assert (await document(engine, call(engine, model="a@sha256:1")))["choices"]
    await engine.deactivate_adapter(9001)
    await engine.activate_adapter(9001)
    assert (await document(engine, call(engine, model="a@sha256:1")))["choices"]
    await engine.unload_adapter(9001)
    await engine.unload_adapter(9001)
    with pytest.raises(RequestRejected):
        await engine.respond(call(engine, model="a@sha256:1"))


async def test_a_prompt_that_does_not_fit_is_said_to_be_too_long(engine: Engine) -> None:
    with pytest.raises(ContextLengthExceeded, match="maximum context length is"):
        await engine.respond(call(engine, "word " * (engine.model.max_model_len + 1)))


@pytest.mark.parametrize("streaming", [False, True])
async def test_what_is_refused_is_refused_by_the_first_event_with_the_field(
    engine: Engine, streaming: bool
) -> None:
    async def begin() -> None:
        asked = call(engine, top_logprobs=21, logprobs=True, stream=streaming)
        found = await engine.respond(asked)
        assert not isinstance(found, Answer)
        async with aclosing(found) as frames:
            await anext(frames)

    with pytest.raises(RequestRejected) as raised:
        await begin()
    assert raised.value.param in ("logprobs", "top_logprobs")


async def test_a_stream_closed_early_leaves_the_engine_able_to_answer(engine: Engine) -> None:
    found = await engine.respond(call(engine, stream=True, max_tokens=500))
    assert not isinstance(found, Answer)
    async with aclosing(found) as frames:
        await anext(frames)
    async with asyncio.timeout(60):
        assert (await document(engine, call(engine)))["choices"]
    await engine.check_health()


async def test_requests_side_by_side_are_answered_each_on_its_own(engine: Engine) -> None:
    texts = ["red", "green", "blue", "white"]
    alone = [await document(engine, call(engine, text)) for text in texts]
    together = await asyncio.gather(*(document(engine, call(engine, text)) for text in texts))

    def said(bodies: list[dict[str, Any]]) -> list[str]:
        return [body["choices"][0]["message"]["content"] for body in bodies]

    assert said(list(together)) == said(alone)


async def test_the_effect_of_a_loaded_adapter_is_measured_and_passes(
    engine: Engine, tmp_path: Path
) -> None:
    await engine.load_adapter(9101, "e@sha256:1", write_adapter(engine, tmp_path / "e"))
    try:
        effect = await engine.measure_effect(9101, "e@sha256:1")
        assert effect.modules in (None, 2)
        assert effect.largest_change
        judge(effect)
        with pytest.raises(LoadFailed):
            await engine.measure_effect(9101, "another@sha256:1")
    finally:
        await engine.unload_adapter(9101)
    with pytest.raises(LoadFailed):
        await engine.measure_effect(9101, "e@sha256:1")
