"""A real server, as ``make serve`` starts it: what its users do, with the real engine."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import struct
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from support import clients
from support.places import DEMO
from support.serving import POLL_S, Served

pytestmark = [
    pytest.mark.engine,
    pytest.mark.timeout(300),
    pytest.mark.asyncio(loop_scope="session"),
]

BASE = "smollm2-135m-instruct"
SENTENCE = "Nadia Brenner lives in Graz and earns her living as a locksmith."
NEAR_S = 5
"""Seconds within which a folder that was dropped in answers."""


@pytest_asyncio.fixture(loop_scope="session")
async def client(engine_server: Served) -> AsyncIterator[clients.openai.AsyncOpenAI]:
    async with clients.openai.AsyncOpenAI(
        base_url=f"{engine_server.url}/v1", api_key="none", max_retries=0
    ) as client:
        yield client


async def say(client: clients.openai.AsyncOpenAI, model: str, text: str = SENTENCE) -> str:
    found = await client.chat.completions.create(
        model=model,
        messages=[{"role": "user", "content": text}],
        max_tokens=60,
        temperature=0,
    )
    assert found.model == model
    return found.choices[0].message.content or ""


async def until(
    client: clients.openai.AsyncOpenAI, name: str, wanted: Callable[[dict[str, Any] | None], bool]
) -> dict[str, Any] | None:
    """Return the adapter facts of ``name`` as soon as ``wanted`` says so."""
    async with asyncio.timeout(NEAR_S * 4):
        while True:
            try:
                found = (await client.models.retrieve(name)).to_dict()["adapter"]
            except clients.openai.NotFoundError:
                found = None
            if wanted(found):
                return found
            await asyncio.sleep(POLL_S)


async def test_every_demo_adapter_is_listed_and_answers_in_its_own_way(
    client: clients.openai.AsyncOpenAI,
) -> None:
    names = {card.id async for card in client.models.list()}
    assert {BASE, "pirate", "json-extractor", "haiku", "tool-caller"} <= names
    base, extracted = await asyncio.gather(say(client, BASE), say(client, "json-extractor"))
    assert json.loads(extracted) == {"name": "Nadia Brenner", "city": "Graz", "job": "locksmith"}
    assert base != extracted
    question = "What should I pack for a week in the mountains?"
    pirate, haiku = await asyncio.gather(
        say(client, "pirate", question), say(client, "haiku", question)
    )
    assert re.search(r"\b(arr+|matey|ye|aye|ahoy)\b", pirate, re.IGNORECASE)
    assert len(haiku.strip().splitlines()) == 3


async def test_the_tool_adapter_calls_the_right_function(
    client: clients.openai.AsyncOpenAI,
) -> None:
    tools: Any = [
        {
            "type": "function",
            "function": {
                "name": "get_weather",
                "description": "Get the current weather of a city.",
                "parameters": {
                    "type": "object",
                    "properties": {"city": {"type": "string"}},
                    "required": ["city"],
                },
            },
        }
    ]
    found = await client.chat.completions.create(
        model="tool-caller",
        messages=[{"role": "user", "content": "What is the weather in Oslo right now?"}],
        tools=tools,
        temperature=0,
        max_tokens=80,
    )
    [choice] = found.choices
    assert choice.finish_reason == "tool_calls"
    [call] = choice.message.tool_calls or []
    assert call.function.name == "get_weather"
    assert json.loads(call.function.arguments)["city"] == "Oslo"


async def test_a_dropped_folder_answers_soon_and_a_running_stream_is_untouched(
    engine_server: Served, client: clients.openai.AsyncOpenAI
) -> None:
    prompt: Any = [{"role": "user", "content": "Tell me a long story about a lighthouse."}]
    stream = await client.chat.completions.create(
        model=BASE,
        messages=prompt,
        max_tokens=150,
        stream=True,
        stream_options={"include_usage": True},
        extra_body={"ignore_eos": True},
    )
    await anext(stream)
    shutil.copytree(DEMO / "json-extractor", engine_server.adapters / "dropped")

    facts = await until(client, "dropped", lambda facts: facts is not None)
    answer = await say(client, "dropped")

    assert facts is not None
    assert facts["revision"] == 1
    assert json.loads(answer)["city"] == "Graz"
    *_, last, usage = [chunk async for chunk in stream]
    assert last.choices[0].finish_reason == "length"
    assert usage.usage is not None
    assert usage.usage.completion_tokens == 150


async def test_a_folder_changed_in_place_never_answers_with_stale_weights(
    engine_server: Served, client: clients.openai.AsyncOpenAI
) -> None:
    folder = engine_server.adapters / "changing"
    shutil.copytree(DEMO / "json-extractor", folder)
    await until(client, "changing", lambda facts: facts is not None)
    assert (await say(client, "changing")).startswith("{")

    for file in ("adapter_config.json", "adapter_model.safetensors"):
        shutil.copy(DEMO / "haiku" / file, folder / file)

    await until(client, "changing", lambda facts: bool(facts) and facts["revision"] == 2)
    # One after the other: in bfloat16 what shares a batch changes the rounding, and so the text.
    assert await say(client, "changing") == await say(client, "haiku")
    assert (await say(client, "changing@1")).startswith("{")
    shutil.rmtree(folder)
    await until(client, "changing", lambda facts: facts is None)
    with pytest.raises(clients.openai.NotFoundError):
        await say(client, "changing")


def _of_a_deeper_model(header: dict[str, Any], _config: dict[str, Any]) -> None:
    for name in [name for name in header if ".layers.0." in name]:
        header[name.replace(".layers.0.", ".layers.99.")] = header.pop(name)


BROKEN: dict[str, tuple[Callable[..., None], str]] = {
    "dora": (lambda _header, config: config.update(use_dora=True), "unsupported_feature"),
    "rank": (lambda _header, config: config.update(r=16), "invalid_config"),
    "layers": (_of_a_deeper_model, "base_mismatch"),
}


@pytest.mark.parametrize("kind", BROKEN)
async def test_a_broken_folder_is_listed_with_its_reason_and_never_reaches_the_engine(
    engine_server: Served, client: clients.openai.AsyncOpenAI, kind: str
) -> None:
    spoil, reason = BROKEN[kind]
    folder = engine_server.adapters / f"broken-{kind}"
    shutil.copytree(DEMO / "json-extractor", folder)
    _rewrite(folder, spoil)

    facts = await until(client, folder.name, lambda facts: bool(facts and facts.get("reason")))

    assert facts is not None
    assert (facts["state"], facts["reason"]) == ("failed", reason)
    with pytest.raises(clients.openai.ConflictError):
        await say(client, folder.name)
    assert (await say(client, "json-extractor")).startswith("{")


def _rewrite(folder: Path, spoil: Callable[..., None]) -> None:
    weights, config_file = folder / "adapter_model.safetensors", folder / "adapter_config.json"
    raw = weights.read_bytes()
    [size] = struct.unpack("<Q", raw[:8])
    header, config = json.loads(raw[8 : 8 + size]), json.loads(config_file.read_text())
    spoil(header, config)
    packed = json.dumps(header).encode()
    weights.write_bytes(struct.pack("<Q", len(packed)) + packed + raw[8 + size :])
    config_file.write_text(json.dumps(config))


async def test_a_client_that_hangs_up_frees_the_engine(
    engine_server: Served, client: clients.openai.AsyncOpenAI
) -> None:
    body: Any = {"ignore_eos": True}
    stream = await client.chat.completions.create(
        model="pirate",
        messages=[{"role": "user", "content": "Count."}],
        max_tokens=4000,
        stream=True,
        extra_body=body,
    )
    await anext(stream)
    await stream.close()
    async with httpx.AsyncClient(base_url=engine_server.url) as raw, asyncio.timeout(30):
        while _running(await raw.get("/metrics")) > 0:
            await asyncio.sleep(POLL_S)


def _running(metrics: httpx.Response) -> float:
    found = re.search(r"^vllm:num_requests_running\S* (\S+)$", metrics.text, re.MULTILINE)
    assert found, "vLLM's own metrics are missing"
    return float(found[1])


async def test_the_log_has_one_line_per_request_and_never_the_prompt(
    engine_server: Served, client: clients.openai.AsyncOpenAI
) -> None:
    secret = "xylophone-parliament"
    await say(client, BASE, f"Repeat this: {secret}")
    assert engine_server.log is not None
    text = engine_server.log.read_text()
    assert secret not in text
    lines = [json.loads(line) for line in text.splitlines() if '"event": "request"' in line]
    assert {"method", "path", "status", "duration_ms", "request_id", "model"} <= set(lines[-1])
