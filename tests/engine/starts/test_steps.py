"""What a step of the real engine computes on a CPU, beside a stream that waits for it."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from support import tiny
from veneer_server.engine.base import Answer, Call, Endpoint
from veneer_server.engine.vllm.inside.step_work import StepWork, even_position
from veneer_server.engine.vllm.options import PROMPT_TOKENS, STEP_TOKENS

pytestmark = [pytest.mark.engine, pytest.mark.timeout(300)]

PROMPT = 8000
LAYER = {"hidden": 576, "inner": 1536, "heads": 9, "kv_heads": 3, "head_size": 64}


def wanted_steps() -> int:
    """Return in how many steps the prompt is computed beside one stream."""
    work = StepWork(PROMPT_TOKENS, STEP_TOKENS, even_position(**LAYER))
    at, steps = 0, 0
    while at < PROMPT:
        at += work.beside(1, [at]).prompt_tokens
        steps += 1
    return steps


async def count(stream: Any, is_over: Callable[[], bool]) -> int:
    """Return how many events a stream has before it ``is_over``."""
    number = 0
    async for _ in stream:
        if is_over():
            break
        number += 1
    return number


async def test_a_seed_gives_the_same_answer_however_many_steps_its_prompt_takes(
    tmp_path: Path,
) -> None:
    endless = {"model": "tiny", "max_tokens": 1900, "ignore_eos": True, "stream": True}
    long = {"model": "tiny", "prompt": [5, 9] * 300, "max_tokens": 12, "ignore_eos": True}
    seeded = {**long, "seed": 7, "temperature": 1.0}
    args = {"enable_prefix_caching": False}
    async with tiny.engine(tmp_path, args=args) as engine, asyncio.timeout(200):

        async def ask(number: int, **more: Any) -> str:
            answer = await engine.respond(Call(Endpoint.COMPLETIONS, seeded | more, f"s{number}"))
            assert isinstance(answer, Answer)
            text: str = answer.body["choices"][0]["text"]
            return text

        alone = await ask(1)
        stream = await engine.respond(Call(Endpoint.COMPLETIONS, {**endless, "prompt": "a"}, "s"))
        await anext(stream)
        beside = await asyncio.gather(ask(2), ask(3), ask(4, seed=8))
        await stream.aclose()
    assert beside[:2] == [alone, alone]
    assert beside[2] != alone


async def test_late_in_a_long_prompt_steps_are_smaller_and_the_stream_has_a_token_of_each(
    tmp_path: Path,
) -> None:
    endless = {"model": "tiny", "max_tokens": 4000, "ignore_eos": True, "stream": True}
    long = {"model": "tiny", "prompt": [5] * PROMPT, "max_tokens": 1}
    async with tiny.engine(tmp_path, max_len=8192) as engine, asyncio.timeout(200):
        stream = await engine.respond(Call(Endpoint.COMPLETIONS, {**endless, "prompt": "a"}, "s"))
        await anext(stream)
        asked = Call(Endpoint.COMPLETIONS, long, "long")
        answering = asyncio.create_task(engine.respond(asked))
        seen = await count(stream, answering.done)
        assert isinstance(await answering, Answer)
        await stream.aclose()
    fewest = PROMPT // PROMPT_TOKENS
    assert wanted_steps() > 1.5 * fewest
    # The first and the last step of the prompt have another size than this counts.
    assert seen >= wanted_steps() - 2
