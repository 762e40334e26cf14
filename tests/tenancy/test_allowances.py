"""A tenant publishes as many adapters, and as many bytes, as it may have, and not one more."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx

from support import builders
from support.serving import serve_echo

GIB = 2**30


class Site:
    """A server, the folder from which adapters are published, and what is asked of it."""

    def __init__(self, client: httpx.AsyncClient, sources: Path) -> None:
        self._client = client
        self._sources = sources

    def source(self, seed: int) -> str:
        folder = self._sources / ".incoming" / str(seed)
        return str(folder if folder.exists() else builders.write(folder, seed=seed))

    async def add(self, name: str, seed: int, **more: Any) -> httpx.Response:
        body = {"name": name, "source": self.source(seed), **more}
        return await self._client.post("/v1/adapters", json=body)

    async def publish(self, name: str, seed: int) -> httpx.Response:
        path = f"/v1/adapters/{name.replace('/', '%2F')}/revisions"
        return await self._client.post(path, json={"source": self.source(seed)})

    async def remove(self, name: str) -> None:
        found = await self._client.delete(f"/v1/adapters/{name.replace('/', '%2F')}")
        assert found.status_code == 200

    def size(self, seed: int) -> int:
        return sum(path.stat().st_size for path in Path(self.source(seed)).iterdir())


@asynccontextmanager
async def site(folder: Path, **tenants: Any) -> AsyncIterator[Site]:
    async with (
        serve_echo(folder, tenants=tenants) as served,
        httpx.AsyncClient(base_url=served.url, timeout=60) as client,
    ):
        yield Site(client, served.adapters)


def refused(answer: httpx.Response) -> bool:
    if answer.status_code == 201:
        return False
    assert answer.status_code == 429, answer.text
    error = answer.json()["error"]
    assert (error["code"], error["param"]) == ("insufficient_quota", "quota_exceeded")
    assert answer.headers["x-should-retry"] == "false"
    return True


async def test_of_five_adapters_added_at_once_as_many_are_there_as_may_be(tmp_path: Path) -> None:
    async with site(tmp_path, adapters=2) as ours:
        answers = await asyncio.gather(*(ours.add(f"acme/a{i}", i) for i in range(5)))
        assert [refused(answer) for answer in answers].count(False) == 2
        kept = [f"acme/a{i}" for i, answer in enumerate(answers) if not refused(answer)]
        assert not refused(await ours.publish(kept[0], 7))
        assert not refused(await ours.add("bell/a", 8))
        assert not refused(await ours.add("nobodys", 9))
        await ours.remove(kept[1])
        assert not refused(await ours.add("acme/later", 10))
        assert refused(await ours.add("acme/more", 11, wait=False))


async def test_what_would_be_too_many_bytes_is_not_published(tmp_path: Path) -> None:
    async with site(tmp_path / "size") as ours:
        size = ours.size(1)
    most = {"acme": {"stored_gib": 2.5 * size / GIB}}
    async with site(tmp_path / "site", limits=most) as ours:
        assert not refused(await ours.add("acme/a", 1))
        at_once = await asyncio.gather(*(ours.publish("acme/a", seed) for seed in (2, 3, 4)))
        assert [refused(answer) for answer in at_once].count(False) == 1
        assert not refused(await ours.add("acme/same", 1))  # equal content takes no room
        assert not refused(await ours.add("bell/a", 5))
        await ours.remove("acme/a")
        assert not refused(await ours.add("acme/b", 6))
