"""Plain text that goes to the client past its reader: the same bytes, in the same order."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.asked import need
from unit.server.engine.test_plain import CHATS, COMPLETIONS, answer, handler, metadata
from veneer_server.engine.base import Outlet

pytestmark = pytest.mark.engine

whole = need("veneer_server.engine.vllm.dialect.whole")
short = need("veneer_server.engine.vllm.dialect.shortcut")
generations = need("veneer_server.engine.vllm.generations")
processing = need("vllm.v1.engine.output_processor")
sampling = need("vllm.sampling_params")
chat_wire = need("vllm.entrypoints.openai.chat_completion.protocol")
completion_wire = need("vllm.entrypoints.openai.completion.protocol")
chat_serving = need("vllm.entrypoints.openai.chat_completion.serving")
completion_serving = need("vllm.entrypoints.openai.completion.serving")
merging = need("vllm.utils.async_utils")

TEXTS = st.lists(st.sampled_from(["", "a", '"', "\\", "\n", "é😀"]), max_size=8)
PARTS = st.lists(st.booleans(), max_size=8)


class Request:
    """One request in vLLM's output processor, with a reader as vLLM's client is one."""

    def __init__(self) -> None:
        self.outlet = Outlet()
        short.shortcut.set(short.Shortcut(self.outlet))
        processor = processing.OutputProcessor(None, log_stats=False)
        kind = sampling.RequestOutputKind.DELTA
        self.queue = processing.RequestOutputCollector(kind, "inside")
        self.state = SimpleNamespace(queue=self.queue)
        processor.external_req_ids["r"].append("inside")
        processor.request_states["inside"] = self.state
        client = SimpleNamespace(output_processor=processor)
        self.generation = generations.Generations().add(client, self._outputs(), None, "r")

    async def _outputs(self) -> AsyncGenerator[Any]:
        while True:
            output = self.queue.get_nowait() or await self.queue.get()
            yield output
            if output.finished:
                return

    async def put(self, output: Any) -> None:
        """Give ``output`` as vLLM does, when everything before was read."""
        while self.queue.output is not None or not self.generation._is_read():
            await asyncio.sleep(0)
        self.state.queue.put(output)

    def chat(self, kind: type[Any], more: dict[str, Any]) -> Any:
        messages = [{"role": "user", "content": "x"}]
        request = chat_wire.ChatCompletionRequest(messages=messages, stream=True, **more)
        return handler(kind).chat_completion_stream_generator(
            request, self.generation, "id", "base", messages, object(), metadata()
        )

    def completion(self, kind: type[Any], more: dict[str, Any]) -> Any:
        request = completion_wire.CompletionRequest(prompt="x", stream=True, max_tokens=9, **more)
        results = merging.merge_async_iterators(self.generation)
        return handler(kind).completion_stream_generator(
            request, [{}], results, "id", 7, "base", 1, None, metadata()
        )


async def read(events: Any, into: list[bytes]) -> None:
    async for event in events:
        into.append(event if isinstance(event, bytes) else event.encode())  # noqa: PERF401 - seen while it grows


async def events_of(
    ask: Any, kind: type[Any], more: dict[str, Any], texts: Sequence[str], taken: Sequence[bool]
) -> tuple[list[bytes], int]:
    """Return all events as they came, and how many came the short way."""
    request, got, pushed, turns = Request(), [], [], list(taken)

    def take(event: bytes) -> bool:
        if turns and not turns.pop():
            return False
        got.append(event)
        pushed.append(event)
        return True

    request.outlet.open(take)
    async with asyncio.timeout(10):
        reader = asyncio.create_task(read(ask(request, kind, more), got))
        for output in answer(texts, "z", "stop"):
            await request.put(output)
        await reader
    return got, len(pushed)


@pytest.mark.parametrize("more", CHATS)
def test_the_events_of_a_chat_are_vllms(more: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.time", lambda: 7.0)

    @settings(deadline=None)
    @given(TEXTS, PARTS)
    def they_are(texts: list[str], taken: list[bool]) -> None:
        asked = (Request.chat, whole.Chat, CHATS[more], texts, taken)
        ours, _ = asyncio.run(events_of(*asked))
        theirs = (Request.chat, chat_serving.OpenAIServingChat, CHATS[more], texts, taken)
        assert ours == asyncio.run(events_of(*theirs))[0]

    they_are()


@pytest.mark.parametrize("more", COMPLETIONS)
def test_the_events_of_a_completion_are_vllms(more: str) -> None:
    @settings(deadline=None)
    @given(TEXTS, PARTS)
    def they_are(texts: list[str], taken: list[bool]) -> None:
        asked = (Request.completion, whole.Completion, COMPLETIONS[more], texts, taken)
        ours, _ = asyncio.run(events_of(*asked))
        kind = completion_serving.OpenAIServingCompletion
        theirs = (Request.completion, kind, COMPLETIONS[more], texts, taken)
        assert ours == asyncio.run(events_of(*theirs))[0]

    they_are()


@pytest.mark.parametrize("ask", [Request.chat, Request.completion])
async def test_all_but_the_first_and_the_last_text_take_the_short_way(ask: Any) -> None:
    kind = whole.Chat if ask is Request.chat else whole.Completion
    _, pushed = await events_of(ask, kind, {}, ["a"] * 50, [])
    assert pushed == 49


@pytest.mark.parametrize("more", ["usage each time", "token ids", "tools"])
async def test_what_is_not_plain_never_takes_it(more: str) -> None:
    _, pushed = await events_of(Request.chat, whole.Chat, CHATS[more], ["a"] * 5, [])
    assert pushed == 0


async def opened(take: Any) -> Request:
    """Return a request whose short way is open, and whose reader waits."""
    request = Request()
    request.outlet.open(bool)
    request.generation._shortcut.open(take)
    request.reader = asyncio.create_task(anext(request.generation))  # type: ignore[attr-defined]
    await asyncio.sleep(0)
    return request


async def test_nothing_overtakes_an_output_that_waits_for_its_reader() -> None:
    turns = [True, False]
    request = await opened(lambda output: turns.pop())
    first, second = answer(["a", "b"], "z", "stop")[:2]
    request.state.queue.put(first)
    request.state.queue.put(second)
    async with asyncio.timeout(5):
        found = await request.reader  # type: ignore[attr-defined]
    assert found.outputs[0].text == "ab"


async def test_nothing_takes_the_short_way_while_nobody_reads() -> None:
    turns = [True, False]
    request = await opened(lambda output: turns.pop())
    first, second = answer(["a", "b"], "z", "stop")[:2]
    request.state.queue.put(first)
    async with asyncio.timeout(5):
        assert await request.reader is first  # type: ignore[attr-defined]
    request.state.queue.put(second)
    assert (request.queue.output, turns) == (second, [True])


async def test_an_error_on_the_short_way_is_the_requests_own() -> None:
    def breaks(output: Any) -> bool:
        raise ValueError

    request = await opened(breaks)
    request.state.queue.put(answer(["a"], "z", "stop")[0])
    async with asyncio.timeout(5):
        with pytest.raises(asyncio.CancelledError):
            await request.reader  # type: ignore[attr-defined]
