"""An engine that fails in the middle of an answer is told of in the words of the client."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from conformance.wire import events
from support import builders
from support.serving import Served, serve_echo, until_served
from veneer_server.engine.base import RequestRejected
from veneer_server.engine.echo import EchoEngine

WRITTEN = {"guided_json": {"type": "object"}}
SAID = [{"role": "user", "content": "one two three"}]


class _Unfollowed(RequestRejected):
    """As vLLM's engine tells of a schema: by the name of its own member."""

    def __init__(self, _told: str) -> None:
        super().__init__("Invalid 'structured_outputs': too much.", param="structured_outputs")


@pytest_asyncio.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    for seed, name in enumerate(("strict", "calm")):
        builders.write(tmp_path / "adapters" / name, seed=seed)
    answers: dict[str, Any] = {"strict": _Unfollowed, "calm": "one"}
    async with serve_echo(tmp_path, EchoEngine(answers=answers)) as served:
        await until_served(served, "strict", "calm")
        yield served


STREAMS: list[tuple[str, dict[str, Any]]] = [
    ("/v1/chat/completions", {"model": "strict", "messages": SAID}),
    ("/v1/completions", {"model": "strict", "prompt": "one two"}),
    ("/v1/responses", {"model": "strict", "input": "one two"}),
    ("/v1/veneer/compare", {"models": ["strict", "calm"], "messages": SAID}),
]


@pytest.mark.parametrize("is_streamed", [True, False])
@pytest.mark.parametrize(("path", "body"), STREAMS)
async def test_an_error_names_the_member_that_the_client_wrote(
    served: Served, path: str, body: dict[str, Any], is_streamed: bool
) -> None:
    async with httpx.AsyncClient(base_url=served.url, timeout=30) as client:
        answer = await client.post(path, json={**body, **WRITTEN, "stream": is_streamed})
    told = _error(answer, is_streamed)
    assert told["param"] == "guided_json"
    assert told["message"] == "Invalid 'guided_json': too much."


def _error(answer: httpx.Response, is_streamed: bool) -> dict[str, Any]:
    found = events(answer.text)[-1] if is_streamed else answer.json()
    if "variants" in found:
        found = found["variants"][0]
    told: dict[str, Any] = found.get("error") or found
    return told
