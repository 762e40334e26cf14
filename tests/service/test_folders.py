"""Adapters that come, change and go in a watched folder while clients are being served."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from support import builders
from support.serving import POLL_S, Served, serve_echo, until_served
from veneer_server.engine.echo import EchoEngine

pytestmark = pytest.mark.slow  # each waits a second or more

NEAR = 30
"""Seconds a change may take to show: the promise is 5, which a busy machine cannot keep."""


@pytest_asyncio.fixture
async def client(echo: Served) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=echo.url, timeout=30) as client:
        yield client


async def ask(client: httpx.AsyncClient, model: str, **more: Any) -> httpx.Response:
    body = {"model": model, "messages": [{"role": "user", "content": "hello there"}], **more}
    return await client.post("/v1/chat/completions", json=body)


async def card(client: httpx.AsyncClient, name: str) -> dict[str, Any]:
    found = await client.get(f"/v1/models/{name}")
    return found.json() if found.status_code == 200 else {}


async def until(
    client: httpx.AsyncClient, name: str, wanted: Callable[[dict[str, Any]], bool]
) -> dict[str, Any]:
    """Return the card of ``name`` as soon as ``wanted`` says so."""
    async with asyncio.timeout(NEAR):
        while not wanted(found := await card(client, name)):
            await asyncio.sleep(POLL_S)
    return found


def has_revision(number: int) -> Callable[[dict[str, Any]], bool]:
    return lambda found: bool(found) and found["adapter"]["revision"] == number


async def test_a_folder_dropped_in_answers_under_its_name(
    echo: Served, client: httpx.AsyncClient
) -> None:
    assert (await ask(client, "mine")).status_code == 404

    builders.write(echo.adapters / "mine")

    await until(client, "mine", has_revision(1))
    found = await ask(client, "mine")
    assert found.json()["model"] == "mine"
    assert found.json()["choices"][0]["message"]["content"].startswith("[mine@sha256:")
    assert found.headers["x-veneer-adapter"].startswith("mine@1#sha256:")


class Counting(EchoEngine):
    """Remembers which adapters it was asked to load."""

    def __init__(self) -> None:
        super().__init__()
        self.loads: list[str] = []

    async def load_adapter(self, engine_id: int, engine_name: str, path: Path) -> None:
        self.loads.append(engine_name.partition("@")[0])
        await super().load_adapter(engine_id, engine_name, path)


async def test_many_folders_are_served_without_a_call_to_the_engine(tmp_path: Path) -> None:
    names = [f"a{index}" for index in range(40)]
    engine = Counting()
    async with (
        serve_echo(tmp_path, engine) as served,
        httpx.AsyncClient(base_url=served.url) as client,
    ):
        for seed, name in enumerate(names):
            builders.write(served.adapters / name, seed=seed)
        await until_served(served, *names)
        assert engine.loads == []
        assert (await ask(client, "a7")).status_code == 200
        assert engine.loads == ["a7"]


async def test_a_folder_changed_in_place_is_a_new_revision_and_the_old_one_stays_addressable(
    echo: Served, client: httpx.AsyncClient
) -> None:
    builders.write(echo.adapters / "mine")
    await until(client, "mine", has_revision(1))
    first = (await ask(client, "mine")).json()["choices"][0]["message"]["content"]

    builders.write(echo.adapters / "mine", seed=2)

    await until(client, "mine", has_revision(2))
    second = (await ask(client, "mine")).json()["choices"][0]["message"]["content"]
    again = (await ask(client, "mine@1")).json()["choices"][0]["message"]["content"]
    assert second != first
    assert again == first


async def test_a_removed_folder_answers_404(echo: Served, client: httpx.AsyncClient) -> None:
    builders.write(echo.adapters / "mine")
    await until(client, "mine", has_revision(1))

    shutil.rmtree(echo.adapters / "mine")

    await until(client, "mine", lambda found: not found)
    assert (await ask(client, "mine")).json()["error"]["code"] == "model_not_found"


async def test_a_broken_folder_is_listed_as_failed_and_everything_else_serves_on(
    echo: Served, client: httpx.AsyncClient
) -> None:
    builders.write(echo.adapters / "good")
    builders.write(echo.adapters / "broken")
    weights = echo.adapters / "broken" / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-10])

    found = await until(client, "broken", lambda found: found.get("adapter", {}).get("reason"))

    assert found["adapter"]["state"] == "failed"
    assert found["adapter"]["reason"] == "truncated"
    refused = await ask(client, "broken")
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "adapter_failed")
    assert str(echo.adapters) not in refused.text
    await until(client, "good", has_revision(1))
    assert (await ask(client, "good")).status_code == 200


async def test_a_running_stream_finishes_on_the_revision_it_began_with(
    echo: Served, client: httpx.AsyncClient
) -> None:
    builders.write(echo.adapters / "mine")
    await until(client, "mine", has_revision(1))
    body = {"model": "mine", "messages": [{"role": "user", "content": "one two three"}]}
    async with client.stream("POST", "/v1/chat/completions", json={**body, "stream": True}) as old:
        builders.write(echo.adapters / "mine", seed=2)
        await until(client, "mine", has_revision(2))

        text = (await old.aread()).decode()

    assert "mine@1#" in old.headers["x-veneer-adapter"]
    assert text.endswith("data: [DONE]\n\n")


async def test_vllms_load_route_takes_paths_inside_the_roots_only(
    echo: Served, client: httpx.AsyncClient, tmp_path: Path
) -> None:
    builders.write(tmp_path / "outside")
    builders.write(echo.adapters / ".incoming" / "mine")

    async def load(path: Path) -> httpx.Response:
        body = {"lora_name": "loaded", "lora_path": str(path)}
        return await client.post("/v1/load_lora_adapter", json=body)

    refused = await load(tmp_path / "outside")
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "path_not_allowed")
    assert (await load(echo.adapters / ".incoming" / "mine")).status_code == 200
    assert (await ask(client, "loaded")).status_code == 200

    gone = await client.post("/v1/unload_lora_adapter", json={"lora_name": "loaded"})

    assert gone.status_code == 200
    assert (await ask(client, "loaded")).status_code == 404


async def test_a_folder_named_like_the_base_model_never_takes_its_name(
    echo: Served, client: httpx.AsyncClient
) -> None:
    builders.write(echo.adapters / "echo")
    builders.write(echo.adapters / "later")
    await until(client, "later", has_revision(1))
    names = [card["id"] for card in (await client.get("/v1/models")).json()["data"]]
    assert names.count("echo") == 1
    assert "x-veneer-adapter" not in (await ask(client, "echo")).headers


async def test_a_source_whose_links_lead_in_a_loop_is_a_bad_request(
    echo: Served, client: httpx.AsyncClient
) -> None:
    echo.adapters.mkdir(exist_ok=True)
    (echo.adapters / "loop").symlink_to("loop")
    body: dict[str, Any] = {"name": "new", "source": str(echo.adapters / "loop")}
    for wait in (True, False):
        found = await client.post("/v1/adapters", json={**body, "wait": wait})
        assert (found.status_code, found.json()["error"]["param"]) == (400, "path_not_allowed")


async def test_trainers_trees_and_caches_of_the_hub_answer_under_names_of_their_own(
    echo: Served, client: httpx.AsyncClient
) -> None:
    echo.adapters.mkdir(exist_ok=True)
    (echo.adapters / "loop").symlink_to("loop")
    builders.write(echo.adapters / "saves" / "SmolLM2" / "lora" / "run-1")
    snapshot = builders.write(echo.adapters / "models--acme--tone" / "snapshots" / "abc")
    blobs = snapshot.parent.parent / "blobs"
    blobs.mkdir()
    for file in sorted(snapshot.iterdir()):
        file.rename(blobs / file.name)
        file.symlink_to(f"../../blobs/{file.name}")

    for name in ("saves/SmolLM2.lora.run-1", "acme/tone"):
        await until(client, name, has_revision(1))
        assert (await ask(client, name)).json()["model"] == name
