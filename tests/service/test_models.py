"""``DELETE /v1/models/{id}``: an adapter goes, under the name a client knows it by."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from service.test_adapters_api import Api, api_of, fault


@pytest_asyncio.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with api_of(tmp_path) as api:
        await api.add("team/mine")
        yield api


@pytest.mark.parametrize("name", ["team/mine", "team%2Fmine", "echo:team/mine"])
async def test_an_adapter_is_removed_under_every_form_of_its_name(api: Api, name: str) -> None:
    found = await api.client.delete(f"/v1/models/{name}")
    named = name.replace("%2F", "/")
    assert found.json() == {"id": named, "object": "model", "deleted": True}
    assert fault(await api.chat("team/mine"))[:2] == (404, "model_not_found")
    assert (await api.call("GET", ""))["data"] == []


async def test_the_base_cannot_be_deleted(api: Api) -> None:
    found = await api.client.delete("/v1/models/echo")
    assert fault(found) == (400, None, "model")
    assert found.json()["error"]["message"] == "The base model cannot be deleted."


@pytest.mark.parametrize("end", ["@live", "@1", "@sha256:0123456789ab", "@"])
async def test_a_revision_or_an_alias_is_not_an_adapter_to_delete(api: Api, end: str) -> None:
    found = await api.client.delete(f"/v1/models/team/mine{end}")
    assert fault(found) == (400, None, "model")
    assert (await api.call("GET", "/team%2Fmine"))["live"] == 1
