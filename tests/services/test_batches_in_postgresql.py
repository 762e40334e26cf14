"""A batch whose rows are in PostgreSQL, and who works on it where several servers could."""

from pathlib import Path

import httpx
import pytest

from support.batching import create, ended, line, read
from support.filing import opened, upload
from support.keeping import Clock
from support.serving import serve_echo
from veneer_server.batches.batches import Asked, Batches, Bounds
from veneer_server.batches.folders import Folders
from veneer_server.tenancy.principals import Principal

pytestmark = pytest.mark.services


async def test_a_batch_is_answered_and_its_list_comes_in_pages(
    postgres_url: str, tmp_path: Path
) -> None:
    plain = postgres_url.replace("postgresql+asyncpg", "postgresql")
    async with (
        serve_echo(tmp_path, state={"url": plain}) as served,
        httpx.AsyncClient(base_url=served.url, timeout=30) as client,
    ):
        ids = []
        for _ in range(2):
            made = await create(client, [line(number) for number in range(5)])
            batch = await ended(client, made["id"])
            assert batch["request_counts"] == {"total": 5, "completed": 5, "failed": 0}
            assert len(await read(client, batch["output_file_id"])) == 5
            ids.append(made["id"])
        failed = await ended(client, (await create(client, ["{"]))["id"])
        assert failed["errors"]["data"][0]["code"] == "invalid_json_line"
        page = (await client.get("/v1/batches", params={"limit": 1, "after": failed["id"]})).json()
        assert ([one["id"] for one in page["data"]], page["has_more"]) == (ids[:0:-1], True)


async def test_one_server_works_on_a_batch_until_it_is_silent(
    postgres_url: str, tmp_path: Path
) -> None:
    clock = Clock()
    bounds = Bounds(max_lines=10, max_bytes=1000, unfinished=5)
    async with opened(postgres_url, tmp_path / "files", clock) as files:
        folders = Folders(tmp_path / "files" / "batches")
        batches = Batches(files._database, files, folders, bounds, now=clock)
        file = await upload(files, b"lines")
        asked = Asked(
            input_file=file.id,
            endpoint="/v1/completions",
            metadata={"of": "a test"},
            output_expires_s=None,
        )
        made = await batches.create(Principal(owner="me"), asked)
        assert await batches.claim(made.id, "one", silent_s=60)
        assert not await batches.claim(made.id, "two", silent_s=60)
        clock.now += 50
        await batches.note(made.id, made.progress)
        clock.now += 50
        assert not await batches.claim(made.id, "two", silent_s=60)
        clock.now += 11
        assert await batches.claim(made.id, "two", silent_s=60)
        assert not await batches.claim(made.id, "one", silent_s=60)
