"""Files by the official client, as strict as it can be, and by the official schema."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from conformance.schema import OfficialSchema
from support import clients
from support.serving import Served

ROWS = b'{"a": 1}\n'


@pytest_asyncio.fixture
async def client(echo: Served) -> AsyncIterator[Any]:
    async with clients.openai.AsyncOpenAI(
        base_url=f"{echo.url}/v1", api_key="none", max_retries=0, _strict_response_validation=True
    ) as official:
        yield official


def raw(answer: Any) -> Any:
    return answer.model_dump(mode="json", exclude_unset=True)


@pytest.mark.requirement("files:object")
async def test_a_file_is_made_listed_read_and_deleted(
    client: Any, openai_schema: OfficialSchema
) -> None:
    made = await client.files.create(
        file=("rows.jsonl", ROWS),
        purpose="fine-tune",
        expires_after={"anchor": "created_at", "seconds": 3600},
    )
    openai_schema.check("OpenAIFile", raw(made))
    assert made.expires_at == made.created_at + 3600
    found = await client.files.retrieve(made.id)
    openai_schema.check("OpenAIFile", raw(found))
    assert found == made
    assert await client.files.wait_for_processing(made.id) == made
    assert (await client.files.content(made.id)).content == ROWS
    gone = await client.files.delete(made.id)
    openai_schema.check("DeleteFileResponse", raw(gone))
    with pytest.raises(clients.openai.NotFoundError) as refused:
        await client.files.retrieve(made.id)
    assert (refused.value.code, refused.value.param) == (None, "id")


@pytest.mark.requirement("files:pages")
async def test_the_client_reads_the_list_in_pages(
    client: Any, openai_schema: OfficialSchema
) -> None:
    ids = [
        (await client.files.create(file=("rows.jsonl", b"%d" % n), purpose="batch")).id
        for n in range(3)
    ]
    page = await client.files.list(limit=2, order="asc", purpose="batch")
    openai_schema.check("ListFilesResponse", raw(page))
    assert [file.id async for file in page] == ids
    assert [file.id async for file in await client.files.list()] == ids[::-1]
    nothing = await client.files.list(purpose="fine-tune")
    openai_schema.check("ListFilesResponse", raw(nothing))
    assert nothing.data == []


@pytest.mark.requirement("files:evals")
async def test_a_file_for_evals_says_so_though_the_schema_of_answers_does_not_know_it(
    echo: Served, openai_schema: OfficialSchema
) -> None:
    async with clients.openai.AsyncOpenAI(base_url=f"{echo.url}/v1", api_key="none") as plain:
        made = await plain.files.create(file=("rows.jsonl", ROWS), purpose="evals")
    assert made.purpose == "evals"
    fault = openai_schema.fault("OpenAIFile", raw(made))
    assert fault is not None
    assert "'evals' is not one of" in fault
