"""An engine without a model, for development: it repeats the last message of a request.

It speaks vLLM's wire format for plain chat, completions and Responses, and raises ``NotSupported``
for everything else. The same request always gets the same answer. A token is a word.
"""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import orjson

from veneer_adapters.artifact.manifest import BaseFacts
from veneer_adapters.catalog.proof import Effect
from veneer_adapters.errors import LoadFailed
from veneer_server.engine.base import (
    Answer,
    Call,
    ContextLengthExceeded,
    Endpoint,
    EngineError,
    EngineUnavailable,
    Frames,
    ModelFacts,
    NotSupported,
    RequestRejected,
)
from veneer_server.engine.echo_responses import ResponseReply, read_input
from veneer_server.engine.echo_scores import scores_of

T = TypeVar("T")

_TOLD = "The echo engine was told to fail."
PLAUSIBLE = Effect(modules=None, largest_change=1.0, finite=True, repeats=False)
"""The effect of every adapter here: its internal name stands before the answer."""

_SUPPORTED = frozenset(
    {Endpoint.CHAT, Endpoint.COMPLETIONS, Endpoint.RESPONSES, Endpoint.INPUT_TOKENS}
)
_UNSUPPORTED = ("tools", "response_format", "logprobs", "top_logprobs", "structured_outputs")


class EchoEngine:
    """See ``engine.base.Engine`` for what each method promises."""

    def __init__(
        self,
        *,
        name: str = "echo",
        max_model_len: int = 8192,
        effects: Mapping[str, Effect] | None = None,
        answers: Mapping[str, str | type[EngineError]] | None = None,
        losses: Mapping[str, float] | None = None,
    ) -> None:
        """Echo; a test may give some adapters another effect or another answer.

        The mappings have beginnings of internal names as keys, and the first match counts.
        ``effects`` has the measured effects. ``answers`` has texts that these adapters answer
        whatever they are asked, or the errors that they raise. A test may change ``answers``
        while the engine runs. ``losses`` are told of the tokens of prompts.
        """
        self._losses = {} if losses is None else losses
        self._model = ModelFacts(name, "echo", max_model_len)
        self._effects = dict(effects or {})
        self._answers = {} if answers is None else answers
        self._adapters: dict[int, str] = {}
        self._stopped = False

    @property
    def model(self) -> ModelFacts:
        """Return what clients may know about the model that is not there."""
        return self._model

    @property
    def facts(self) -> BaseFacts:
        """Return facts that any well-formed adapter fits, because there are no weights."""
        return BaseFacts(name=self._model.root, modules={}, max_rank=64)

    @property
    def rows(self) -> "EchoRows":
        """Return what reads rows of training files; only a stand-in for a trainer learns them."""
        return EchoRows()

    def lora_op(self) -> str:
        """Return ``none``, because nothing applies an adapter."""
        return "none"

    def lora_kernels(self) -> str | None:
        """Return None, because there are no kernels."""
        return None

    async def respond(self, call: Call) -> Answer | Frames:
        """Repeat the last message; an adapter's internal name in brackets stands before it."""
        await self.check_health()
        scripted = _first(self._answers, str(call.body.get("model")))
        words, prompt_tokens = self._generate(call, scripted)
        limit = _limit(call.body)
        reason = "length" if limit is not None and limit < len(words) else "stop"
        if call.endpoint is Endpoint.INPUT_TOKENS:
            return Answer({"object": "response.input_tokens", "input_tokens": prompt_tokens})
        kind = ResponseReply if call.endpoint is Endpoint.RESPONSES else _Reply
        reply = kind(call, words[:limit], prompt_tokens, reason)
        fault = None if scripted is None or isinstance(scripted, str) else scripted(_TOLD)
        if call.body.get("stream"):
            return reply.frames(fault)
        if fault is not None:
            raise fault
        document = reply.document()
        if scores := scores_of(call.body, self._model.id, self._losses):
            document["choices"][0]["prompt_logprobs"] = scores
        return Answer(document)

    def _generate(
        self, call: Call, scripted: str | type[EngineError] | None
    ) -> tuple[list[str], int]:
        if call.endpoint not in _SUPPORTED:
            raise NotSupported(f"The echo engine does not support {call.endpoint}.")
        for name in _UNSUPPORTED:
            if scripted is None and call.body.get(name):
                raise NotSupported(f"The echo engine does not support {name}.", param=name)
        model = call.body.get("model")
        if model != self._model.id and model not in self._adapters.values():
            raise RequestRejected(f"The engine has not loaded {model!r}.", param="model")
        text, prompt_tokens = _read(call)
        if prompt_tokens > self._model.max_model_len:
            raise ContextLengthExceeded(
                f"This model's maximum context length is {self._model.max_model_len} tokens. "
                f"However, your messages resulted in {prompt_tokens} tokens. "
                "Please reduce the length of the messages.",
                param="messages",
            )
        if isinstance(scripted, str):
            return scripted.split(), prompt_tokens
        prefix = [] if model == self._model.id else [f"[{model}]"]
        return prefix + text.split(), prompt_tokens

    async def load_adapter(self, engine_id: int, engine_name: str, path: Path) -> None:
        """Remember the name."""
        await self.check_health()
        self._adapters[engine_id] = engine_name

    async def activate_adapter(self, engine_id: int) -> None:
        """Do nothing: here every loaded adapter is always active."""

    async def deactivate_adapter(self, engine_id: int) -> None:
        """Do nothing: here every loaded adapter is always active."""

    async def unload_adapter(self, engine_id: int) -> None:
        """Forget the name."""
        self._adapters.pop(engine_id, None)

    async def measure_effect(self, engine_id: int, engine_name: str) -> Effect:
        """Return the effect that a test chose, or ``PLAUSIBLE``."""
        await self.check_health()
        if self._adapters.get(engine_id) != engine_name:
            raise LoadFailed("The adapter is not loaded, so its effect cannot be measured.")
        return _first(self._effects, engine_name) or PLAUSIBLE

    async def wait_until_able(self) -> None:
        """Nothing is ever started again here."""
        await self.check_health()

    async def ping(self) -> None:
        """There is no other process to ask."""

    def progress(self) -> tuple[int, int]:
        """Every answer is there at once."""
        return 0, 0

    def kill(self) -> None:
        """Refuse everything from now on."""
        self.stop()

    async def check_health(self) -> None:
        """Return, unless the engine was stopped."""
        if self._stopped:
            raise EngineUnavailable("The engine is not running.")

    def stop(self) -> None:
        """Refuse every request and load from now on."""
        self._stopped = True


class _Reply:
    """One answer, as a document or as a stream."""

    def __init__(self, call: Call, words: Sequence[str], prompt_tokens: int, reason: str) -> None:
        self._chat = call.endpoint is Endpoint.CHAT
        self._body = call.body
        self._words = words
        self._reason = reason
        self._usage = {
            "prompt_tokens": prompt_tokens,
            "completion_tokens": len(words),
            "total_tokens": prompt_tokens + len(words),
        }
        prefix, kind = ("chatcmpl-", "chat.completion") if self._chat else ("cmpl-", "")
        self._head = {
            "id": f"{prefix}{call.request_id}",
            "object": kind or "text_completion",
            "created": int(time.time()),
            "model": call.body["model"],
        }

    def document(self) -> dict[str, Any]:
        text = " ".join(self._words)
        payload = {"message": {"role": "assistant", "content": text}}
        choices = [
            {
                "index": index,
                **(payload if self._chat else {"text": text}),
                "logprobs": None,
                "finish_reason": self._reason,
            }
            for index in range(self._body.get("n") or 1)
        ]
        return {**self._head, "choices": choices, "usage": self._usage}

    async def frames(self, fault: EngineError | None = None) -> Frames:
        if self._chat:
            self._head["object"] = "chat.completion.chunk"
            yield self._frame({"role": "assistant", "content": ""}, None)
        for index, word in enumerate(self._words):
            if fault is not None and index == len(self._words) // 2:
                raise fault
            yield self._frame({"content": word if index == 0 else f" {word}"}, None)
        yield self._frame({}, self._reason)
        if (self._body.get("stream_options") or {}).get("include_usage"):
            yield _to_frame({**self._head, "choices": [], "usage": self._usage})
        yield b"data: [DONE]\n\n"

    def _frame(self, delta: Mapping[str, str], reason: str | None) -> bytes:
        payload: dict[str, Any] = {"delta": delta}
        if not self._chat:
            payload = {"text": delta.get("content", "")}
        choice = {"index": 0, **payload, "logprobs": None, "finish_reason": reason}
        return _to_frame({**self._head, "choices": [choice]})


def _first(told: Mapping[str, T], engine_name: str) -> T | None:
    return next((told[key] for key in told if engine_name.startswith(key)), None)


def _to_frame(body: Mapping[str, Any]) -> bytes:
    return b"data: " + orjson.dumps(body) + b"\n\n"


def _limit(body: Mapping[str, Any]) -> int | None:
    return (
        body.get("max_completion_tokens") or body.get("max_tokens") or body.get("max_output_tokens")
    )


def _read(call: Call) -> tuple[str, int]:
    """Return the text to repeat, and how many words the whole prompt has."""
    if call.endpoint in (Endpoint.RESPONSES, Endpoint.INPUT_TOKENS):
        return read_input(call.body)
    text = _last_text(call)
    return text, len(text.split())


def _last_text(call: Call) -> str:
    if call.endpoint is Endpoint.COMPLETIONS:
        prompt = call.body.get("prompt")
        if not isinstance(prompt, str | list):
            raise RequestRejected("'prompt' must be a text or a list.", param="prompt")
        return str(prompt)
    messages = call.body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise RequestRejected(
            "'messages' must be a list with at least one message.", param="messages"
        )
    content = messages[-1].get("content") if isinstance(messages[-1], dict) else None
    if isinstance(content, list):
        return " ".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return str(content or "")


class EchoRows:
    """A tokenizer and a template without a model: a token is a byte. See ``engine.base.Rows``."""

    stops = (0,)

    async def text(
        self, messages: Sequence[dict[str, Any]], tools: Sequence[dict[str, Any]], *, ask: bool
    ) -> str:
        """Return a line for each message, before which stand the tools."""
        head = orjson.dumps(list(tools)).decode() + "\n" if tools else ""
        lines = [f"{one['role']}: {_said(one)}\n" for one in messages]
        return head + "".join(lines) + ("assistant: " if ask else "")

    async def tokens(self, text: str, *, special: bool = False) -> list[int]:
        """Return the bytes of the text."""
        return list(text.encode())


def _said(message: Mapping[str, Any]) -> str:
    calls = message.get("tool_calls")
    return f"{message.get('content') or ''}{orjson.dumps(calls).decode() if calls else ''}"
