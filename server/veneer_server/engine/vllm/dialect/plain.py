"""Streams of nothing but text, by a template.

vLLM makes a pydantic object of each token and writes it as JSON. In a stream of nothing but text
the events differ only in the text. So vLLM's handler writes the first event with text, which is the
template, and the events around the stream; what comes between is the template with another text.
The last output brings the handler the tokens of all that it did not see, so its counts are right.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

import orjson
from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
from vllm.entrypoints.openai.completion.protocol import CompletionRequest
from vllm.outputs import CompletionOutput, RequestOutput
from vllm.parser.abstract_parser import DelegatingParser, Parser

from veneer_server.engine.base import Outlet
from veneer_server.engine.vllm.dialect.paced import Paced
from veneer_server.engine.vllm.dialect.shortcut import Shortcut


@dataclass(frozen=True, slots=True)
class Template:
    """An event, but for its text."""

    head: bytes
    tail: bytes

    @classmethod
    def of(cls, event: str, member: str, text: str) -> "Template | None":
        """Return the template of ``event`` if its ``member`` has ``text``, which is not empty."""
        if not text:
            return None
        head, found, tail = event.encode().partition(f'"{member}":'.encode() + orjson.dumps(text))
        return cls(head + f'"{member}":'.encode(), tail) if found else None

    def event(self, text: str) -> bytes:
        """Return the event with ``text``."""
        return self.head + orjson.dumps(text) + self.tail


def is_plain_chat(request: ChatCompletionRequest, parser: type[Parser] | None) -> bool:
    """Return whether the events of the stream differ only in their text, but for first and last."""
    # Without tools such a parser hands on each piece as it is.
    reads_nothing = parser is None or (
        issubclass(parser, DelegatingParser)
        and parser.reasoning_parser_cls is None
        and not getattr(parser.tool_parser_cls, "engine_based_streaming", False)
    )
    no_calls = not request.tools and request.tool_choice in (None, "none")
    return reads_nothing and no_calls and _is_plain(request) and not request.logprobs


def is_plain_completion(request: CompletionRequest, prompts: int) -> bool:
    """Return whether the events of the stream differ only in their text, but for the last."""
    return prompts == 1 and request.logprobs is None and _is_plain(request)


def _is_plain(request: ChatCompletionRequest | CompletionRequest) -> bool:
    options = request.stream_options
    counts = options is not None and bool(options.continuous_usage_stats)
    return request.n in (None, 1) and not (request.echo or request.return_token_ids or counts)


@dataclass(slots=True)
class _Plain:
    """A stream of plain text: its template, once it is known, and what its handler was not told."""

    template: Template | None = None
    untold: list[int] = field(default_factory=list)

    def send(self, text: str, tokens: Sequence[int], push: Callable[[bytes], bool]) -> bool:
        """Push the event of ``text`` if the template is known; return whether it was pushed."""
        if self.template is None or not push(self.template.event(text)):
            return False
        self.untold.extend(tokens)
        return True

    def tell(self, part: CompletionOutput) -> None:
        """Add to ``part`` the tokens that its handler does not know yet."""
        if self.untold:
            part.token_ids = [*self.untold, *part.token_ids]
            self.untold.clear()


async def by_template(
    results: AsyncIterator[Any],
    tell: Callable[[AsyncIterator[Any]], AsyncGenerator[str]],
    member: str,
    output_of: Callable[[Any], RequestOutput] = lambda result: result,
    shortcut: Shortcut | None = None,
) -> AsyncGenerator[str | bytes]:
    """Yield the events that ``tell`` makes of ``results``; their text is in ``member``.

    What takes the ``shortcut`` is not among the results.
    """
    plain, shortcut = _Plain(), shortcut or Shortcut(Outlet())
    ready: list[bytes] = []

    def put(event: bytes) -> bool:
        ready.append(event)
        return True

    async with aclosing(Paced(tell)) as handler:
        async for result in results:
            part = output_of(result).outputs[0]
            text = "" if part.finish_reason else part.text
            if text and plain.send(text, part.token_ids, put):
                yield ready.pop()
                continue
            plain.tell(part)
            async for event in handler.told(result):
                plain.template = plain.template or Template.of(event, member, text)
                yield event
            if plain.template is not None:
                shortcut.open(lambda text, tokens: plain.send(text, tokens, shortcut.push))
        async for event in handler.ended():
            yield event
