"""The doctor over HTTP and for URLs: nothing is kept of what it looks at."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from support import builders
from support.checkpoints import checkpoint
from support.serving import Served, serve_echo
from support.typed import call
from support.websites import Web, website
from veneer_adapters.store.ownership import OWNER_FILE


@pytest.fixture
async def web(tmp_path: Path) -> AsyncIterator[Web]:
    async with website(tmp_path) as web:
        yield web


async def examine(served: Served, source: object) -> httpx.Response:
    async with httpx.AsyncClient(base_url=served.url, timeout=30) as client:
        return await client.post("/v1/adapters/check", json={"source": str(source)})


def left(served: Served) -> list[str]:
    """Return what the server keeps of any adapter."""
    store = served.adapters.parent / "state" / "store"
    return [f.name for f in store.rglob("*") if f.is_file() and f.name != OWNER_FILE]


async def test_a_folder_inside_a_root_is_examined(echo: Served) -> None:
    good = await examine(echo, builders.write(echo.adapters / ".incoming" / "good"))
    assert good.status_code == 200
    assert good.json()["loads"] is True
    bad = await examine(echo, builders.write(echo.adapters / ".incoming" / "bad", use_dora=True))
    assert bad.json()["loads"] is False
    assert [p["reason"] for p in bad.json()["problems"]] == ["unsupported_feature"]
    assert left(echo) == []


async def test_what_lies_behind_an_allowed_url_is_examined_and_not_kept(
    tmp_path: Path, web: Web
) -> None:
    [place] = web.settings["https_hosts"]
    async with serve_echo(tmp_path, sources=web.settings) as served:
        found = await examine(served, f"https://{place}/adapters/x/")
        assert found.json()["loads"] is True
        missing = await examine(served, f"https://{place}/adapters/y/")
        assert missing.json()["error"]["param"] == "missing_file"
        assert left(served) == []


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("/etc", "path_not_allowed"),
        ("hf://org/name", "source_not_allowed"),
    ],
)
async def test_what_may_not_be_asked_is_refused(echo: Served, source: str, reason: str) -> None:
    found = await examine(echo, source)
    assert (found.status_code, found.json()["error"]["param"]) == (400, reason)


async def test_the_command_fetches_a_url_and_needs_no_server(tmp_path: Path, web: Web) -> None:
    [place] = web.settings["https_hosts"]
    base = checkpoint(tmp_path / "tiny")
    settings: dict[str, Any] = {"https_hosts": [place], "private_hosts": ["localhost"]}
    config = tmp_path / "veneer.yaml"
    config.write_text(
        json.dumps({"sources": {**settings, "ca_file": str(web.settings["ca_file"])}})
    )
    url = f"https://{place}/adapters/x"
    done = await asyncio.to_thread(
        call, "check", url, "--model", str(base), "--config", str(config), "--json"
    )
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["loads"] is True
    away = await asyncio.to_thread(call, "check", f"{url}y", "--config", str(config))
    assert away.exit_code == 2
