"""A call that ends early has told the engine to stop all of its generations when it returns."""

import asyncio
from contextlib import aclosing
from typing import Any

import pytest

from support.serving import POLL_S
from veneer_server.engine.base import Answer, Call, Endpoint

pytestmark = [
    pytest.mark.engine,
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.timeout(300),
]

BODY = {"model": "base", "prompt": ["a", "b", "c"], "n": 2, "max_tokens": 500, "ignore_eos": True}


def unfinished(engine: Any) -> int:
    found: int = engine._client.output_processor.get_num_unfinished_requests()
    return found


async def test_a_cancelled_batch_was_not_refused_and_nothing_of_it_goes_on(
    vllm_engine: Any,
) -> None:
    call = Call(Endpoint.COMPLETIONS, BODY, "cancelled-whole")
    asking = asyncio.create_task(vllm_engine.respond(call))
    async with asyncio.timeout(60):
        while unfinished(vllm_engine) < 6:
            await asyncio.sleep(POLL_S)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
    assert unfinished(vllm_engine) == 0


async def test_nothing_of_a_streamed_batch_goes_on_after_its_close(vllm_engine: Any) -> None:
    call = Call(Endpoint.COMPLETIONS, {**BODY, "stream": True}, "cancelled-stream")
    async with asyncio.timeout(60):
        found = await vllm_engine.respond(call)
        assert not isinstance(found, Answer)
        async with aclosing(found) as frames:
            await anext(frames)
            assert unfinished(vllm_engine) == 6
    assert unfinished(vllm_engine) == 0


@pytest.mark.parametrize("streaming", [False, True])
async def test_one_bad_prompt_ends_the_good_ones_beside_it(
    vllm_engine: Any, streaming: bool, caplog: pytest.LogCaptureFixture
) -> None:
    prompts = [[1], [2], [999999], [999998]]
    body = {**BODY, "prompt": prompts, "stream": streaming}
    async with asyncio.timeout(60):
        with pytest.raises(Exception, match=r"Token id 99999[89] is out of vocabulary"):
            await anext(await vllm_engine.respond(Call(Endpoint.COMPLETIONS, body, "bad-prompt")))
    assert unfinished(vllm_engine) == 0
    assert not [record for record in caplog.records if record.levelname in ("WARNING", "ERROR")]
