"""Batches by the official client, as strict as it can be, and by the official schema."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from conformance.schema import OfficialSchema
from support import clients
from support.batching import CHAT, ENDED, line, to_jsonl
from support.serving import POLL_S, Served


class Client:
    """The official client, and the schema to which every batch is held."""

    def __init__(self, official: Any, schema: OfficialSchema) -> None:
        self.files = official.files
        self.batches = official.batches
        self._schema = schema

    def checked(self, found: Any, kind: str = "Batch") -> Any:
        self._schema.check(kind, found.model_dump(mode="json", exclude_unset=True))
        return found

    async def create(self, lines: list[Any]) -> Any:
        content = ("lines.jsonl", to_jsonl(lines))
        file = await self.files.create(file=content, purpose="batch")
        return self.checked(
            await self.batches.create(
                input_file_id=file.id,
                endpoint=CHAT,
                completion_window="24h",
                metadata={"of": "a test"},
                output_expires_after={"anchor": "created_at", "seconds": 3600},
            )
        )

    async def ended(self, batch: Any) -> Any:
        async with asyncio.timeout(20):
            while batch.status not in ENDED:
                await asyncio.sleep(POLL_S)
                batch = self.checked(await self.batches.retrieve(batch.id))
        return batch

    async def lines(self, file_id: str) -> list[dict[str, Any]]:
        content = (await self.files.content(file_id)).text
        return [json.loads(one) for one in content.splitlines()]


@pytest_asyncio.fixture
async def client(echo: Served, openai_schema: OfficialSchema) -> AsyncIterator[Client]:
    async with clients.openai.AsyncOpenAI(
        base_url=f"{echo.url}/v1", api_key="none", max_retries=0, _strict_response_validation=True
    ) as official:
        yield Client(official, openai_schema)


@pytest.mark.requirement("batches:object")
async def test_a_batch_is_followed_to_its_end_listed_and_cancelled(
    client: Client, openai_schema: OfficialSchema
) -> None:
    done = await client.ended(await client.create([line(1), line(2)]))
    assert (done.status, done.request_counts.completed) == ("completed", 2)
    assert done.usage.total_tokens > 0
    output = await client.files.retrieve(done.output_file_id)
    assert output.expires_at == output.created_at + 3600
    many = await client.create([line(number) for number in range(500)])
    cancelled = client.checked(await client.batches.cancel(many.id))
    assert cancelled.status in ("cancelling", "cancelled")
    await client.ended(cancelled)
    page = await client.batches.list(limit=1)
    client.checked(page, "ListBatchesResponse")
    assert [batch.id async for batch in page] == [cancelled.id, done.id]


@pytest.mark.requirement("batches:lines")
async def test_answers_and_errors_of_lines_have_the_official_shapes(
    client: Client, openai_schema: OfficialSchema
) -> None:
    long = [{"role": "user", "content": "word " * 50_000}]
    batch = await client.ended(await client.create([line(1), line(2, messages=long)]))
    [answer] = await client.lines(batch.output_file_id)
    [failed] = await client.lines(batch.error_file_id)
    for one in (answer, failed):
        assert one.keys() == {"id", "custom_id", "response", "error"}
        assert one["response"].keys() == {"status_code", "request_id", "body"}
    openai_schema.check("CreateChatCompletionResponse", answer["response"]["body"])
    openai_schema.check("ErrorResponse", failed["response"]["body"])


@pytest.mark.requirement("batches:errors")
async def test_a_batch_with_wrong_lines_fails_and_says_which(client: Client) -> None:
    batch = await client.ended(await client.create([line(1), line(1), "{"]))
    assert batch.status == "failed"
    assert [(one.line, one.code) for one in batch.errors.data] == [
        (2, "duplicate_custom_id"),
        (3, "invalid_json_line"),
    ]


@pytest.mark.requirement("batches:models")
async def test_the_lines_of_a_batch_may_name_different_models(client: Client) -> None:
    batch = await client.ended(await client.create([line(1, "echo"), line(2, None)]))
    assert (batch.status, batch.model) == ("completed", None)
