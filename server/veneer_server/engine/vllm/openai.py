"""vLLM's own OpenAI handlers behind our seam. Veneer has no parser or sampler of its own.

A handler gets vLLM's request object and answers with a document, an iterator of events, or
an ``ErrorResponse``. This file turns the first two into our ``Answer`` and ``Frames``. It turns
every error (returned, raised or written into a stream) into an exception of ``engine.base``, by
``refusals``.
"""

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from pydantic import BaseModel, TypeAdapter
from vllm.engine.protocol import EngineClient
from vllm.entrypoints.anthropic.protocol import (
    AnthropicCountTokensRequest,
    AnthropicMessagesRequest,
)
from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
from vllm.entrypoints.openai.completion.protocol import CompletionRequest
from vllm.entrypoints.openai.models.protocol import BaseModelPath
from vllm.entrypoints.openai.models.serving import OpenAIServingModels
from vllm.entrypoints.openai.responses.protocol import ResponsesRequest
from vllm.entrypoints.openai.responses.serving import OpenAIServingResponses
from vllm.entrypoints.serve.engine.protocol import ErrorInfo, ErrorResponse
from vllm.entrypoints.serve.tokenize.protocol import DetokenizeRequest, TokenizeRequest
from vllm.entrypoints.serve.tokenize.serving import ServingTokenization
from vllm.renderers.chat_utils import load_chat_template
from vllm.renderers.inputs.preprocess import extract_prompt_len
from vllm.renderers.online_renderer import OnlineRenderer

from veneer_server.engine.base import (
    Answer,
    Call,
    Endpoint,
    EngineError,
    EngineLost,
    Frames,
    RequestRejected,
)
from veneer_server.engine.vllm.constraints.admission import Admission
from veneer_server.engine.vllm.dialect.messages import Messages
from veneer_server.engine.vllm.dialect.shortcut import Shortcut, shortcut
from veneer_server.engine.vllm.dialect.whole import Chat, Completion, as_streamed
from veneer_server.engine.vllm.generations import Generations, RecordingClient, current
from veneer_server.engine.vllm.refusals import Refused, refuse_too_many_tokens, to_engine_error
from veneer_server.engine.vllm.rendering.lanes import give_lanes
from veneer_server.engine.vllm.rendering.rows import RowRenderer
from veneer_server.engine.vllm.rendering.texts import refuse_early
from veneer_server.engine.vllm.validating import Validating


@dataclass(frozen=True, slots=True)
class _Route:
    """How the body of one endpoint is parsed, and which handler gets it."""

    request: TypeAdapter[Any]
    create: Callable[[Any, Any], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class _RawRequest:
    """The two attributes of an HTTP request that vLLM's handlers read."""

    headers: Mapping[str, str]
    state: SimpleNamespace = field(default_factory=SimpleNamespace)


class _InputTokens(BaseModel):
    """OpenAI's ``TokenCountsResource``."""

    object: str = "response.input_tokens"
    input_tokens: int


class OpenAIHandlers:
    """vLLM's serving classes for one engine client."""

    def __init__(
        self,
        client: EngineClient,
        *,
        name: str,
        path: str,
        chat_template: str | None,
        content_format: str = "auto",
        tool_call_parser: str | None,
        tool_strict_level: str = "auto",
        reasoning_parser: str,
    ) -> None:
        self._admission = Admission(client.vllm_config, client.renderer.tokenizer)
        recording: Any = RecordingClient(client, self._admission)
        self._client = client
        self._validating = Validating()
        give_lanes(client.renderer)
        refuse_early(client.renderer)
        self.models = OpenAIServingModels(recording, [BaseModelPath(name=name, model_path=path)])
        template = load_chat_template(chat_template)
        shared: dict[str, Any] = {
            "request_logger": None,
            "chat_template": template,
            "chat_template_content_format": content_format,
        }
        tools: dict[str, Any] = {
            "enable_auto_tools": tool_call_parser is not None,
            "tool_parser": tool_call_parser,
            "tool_strict_level": tool_strict_level,
            "reasoning_parser": reasoning_parser,
        }
        renderer = OnlineRenderer(
            model_config=client.model_config, renderer=client.renderer, **shared, **tools
        )
        self._renderer = renderer
        self.rows = RowRenderer(
            client.renderer, chat_template=template, content_format=content_format
        )
        self._routes = self._build_routes(recording, renderer, shared, tools)

    def _build_routes(
        self, client: Any, renderer: OnlineRenderer, shared: dict[str, Any], tools: dict[str, Any]
    ) -> dict[Endpoint, _Route]:
        models, more = self.models, {"online_renderer": renderer, **shared, **tools}
        details = {"enable_prompt_tokens_details": True}
        chat = Chat(client, models, "assistant", **more, **details)
        completion = Completion(
            client, models, online_renderer=renderer, request_logger=None, **details
        )
        responses = OpenAIServingResponses(client, models, renderer, **shared, **tools, **details)
        messages = Messages(client, models, "assistant", **more, **details)
        for handler in (chat, messages):
            handler.parser_cls = as_streamed(handler.parser_cls)
        responses.parser = as_streamed(responses.parser)
        tokens = ServingTokenization(models, renderer, **shared)
        table: list[tuple[Endpoint, Any, Callable[[Any, Any], Awaitable[Any]]]] = [
            (Endpoint.CHAT, ChatCompletionRequest, chat.create_chat_completion),
            (Endpoint.COMPLETIONS, CompletionRequest, completion.create_completion),
            (Endpoint.RESPONSES, ResponsesRequest, responses.create_responses),
            (Endpoint.MESSAGES, AnthropicMessagesRequest, messages.create_messages),
            (Endpoint.COUNT_TOKENS, AnthropicCountTokensRequest, messages.count_tokens),
            (Endpoint.TOKENIZE, TokenizeRequest, tokens.create_tokenize),
            (Endpoint.DETOKENIZE, DetokenizeRequest, tokens.create_detokenize),
            (Endpoint.INPUT_TOKENS, ResponsesRequest, self._count_input),
        ]
        return {endpoint: _Route(TypeAdapter(kind), create) for endpoint, kind, create in table}

    async def _count_input(self, request: ResponsesRequest, _raw: Any) -> BaseModel:
        rendered = await self._renderer.render_responses(request)
        if isinstance(rendered, ErrorResponse):
            return rendered
        count = extract_prompt_len(self._client.model_config, rendered.engine_input)
        return _InputTokens(input_tokens=count)

    def warm_up(self) -> None:
        """Compile the chat template and prepare tokenizer and grammars, so that no user waits."""
        self._renderer.warmup()
        self._admission.warm_up()

    async def respond(self, call: Call) -> Answer | Frames:
        """Answer ``call`` with a document or a stream; see ``Engine.respond``."""
        generations = Generations(call.cache_salt)
        current.set(generations)
        shortcut.set(Shortcut(call.outlet))
        streaming = False
        try:
            with self._sorting(call, generations):
                found = await self._ask(call, generations)
            if isinstance(found, BaseModel):
                return Answer(found.model_dump(mode="json", by_alias=True))
            streaming = True
            return self._frames(call, found, generations)
        finally:
            if not streaming:
                await generations.close()

    async def _ask(self, call: Call, generations: Generations) -> Any:
        route = self._routes[call.endpoint]
        refuse_too_many_tokens(call.body, self._client.model_config.max_model_len)
        request = await self._validating.request(route.request, call.body)
        raw = _RawRequest({**call.headers, "X-Request-Id": call.request_id})
        found = await route.create(request, raw)
        # vLLM's handlers swallow a cancellation and answer that the client has disconnected.
        if generations.failure is not None or _is_cancelled():
            raise generations.failure or asyncio.CancelledError
        if isinstance(found, ErrorResponse):
            raise Refused(found)
        return found

    async def _frames(
        self, call: Call, source: AsyncGenerator[Any], generations: Generations
    ) -> Frames:
        current.set(generations)
        held: list[bytes] = []
        try:
            with self._sorting(call, generations):
                async with aclosing(source):
                    async for item in source:
                        held.append(_to_frame(item))
                        # Until the engine has accepted the request, an error can still choose
                        # the status.
                        while held and generations.answering:
                            yield held.pop(0)
                for frame in held:
                    yield frame
        finally:
            await generations.close()

    @contextmanager
    def _sorting(self, call: Call, generations: Generations) -> Iterator[None]:
        """Raise our exception for the first error in the block or in its generations."""
        try:
            yield
        except (Exception, asyncio.CancelledError) as error:
            first = generations.failure or error
            if _is_cancelled() or not isinstance(first, Exception):
                raise
            raise self._to_engine_error(first, call, generations) from first

    def _to_engine_error(
        self, error: Exception, call: Call, generations: Generations
    ) -> EngineError:
        params = generations.failed.params if generations.failed is not None else None
        limit = self._client.model_config.max_model_len
        found = to_engine_error(error, call.body, params=params, max_model_len=limit)
        if self._client.errored and not isinstance(found, RequestRejected):
            return EngineLost("The engine stopped while it was answering.")
        return found


def _is_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _to_frame(event: Any) -> bytes:
    """Return an event of vLLM's as a frame; raise ``Refused`` if it is an error."""
    if isinstance(event, bytes):
        return event
    if not isinstance(event, str):
        return f"event: {event.type}\ndata: {event.model_dump_json(by_alias=True)}\n\n".encode()
    if event.startswith(('data: {"error"', "event: error\n")):
        raise Refused(_fault(json.loads(event[event.index("{") :])["error"]))
    return event.encode()


def _fault(error: Mapping[str, Any]) -> ErrorResponse:
    # An event of Anthropic's has no code. vLLM writes one only when it is itself wrong.
    info = ErrorInfo(
        message=error["message"],
        type=error["type"],
        code=error.get("code", 500),
        param=error.get("param"),
    )
    return ErrorResponse(error=info)
