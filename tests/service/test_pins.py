"""A pin is what the catalog says: whatever it cannot write down is not pinned."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from support import builders
from support.serving import POLL_S, Served, serve_echo, until_served


def pinned(served: Served) -> list[str]:
    """Return the engine names of what residency keeps."""
    assert served.parts is not None
    return [r.revision for r in served.parts.residency.snapshot() if r.pinned]


@pytest.mark.slow
async def test_a_pin_that_could_not_be_written_down_is_none(
    echo: Served, armed: Callable[[str], None]
) -> None:
    builders.write(echo.adapters / "mine")
    await until_served(echo, "mine")
    async with httpx.AsyncClient(base_url=echo.url, timeout=30) as client, asyncio.timeout(30):
        assert (await client.post("/v1/adapters/mine/load")).status_code == 200
        armed("catalog.commit:1:error")
        refused = await client.patch("/v1/adapters/mine", json={"pinned": True})
        assert refused.status_code == 503
        assert pinned(echo) == []
        assert (await client.get("/v1/adapters/mine")).json()["pinned"] is False
        assert (await client.patch("/v1/adapters/mine", json={"pinned": True})).status_code == 200
        while not pinned(echo):
            await asyncio.sleep(POLL_S)
        assert (await client.patch("/v1/adapters/mine", json={"pinned": False})).status_code == 200
        while pinned(echo):
            await asyncio.sleep(POLL_S)


@pytest.mark.slow
async def test_the_last_slot_is_never_pinned_away(tmp_path: Path) -> None:
    async with (
        asyncio.timeout(30),
        serve_echo(tmp_path, adapters={"device_slots": 2, "host_slots": 4}) as echo,
        httpx.AsyncClient(base_url=echo.url, timeout=30) as client,
    ):
        for number, name in enumerate("abc"):
            builders.write(echo.adapters / name, seed=number)
        await until_served(echo, *"abc")
        assert (await client.patch("/v1/adapters/a", json={"pinned": True})).status_code == 200
        assert (await client.patch("/v1/adapters/a", json={"pinned": True})).status_code == 200
        refused = await client.patch("/v1/adapters/b", json={"pinned": True})
        assert refused.status_code == 409
        assert "adapters.device_slots" in refused.json()["error"]["message"]
        hello = {"messages": [{"role": "user", "content": "hi"}]}
        for name in "abc":
            answer = await client.post("/v1/chat/completions", json={"model": name, **hello})
            assert answer.status_code == 200
