"""The official clients, unmodified and as strict as they can be, on the echo engine."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from conformance.engines import DyingEngine
from support import builders, clients
from support.serving import Served, serve_echo, until_served

HI = {"role": "user", "content": "one two"}


def strict_client(url: str) -> clients.openai.AsyncOpenAI:
    return clients.openai.AsyncOpenAI(
        base_url=f"{url}/v1", api_key="none", max_retries=0, _strict_response_validation=True
    )


@pytest_asyncio.fixture
async def client(echo: Served) -> AsyncIterator[clients.openai.AsyncOpenAI]:
    async with strict_client(echo.url) as made:
        yield made


@pytest.mark.requirement("client:strict")
async def test_the_strict_client_chats(client: clients.openai.AsyncOpenAI) -> None:
    answer = await client.chat.completions.create(model="echo", messages=[HI], store=True, n=2)
    assert [choice.message.content for choice in answer.choices] == ["one two", "one two"]


@pytest.mark.requirement("client:strict")
async def test_the_strict_client_reads_a_stream(client: clients.openai.AsyncOpenAI) -> None:
    chunks = await client.chat.completions.create(
        model="echo", messages=[HI], stream=True, stream_options={"include_usage": True}
    )
    found = [chunk async for chunk in chunks]
    assert "".join(c.choices[0].delta.content or "" for c in found if c.choices) == "one two"
    assert found[-1].usage is not None


@pytest.mark.requirement("client:strict")
async def test_the_strict_client_completes(client: clients.openai.AsyncOpenAI) -> None:
    answer = await client.completions.create(model="echo", prompt="one two")
    assert answer.choices[0].text == "one two"


@pytest.mark.requirement("client:strict")
async def test_the_strict_client_lists_models(client: clients.openai.AsyncOpenAI) -> None:
    models = await client.models.list()
    assert [model.id async for model in models] == ["echo"]
    assert (await client.models.retrieve("echo")).id == "echo"


@pytest.mark.requirement("models:delete")
async def test_the_strict_client_deletes_a_model(
    echo: Served, client: clients.openai.AsyncOpenAI
) -> None:
    builders.write(echo.adapters / "mine")
    await until_served(echo, "mine")
    assert (await client.models.delete("mine")).deleted
    assert [model.id async for model in await client.models.list()] == ["echo"]


@pytest.mark.requirement("completions:stream")
async def test_only_a_client_that_is_not_strict_reads_a_streamed_completion(
    echo: Served, client: clients.openai.AsyncOpenAI
) -> None:
    chunks = await client.completions.create(model="echo", prompt="one two", stream=True)
    with pytest.raises(clients.openai.APIResponseValidationError):
        await anext(aiter(chunks))
    await chunks.close()
    async with clients.openai.AsyncOpenAI(base_url=f"{echo.url}/v1", api_key="none") as usual:
        chunks = await usual.completions.create(model="echo", prompt="one two", stream=True)
        assert "".join([chunk.choices[0].text async for chunk in chunks]) == "one two"


@pytest.mark.requirement("errors:client-classes")
async def test_the_client_raises_what_its_users_catch(client: clients.openai.AsyncOpenAI) -> None:
    with pytest.raises(clients.openai.NotFoundError) as missing:
        await client.chat.completions.create(model="nobody", messages=[HI])
    assert missing.value.code == "model_not_found"
    with pytest.raises(clients.openai.BadRequestError) as refused:
        await client.chat.completions.create(model="echo", messages=[HI], n=500)
    assert refused.value.param == "n"
    assert refused.value.request_id


@pytest.mark.requirement("chat:stream:fault")
async def test_a_fault_inside_a_stream_is_an_api_error(tmp_path: Path) -> None:
    async with serve_echo(tmp_path, DyingEngine()) as served, strict_client(served.url) as client:
        chunks = await client.chat.completions.create(model="echo", messages=[HI], stream=True)
        with pytest.raises(clients.openai.APIError, match="stopped"):
            async for _ in chunks:
                pass


@pytest.mark.requirement("errors:anthropic")
async def test_anthropics_client_raises_its_own_classes(echo: Served) -> None:
    async with clients.anthropic.AsyncAnthropic(
        base_url=echo.url, api_key="none", max_retries=0
    ) as client:
        with pytest.raises(clients.anthropic.NotFoundError):
            await client.messages.create(
                model="nobody", max_tokens=4, messages=[{"role": "user", "content": "hi"}]
            )
