"""One engine on a tiny model, and what is asked of it."""

import asyncio
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from veneer_adapters.artifact.checks import verify
from veneer_server.engine.base import Answer, Call, Endpoint, Engine
from veneer_server.engine.vllm.options import EngineOptions, environment

BASE = "base"
TOKENS = 8
Said = tuple[list[int], list[float]]


@asynccontextmanager
async def engine_on(
    folder: Path, args: Mapping[str, Any], *, max_rank: int = 16, dtype: str = "float32"
) -> AsyncIterator[Engine]:
    """Run the real engine on the model in ``folder``."""
    os.environ.update(environment(os.environ, os.sched_getaffinity(0), os.getpid(), 600.0))
    from veneer_server.engine.vllm.engine import VllmEngine

    options = EngineOptions(
        model=str(folder),
        name=BASE,
        root=str(folder),
        dtype=dtype,
        max_len=512,
        kv_cache_bytes=2**28,
        device_slots=6,
        host_slots=6,
        max_rank=max_rank,
        args={"enable_prefix_caching": False, **args},
    )
    engine = await VllmEngine.start(options)
    try:
        yield engine
    finally:
        engine.stop()


class Asked:
    """An engine with adapters, and its answers."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._loaded: dict[str, int] = {}
        self._sent = 0

    async def load(self, name: str, folder: Path) -> None:
        """Load the adapter in ``folder``, after the checks that every adapter passes."""
        await asyncio.to_thread(verify, folder, self._engine.facts)
        self._loaded[name] = len(self._loaded) + 1
        await self._engine.load_adapter(self._loaded[name], name, folder)

    async def effect(self, name: str) -> Any:
        """Return what the engine measures of a loaded adapter."""
        return await self._engine.measure_effect(self._loaded[name], name)

    async def answer(self, name: str, prompt: list[int]) -> Said:
        """Return the greedy tokens after ``prompt``, and the log-probability of each."""
        self._sent += 1
        body = {
            "model": name,
            "prompt": prompt,
            "max_tokens": TOKENS,
            "temperature": 0,
            "logprobs": 0,
            "ignore_eos": True,
            "return_token_ids": True,
        }
        found = await self._engine.respond(Call(Endpoint.COMPLETIONS, body, f"r{self._sent}"))
        assert isinstance(found, Answer)
        [choice] = found.body["choices"]
        return choice["token_ids"], choice["logprobs"]["token_logprobs"]
