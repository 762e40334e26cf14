"""A stream of nothing but text has byte for byte the events that vLLM's handler would write."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.asked import need
from veneer_server.engine.vllm import embedded

pytestmark = pytest.mark.engine

plain = need("veneer_server.engine.vllm.dialect.plain")
whole = need("veneer_server.engine.vllm.dialect.whole")
chat_wire = need("vllm.entrypoints.openai.chat_completion.protocol")
completion_wire = need("vllm.entrypoints.openai.completion.protocol")
serving = need("vllm.entrypoints.openai.completion.serving")
engine_wire = need("vllm.entrypoints.generate.base.protocol")
outputs = need("vllm.outputs")
parsers = need("vllm.parser")

ODD = ['"', "\\", "\n", "\x00\x1b\x7f\x85\u2028", "é中😀", '","logprobs":null', "</tool_call>"]
USAGE = {"include_usage": True}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
CHATS: dict[str, dict[str, Any]] = {
    "plain": {},
    "usage": {"stream_options": USAGE},
    "usage each time": {"stream_options": {**USAGE, "continuous_usage_stats": True}},
    "token ids": {"return_token_ids": True},
    "echo": {"echo": True, "add_generation_prompt": False},
    "tools": {"tools": [TOOL]},
    "no tools": {"tools": [TOOL], "tool_choice": "none"},
}
COMPLETIONS = {name: CHATS[name] for name in ("plain", "usage", "usage each time", "token ids")}


@pytest.fixture(scope="module")
def parser() -> Any:
    from transformers import AutoTokenizer

    found = parsers.ParserManager.get_parser(
        tool_parser_name="hermes",
        reasoning_parser_name="",
        enable_auto_tools=True,
        tokenizer=AutoTokenizer.from_pretrained(str(embedded.ensure_checkpoint())),
    )
    return whole.as_streamed(found)


def handler(kind: type[Any], parser: Any = None) -> Any:
    made = object.__new__(kind)
    made.parser_cls, made.response_role, made.request_logger = parser, "assistant", None
    made.enable_force_include_usage = made.enable_log_outputs = False
    made.enable_prompt_tokens_details, made.enable_per_request_metrics = True, False
    made._include_reasoning_tokens_details, made.system_fingerprint = False, "fp"
    made.model_config = None
    return made


def answer(texts: Sequence[str], last: str, end: str) -> list[Any]:
    """Return the engine's outputs: one for each text, and the last with the reason."""
    parts = [(text, None) for text in texts] + [(last, end)]
    return [
        outputs.RequestOutput(
            request_id="r",
            prompt="x",
            prompt_token_ids=[1, 2, 3],
            prompt_logprobs=None,
            outputs=[outputs.CompletionOutput(0, text, [number], None, None, finish_reason=reason)],
            finished=reason is not None,
            num_cached_tokens=2,
        )
        for number, (text, reason) in enumerate(parts)
    ]


async def given_one_by_one(items: Sequence[Any]) -> AsyncGenerator[Any]:
    for item in items:
        await asyncio.sleep(0)
        yield item


async def bytes_of(events: AsyncIterator[Any]) -> list[bytes]:
    return [event if isinstance(event, bytes) else event.encode() async for event in events]


def chat_events(kind: type[Any], parser: Any, more: dict[str, Any], told: list[Any]) -> list[bytes]:
    messages = [{"role": "user", "content": "x"}]
    request = chat_wire.ChatCompletionRequest(messages=messages, stream=True, **more)
    return asyncio.run(
        bytes_of(
            handler(kind, parser).chat_completion_stream_generator(
                request, given_one_by_one(told), "id", "base", messages, object(), metadata()
            )
        )
    )


def completion_events(kind: type[Any], more: dict[str, Any], told: list[Any]) -> list[bytes]:
    request = completion_wire.CompletionRequest(prompt="x", stream=True, max_tokens=9, **more)
    return asyncio.run(
        bytes_of(
            handler(kind).completion_stream_generator(
                request,
                [{}],
                given_one_by_one([(0, result) for result in told]),
                "id",
                7,
                "base",
                num_prompts=1,
                tokenizer=None,
                request_metadata=metadata(),
            )
        )
    )


def metadata() -> Any:
    return engine_wire.RequestResponseMetadata(request_id="id")


@pytest.mark.parametrize("parsed", [False, True])
@pytest.mark.parametrize("more", CHATS)
def test_the_events_of_a_chat_are_vllms(
    parser: Any, more: str, parsed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.time", lambda: 7.0)
    chosen = parser if parsed else None
    texts = st.lists(st.one_of(st.sampled_from(["", "a", *ODD]), st.text(max_size=3)), max_size=6)

    @given(texts, st.sampled_from(["", "z"]), st.sampled_from(["stop", "length"]))
    def they_are(texts: list[str], last: str, end: str) -> None:
        ours = chat_events(whole.Chat, chosen, CHATS[more], answer(texts, last, end))
        vllms = chat_events(whole.HonestEnds, chosen, CHATS[more], answer(texts, last, end))
        assert ours == vllms

    they_are()


@pytest.mark.parametrize("more", COMPLETIONS)
def test_the_events_of_a_completion_are_vllms(more: str) -> None:
    @given(st.lists(st.one_of(st.sampled_from(["", *ODD]), st.text(max_size=3)), max_size=6))
    def they_are(texts: list[str]) -> None:
        ours = completion_events(whole.Completion, CHATS[more], answer(texts, "z", "stop"))
        told = answer(texts, "z", "stop")
        vllms = completion_events(serving.OpenAIServingCompletion, CHATS[more], told)
        assert ours == vllms

    they_are()


def test_vllm_makes_an_object_only_of_the_first_and_the_last_text(
    parser: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Any] = []
    kind = chat_wire.ChatCompletionStreamResponse
    monkeypatch.setattr(
        "vllm.entrypoints.openai.chat_completion.serving.ChatCompletionStreamResponse",
        lambda **members: made.append(members) or kind(**members),
    )
    told = answer(["a"] * 50, "z", "stop")
    assert len(chat_events(whole.Chat, parser, {}, told)) == 53
    assert len(made) == 3


async def test_an_event_goes_out_before_the_next_output_is_there() -> None:
    """The same holds for the first events, which vLLM writes."""
    request = chat_wire.ChatCompletionRequest(messages=[], stream=True)
    given: list[int] = []

    async def one_by_one() -> AsyncGenerator[Any]:
        for number, result in enumerate(answer(["a", "b", "c"], "z", "stop")):
            given.append(number)
            yield result

    events = handler(whole.Chat).chat_completion_stream_generator(
        request, one_by_one(), "id", "base", [], object(), metadata()
    )
    seen = [(len(given), event) async for event in events]
    assert [count for count, _ in seen] == [1, 1, 2, 3, 4, 4]
    assert all(a <= b for (a, _), (b, _) in pairwise(seen))


class Broken(Exception):
    pass


async def test_an_error_of_the_engine_reaches_who_reads_and_ends_vllms_handler() -> None:
    ended: list[BaseException] = []

    async def tell(results: AsyncIterator[Any]) -> AsyncGenerator[str]:
        try:
            async for result in results:
                yield f'{{"text":"{result.outputs[0].text}"}}'
        except BaseException as error:
            ended.append(error)
            raise

    async def breaks() -> AsyncGenerator[Any]:
        for result in answer(["a", "b"], "z", "stop")[:2]:
            yield result
        raise Broken

    events = plain.by_template(breaks(), tell, "text")
    with pytest.raises(Broken):
        [event async for event in events]
    assert [type(error) for error in ended] == [asyncio.CancelledError]


async def test_a_handler_may_wait_for_something_else_than_its_outputs() -> None:
    waited: list[str] = []

    async def tell(results: AsyncIterator[Any]) -> AsyncGenerator[str]:
        async for result in results:
            await asyncio.sleep(0)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0):
                    await asyncio.Event().wait()
            waited.append(result.outputs[0].text)
            yield f'{{"text":"{result.outputs[0].text}"}}'

    told = given_one_by_one(answer(["a", "b"], "z", "stop"))
    events = [event async for event in plain.by_template(told, tell, "text")]
    assert events == ['{"text":"a"}', b'{"text":"b"}', '{"text":"z"}']
    assert waited == ["a", "z"]
