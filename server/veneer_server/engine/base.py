"""What the server needs from an engine, and every way an engine can fail.

An engine speaks OpenAI's wire format: a ``Call`` with a JSON body goes in, a JSON document
or an iterator of server-sent events comes out. It knows adapters only under the internal
names it was told to load, and nothing of public names, slots, tenants or HTTP.

    EngineError
    ├── RequestRejected            the request is wrong: retrying cannot help
    │   ├── ContextLengthExceeded
    │   └── NotSupported           this engine or model does not do that
    ├── EngineDown                 the moment is wrong: retrying may help
    │   ├── EngineLost             it died while the request was running
    │   └── EngineUnavailable      it is not there to take the request
    └── EngineNotStarted           there will be no engine; the message says why
"""

from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

from veneer_adapters.artifact.manifest import BaseFacts
from veneer_adapters.residency.engine import AdapterEngine


class Endpoint(StrEnum):
    """The generation endpoints, named as metrics and logs name them."""

    CHAT = "chat"
    COMPLETIONS = "completions"
    RESPONSES = "responses"
    MESSAGES = "messages"
    COUNT_TOKENS = "count_tokens"
    TOKENIZE = "tokenize"
    DETOKENIZE = "detokenize"


NO_WEIGHTS = frozenset({Endpoint.TOKENIZE, Endpoint.DETOKENIZE, Endpoint.COUNT_TOKENS})
"""Endpoints that only read the tokenizer and the template, which belong to the base."""


@dataclass(frozen=True, slots=True)
class Call:
    """One request, ready for an engine."""

    endpoint: Endpoint
    body: Mapping[str, Any]
    """OpenAI's (or Anthropic's) JSON body; its ``model`` is an internal name or the base's id."""
    request_id: str
    """Unique in this engine's life."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Lower-case trace headers only; credentials never reach an engine."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A complete answer: one JSON document."""

    body: dict[str, Any]


Frames = AsyncGenerator[bytes]
"""Server-sent events, one per item, each ending in a blank line. A fault is raised, never
written as an event, and ``[DONE]`` appears only after a complete answer."""


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What the server tells clients about the base model."""

    id: str
    root: str
    """Where it was loaded from, as the operator wrote it."""
    max_model_len: int
    """Tokens, prompt and answer together."""


class EngineError(Exception):
    """Anything an engine reports."""


class RequestRejected(EngineError):
    """The engine cannot serve this body; ``param`` names the field when it is known."""

    def __init__(self, message: str, *, param: str | None = None) -> None:
        super().__init__(message)
        self.param = param


class ContextLengthExceeded(RequestRejected):
    """Prompt and answer do not fit into the model's context."""


class NotSupported(RequestRejected):
    """The engine or the model has no such capability."""


class EngineDown(EngineError):
    """No engine to answer; another moment may be better."""


class EngineLost(EngineDown):
    """The engine died while this request was running."""


class EngineUnavailable(EngineDown):
    """The engine is not running."""


class EngineNotStarted(EngineError):
    """The engine cannot be started as configured."""


class Engine(AdapterEngine, Protocol):
    """Loads adapters and generates with them. Started and stopped by whoever built it."""

    @property
    def model(self) -> ModelFacts:
        """The base model."""

    @property
    def facts(self) -> BaseFacts:
        """What an adapter must match."""

    async def respond(self, call: Call) -> Answer | Frames:
        """Answer ``call``, or begin a stream whose first event may still be far away.

        The caller closes the stream; closing early frees what the engine holds for it.

        Raises:
            RequestRejected: the body cannot be served.
            EngineDown: there is no engine to serve it; may also be raised by the stream.
        """

    async def check_health(self) -> None:
        """Return when the engine is able to serve.

        Raises:
            EngineUnavailable: it is not.
        """

    def lora_op(self) -> str:
        """Which implementation applies adapters, for the start-up line and /version."""

    def stop(self) -> None:
        """End every process of the engine; twice is a no-op."""
