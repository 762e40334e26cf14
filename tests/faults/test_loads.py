"""A9, A12: loads that fail half way, and many more adapters than slots, on the real engine."""

import asyncio
import itertools
import json
import random
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from support import builders, tiny
from support.serving import serve_app, until_served
from veneer_adapters.artifact.files import FILES
from veneer_server.settings import Settings

pytestmark = [
    pytest.mark.engine,
    pytest.mark.matrix,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.timeout(300),
]

DEVICE, HOST = 4, 8
"""Slots; one in the host stays empty."""
ADAPTERS = [f"a{number:02}" for number in range(24)]
SOME, UNLUCKY = ADAPTERS[:6], "unlucky"
CLIENTS, REQUESTS = 8, 600
ROUNDS = 10

WRONG = {**tiny.MODULES, list(tiny.MODULES)[-1]: (577, 192)}
"""The last module does not fit its slot, which the engine finds when it has filled the others."""


class Witness:
    """An engine that notes its loads, and loads from files that are gone when a load is complete.

    A step that had to read an adapter would find nothing, and its request would fail.
    """

    def __init__(self, engine: Any, folder: Path) -> None:
        self._engine = engine
        self._folder = folder
        self.ids: dict[int, str] = {}
        self.damaged = False
        """Whether the files of UNLUCKY turn out to be others than those that were verified."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    async def load_adapter(self, engine_id: int, name: str, path: Path) -> None:
        assert engine_id not in self.ids, "an engine id was used twice"
        self.ids[engine_id] = name.partition("@")[0]
        own = self._folder / str(engine_id)
        own.mkdir()
        for file in FILES:
            shutil.copyfile(path / file, own / file)
        if self.damaged and self.ids[engine_id] == UNLUCKY:
            builders.write(own, weights=builders.safetensors(builders.tensors(WRONG)))
        try:
            await self._engine.load_adapter(engine_id, name, own)
        finally:
            shutil.rmtree(own)


@dataclass(frozen=True)
class Rig:
    """A server over the witness."""

    witness: Witness
    http: httpx.AsyncClient

    async def ask(self, model: str, **more: Any) -> httpx.Response:
        body = {"model": model, "prompt": "One two", "max_tokens": 8, "temperature": 0, **more}
        return await self.http.post("/v1/completions", json=body)

    async def text(self, model: str) -> str:
        answer = await self.ask(model)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["choices"][0]["text"])

    async def streamed(self, model: str) -> str:
        answer = await self.ask(model, stream=True)
        *lines, done = [line for line in answer.text.splitlines() if line]
        assert done == "data: [DONE]", answer.text
        events = [json.loads(line.removeprefix("data: ")) for line in lines]
        return "".join(event["choices"][0]["text"] for event in events)

    async def held(self) -> dict[str, list[int]]:
        """Return the engine ids in each kind of slot, as the worker says."""
        found: dict[str, list[int]] = await self.witness.resident()
        return found


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def rig(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Rig]:
    folder = tmp_path_factory.mktemp("loads")
    for seed, name in enumerate([*ADAPTERS, UNLUCKY]):
        tiny.adapter(folder / "adapters" / name, seed=seed)
    slots = {"device_slots": DEVICE, "host_slots": HOST}
    flags = {"adapters": {"dir": folder / "adapters", **slots}, "state": {"dir": folder / "state"}}
    settings = Settings.load(environ={}, flags=flags)
    async with tiny.engine(folder, **slots) as engine:
        witness = Witness(engine, folder)
        async with serve_app(settings, witness) as served:  # type: ignore[arg-type]
            await until_served(served, *ADAPTERS, UNLUCKY)
            async with httpx.AsyncClient(base_url=served.url, timeout=60) as http:
                yield Rig(witness, http)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def golden(rig: Rig) -> dict[str, str]:
    """What each model answers when nothing else is asked; no two answer alike."""
    told = {name: await rig.text(name) for name in ["tiny", *ADAPTERS]}
    assert len(set(told.values())) == len(told)
    return told


async def test_a9_a_load_that_fails_half_way_leaves_nothing_and_nobody_else_notices(
    rig: Rig, golden: dict[str, str]
) -> None:
    """First while the adapter was never proved, then after it has served."""
    rig.witness.damaged = True
    await fail_beside_others(rig, golden)
    rig.witness.damaged = False
    own = await rig.text(UNLUCKY)
    assert own not in golden.values()
    (await rig.http.post(f"/v1/adapters/{UNLUCKY}/unload")).raise_for_status()
    rig.witness.damaged = True
    await fail_beside_others(rig, golden)
    rig.witness.damaged = False
    assert await rig.text(UNLUCKY) == own


async def fail_beside_others(rig: Rig, golden: dict[str, str]) -> None:
    known = {*rig.witness.ids}
    for _ in range(ROUNDS):
        failed, *told = await asyncio.gather(
            rig.ask(UNLUCKY), *(rig.text(name) for name in SOME), rig.text("tiny")
        )
        assert (failed.status_code, failed.json()["error"]["code"]) == (503, "adapter_unavailable")
        assert told == [golden[name] for name in (*SOME, "tiny")]
    tried = {number for number, name in rig.witness.ids.items() if name == UNLUCKY} - known
    assert len(tried) == ROUNDS
    held = await rig.held()
    assert tried.isdisjoint(held["host"] + held["device"])


async def test_a12_a_storm_of_evictions_serves_everybody_and_no_step_reads_a_file(
    rig: Rig, golden: dict[str, str]
) -> None:
    draw = random.Random(12)  # noqa: S311 - to be repeated
    asked = iter([draw.choice(list(golden)) for _ in range(REQUESTS)])
    wrong: list[tuple[str, str]] = []
    before = len(rig.witness.ids)

    async def client(ask: Any) -> None:
        for name in asked:
            told = await ask(name)
            if told != golden[name]:
                wrong.append((name, told))

    asks = itertools.islice(itertools.cycle((rig.text, rig.streamed)), CLIENTS)
    await asyncio.gather(*(client(ask) for ask in asks))
    assert wrong == []
    loads = len(rig.witness.ids) - before
    print(f"{REQUESTS} requests, {loads} loads, 0 wrong")
    assert loads > len(ADAPTERS)
    held = await rig.held()
    assert len(held["device"]) <= DEVICE
    assert len(held["host"]) < HOST
