"""Whole answers say what their streams would have said.

vLLM reads tool calls in two ways: piece by piece for a stream, and all at once for a document. They
differ where an answer was cut off: as a document a call that has begun is text with its markup, and
an answer that ended at a limit may claim that it ended with its calls.
"""

import json
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from operator import itemgetter
from typing import Any

import jiter
from vllm.entrypoints.generate.base.protocol import DeltaMessage, FunctionCall
from vllm.entrypoints.openai.chat_completion.serving import OpenAIServingChat
from vllm.entrypoints.openai.completion.serving import OpenAIServingCompletion
from vllm.entrypoints.serve.engine.protocol import ErrorResponse
from vllm.outputs import RequestOutput
from vllm.parser.abstract_parser import DelegatingParser, Parser

from veneer_server.engine.vllm.dialect.plain import (
    by_template,
    is_plain_chat,
    is_plain_completion,
)
from veneer_server.engine.vllm.dialect.shortcut import shortcut

Calls = list[FunctionCall] | None
_PLAIN = "Hello."
"""A text that is no call in any form."""


def as_streamed(parser: type[Parser] | None) -> type[Parser] | None:
    """Return ``parser``, made to find in a document the tool calls that a stream would have had.

    A parser that does not delegate reads both in one way already, and stays as it is.
    """
    if parser is None or not issubclass(parser, DelegatingParser) or parser.tool_parser_cls is None:
        return parser
    plain: type[DelegatingParser] = parser
    logging.getLogger(parser.tool_parser_cls.__module__).addFilter(_is_no_cut_call)

    class AsStreamed(plain):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self._made_with = (args, kwargs)

        def _extract_tool_calls(
            self, content: str | None, request: Any, enable_auto_tools: bool = False
        ) -> tuple[Calls, str | None]:
            calls, rest = super()._extract_tool_calls(content, request, enable_auto_tools)
            if not content or not request.tools or request.tool_choice == "none":
                return calls, rest
            args, kwargs = self._made_with
            return _read_again(lambda: plain(*args, **kwargs), (calls, rest), content, request)

        def _append_unstreamed_tool_args(self, delta_message: DeltaMessage | None) -> None:
            # Of a call that was cut off before its arguments vLLM would say that it has none.
            if self._tool_parser and self._tool_parser.get_remaining_unstreamed_args() != "{}":
                super()._append_unstreamed_tool_args(delta_message)

    return AsStreamed


def _is_no_cut_call(record: logging.LogRecord) -> bool:
    # Where a limit cuts a call off, vLLM's parsers log a traceback; but that is how it should be.
    return not record.getMessage().startswith("Error in extracting tool call")


def _read_again(
    fresh: Callable[[], DelegatingParser],
    found: tuple[Calls, str | None],
    content: str,
    request: Any,
) -> tuple[Calls, str | None]:
    told = _told(fresh(), content, request)
    if told is None and _told(fresh(), _PLAIN, request) is None:
        return found  # the streams of this parser leave out even a plain text
    return choose(*found, told)


def _told(fresh: DelegatingParser, content: str, request: Any) -> DeltaMessage | None:
    """Return what a stream with ``content`` as its only piece says; ``fresh`` has read nothing."""
    ids = fresh.model_tokenizer.encode(content, add_special_tokens=False)
    state = fresh._stream_state
    told, _ = fresh._extract_tool_calls_streaming(
        previous_text="",
        current_text=content,
        delta_text=content,
        previous_token_ids=[],
        current_token_ids=ids,
        delta_token_ids=ids,
        request=request,
        tool_call_idx=state.history_tool_call_cnt,
        tool_call_id_type=state.tool_call_id_type,
    )
    return fresh._flush_engine_parsers(told)


def choose(calls: Calls, rest: str | None, told: DeltaMessage | None) -> tuple[Calls, str | None]:
    """Return the calls and the content of a document, from both ways to read it. Pure.

    ``calls`` and ``rest`` were found at once, ``told`` as in a stream. Calls that were found at
    once are complete, so they hold; where both mean the same, the stream has the model's own
    letters. Where none is complete, the stream knows which have begun, and what is text.
    """
    begun = _to_calls(told)
    if calls:
        return (begun if _mean_the_same(calls, begun) else calls), rest
    return begun or None, (told.content or None) if told else None


def _to_calls(told: DeltaMessage | None) -> list[FunctionCall]:
    found: dict[int, FunctionCall] = {}
    for part in told.tool_calls if told else ():
        call = found.setdefault(part.index, FunctionCall(id=part.id, name="", arguments=""))
        if part.function is not None:
            call.name += part.function.name or ""
            call.arguments += part.function.arguments or ""
    return list(found.values())


def _mean_the_same(calls: Sequence[FunctionCall], begun: Sequence[FunctionCall]) -> bool:
    if [c.name for c in calls] != [b.name for b in begun]:
        return False
    try:
        return all(
            json.loads(c.arguments) == json.loads(b.arguments)
            for c, b in zip(calls, begun, strict=True)
        )
    except ValueError:  # a call by name may be cut off too
        return [c.arguments for c in calls] == [b.arguments for b in begun]


class HonestEnds(OpenAIServingChat):
    """Says ``length`` of a document that ended at a limit, whatever is in it."""

    async def chat_completion_full_generator(  # noqa: D102 - as in vLLM
        self, request: Any, result_generator: AsyncIterator[RequestOutput], *rest: Any, **more: Any
    ) -> Any:
        ends: dict[int, str | None] = {}
        noted = _noted(result_generator, ends)
        found = await super().chat_completion_full_generator(request, noted, *rest, **more)
        if not isinstance(found, ErrorResponse):
            for choice in found.choices:
                if ends.get(choice.index) == "length":
                    choice.finish_reason = "length"
        return found


async def _noted(
    results: AsyncIterator[RequestOutput], ends: dict[int, str | None]
) -> AsyncIterator[RequestOutput]:
    async for result in results:
        ends.update((output.index, output.finish_reason) for output in result.outputs)
        yield result


class Chat(HonestEnds):
    """vLLM's chat completions; streams of nothing but text are written by a template."""

    def chat_completion_stream_generator(  # noqa: D102 - as in vLLM
        self,
        request: Any,
        result_generator: AsyncIterator[RequestOutput],
        *rest: Any,
        **more: Any,
    ) -> AsyncGenerator[Any]:
        def tell(results: AsyncIterator[RequestOutput]) -> AsyncGenerator[str]:
            return told(request, results, *rest, **more)

        told = super().chat_completion_stream_generator
        if not is_plain_chat(request, self.parser_cls):
            return tell(result_generator)
        return by_template(result_generator, tell, "content", shortcut=shortcut.get())


class Completion(OpenAIServingCompletion):
    """vLLM's completions; streams of nothing but text are written by a template."""

    def completion_stream_generator(  # noqa: D102 - as in vLLM
        self,
        request: Any,
        engine_inputs: Any,
        result_generator: AsyncIterator[tuple[int, RequestOutput]],
        *rest: Any,
        **more: Any,
    ) -> AsyncGenerator[Any]:
        def tell(results: AsyncIterator[tuple[int, RequestOutput]]) -> AsyncGenerator[str]:
            return told(request, engine_inputs, results, *rest, **more)

        told = super().completion_stream_generator
        if not is_plain_completion(request, len(engine_inputs)):
            return tell(result_generator)
        return by_template(result_generator, tell, "text", itemgetter(1), shortcut.get())


def so_far(arguments: str) -> dict[str, Any]:
    """Return the members that begin in ``arguments``, JSON that may end anywhere.

    Anthropic's clients read the pieces of a stream in the same way.
    """
    found = jiter.from_json(arguments.encode() or b"{}", partial_mode=True)
    return found if isinstance(found, dict) else {}
