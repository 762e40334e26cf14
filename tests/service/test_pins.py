"""A pin is what the catalog says: whatever it cannot write down is not pinned."""

import asyncio
from collections.abc import Callable

import httpx

from support import builders
from support.serving import POLL_S, Served, until_served


def pinned(served: Served) -> list[str]:
    """Return the engine names of what residency keeps."""
    assert served.parts is not None
    return [r.revision for r in served.parts.residency.snapshot() if r.pinned]


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
