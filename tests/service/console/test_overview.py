"""The overview: what went wrong lately, from the audit log, the catalog and the jobs."""

import asyncio
from pathlib import Path

import pytest

from support import builders
from support.console import KEY, browser, make_key, sign_in
from support.serving import POLL_S, Served, serve_echo
from veneer_adapters.artifact.files import FILES
from veneer_adapters.errors import StateBusy
from veneer_server.tenancy.scopes import Scope


async def test_without_an_incident_the_page_says_so(echo: Served) -> None:
    async with browser(echo.url) as client:
        page = (await client.get("/console/")).text
    assert "no guard took a canary back" in page
    assert 'href="../docs"' in page


async def test_failed_adapters_and_refused_uploads_are_incidents(
    echo: Served, tmp_path: Path
) -> None:
    builders.write(echo.adapters / "cut", weights=b"short")
    folder = builders.write(tmp_path / "b", weights=b"short")
    files = [("file", (name, (folder / name).read_bytes())) for name in FILES]
    async with browser(echo.url) as client, asyncio.timeout(60):
        assert (await client.post("/v1/adapters/sent/upload", files=files)).status_code == 400
        while "It cannot serve: truncated" not in (page := (await client.get("/console/")).text):
            await asyncio.sleep(POLL_S)
    assert "What was published was refused: adapter_invalid" in page
    assert 'href="/console/variants/cut"' in page


async def test_a_key_sees_incidents_of_what_it_sees(tmp_path: Path) -> None:
    async with (
        serve_echo(tmp_path, server={"api_key": KEY}) as served,
        browser(served.url) as client,
    ):
        assert served.parts is not None
        builders.write(served.adapters / "acme" / "cut", weights=b"short")
        async with asyncio.timeout(60):
            while not served.parts.server.adapters.knows("acme/cut"):
                await asyncio.sleep(POLL_S)
        key = await make_key(served, Scope.METRICS, tenant="bell", patterns=("bell/*",))
        await sign_in(client, key)
        assert "cut" not in (await client.get("/console/")).text


async def test_when_the_database_cannot_be_read_the_page_still_comes(
    echo: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert echo.parts is not None

    async def busy(_limit: int) -> None:
        raise StateBusy("Another process holds the database.")

    monkeypatch.setattr(echo.parts.server.audit, "troubles", busy)
    async with browser(echo.url) as client:
        page = await client.get("/console/")
    assert page.status_code == 200
    assert "cannot be read now" in page.text
