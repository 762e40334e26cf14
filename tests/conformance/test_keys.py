"""Who may ask, when the server has a key."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from support.serving import serve_echo

KEY = "sk-a-key-of-this-test"


@pytest_asyncio.fixture
async def locked(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    async with (
        serve_echo(tmp_path, server={"api_key": KEY}) as served,
        httpx.AsyncClient(base_url=served.url) as client,
    ):
        yield client


@pytest.mark.requirement("keys:bearer")
async def test_a_key_may_come_as_openais_clients_send_it(locked: httpx.AsyncClient) -> None:
    answer = await locked.get("/v1/models", headers={"authorization": f"Bearer {KEY}"})
    assert answer.status_code == 200


@pytest.mark.requirement("keys:x-api-key")
async def test_a_key_may_come_as_anthropics_clients_send_it(locked: httpx.AsyncClient) -> None:
    assert (await locked.get("/v1/models", headers={"x-api-key": KEY})).status_code == 200


@pytest.mark.requirement("keys:missing")
@pytest.mark.requirement("keys:wrong")
@pytest.mark.parametrize("sent", [{}, {"authorization": "Bearer another"}, {"x-api-key": "no"}])
async def test_without_the_right_key_it_is_401(
    locked: httpx.AsyncClient, sent: dict[str, str]
) -> None:
    answer = await locked.get("/v1/models", headers=sent)
    assert answer.status_code == 401
    assert answer.json()["error"]["code"] == "invalid_api_key"
    assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.requirement("keys:anthropic-shape")
async def test_a_missing_key_of_messages_has_anthropics_shape(locked: httpx.AsyncClient) -> None:
    answer = await locked.post("/v1/messages", json={})
    assert answer.status_code == 401
    assert answer.json()["error"]["type"] == "authentication_error"


@pytest.mark.requirement("keys:probes")
@pytest.mark.parametrize("path", ["/livez", "/readyz", "/health", "/ping", "/version", "/metrics"])
async def test_probes_and_scrapes_need_no_key(locked: httpx.AsyncClient, path: str) -> None:
    assert (await locked.get(path)).status_code == 200
