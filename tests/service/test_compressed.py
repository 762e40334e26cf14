"""What clients see of an adapter that was compressed to fit its slot."""

import asyncio
from pathlib import Path

import httpx
import pytest

from support import builders
from support.serving import serve_echo, until_served
from support.typed import done

WIDE = {"model.q_proj": (96, 96)}
HELLO = {"messages": [{"role": "user", "content": "hi"}]}


def write(folder: Path, *, seed: int = 0) -> None:
    """Write an adapter of rank 66: the echo engine takes 64."""
    weights = builders.safetensors(builders.tensors(WIDE, rank=66, seed=seed))
    builders.write(folder, weights=weights, r=66)


@pytest.mark.slow
async def test_a_compressed_adapter_says_so_in_its_card_and_in_every_answer(tmp_path: Path) -> None:
    async with (
        asyncio.timeout(60),
        serve_echo(tmp_path, adapters={"compress": 0.2}) as echo,
        httpx.AsyncClient(base_url=echo.url, timeout=30) as client,
    ):
        write(echo.adapters / "wide")
        builders.write(echo.adapters / "plain")
        await until_served(echo, "wide", "plain")
        assert "compressed" not in (await client.get("/v1/adapters/wide")).json()
        shown = (await client.post("/v1/adapters/wide/load")).json()
        error = shown["compressed"]
        assert 0 < error < 0.2
        card = (await client.get("/v1/models/wide")).json()["adapter"]
        assert (card["rank"], card["compressed"]) == (66, error)
        assert "compressed" not in (await client.get("/v1/models/plain")).json()["adapter"]
        said = await asyncio.to_thread(done, echo.url, "show", "wide")
        assert f"error {error:.2g}" in said
        for _ in range(2):
            answer = await client.post("/v1/chat/completions", json={"model": "wide", **HELLO})
            assert answer.headers["x-veneer-compressed"] == f"{error:.2g}"
        answer = await client.post("/v1/chat/completions", json={"model": "plain", **HELLO})
        assert "x-veneer-compressed" not in answer.headers
        checked = await client.post(
            "/v1/adapters/check", json={"source": str(echo.adapters / "wide")}
        )
        assert checked.json()["compression"] == {"rank": 64, "error": error}


async def test_an_adapter_that_may_not_be_compressed_so_far_is_refused(tmp_path: Path) -> None:
    async with (
        asyncio.timeout(60),
        serve_echo(tmp_path, adapters={"compress": 0.001}) as echo,
        httpx.AsyncClient(base_url=echo.url, timeout=30) as client,
    ):
        write(echo.adapters / "wide")
        refused = await client.post(
            "/v1/adapters", json={"name": "mine", "source": str(echo.adapters / "wide")}
        )
        assert refused.status_code == 400
        error = refused.json()["error"]
        assert (error["code"], error["param"]) == ("adapter_invalid", "rank_too_large")
        assert "adapters.compress allows 0.001" in error["message"]


@pytest.mark.slow
async def test_after_a_start_without_the_setting_it_is_refused_by_its_rank(tmp_path: Path) -> None:
    async with asyncio.timeout(60):
        async with serve_echo(tmp_path, adapters={"compress": 0.2}) as echo:
            write(echo.adapters / "wide")
            await until_served(echo, "wide")
        async with (
            serve_echo(tmp_path) as echo,
            httpx.AsyncClient(base_url=echo.url, timeout=30) as client,
        ):
            answer = await client.post("/v1/chat/completions", json={"model": "wide", **HELLO})
            assert answer.status_code >= 400
            assert "takes ranks up to 64" in answer.json()["error"]["message"]
            assert "compressed" not in (await client.get("/v1/models/wide")).json()["adapter"]
