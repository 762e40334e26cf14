"""Names that people bring, and models as each vendor's clients list them."""

from pathlib import Path
from typing import Any

import httpx
import pytest

from conformance.schema import OfficialSchema
from conformance.wire import error_of, post
from support import builders, clients
from support.serving import Served, serve_echo, until_served
from veneer_server.engine.base import ModelFacts
from veneer_server.engine.echo import EchoEngine

MESSAGES = [{"role": "user", "content": "one two"}]
VERSION = {"anthropic-version": "2023-06-01"}
HUB_ID, FOLDER = "Acme/Tone-135M", "Tone-135M"


class HubEngine(EchoEngine):
    """An echo that comes from the Hub."""

    @property
    def model(self) -> ModelFacts:
        return ModelFacts("tone", HUB_ID, 8192)


async def ask(url: str, model: str) -> httpx.Response:
    return await post(url, "/v1/chat/completions", {"model": model, "messages": MESSAGES})


async def get(url: str, path: str, **headers: str) -> httpx.Response:
    async with httpx.AsyncClient(base_url=url) as client:
        return await client.get(path, headers=headers)


@pytest.mark.requirement("models:other-names")
@pytest.mark.parametrize("name", ["tone", HUB_ID, FOLDER])
async def test_the_base_answers_to_every_name_that_people_know(tmp_path: Path, name: str) -> None:
    async with serve_echo(tmp_path, HubEngine(name="tone")) as served:
        answer = await ask(served.url, name)
        card = await get(served.url, f"/v1/models/{name}")
    assert (answer.status_code, answer.json()["model"]) == (200, name)
    assert (card.status_code, card.json()["id"]) == (200, name)
    assert "x-veneer-adapter" not in answer.headers


@pytest.mark.requirement("models:other-names")
async def test_an_adapter_keeps_its_name_although_the_base_has_it_too(tmp_path: Path) -> None:
    builders.write(tmp_path / "adapters" / FOLDER)
    async with serve_echo(tmp_path, HubEngine(name="tone")) as served:
        await until_served(served, FOLDER)
        answer = await ask(served.url, FOLDER)
        other = await ask(served.url, f"{HUB_ID}:{FOLDER}")
    for found in (answer, other):
        assert found.headers["x-veneer-adapter"].startswith(f"{FOLDER}@1#")


@pytest.mark.requirement("models:anthropic")
async def test_anthropics_clients_list_models_in_their_shape(
    echo: Served, anthropic_schema: OfficialSchema
) -> None:
    builders.write(echo.adapters / "mine")
    await until_served(echo, "mine")
    found = (await get(echo.url, "/v1/models", **VERSION)).json()
    anthropic_schema.check("ListResponse_ModelInfo_", found)
    assert [model["id"] for model in found["data"]] == ["echo", "mine"]
    assert (found["first_id"], found["last_id"], found["has_more"]) == ("echo", "mine", False)
    one = (await get(echo.url, "/v1/models/mine@1", **VERSION)).json()
    anthropic_schema.check("ModelInfo", one)
    assert one["id"] == "mine@1"


PAGES: list[tuple[str, list[str], bool]] = [
    ("limit=2", ["echo", "a"], True),
    ("limit=2&after_id=a", ["b", "c"], False),
    ("limit=2&after_id=echo", ["a", "b"], True),
    ("limit=2&before_id=c", ["a", "b"], True),
    ("limit=9&before_id=a", ["echo"], False),
    ("after_id=c", [], False),
]


@pytest.mark.requirement("models:anthropic-pages")
async def test_anthropics_clients_list_models_in_pages(
    echo: Served, anthropic_schema: OfficialSchema
) -> None:
    for seed, name in enumerate("abc"):
        builders.write(echo.adapters / name, seed=seed)
    await until_served(echo, *"abc")
    for query, ids, has_more in PAGES:
        found = (await get(echo.url, f"/v1/models?{query}", **VERSION)).json()
        anthropic_schema.check("ListResponse_ModelInfo_", found)
        assert ([model["id"] for model in found["data"]], found["has_more"]) == (ids, has_more)
        ends = (ids[0], ids[-1]) if ids else (None, None)
        assert (found["first_id"], found["last_id"]) == ends
    async with clients.anthropic.AsyncAnthropic(base_url=echo.url, api_key="none") as client:
        assert [model.id async for model in client.models.list(limit=1)] == ["echo", *"abc"]


@pytest.mark.requirement("models:anthropic-pages")
@pytest.mark.parametrize(
    ("query", "param"),
    [
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("limit=x", "limit"),
        ("after_id=nobody", "after_id"),
        ("after_id=echo&before_id=echo", "before_id"),
    ],
)
async def test_a_page_that_is_none_is_refused_by_name(echo: Served, query: str, param: str) -> None:
    found = await get(echo.url, f"/v1/models?{query}", **VERSION)
    assert found.status_code == 400
    assert f"'{param}'" in found.json()["error"]["message"]


@pytest.mark.requirement("models:anthropic")
async def test_a_model_that_is_not_there_is_an_error_in_their_shape_too(
    echo: Served, anthropic_schema: OfficialSchema
) -> None:
    found = await get(echo.url, "/v1/models/nope", **VERSION)
    assert found.status_code == 404
    anthropic_schema.check("ErrorResponse", found.json())
    assert found.json()["error"]["type"] == "not_found_error"


@pytest.mark.requirement("models:list")
async def test_without_their_header_the_list_is_openais(echo: Served) -> None:
    assert (await get(echo.url, "/v1/models")).json()["object"] == "list"


@pytest.mark.requirement("headers:anthropic-request-id")
@pytest.mark.parametrize(
    ("path", "headers", "present"),
    [("/v1/messages", {}, True), ("/v1/models", VERSION, True), ("/v1/models", {}, False)],
)
async def test_anthropics_clients_get_the_request_id_under_their_name(
    echo: Served, path: str, headers: dict[str, str], present: bool
) -> None:
    found = (await get(echo.url, path, **headers)).headers
    assert found.get("request-id") == (found["x-request-id"] if present else None)


def load(url: str, folder: Path, **more: Any) -> Any:
    body = {"lora_name": "mine", "lora_path": str(folder), **more}
    return post(url, "/v1/load_lora_adapter", body)


@pytest.mark.requirement("vllm:load-route")
async def test_vllms_route_loads_a_name_again_only_in_place(echo: Served) -> None:
    first = builders.write(echo.adapters / ".incoming" / "one", seed=1)
    second = builders.write(echo.adapters / ".incoming" / "two", seed=2)
    assert (await load(echo.url, first)).text == "Success: LoRA adapter 'mine' added successfully."
    refused = await load(echo.url, second)
    assert refused.status_code == 400
    assert "has already been loaded." in error_of(refused)["message"]
    assert (await load(echo.url, second, load_inplace=True)).status_code == 200
    answer = await ask(echo.url, "mine")
    assert answer.headers["x-veneer-adapter"].startswith("mine@2#")


@pytest.mark.requirement("vllm:load-route")
async def test_vllms_route_answers_404_for_a_path_that_is_not_there(echo: Served) -> None:
    refused = await load(echo.url, echo.adapters / "nope")
    error = error_of(refused)
    assert (refused.status_code, error["code"]) == (404, "adapter_not_found")
    assert "No adapter found for" in error["message"]
