"""Every kind of request once before a server is ready, so that no user pays for its first time.

What is compiled, imported or allocated at first use is paid for here: in the gateway (templates,
validators, grammars), in the engine (samplers, log-probabilities) and in its kernels. An adapter of
zeros, which no client can name, takes the paths of adapters; it is gone before the server is ready.

Rule: ``rounds_of_calls`` decides which calls there are, and ``warm_up`` makes them.
"""

import asyncio
import itertools
import json
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from math import prod
from pathlib import Path
from typing import Any

from veneer_adapters.artifact.files import CONFIG_FILE, WEIGHTS_FILE
from veneer_adapters.artifact.manifest import PREFIX, BaseFacts
from veneer_server.engine.base import Call, Endpoint, Engine, RequestRejected

ENGINE_ID = 2**31 - 1
"""The engine's number for the adapter of zeros. Those of users are counted from 1."""
ENGINE_NAME = "warm-up"
"""The engine's name for it. Those of users have a digest."""
_RANK = 16
"""The rank of the adapter of zeros. A GPU's kernels compute with the rank of the slots."""
_GPU_TOKENS = (1, 8, 16, 17, 64, 640, 641)
"""Lengths of prompts: vLLM's kernels for adapters are compiled for one row, for multiples of 16 and
for other numbers, and differ for few and many rows."""
_CPU_TOKENS = (1, 33)
_NAMES = {"bfloat16": "BF16", "float16": "F16", "float32": "F32"}
_WIDTHS = {"BF16": 2, "F16": 2, "F32": 4}
_SAMPLED = {"temperature": 0.7, "top_p": 0.9, "top_k": 20, "min_p": 0.05, "seed": 1}
_PENALTIES = {"presence_penalty": 0.1, "frequency_penalty": 0.1, "repetition_penalty": 1.1}
_SCHEMA = {"type": "object", "properties": {"a": {"type": "string", "enum": ["b"]}}}
_FORMAT = {"type": "json_schema", "json_schema": {"name": "w", "schema": _SCHEMA}}
_HELLO = [{"role": "user", "content": "Say hello. " * 4}]


def write_zeros(folder: Path, facts: BaseFacts) -> Path:
    """Write an adapter of zeros for every module of the base into ``folder`` and return it.

    The weights are a hole in the file: they take no room on disk.
    """
    rank, dtype = min(_RANK, facts.max_rank), _NAMES[facts.dtype]
    config = {
        "peft_type": "LORA",
        "r": rank,
        "lora_alpha": rank,
        "target_modules": sorted({name.rpartition(".")[2] for name in facts.modules}),
    }
    (folder / CONFIG_FILE).write_text(json.dumps(config), encoding="utf-8")
    header: dict[str, dict[str, Any]] = {}
    end = 0
    for name, (width, out) in facts.modules.items():
        for side, shape in (("A", [rank, width]), ("B", [out, rank])):
            start, end = end, end + prod(shape) * _WIDTHS[dtype]
            entry = {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}
            header[f"{PREFIX}{name}.lora_{side}.weight"] = entry
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with (folder / WEIGHTS_FILE).open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + end)
    return folder


def rounds_of_calls(
    models: Sequence[str], longest: int, *, on_cpu: bool
) -> list[list[tuple[Endpoint, dict[str, Any]]]]:
    """Return the calls for ``models``, internal names; those of one round run at the same time.

    ``longest`` is the most tokens of prompt and answer.
    """
    rounds = [[(Endpoint.COMPLETIONS, _prompt(model, n)) for model in models]
              for n in (_CPU_TOKENS if on_cpu else _GPU_TOKENS) if n + 2 <= longest]  # fmt: skip
    for endpoint, body in _kinds():
        rounds.append([(endpoint, {"model": model, **body}) for model in models])
    return rounds


def _prompt(model: str, tokens: int) -> dict[str, Any]:
    # Prompts of other lengths begin otherwise, so that no prefix is found in the cache.
    return {"model": model, "prompt": [100 + tokens] * tokens, "max_tokens": 2, "temperature": 0}


def _kinds() -> list[tuple[Endpoint, dict[str, Any]]]:
    chat = {"messages": _HELLO, "max_tokens": 2}
    return [
        (Endpoint.CHAT, {**chat, "response_format": {"type": "json_object"}}),
        (Endpoint.CHAT, {**chat, "response_format": _FORMAT, "temperature": 0}),
        (Endpoint.CHAT, {**chat, "logprobs": True, "top_logprobs": 5, "temperature": 0}),
        (Endpoint.CHAT, {**chat, **_SAMPLED, "n": 2}),
        (Endpoint.CHAT, {**chat, **_PENALTIES, "stop": ["zz"], "logit_bias": {"5": 1}}),
        (Endpoint.COMPLETIONS, {"prompt": "Hello", "max_tokens": 2, "logprobs": 2, "echo": True}),
        (Endpoint.RESPONSES, {"input": "Hello", "max_output_tokens": 2, "store": False}),
        (Endpoint.MESSAGES, {"messages": _HELLO, "max_tokens": 2}),
        (Endpoint.TOKENIZE, {"prompt": "Hello"}),
        (Endpoint.COUNT_TOKENS, {"messages": _HELLO}),
    ]


async def warm_up(engine: Engine, *, on_cpu: bool) -> None:
    """Make every call once, with the base and with the adapter of zeros, and measure an effect.

    Raises:
        LoadFailed: the adapter of zeros cannot be loaded, so no other could.
        EngineDown: the engine died meanwhile.
    """
    numbers = itertools.count()
    models, longest = (engine.model.id, ENGINE_NAME), engine.model.max_model_len
    async with _adapter_of_zeros(engine):
        for calls in rounds_of_calls(models, longest, on_cpu=on_cpu):
            named = (Call(*call, f"warm-up-{next(numbers)}") for call in calls)
            await asyncio.gather(*(_try_out(engine, call) for call in named))
        await engine.measure_effect(ENGINE_ID, ENGINE_NAME)


@asynccontextmanager
async def _adapter_of_zeros(engine: Engine) -> AsyncIterator[None]:
    with tempfile.TemporaryDirectory(prefix="veneer-warm-up-") as folder:
        path = await asyncio.to_thread(write_zeros, Path(folder), engine.facts)
        await engine.load_adapter(ENGINE_ID, ENGINE_NAME, path)
    try:
        yield
    finally:
        await engine.unload_adapter(ENGINE_ID)


async def _try_out(engine: Engine, call: Call) -> None:
    # What this model cannot do, nobody will wait for.
    with suppress(RequestRejected):
        await engine.respond(call)
