"""What popular programs send is answered: replayed on the echo engine, and on the real one."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from conformance.programs import MESSAGES, MODEL, SENT, SOURCES, Sent
from support import builders
from support.places import REPOSITORY
from support.serving import Served, serve_echo, until_served
from veneer_server.engine.echo import EchoEngine

pytestmark = pytest.mark.requirement("programs:answered")
BASE = "smollm2-135m-instruct"
LAST = ("data: [DONE]", "event: response.completed", "event: response.incomplete")
LAST_OF_MESSAGES = "event: message_stop"
IDS = {f"{sent.program}: {sent.what}": sent for sent in SENT}
ON_ECHO = [name for name, sent in IDS.items() if not sent.path.startswith(MESSAGES)]


@pytest_asyncio.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    """An echo that says the same to everything, tools or not."""
    builders.write(tmp_path / "adapters" / "mine")
    async with serve_echo(tmp_path, EchoEngine(answers={"mine": "Hello."})) as served:
        await until_served(served, "mine")
        yield served


async def answered(url: str, sent: Sent, model: str) -> None:
    """Send it; fail unless it has a whole answer."""
    async with httpx.AsyncClient(base_url=url, timeout=60, headers=sent.headers) as client:
        if sent.body is None:
            found = await client.get(sent.path, params=sent.query)
        else:
            body: dict[str, Any] = {**sent.body, "model": model}
            found = await client.post(sent.path, json=body, params=sent.query)
    assert found.status_code == 200, found.text
    if sent.body is None:
        assert model in {one["id"] for one in found.json()["data"]}
    elif sent.body.get("stream"):
        last = found.text.rstrip().split("\n\n")[-1]
        assert last.startswith((*LAST, LAST_OF_MESSAGES)), last
    else:
        assert found.json()


@pytest.mark.parametrize("name", ON_ECHO)
async def test_what_a_program_sends_is_answered(served: Served, name: str) -> None:
    await answered(served.url, IDS[name], "mine")


@pytest.mark.engine
@pytest.mark.parametrize("name", IDS)
async def test_what_a_program_sends_is_answered_by_the_engine(engine_url: str, name: str) -> None:
    await answered(engine_url, IDS[name], BASE)


def test_every_program_has_its_settings_and_its_source_in_the_page() -> None:
    page = (REPOSITORY / "docs" / "integrations.md").read_text()
    assert {sent.program for sent in SENT} == {*SOURCES}
    assert all(sent.body is None or sent.body["model"] == MODEL for sent in SENT)
    missing = [name for name, url in SOURCES.items() if f"## {name}\n" not in page]
    assert not missing + [url for url in SOURCES.values() if url not in page]
