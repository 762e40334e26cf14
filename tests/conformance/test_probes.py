"""Each promise that one request shows, shown."""

from collections.abc import AsyncIterator

import httpx
import pytest
import pytest_asyncio

from conformance.probes import PROBES
from support import builders
from support.serving import serve_echo, until_served

SENT = [pytest.param(id_, id=id_, marks=pytest.mark.requirement(id_)) for id_ in PROBES]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[httpx.AsyncClient]:
    """A client of one server that all probes share."""
    async with serve_echo(tmp_path_factory.mktemp("probes")) as served:
        builders.write(served.adapters / "mine")
        await until_served(served, "mine")
        async with httpx.AsyncClient(base_url=served.url) as client:
            # The first request waits for the load and says so in a header.
            await client.post("/v1/chat/completions", json=PROBES["names:live"].body())
            yield client


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("id_", SENT)
async def test_one_request_shows_what_is_promised(client: httpx.AsyncClient, id_: str) -> None:
    probe = PROBES[id_]
    answer = await client.request(probe.method, probe.path, json=probe.body())
    assert answer.status_code == probe.status, answer.text
    assert probe.says in answer.text
    for name, begins in probe.headers.items():
        assert (answer.headers.get(name) is None) == (begins is None)
        assert answer.headers.get(name, "").startswith(begins or "")
    if probe.status >= 400 and not probe.path.startswith("/v1/messages"):
        error = answer.json()["error"]
        assert (error["code"], error["param"]) == (probe.code, probe.param)
