"""Loads on the real engine: beside its steps, one for all who wait, no trace of a failure."""

import asyncio
import itertools
import os
import shutil
from collections.abc import Mapping
from contextlib import aclosing
from pathlib import Path
from typing import Any

import psutil
import pytest

from support import builders
from support.swapping import shared_bytes
from veneer_adapters.catalog.revision import Revision
from veneer_adapters.errors import LoadFailed
from veneer_adapters.residency.residency import Residency
from veneer_server.engine.base import Answer, Call, Endpoint

pytestmark = [
    pytest.mark.engine,
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.timeout(300),
]

LINEAR = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
numbers = itertools.count(50_000)


def write_adapter(engine: Any, folder: Path, rank: int = 8, seed: int = 0) -> Path:
    """Write an adapter of ``rank`` on every linear module of the model."""
    made = builders.tensors(engine.facts.modules, rank=rank, dtype="BF16", seed=seed)
    weights = builders.safetensors(made)
    return builders.write(
        folder, weights=weights, r=rank, lora_alpha=0.01, target_modules=list(LINEAR)
    )


def call(model: str, **more: Any) -> Call:
    body = {"model": model, "prompt": "One two", "max_tokens": 1, "temperature": 0, **more}
    return Call(Endpoint.COMPLETIONS, body, f"loads-{next(numbers)}")


async def text(engine: Any, model: str, **more: Any) -> str:
    found = await engine.respond(call(model, **more))
    assert isinstance(found, Answer)
    return str(found.body["choices"][0]["text"])


async def open_when_read(fifo: Path) -> int:
    """Return a descriptor to write to ``fifo`` once somebody has opened it for reading."""
    opening = asyncio.create_task(asyncio.to_thread(os.open, fifo, os.O_WRONLY))
    done, _ = await asyncio.wait([opening], timeout=30)
    if not done:
        os.close(os.open(fifo, os.O_RDONLY | os.O_NONBLOCK))  # lets the thread end
        pytest.fail("nobody read the weights file")
    return await opening


async def test_steps_go_on_while_a_load_waits_for_its_file(
    vllm_engine: Any, tmp_path: Path
) -> None:
    folder = write_adapter(vllm_engine, tmp_path / "slow")
    (folder / "adapter_model.safetensors").unlink()
    os.mkfifo(folder / "adapter_model.safetensors")
    before = await vllm_engine.resident()
    load = asyncio.create_task(vllm_engine.load_adapter(next(numbers), "slow@1", folder))
    descriptor = await open_when_read(folder / "adapter_model.safetensors")
    try:
        assert await text(vllm_engine, "base", max_tokens=8)
        assert not load.done()
    finally:
        os.close(descriptor)
    with pytest.raises(LoadFailed, match="Truncated"):
        await load
    assert await vllm_engine.resident() == before


async def test_two_hundred_first_requests_for_a_cold_adapter_are_one_load(
    vllm_engine: Any, tmp_path: Path
) -> None:
    path = write_adapter(vllm_engine, tmp_path / "cold")
    revision = Revision("cold", 1, "c" * 64, path, builders.MANIFEST, 0)
    loads: list[int] = []

    class Counted:
        def __getattr__(self, name: str) -> Any:
            return getattr(vllm_engine, name)

        async def load_adapter(self, engine_id: int, name: str, path: Path) -> None:
            loads.append(engine_id)
            await vllm_engine.load_adapter(engine_id, name, path)

    residency = Residency(Counted(), device_slots=4, host_slots=8, load_timeout_s=60, ids=numbers)

    async def ask() -> str:
        async with residency.lease(revision) as lease:
            return await text(vllm_engine, lease.engine_name)

    answers = await asyncio.gather(*(ask() for _ in range(200)))
    assert len(loads) == 1
    assert len(set(answers)) == 1
    await vllm_engine.unload_adapter(loads[0])


async def test_a_file_that_vanished_fails_its_load_and_nothing_else(
    vllm_engine: Any, tmp_path: Path
) -> None:
    good = write_adapter(vllm_engine, tmp_path / "good")
    gone = write_adapter(vllm_engine, tmp_path / "gone", seed=1)
    good_id = next(numbers)
    await vllm_engine.load_adapter(good_id, "good@1", good)
    before = await vllm_engine.resident()
    shutil.rmtree(gone)
    found = await vllm_engine.respond(call("good@1", stream=True, max_tokens=40))
    assert not isinstance(found, Answer)
    async with aclosing(found) as frames:
        with pytest.raises(LoadFailed):
            await vllm_engine.load_adapter(next(numbers), "gone@1", gone)
        *_, last = [frame async for frame in frames]
    assert last == b"data: [DONE]\n\n"
    assert await vllm_engine.resident() == before
    await vllm_engine.unload_adapter(good_id)


async def test_loading_and_unloading_under_traffic_leaks_nothing(
    vllm_engine: Any, tmp_path: Path
) -> None:
    """Sixty adapters of 20 MB each in float32; a leak of one in ten would exceed the bound."""
    paths = [write_adapter(vllm_engine, tmp_path / str(i), rank=16, seed=i) for i in range(3)]
    over = asyncio.Event()

    async def talk() -> None:
        while not over.is_set():
            await text(vllm_engine, "base", max_tokens=4)

    async def cycle(times: int) -> None:
        for i in range(times):
            engine_id = next(numbers)
            name = f"cycle@{engine_id}"
            await vllm_engine.load_adapter(engine_id, name, paths[i % len(paths)])
            assert await text(vllm_engine, name) is not None
            await vllm_engine.deactivate_adapter(engine_id)
            await vllm_engine.activate_adapter(engine_id)
            await vllm_engine.unload_adapter(engine_id)

    before = await vllm_engine.resident()
    talking = asyncio.create_task(talk())
    try:
        await cycle(10)
        warm = measure()
        await cycle(60)
        now = measure()
    finally:
        over.set()
        await talking
    assert await vllm_engine.resident() == before
    assert now["shm"] == warm["shm"]
    assert now["rss"] - warm["rss"] < 6 * 20 * 2**20


def measure() -> Mapping[str, int]:
    """Return the memory of the engine's processes, and what they and we share, in bytes."""
    ours = psutil.Process()
    family = ours.children(recursive=True)
    rss = sum(child.memory_info().rss for child in family)
    return {"rss": rss, "shm": sum(shared_bytes(p.pid) for p in (ours, *family))}
