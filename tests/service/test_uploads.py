"""An adapter whose two files somebody sends: published, refused, bounded, and gone afterwards."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from support import builders
from support.console import KEY, make_key
from support.serving import POLL_S, Served, serve_echo
from veneer_adapters.artifact.files import CONFIG_FILE, FILES, WEIGHTS_FILE
from veneer_adapters.publishing import intake
from veneer_server.tenancy.scopes import Scope

HELLO = {"messages": [{"role": "user", "content": "hi"}]}


@pytest.fixture
async def client(echo: Served) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=echo.url, timeout=60) as found:
        yield found


def files_of(folder: Path, *names: str) -> list[tuple[str, tuple[str, bytes]]]:
    return [("file", (name, (folder / name.rpartition("/")[2]).read_bytes())) for name in names]


async def upload(client: httpx.AsyncClient, name: str, files: Any, **fields: str) -> httpx.Response:
    return await client.post(f"/v1/adapters/{name}/upload", files=files, data=fields)


def left_over(served: Served) -> list[Path]:
    assert served.parts is not None
    return list((served.parts.server.settings.state.dir / "store" / "tmp").iterdir())


async def test_two_files_become_a_new_adapter_that_answers(
    client: httpx.AsyncClient, echo: Served, tmp_path: Path
) -> None:
    made = await upload(client, "pirate", files_of(builders.write(tmp_path / "a"), *FILES))
    assert made.status_code == 201, made.text
    assert (made.json()["number"], made.json()["state"]) == (1, "ready")
    answer = await client.post("/v1/chat/completions", json={"model": "pirate", **HELLO})
    assert answer.json()["model"] == "pirate"
    shown = (await client.get("/v1/adapters/pirate")).json()
    assert shown["source"]["kind"] == "upload"
    assert left_over(echo) == []


async def test_other_files_become_the_next_revision_behind_the_alias_that_was_named(
    client: httpx.AsyncClient, tmp_path: Path
) -> None:
    await upload(client, "pirate", files_of(builders.write(tmp_path / "a"), *FILES))
    other = files_of(builders.write(tmp_path / "b", seed=7), *(f"b/{name}" for name in FILES))
    made = await upload(client, "pirate", other, alias="next", allow_no_effect="true")
    assert made.json()["number"] == 2
    aliases = (await client.get("/v1/adapters/pirate")).json()["aliases"]
    assert {name: a["targets"][0]["revision"] for name, a in aliases.items()} == {
        "live": 1,
        "next": 2,
    }


async def test_what_the_doctor_refuses_is_not_added_and_the_reason_is_said(
    client: httpx.AsyncClient, echo: Served, tmp_path: Path
) -> None:
    folder = builders.write(tmp_path / "cut", weights=b"short")
    refused = await upload(client, "pirate", files_of(folder, *FILES))
    assert refused.status_code == 400
    assert refused.json()["error"]["param"] == "truncated"
    assert (await client.get("/v1/adapters/pirate")).status_code == 404
    assert left_over(echo) == []


@pytest.mark.parametrize(
    ("names", "fields", "told"),
    [
        ([CONFIG_FILE], {}, "no adapter_model.safetensors"),
        ([WEIGHTS_FILE], {}, "no adapter_config.json"),
        ([CONFIG_FILE, CONFIG_FILE], {}, "once each"),
        ([*FILES, "README.md"], {}, "once each"),
        (FILES, {"alias": "1"}, "alias"),
        (FILES, {"allow_no_effect": "maybe"}, "true or false"),
    ],
)
async def test_a_form_without_exactly_the_two_files_is_refused(
    client: httpx.AsyncClient,
    echo: Served,
    tmp_path: Path,
    names: list[str],
    fields: Any,
    told: str,
) -> None:
    folder = builders.write(tmp_path / "a")
    (folder / "README.md").write_text("x")
    refused = await upload(client, "pirate", files_of(folder, *names), **fields)
    assert refused.status_code == 400
    assert told in refused.json()["error"]["message"]
    assert left_over(echo) == []


@pytest.mark.parametrize("name", ["../up", "-x", "check", "echo"])
async def test_no_name_leads_out_or_means_something_else(
    client: httpx.AsyncClient, tmp_path: Path, name: str
) -> None:
    files = files_of(builders.write(tmp_path / "a"), *FILES)
    refused = await upload(client, name.replace("/", "%2F"), files)
    assert refused.status_code == 400
    assert refused.json()["error"]["param"] == "name_not_allowed"


@pytest.mark.parametrize("size", [120_000, 200_000])
async def test_files_beyond_the_bound_are_refused_while_they_arrive(
    tmp_path: Path, size: int
) -> None:
    files = files_of(builders.write(tmp_path / "a"), *FILES)
    files[1] = ("file", (WEIGHTS_FILE, b"x" * size))

    async def streamed() -> AsyncIterator[bytes]:
        built = httpx.Request("POST", "http://x", files=files)
        kinds.append(built.headers["content-type"])
        yield built.read()

    kinds: list[str] = []
    async with (
        serve_echo(tmp_path, sources={"max_bytes": 100_000}) as served,
        httpx.AsyncClient(base_url=served.url, timeout=60) as client,
    ):
        declared = await upload(client, "pirate", files)
        body = [part async for part in streamed()]

        async def parts() -> AsyncIterator[bytes]:
            for part in body:
                yield part

        headers = {"content-type": kinds[0]}
        chunked = await client.post("/v1/adapters/pirate/upload", content=parts(), headers=headers)
        assert [a.json()["error"]["param"] for a in (declared, chunked)] == ["too_large"] * 2
        told = {a.json()["error"]["message"] for a in (declared, chunked)}
        assert told == {"The uploaded files are larger than the allowed 100000 bytes."}
        assert left_over(served) == []


async def test_more_uploads_at_a_time_than_may_be_are_told_to_come_again(
    client: httpx.AsyncClient, echo: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intake, "MOST_UPLOADS", 0)
    refused = await upload(client, "pirate", files_of(builders.write(tmp_path / "a"), *FILES))
    assert refused.status_code == 503
    assert refused.json()["error"]["code"] == "adapter_unavailable"


async def test_a_client_that_leaves_in_the_middle_leaves_nothing(
    client: httpx.AsyncClient, echo: Served
) -> None:
    async def half() -> AsyncIterator[bytes]:
        head = f'--cut\r\nContent-Disposition: form-data; name="file"; filename="{WEIGHTS_FILE}"'
        yield head.encode() + b"\r\n\r\n" + b"x" * 3_000_000
        raise OSError("gone")

    headers = {"content-type": "multipart/form-data; boundary=cut"}
    with pytest.raises(OSError, match="gone"):
        await client.post("/v1/adapters/pirate/upload", content=half(), headers=headers)
    async with httpx.AsyncClient(base_url=echo.url, timeout=60) as other, asyncio.timeout(60):
        while left_over(echo):
            await asyncio.sleep(POLL_S)
        assert (await other.get("/v1/adapters/pirate")).status_code == 404


async def test_a_tenant_uploads_under_its_own_names_only(tmp_path: Path) -> None:
    files = files_of(builders.write(tmp_path / "a"), *FILES)
    async with serve_echo(tmp_path, server={"api_key": KEY}) as served:
        key = await make_key(served, Scope.ADAPTERS_WRITE, Scope.ADAPTERS_READ, tenant="acme")
        headers = {"authorization": f"Bearer {key}"}
        async with httpx.AsyncClient(base_url=served.url, headers=headers, timeout=60) as client:
            for name in ("pirate", "bell%2Fpirate"):
                refused = await upload(client, name, files)
                assert refused.json()["error"]["code"] == "not_your_namespace"
            assert (await upload(client, "acme%2Fpirate", files)).status_code == 201
            assert (await client.post("/v1/adapters/pirate/upload")).status_code == 403
