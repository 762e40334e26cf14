"""The proof on the real engine: what adapters really do there, and what the proof disturbs."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytest_asyncio
from numpy.typing import NDArray

from support import builders
from support.places import DEMO
from veneer_adapters.artifact.checks import verify
from veneer_adapters.artifact.manifest import read_artifact
from veneer_adapters.catalog.proof import Effect, judge
from veneer_adapters.errors import NoEffect, NonFinite
from veneer_server.engine.base import Answer, Call, Endpoint

pytestmark = [
    pytest.mark.engine,
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.timeout(300),
]

LINEAR = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
STREAMS = [f"Eight people talk about number {index} and" for index in range(8)]
LONG = 40
"""Tokens of a stream: several times those of a measurement."""
numbers = itertools.count(70_000)

Matrices = Callable[[int, int], tuple[NDArray[Any], NDArray[Any]]]
"""Features in and out -> A and B of rank 4."""


def orthogonal(features_in: int, features_out: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Neither matrix is zero, but their product is: B reads only what A leaves empty."""
    a, b = np.zeros((4, features_in)), np.zeros((features_out, 4))
    a[0], b[:, 1] = 1.0, 1.0
    return a, b


def faint(features_in: int, features_out: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """The product is a number, and too small to move any other."""
    return np.full((4, features_in), 1.0), np.full((features_out, 4), 1e-25)


def enormous(features_in: int, features_out: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Every weight is a number, and hardly any product is."""
    rng = np.random.default_rng(0)
    return rng.standard_normal((4, features_in)), rng.standard_normal((features_out, 4)) * 1e37


def write(engine: Any, folder: Path, matrices: Matrices) -> Path:
    """Write an adapter of ``matrices`` that verification lets pass."""
    made: builders.Tensors = {}
    for module, shape in engine.facts.modules.items():
        for side, values in zip("AB", matrices(*shape), strict=True):
            name = f"base_model.model.{module}.lora_{side}.weight"
            made[name] = ("F32", values.astype(np.float32))
    weights = builders.safetensors(made)
    path = builders.write(folder, weights=weights, lora_alpha=4, target_modules=list(LINEAR))
    verify(path, engine.facts)
    return path


@asynccontextmanager
async def loaded(engine: Any, path: Path) -> AsyncIterator[Callable[[], Any]]:
    """Load the adapter in ``path`` for the block, which may measure it any number of times."""
    engine_id = next(numbers)
    name = f"measured@{engine_id}"
    await engine.load_adapter(engine_id, name, path)
    try:
        yield lambda: engine.measure_effect(engine_id, name)
    finally:
        await engine.unload_adapter(engine_id)


async def answer(engine: Any, prompt: str, max_tokens: int) -> str:
    """Return the base's greedy text."""
    body = {
        "model": engine.model.id,
        "prompt": prompt,
        "max_tokens": max_tokens,
        "temperature": 0,
        "ignore_eos": True,
    }
    found = await engine.respond(Call(Endpoint.COMPLETIONS, body, f"effect-{next(numbers)}"))
    assert isinstance(found, Answer)
    return str(found.body["choices"][0]["text"])


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def alone(vllm_engine: Any) -> list[str]:
    """What each of ``STREAMS`` is when nothing else runs."""
    return [await answer(vllm_engine, prompt, LONG) for prompt in STREAMS]


@asynccontextmanager
async def eight_streams(engine: Any, alone: list[str]) -> AsyncIterator[None]:
    """Run eight long answers beside the block; afterwards each was what it is alone."""
    running = [asyncio.create_task(answer(engine, prompt, LONG)) for prompt in STREAMS]
    await answer(engine, "One", 2)
    assert not any(task.done() for task in running)
    yield
    assert not all(task.done() for task in running), "the block outlasted the streams"
    assert await asyncio.gather(*running) == alone


@pytest.mark.parametrize(
    "name", sorted(path.parent.name for path in DEMO.glob("*/adapter_config.json"))
)
async def test_a_demo_adapter_changes_answers_in_all_its_modules(
    vllm_engine: Any, name: str
) -> None:
    async with loaded(vllm_engine, DEMO / name) as measure:
        effect = await measure()
        assert effect == await measure()
    assert effect.largest_change > 0.5
    assert effect.modules == read_artifact(DEMO / name).manifest.modules
    judge(effect)


@pytest.mark.parametrize("matrices", [orthogonal, faint])
async def test_an_adapter_that_moves_no_number_has_no_effect(
    vllm_engine: Any, alone: list[str], tmp_path: Path, matrices: Matrices
) -> None:
    modules = len(vllm_engine.facts.modules)
    async with loaded(vllm_engine, write(vllm_engine, tmp_path / "a", matrices)) as measure:
        assert await measure() == Effect(modules, 0.0, finite=True, repeats=False)
        async with eight_streams(vllm_engine, alone):
            effect = await measure()
    assert effect.largest_change == 0.0
    with pytest.raises(NoEffect):
        judge(effect)
    judge(effect, allow_no_effect=True)


async def test_a_measurement_beside_eight_streams_finds_the_same_and_changes_none(
    vllm_engine: Any, alone: list[str]
) -> None:
    async with loaded(vllm_engine, DEMO / "pirate") as measure:
        calm = await measure()
        async with eight_streams(vllm_engine, alone):
            busy = await measure()
    assert busy.largest_change == pytest.approx(calm.largest_change, abs=1e-3)


async def test_an_adapter_beyond_numbers_is_found_out_and_harms_no_neighbour(
    vllm_engine: Any, alone: list[str], tmp_path: Path
) -> None:
    path = write(vllm_engine, tmp_path / "a", enormous)
    async with loaded(vllm_engine, path) as measure, eight_streams(vllm_engine, alone):
        effect = await measure()
    with pytest.raises(NonFinite):
        judge(effect)


async def test_what_a_broken_adapter_left_in_the_cache_reaches_nobody(
    vllm_engine: Any, tmp_path: Path
) -> None:
    """The blocks that a measurement frees are the next ones to be taken."""
    prompts = [f"Tell me about number {index} please" for index in range(6)]

    async def ask() -> list[str]:
        return await asyncio.gather(*(answer(vllm_engine, prompt, 4) for prompt in prompts))

    before = await ask()
    async with loaded(vllm_engine, write(vllm_engine, tmp_path / "a", enormous)) as measure:
        for _ in range(3):
            await measure()
            assert await ask() == before
    assert await ask() == before
