"""vLLM's own OpenAI handlers behind our seam. Veneer has no parser or sampler of its own.

A handler gets vLLM's request object and answers with a document, an iterator of events, or
an ``ErrorResponse``. This file turns the first two into our ``Answer`` and ``Frames``. It turns
every error (returned, raised or written into a stream) into an exception of ``engine.base``.
"""

import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from contextvars import ContextVar
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from pydantic import BaseModel, TypeAdapter, ValidationError
from vllm.engine.protocol import EngineClient
from vllm.entrypoints.anthropic.protocol import (
    AnthropicCountTokensRequest,
    AnthropicMessagesRequest,
)
from vllm.entrypoints.anthropic.serving import AnthropicServingMessages
from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
from vllm.entrypoints.openai.chat_completion.serving import OpenAIServingChat
from vllm.entrypoints.openai.completion.protocol import CompletionRequest
from vllm.entrypoints.openai.completion.serving import OpenAIServingCompletion
from vllm.entrypoints.openai.models.protocol import BaseModelPath
from vllm.entrypoints.openai.models.serving import OpenAIServingModels
from vllm.entrypoints.openai.responses.protocol import ResponsesRequest
from vllm.entrypoints.openai.responses.serving import OpenAIServingResponses
from vllm.entrypoints.serve import create_error_response
from vllm.entrypoints.serve.engine.protocol import ErrorResponse
from vllm.entrypoints.serve.tokenize.protocol import DetokenizeRequest, TokenizeRequest
from vllm.entrypoints.serve.tokenize.serving import ServingTokenization
from vllm.renderers.chat_utils import load_chat_template
from vllm.renderers.online_renderer import OnlineRenderer
from vllm.v1.engine.exceptions import EngineDeadError

from veneer_server.engine.base import (
    Answer,
    Call,
    ContextLengthExceeded,
    Endpoint,
    EngineError,
    EngineLost,
    EngineUnavailable,
    Frames,
    NotSupported,
    RequestRejected,
)

_TOO_LONG = frozenset({"input_tokens", "input_text"})
"""Parameters that vLLM names when a prompt is too long (vLLM's renderers/params.py)."""

_opened: ContextVar[list[AsyncGenerator[Any]] | None] = ContextVar("opened", default=None)


class _RecordingClient:
    """The engine client; it also remembers each generation that a call has begun.

    vLLM's handlers leave an abandoned generation to the garbage collector. But a lease must not
    end before the engine was told to stop, so a call closes every generation that it opened.
    """

    def __init__(self, client: EngineClient) -> None:
        self._client = client

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def generate(self, *args: Any, **kwargs: Any) -> AsyncGenerator[Any]:
        generation: AsyncGenerator[Any] = self._client.generate(*args, **kwargs)
        if (opened := _opened.get()) is not None:
            opened.append(generation)
        return generation


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
        recording: Any = _RecordingClient(client)
        self._client = client
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
        self._routes = self._build_routes(recording, renderer, shared, tools)

    def _build_routes(
        self, client: Any, renderer: OnlineRenderer, shared: dict[str, Any], tools: dict[str, Any]
    ) -> dict[Endpoint, _Route]:
        models, more = self.models, {"online_renderer": renderer, **shared, **tools}
        chat = OpenAIServingChat(client, models, "assistant", **more)
        completion = OpenAIServingCompletion(
            client, models, online_renderer=renderer, request_logger=None
        )
        responses = OpenAIServingResponses(client, models, renderer, **shared, **tools)
        messages = AnthropicServingMessages(client, models, "assistant", **more)
        tokens = ServingTokenization(models, renderer, **shared)
        table: list[tuple[Endpoint, Any, Callable[[Any, Any], Awaitable[Any]]]] = [
            (Endpoint.CHAT, ChatCompletionRequest, chat.create_chat_completion),
            (Endpoint.COMPLETIONS, CompletionRequest, completion.create_completion),
            (Endpoint.RESPONSES, ResponsesRequest, responses.create_responses),
            (Endpoint.MESSAGES, AnthropicMessagesRequest, messages.create_messages),
            (Endpoint.COUNT_TOKENS, AnthropicCountTokensRequest, messages.count_tokens),
            (Endpoint.TOKENIZE, TokenizeRequest, tokens.create_tokenize),
            (Endpoint.DETOKENIZE, DetokenizeRequest, tokens.create_detokenize),
        ]
        return {endpoint: _Route(TypeAdapter(kind), create) for endpoint, kind, create in table}

    def warm_up(self) -> None:
        """Compile the chat template and warm up the tokenizer, so that no user waits for it."""
        self._renderer.warmup()

    async def respond(self, call: Call) -> Answer | Frames:
        """Answer ``call`` with a document or a stream; see ``Engine.respond``."""
        route = self._routes[call.endpoint]
        opened: list[AsyncGenerator[Any]] = []
        _opened.set(opened)
        streaming = False
        try:
            request = route.request.validate_python(dict(call.body))
            raw = _RawRequest({**call.headers, "X-Request-Id": call.request_id})
            found = await route.create(request, raw)
            if isinstance(found, ErrorResponse):
                raise to_engine_error(found)
            if isinstance(found, BaseModel):
                return Answer(found.model_dump(mode="json", by_alias=True))
            streaming = True
            return self._frames(found, opened)
        except (EngineError, ValidationError) as error:
            raise _explain(error) if isinstance(error, ValidationError) else error from error
        except Exception as error:
            # vLLM's handlers raise many errors, from ValueError to jinja2's. vLLM itself knows
            # which status each has.
            raise self._to_engine_error(error) from error
        finally:
            if not streaming:
                await _close_all(opened)

    async def _frames(
        self, source: AsyncGenerator[Any], opened: list[AsyncGenerator[Any]]
    ) -> Frames:
        _opened.set(opened)
        try:
            async with aclosing(source):
                async for item in source:
                    frame = item if isinstance(item, str) else _to_frame(item)
                    if (fault := _fault(frame)) is not None:
                        raise self._to_stream_error(fault)
                    yield frame.encode()
        except EngineDeadError as error:
            raise EngineLost("The engine stopped while it was answering.") from error
        finally:
            await _close_all(opened)

    def _to_engine_error(self, error: Exception) -> EngineError:
        if isinstance(error, EngineDeadError):
            return EngineLost("The engine stopped while it was answering.")
        value, parameter = getattr(error, "value", None), getattr(error, "parameter", None)
        if parameter in _TOO_LONG:
            limit = self._client.model_config.max_model_len
            unit = "tokens" if parameter == "input_tokens" else "characters"
            return ContextLengthExceeded(
                f"This model's maximum context length is {limit} tokens. However, your messages "
                f"resulted in {value} {unit}. Please reduce the length of the messages.",
                param="messages",
            )
        return to_engine_error(create_error_response(error))

    def _to_stream_error(self, fault: str) -> EngineError:
        if self._client.errored:
            return EngineLost("The engine stopped while it was answering.")
        return EngineError(fault)


def to_engine_error(response: ErrorResponse) -> EngineError:
    """Return our exception for vLLM's error ``response``."""
    error = response.error
    if error.code == 501:
        return NotSupported(error.message, param=error.param)
    if error.code == 503:
        return EngineUnavailable(error.message)
    if 400 <= error.code < 500:
        return RequestRejected(error.message, param=error.param)
    return EngineError(error.message)


def _explain(error: ValidationError) -> RequestRejected:
    fault = error.errors(include_url=False, include_input=False)[0]
    # The path also names unions and validators, but a client only knows the names of fields.
    path = [str(part) for part in fault["loc"] if isinstance(part, int) or part.islower()]
    path = [part for part in path if "[" not in part and "-" not in part]
    param = ".".join(path) or None
    message = fault["msg"].removeprefix("Value error, ")
    return RequestRejected(f"Invalid '{param}': {message}" if param else message, param=param)


def _to_frame(event: Any) -> str:
    body = event.model_dump_json(by_alias=True)
    return f"event: {event.type}\ndata: {body}\n\n"


def _fault(frame: str) -> str | None:
    """Return the message if ``frame`` is an error in one of vLLM's two forms, else None."""
    if not frame.startswith(('data: {"error"', "event: error\n")):
        return None
    document = json.loads(frame[frame.index("{") :])
    return str(document["error"]["message"]) if "error" in document else frame


async def _close_all(opened: list[AsyncGenerator[Any]]) -> None:
    for generation in opened:
        await generation.aclose()
