"""Plain text that goes to the client past its reader: the same bytes, in the same order."""

import asyncio
import gc
import weakref
from collections.abc import AsyncGenerator, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.asked import need
from unit.server.engine.test_plain import CHATS, COMPLETIONS, handler, metadata
from veneer_server.engine.base import Outlet

pytestmark = pytest.mark.engine

whole = need("veneer_server.engine.vllm.dialect.whole")
short = need("veneer_server.engine.vllm.dialect.shortcut")
generations = need("veneer_server.engine.vllm.generations")
detokenizing = need("vllm.v1.engine.detokenizer")
engine_wire = need("vllm.v1.engine")
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
    """One request in vLLM's output processor, with a reader as vLLM's client is one.

    Its tokens are the numbers of ``texts``.
    """

    def __init__(self, texts: Sequence[str], interval: int | None = None) -> None:
        self.outlet = Outlet()
        short.shortcut.set(short.Shortcut(self.outlet))
        kind = sampling.RequestOutputKind.DELTA
        params = sampling.SamplingParams(output_kind=kind, stream_interval=interval)
        asked = engine_wire.EngineCoreRequest(
            request_id="inside",
            external_req_id="r",
            prompt_token_ids=[1, 2, 3],
            mm_features=None,
            sampling_params=params,
            pooling_params=None,
            arrival_time=0.0,
            lora_request=None,
            cache_salt=None,
            data_parallel_rank=None,
        )
        self.processor = processing.OutputProcessor(None, log_stats=False)
        self.queue = processing.RequestOutputCollector(params.output_kind, "inside")
        self.processor.add_request(asked, "x", queue=self.queue)
        self.state = self.processor.request_states["inside"]
        self.state.detokenizer = words(asked, texts)
        client = SimpleNamespace(output_processor=self.processor)
        self.generation = generations.Generations().add(client, self._outputs(), None, "r")

    async def _outputs(self) -> AsyncGenerator[Any]:
        while True:
            output = self.queue.get_nowait() or await self.queue.get()
            yield output
            if output.finished:
                return

    async def read(self) -> None:
        """Return when everything before was read, and its reader waits for more."""
        while self.queue.output is not None or not self.generation._is_read():
            await asyncio.sleep(0)

    def step(self, token: int, *, is_last: bool = False) -> None:
        """Let the engine core answer with ``token``."""
        reason = engine_wire.FinishReason.LENGTH if is_last else None
        output = engine_wire.EngineCoreOutput("inside", [token], finish_reason=reason)
        self.processor.process_outputs([output])

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


def words(asked: Any, texts: Sequence[str]) -> Any:
    """Return vLLM's detokenizer of a request whose tokens are the numbers of ``texts``."""

    kind: Any = detokenizing.BaseIncrementalDetokenizer

    class Words(kind):  # type: ignore[misc]
        def decode_next(self, next_token_id: int) -> str:
            return texts[next_token_id]

    return Words(asked)


async def read(events: Any, into: list[bytes]) -> None:
    async for event in events:
        into.append(event if isinstance(event, bytes) else event.encode())  # noqa: PERF401 - seen while it grows


async def events_of(
    ask: Any, kind: type[Any], more: dict[str, Any], texts: Sequence[str], taken: Sequence[bool]
) -> tuple[list[bytes], int]:
    """Return all events as they came, and how many came the short way."""
    request, got, pushed, turns = Request([*texts, "z"]), [], [], list(taken)

    def take(event: bytes) -> bool:
        if turns and not turns.pop():
            return False
        got.append(event)
        pushed.append(event)
        return True

    request.outlet.open(take)
    async with asyncio.timeout(10):
        reader = asyncio.create_task(read(ask(request, kind, more), got))
        for token in range(len(texts) + 1):
            await request.read()
            request.step(token, is_last=token == len(texts))
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


async def opened(take: Any, interval: int | None = None) -> Request:
    """Return a request whose short way is open, and whose reader waits."""
    request = Request(["a", "b", "c"], interval)
    request.outlet.open(bool)
    request.generation._shortcut.open(take)
    request.reader = asyncio.create_task(anext(request.generation))  # type: ignore[attr-defined]
    await asyncio.sleep(0)
    return request


async def first_of(request: Request) -> Any:
    async with asyncio.timeout(5):
        return (await request.reader).outputs[0]  # type: ignore[attr-defined]


async def test_nothing_overtakes_an_output_that_waits_for_its_reader() -> None:
    turns = [True, False]
    request = await opened(lambda text, tokens: turns.pop())
    request.step(0)
    request.step(1)
    found = await first_of(request)
    assert (found.text, found.token_ids) == ("ab", [0, 1])


async def test_nothing_takes_the_short_way_while_nobody_reads() -> None:
    turns = [True, False]
    request = await opened(lambda text, tokens: turns.pop())
    request.step(0)
    assert (await first_of(request)).text == "a"
    request.step(1)
    assert (request.queue.output.outputs[0].text, turns) == ("b", [True])


async def test_what_took_the_short_way_is_no_output() -> None:
    request = await opened(lambda text, tokens: (text, tokens) == ("a", [0]))
    request.step(0)
    request.step(1)
    assert (await first_of(request)).text == "b"


async def test_a_request_that_vllm_tells_less_often_takes_the_long_way() -> None:
    request = await opened(lambda text, tokens: True, interval=2)
    request.step(0)
    assert (await first_of(request)).text == "a"


async def test_an_ended_request_is_not_held_by_its_short_way() -> None:
    request = await opened(lambda text, tokens: True)
    state = weakref.ref(request.state)
    del request.state
    gc.disable()
    try:
        request.step(0, is_last=True)
        assert state() is None
    finally:
        gc.enable()


async def test_a_request_on_the_short_way_is_aborted_as_any_other() -> None:
    request = await opened(lambda text, tokens: True)
    request.step(0)
    assert request.processor.abort_requests(["r"], internal=False) == ["inside"]
    assert request.queue.output.finished


async def test_an_error_on_the_short_way_is_the_requests_own() -> None:
    def breaks(text: str, tokens: Sequence[int]) -> bool:
        raise ValueError

    request = await opened(breaks)
    request.step(0)
    with pytest.raises(asyncio.CancelledError):
        await first_of(request)
