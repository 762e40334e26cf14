"""A trainer that writes an adapter's folder and asks for it at once, as SkyRL and OpenRL do."""

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest

from support import builders
from support.serving import Served, serve_echo
from veneer_adapters.artifact.files import CONFIG_FILE
from veneer_server.engine.echo import EchoEngine


def sample(name: str) -> dict[str, Any]:
    """Return what SkyRL's ExternalInferenceClient (0.3.0) sends to ``/v1/completions``."""
    return {
        "model": name,
        "prompt": [9690, 198, 2683],
        "n": 2,
        "seed": 7,
        "max_tokens": 4,
        "temperature": 1.0,
        "top_p": 1.0,
        "top_k": -1,
        "logprobs": True,
        "stream": False,
        "return_token_ids": True,
    }


async def ask(served: Served, name: str) -> httpx.Response:
    headers = {"Authorization": "Bearer none", "X-Session-ID": "session-1"}
    async with httpx.AsyncClient(base_url=served.url, headers=headers, timeout=60) as client:
        return await client.post("/v1/completions", json=sample(name))


def drop(served: Served, name: str) -> None:
    """Rename a finished folder into the watched one, as SkyRL does."""
    aside = served.adapters.parent / "unpacked" / name
    builders.write(aside)
    aside.rename(served.adapters / name)


@pytest.mark.slow
async def test_a_sampler_that_asks_at_once_is_answered(tmp_path: Path) -> None:
    async with serve_echo(tmp_path, EchoEngine(answers={"": "one two"})) as served:
        served.adapters.mkdir(exist_ok=True)
        drop(served, "model_1_000001")
        answer = await ask(served, "model_1_000001")
        assert answer.status_code == 200, answer.text
        assert answer.headers["x-veneer-adapter"].startswith("model_1_000001@1#")
        assert len(answer.json()["choices"]) == 2


@pytest.mark.slow
async def test_all_who_ask_at_once_wait_together(tmp_path: Path) -> None:
    async with serve_echo(tmp_path, EchoEngine(answers={"": "one two"})) as served:
        served.adapters.mkdir(exist_ok=True)
        drop(served, "model_1_000002")
        answers = await asyncio.gather(*(ask(served, "model_1_000002") for _ in range(8)))
        assert {answer.status_code for answer in answers} == {200}


@pytest.mark.slow
async def test_a_broken_folder_is_refused_with_its_reason(tmp_path: Path) -> None:
    async with serve_echo(tmp_path) as served:
        folder = served.adapters / "broken"
        folder.mkdir(parents=True)
        (folder / CONFIG_FILE).write_text("{")
        (folder / "adapter_model.safetensors").write_bytes(b"")
        answer = await ask(served, "broken")
        assert answer.status_code == 409
        assert answer.json()["error"]["code"] == "adapter_failed"


@pytest.mark.parametrize("name", ["nobody", "..", "../../etc", "check"])
async def test_a_name_without_a_folder_is_404_at_once(echo: Served, name: str) -> None:
    # At once: this bound is far below the seconds that a wait for a folder takes.
    async with asyncio.timeout(9):
        answer = await ask(echo, name)
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "model_not_found"
