"""``/v1/files`` over HTTP: what comes back, what is refused, and what a client that left leaves."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from support.serving import POLL_S, Served, serve_echo

ROWS = b'{"a": 1}\n{"a": 2}\n'
PATH = "/v1/files"
PURPOSE = {"purpose": "fine-tune"}


@pytest.fixture
async def client(echo: Served) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=echo.url, timeout=30) as found:
        yield found


async def upload(client: httpx.AsyncClient, content: Any = ROWS, **form: str) -> httpx.Response:
    sent = {"file": ("rows.jsonl", content)}
    return await client.post(PATH, files=sent, data=PURPOSE | form)


def error_of(answer: httpx.Response) -> tuple[int, str | None, str | None]:
    error = answer.json()["error"]
    return answer.status_code, error["code"], error["param"]


async def test_a_file_comes_back_as_it_was_sent_and_is_gone_when_deleted(
    client: httpx.AsyncClient,
) -> None:
    made = (await upload(client)).json()
    one = f"{PATH}/{made['id']}"
    assert (made["bytes"], made["filename"], made["status"]) == (
        len(ROWS),
        "rows.jsonl",
        "processed",
    )
    assert (await client.get(one)).json() == made
    content = await client.get(f"{one}/content")
    assert content.content == ROWS
    assert content.headers["content-disposition"] == "attachment; filename*=UTF-8''rows.jsonl"
    head = await client.head(f"{one}/content")
    assert (head.headers["content-length"], head.content) == (str(len(ROWS)), b"")
    gone = (await client.delete(one)).json()
    assert gone == {"id": made["id"], "object": "file", "deleted": True}
    for answer in (await client.get(one), await client.get(f"{one}/content")):
        assert error_of(answer) == (404, None, "id")


async def test_a_large_file_is_never_whole_in_memory(client: httpx.AsyncClient) -> None:
    content = b"0123456789abcdef" * (1 << 18)  # 4 MiB, the limit of every other body
    made = (await upload(client, content + content)).json()
    found = await client.get(f"{PATH}/{made['id']}/content")
    assert found.content == content + content


@pytest.mark.parametrize(
    ("form", "param"),
    [
        ({"purpose": "vision"}, "purpose"),
        ({"expires_after[anchor]": "created_at"}, "expires_after.seconds"),
    ],
)
async def test_a_field_that_is_wrong_is_named_and_nothing_is_kept(
    client: httpx.AsyncClient, form: dict[str, str], param: str
) -> None:
    assert error_of(await upload(client, **form)) == (400, None, param)
    assert (await client.get(PATH)).json()["data"] == []


async def test_an_upload_without_a_file_or_without_a_form_is_400(
    client: httpx.AsyncClient,
) -> None:
    assert error_of(await client.post(PATH, json=PURPOSE))[0] == 400
    assert error_of(await upload(client, b"")) == (400, None, "file")
    sent = {"other": ("rows.jsonl", ROWS)}
    assert error_of(await client.post(PATH, files=sent, data=PURPOSE)) == (400, None, "file")


@pytest.mark.parametrize("query", ["limit=0", "limit=10001", "order=up", "after=file-none"])
async def test_a_query_that_is_wrong_is_400(client: httpx.AsyncClient, query: str) -> None:
    assert (await client.get(f"{PATH}?{query}")).status_code == 400


async def test_bounds_hold_with_and_without_a_declared_length(tmp_path: Path) -> None:
    bounds = {"max_bytes": 1024, "tenant_bytes": 1500, "tenant_files": 2}
    async with (
        serve_echo(tmp_path, files=bounds) as served,
        httpx.AsyncClient(base_url=served.url) as client,
    ):
        too_large = (413, "request_too_large", "file")
        assert error_of(await upload(client, b"x" * 1025)) == too_large
        assert error_of(await upload(client, b"x" * 100_000)) == too_large
        request = client.build_request(
            "POST", PATH, files={"file": ("x", b"x" * 100_000)}, data=PURPOSE
        )
        body = request.read()

        async def parts() -> AsyncIterator[bytes]:
            yield body

        kind = {"content-type": request.headers["content-type"]}
        assert error_of(await client.post(PATH, content=parts(), headers=kind)) == too_large
        assert (await upload(client, b"x" * 1000)).status_code == 200
        full = await upload(client, b"y" * 501)
        assert error_of(full) == (429, "insufficient_quota", None)
        assert full.headers["x-should-retry"] == "false"
        assert (await upload(client, b"y")).status_code == 200
        assert error_of(await upload(client, b"z"))[0] == 429


async def test_a_client_that_leaves_in_the_middle_leaves_nothing(
    echo: Served, client: httpx.AsyncClient
) -> None:
    files = served_files(echo)
    begun = asyncio.Event()

    async def half() -> AsyncIterator[bytes]:
        yield b'--cut\r\nContent-Disposition: form-data; name="file"; filename="x"\r\n\r\n'
        yield b"x" * (2 << 20)
        begun.set()
        await asyncio.Event().wait()

    kind = {"content-type": "multipart/form-data; boundary=cut"}
    sending = asyncio.create_task(client.post(PATH, content=half(), headers=kind))
    async with asyncio.timeout(10):
        await begun.wait()
        while not any(files.glob("tmp/*")):
            await asyncio.sleep(POLL_S)
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
        while any(files.glob("tmp/*")):
            await asyncio.sleep(POLL_S)
    assert not any(files.glob("sha256/*/*"))


def served_files(served: Served) -> Path:
    assert served.parts is not None
    return served.parts.server.settings.state.dir / "files"
