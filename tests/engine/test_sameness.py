"""The answer is the same streamed and not, wherever it is cut off, in fp32."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import pytest_asyncio

from conformance.wire import events
from support import folding
from support.lending import Lent
from support.places import DEMO
from support.serving import serve_app, until_served
from veneer_server.settings import Settings

pytestmark = [
    pytest.mark.engine,
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.timeout(600),
]

LIMITS = (1, 2, 3, 4, 5, 7, 9, 12, 16, 21, 28, 40)
PARAMETERS = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "unit": {"type": "string", "enum": ["C", "F"]}},
    "required": ["city", "unit"],
    "additionalProperties": False,
}
FUNCTION = {"name": "get_weather", "description": "Weather of a city", "parameters": PARAMETERS}
TOOL = {"type": "function", "function": FUNCTION}
STRICT = {"type": "function", "function": {**FUNCTION, "strict": True}}
FLAT = {"type": "function", **FUNCTION}
ANTHROPIC = {"name": "get_weather", "input_schema": PARAMETERS}
USAGE = {"stream_options": {"include_usage": True}}
ASK = [{"role": "user", "content": "What is the weather in Oslo in C?"}]
SCHEMA = {"name": "x", "schema": PARAMETERS, "strict": True}

CHAT: dict[str, dict[str, Any]] = {
    "text": {},
    "logprobs": {"logprobs": True, "top_logprobs": 2},
    "stop": {"stop": ["the", "\n"]},
    "several": {"n": 2},
    "schema": {"response_format": {"type": "json_schema", "json_schema": SCHEMA}},
    "auto": {"tools": [TOOL], "model": "tool-caller"},
    "auto, and logprobs": {"tools": [TOOL], "model": "tool-caller", "logprobs": True},
    "strict": {"tools": [STRICT], "model": "tool-caller"},
    "required": {"tools": [TOOL], "tool_choice": "required"},
    "named": {
        "tools": [TOOL],
        "tool_choice": {"type": "function", "function": {"name": "get_weather"}},
    },
    "none": {"tools": [TOOL], "tool_choice": "none", "model": "tool-caller"},
}
COMPLETIONS: dict[str, dict[str, Any]] = {
    "text": {},
    "logprobs": {"logprobs": 2},
    "echo": {"echo": True},
    "several": {"prompt": ["One two", "Three"], "n": 2},
    "stop": {"stop": [" the", "\n"]},
}
RESPONSES: dict[str, dict[str, Any]] = {
    "text": {},
    "logprobs": {"include": ["message.output_text.logprobs"], "top_logprobs": 2},
    "schema": {"text": {"format": {"type": "json_schema", **SCHEMA}}},
    "auto": {"tools": [FLAT], "model": "tool-caller"},
    "required": {"tools": [FLAT], "tool_choice": "required"},
    "named": {"tools": [FLAT], "tool_choice": {"type": "function", "name": "get_weather"}},
}
MESSAGES: dict[str, dict[str, Any]] = {
    "text": {},
    "stop": {"stop_sequences": [" the", "\n"]},
    "auto": {"tools": [ANTHROPIC], "model": "tool-caller"},
    "any": {"tools": [ANTHROPIC], "tool_choice": {"type": "any"}},
    "named": {"tools": [ANTHROPIC], "tool_choice": {"type": "tool", "name": "get_weather"}},
}


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def client(
    vllm_engine: Any, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a server on the shared engine, with the demo adapters."""
    folder = tmp_path_factory.mktemp("sameness")
    flags = {
        "adapters": {"dir": folder / "adapters", "roots": [DEMO], "device_slots": 8},
        "state": {"dir": folder / "state"},
    }
    engine: Any = Lent(vllm_engine)
    async with serve_app(Settings.load(environ={}, flags=flags), engine) as served:
        await until_served(served, "tool-caller")
        async with httpx.AsyncClient(base_url=served.url, timeout=300) as client:
            yield client
        await engine.unload_all()


async def ask(client: httpx.AsyncClient, path: str, body: dict[str, Any]) -> Any:
    """Return the document, or the events of the stream."""
    found = await client.post(path, json=body)
    assert found.status_code == 200, found.text
    return events(found.text) if body["stream"] else found.json()


async def differences(
    client: httpx.AsyncClient,
    path: str,
    body: dict[str, Any],
    limit: str,
    fold: Any,
    options: dict[str, Any] | None = None,
) -> list[str]:
    """Return a line for each limit at which the stream does not say what the document says."""
    streamed = {"stream": True, **(options or {})}
    ways = ({"stream": False}, streamed)
    bodies = [{**body, limit: most, **way} for most in LIMITS for way in ways]
    found = await asyncio.gather(*(ask(client, path, each) for each in bodies))
    folded = [fold(each) for each in found]
    pairs = zip(LIMITS, folded[::2], folded[1::2], strict=True)
    return [
        f"{limit} {most}\n  whole  {json.dumps(whole)}\n  stream {json.dumps(stream)}"
        for most, whole, stream in pairs
        if not folding.same(whole, stream)
    ]


@pytest.mark.parametrize("feature", CHAT)
async def test_a_chat_completion_is_what_its_chunks_add_up_to(
    client: httpx.AsyncClient, feature: str
) -> None:
    body = {"model": "base", "messages": ASK, "temperature": 0, **CHAT[feature]}
    found = await differences(
        client, "/v1/chat/completions", body, "max_tokens", folding.chat, USAGE
    )
    assert not found, "\n".join(found)


@pytest.mark.parametrize("feature", COMPLETIONS)
async def test_a_completion_is_what_its_chunks_add_up_to(
    client: httpx.AsyncClient, feature: str
) -> None:
    body = {"model": "base", "prompt": "Once upon a time", "temperature": 0, **COMPLETIONS[feature]}
    found = await differences(
        client, "/v1/completions", body, "max_tokens", folding.completions, USAGE
    )
    assert not found, "\n".join(found)


@pytest.mark.parametrize("feature", RESPONSES)
async def test_a_response_is_what_its_events_add_up_to(
    client: httpx.AsyncClient, feature: str
) -> None:
    body = {"model": "base", "input": ASK, "temperature": 0, "store": False, **RESPONSES[feature]}
    found = await differences(client, "/v1/responses", body, "max_output_tokens", folding.responses)
    assert not found, "\n".join(found)


@pytest.mark.parametrize("feature", MESSAGES)
async def test_a_message_is_what_its_events_add_up_to(
    client: httpx.AsyncClient, feature: str
) -> None:
    body = {"model": "base", "messages": ASK, "temperature": 0, **MESSAGES[feature]}
    found = await differences(client, "/v1/messages", body, "max_tokens", folding.messages)
    assert not found, "\n".join(found)
