"""An adapter that is removed before its first proof ends was never there: 404 for whoever waits."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from support import builders
from support.serving import POLL_S, Served, serve_echo
from veneer_adapters.catalog.proof import Effect
from veneer_adapters.publishing.intake import Intake, Taken
from veneer_server.engine.echo import EchoEngine

NAME = "mine"


class Hesitant(EchoEngine):
    """Each proof begins, and ends when the test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.begun = asyncio.Event()
        self.goes_on = asyncio.Event()

    async def measure_effect(self, engine_id: int, engine_name: str) -> Effect:
        self.begun.set()
        await self.goes_on.wait()
        return await super().measure_effect(engine_id, engine_name)


class Rig:
    """A server whose proofs wait, and its client."""

    def __init__(self, served: Served, client: httpx.AsyncClient, engine: Hesitant) -> None:
        self.served, self.client, self.engine = served, client, engine

    def source(self, seed: int = 0) -> str:
        return str(builders.write(self.served.adapters / ".in" / str(seed), seed=seed))

    def ask(self, method: str, path: str, body: Any = None) -> "asyncio.Task[httpx.Response]":
        return asyncio.create_task(self.client.request(method, f"/v1/{path}", json=body))

    def add(self, seed: int = 0, *, wait: bool = True) -> "asyncio.Task[httpx.Response]":
        body = {"name": NAME, "source": self.source(seed), "wait": wait}
        return self.ask("POST", "adapters", body)

    def chat(self) -> "asyncio.Task[httpx.Response]":
        messages = [{"role": "user", "content": "hello"}]
        return self.ask("POST", "chat/completions", {"model": NAME, "messages": messages})

    async def remove_in_proof(self) -> None:
        """Remove the adapter while its proof runs, and let the proof end."""
        await self.engine.begun.wait()
        self.engine.begun.clear()
        assert (await self.ask("DELETE", f"adapters/{NAME}")).status_code == 200
        self.engine.goes_on.set()

    async def names(self) -> list[str]:
        return [a["name"] for a in (await self.ask("GET", "adapters")).json()["data"]]


@pytest_asyncio.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    engine = Hesitant()
    async with (
        asyncio.timeout(30),
        serve_echo(tmp_path, engine) as served,
        httpx.AsyncClient(base_url=served.url, timeout=30) as client,
    ):
        yield Rig(served, client, engine)


def fault(found: httpx.Response) -> tuple[int, str]:
    return found.status_code, found.json()["error"]["code"]


GONE = (404, "model_not_found")


async def test_an_added_adapter_that_is_removed_in_its_first_proof_is_404(rig: Rig) -> None:
    adding = rig.add()
    await rig.remove_in_proof()
    assert fault(await adding) == GONE
    assert await rig.names() == []
    assert (await rig.add()).json()["live"] == 1


@pytest.mark.parametrize("wait", [True, False])
async def test_an_adapter_that_is_removed_while_it_is_fetched_does_not_appear_afterwards(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, wait: bool
) -> None:
    reading, goes_on = asyncio.Event(), asyncio.Event()
    take = Intake.take

    async def take_slowly(intake: Intake, *asked: Any, **more: Any) -> Taken:
        reading.set()
        await goes_on.wait()
        return await take(intake, *asked, **more)

    monkeypatch.setattr(Intake, "take", take_slowly)
    adding = rig.add(wait=wait)
    await reading.wait()
    assert (await rig.ask("DELETE", f"adapters/{NAME}")).status_code == 200
    goes_on.set()
    assert fault(await adding) == GONE if wait else (await adding).status_code == 202
    assert rig.served.parts is not None
    while rig.served.parts.staging.progress():
        await asyncio.sleep(POLL_S)
    assert await rig.names() == []
    assert fault(await rig.ask("DELETE", f"adapters/{NAME}")) == GONE
    rig.engine.goes_on.set()
    assert (await rig.add()).json()["live"] == 1


async def test_an_adapter_added_without_waiting_does_not_come_back_as_failed(rig: Rig) -> None:
    assert (await rig.add(wait=False)).status_code == 202
    await rig.remove_in_proof()
    assert rig.served.parts is not None
    while rig.served.parts.staging.progress():
        await asyncio.sleep(POLL_S)
    assert await rig.names() == []
    assert fault(await rig.ask("GET", f"adapters/{NAME}")) == GONE


async def test_a_revision_whose_adapter_is_removed_in_its_proof_is_404(rig: Rig) -> None:
    rig.engine.goes_on.set()
    assert (await rig.add()).status_code == 201
    rig.engine.goes_on.clear()
    rig.engine.begun.clear()
    publishing = rig.ask("POST", f"adapters/{NAME}/revisions", {"source": rig.source(1)})
    await rig.remove_in_proof()
    assert fault(await publishing) == GONE
    assert await rig.names() == []


async def test_requests_that_wait_for_the_proof_of_a_folder_that_is_removed_are_404(
    rig: Rig,
) -> None:
    builders.write(rig.served.adapters / NAME)
    while NAME not in await rig.names():
        await asyncio.sleep(POLL_S)
    waiting = [rig.chat(), rig.chat()]
    await rig.remove_in_proof()
    assert [fault(found) for found in await asyncio.gather(*waiting)] == [GONE, GONE]


async def test_an_adapter_that_is_added_again_meanwhile_stays(rig: Rig) -> None:
    first = rig.add()
    await rig.engine.begun.wait()
    assert (await rig.ask("DELETE", f"adapters/{NAME}")).status_code == 200
    second = rig.add(seed=1)
    assert rig.served.parts is not None
    while len(rig.served.parts.catalog.waiting()) < 1:
        await asyncio.sleep(POLL_S)
    rig.engine.goes_on.set()
    assert (await second).status_code == 201
    await first
    assert (await rig.ask("GET", f"adapters/{NAME}")).json()["live"] == 2
    assert (await rig.chat()).headers["x-veneer-adapter"].startswith(f"{NAME}@2")
