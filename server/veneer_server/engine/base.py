"""What the server needs from an engine, and every way an engine can fail.

An engine speaks OpenAI's wire format: a ``Call`` with a JSON body goes in, and a JSON document
or an iterator of server-sent events comes out. It knows each adapter only by the id and the
internal name with which it was loaded. It knows nothing of public names, tenants or HTTP, and it
never decides which adapter is in a slot.

    EngineError
    ├── RequestRejected            the request is wrong: retrying cannot help
    │   ├── ContextLengthExceeded  prompt and answer are too long for the model
    │   ├── UnsupportedSchema      a keyword of the schema would not be kept
    │   ├── SchemaTooComplex       it takes too much to follow the schema or grammar
    │   └── NotSupported           this engine or model cannot do that
    ├── EngineDown                 the moment is wrong: retrying may help
    │   ├── EngineLost             the engine died while the request was running
    │   └── EngineUnavailable      the engine is not running, so it cannot take the request
    └── EngineNotStarted           the engine cannot start; the message says why
        └── EngineStartTimedOut    it did not start in time
"""

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

from veneer_adapters.artifact.manifest import BaseFacts
from veneer_adapters.residency.engine import AdapterEngine


class Endpoint(StrEnum):
    """The generation endpoints, by their names in metrics and logs."""

    CHAT = "chat"
    COMPLETIONS = "completions"
    RESPONSES = "responses"
    MESSAGES = "messages"
    COUNT_TOKENS = "count_tokens"
    TOKENIZE = "tokenize"
    DETOKENIZE = "detokenize"
    INPUT_TOKENS = "input_tokens"


NO_WEIGHTS = frozenset(
    {Endpoint.TOKENIZE, Endpoint.DETOKENIZE, Endpoint.COUNT_TOKENS, Endpoint.INPUT_TOKENS}
)
"""Endpoints that need only the tokenizer and the chat template, which belong to the base model."""


Take = Callable[[bytes], bool]
"""Sends an event; returns False, and does nothing, if it cannot be sent without waiting."""


class Outlet:
    """Where a stream may put text past who reads it; it is closed until somebody opens it."""

    def __init__(self) -> None:
        self._take: Take | None = None

    @property
    def is_open(self) -> bool:
        """Whether somebody takes events."""
        return self._take is not None

    def open(self, take: Take) -> None:
        """Give events to ``take`` from now on."""
        self._take = take

    def close(self) -> None:
        """Take nothing any more; a second call does nothing."""
        self._take = None

    def push(self, event: bytes) -> bool:
        """Send an event with text and nothing else; False if it must take the way of all others.

        Only while who reads the stream waits for its next event, so that none overtakes another.
        """
        return self._take is not None and self._take(event)


@dataclass(frozen=True, slots=True)
class Call:
    """One request, ready for an engine."""

    endpoint: Endpoint
    body: Mapping[str, Any]
    """OpenAI's (or Anthropic's) JSON body; its ``model`` is an internal name or the base's id."""
    request_id: str
    """Unique as long as the engine runs."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Only trace headers, with lower-case names; credentials never reach an engine."""
    cache_salt: str | None = None
    """Only calls with the same salt share what the engine keeps of their prompts."""
    outlet: Outlet = field(default_factory=Outlet)
    """A shorter way for plain text, which an engine may use."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A complete answer: one JSON document."""

    body: dict[str, Any]


Frames = AsyncGenerator[bytes]
"""Server-sent events, one per item; each ends with a blank line. The iterator raises an error and
never writes it as an event. ``[DONE]`` comes only after a complete answer."""


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What clients may know about the base model."""

    id: str
    root: str
    """Where the model comes from, as the operator wrote it."""
    max_model_len: int
    """The most tokens of prompt and answer together."""

    def other_names(self) -> frozenset[str]:
        """Return how else people call the model: where it comes from, and its folder's name."""
        folder = self.root.rstrip("/").rpartition("/")[2]
        return frozenset({self.root, folder}) - {self.id, ""}


class EngineError(Exception):
    """An error that an engine reports; the base class of all of them."""


class RequestRejected(EngineError):
    """The engine cannot serve this body; ``param`` names the field when it is known."""

    def __init__(self, message: str, *, param: str | None = None) -> None:
        super().__init__(message)
        self.param = param


class ContextLengthExceeded(RequestRejected):
    """Prompt and answer do not fit into the model's context."""


class UnsupportedSchema(RequestRejected):
    """The engine cannot keep a keyword of the schema that the answer must fit."""


class SchemaTooComplex(RequestRejected):
    """What the answer must fit takes too much time or memory to follow."""


class NotSupported(RequestRejected):
    """The engine or the model cannot do what the request asks for."""


class EngineDown(EngineError):
    """There is no engine to answer now; a later request may succeed."""

    def __init__(self, message: str, *, retry_after_s: float | None = None) -> None:
        """``retry_after_s`` is when a later request may succeed, where that is known."""
        super().__init__(message)
        self.retry_after_s = retry_after_s


class EngineLost(EngineDown):
    """The engine died while this request was running."""


class EngineUnavailable(EngineDown):
    """The engine is not running."""


class EngineNotStarted(EngineError):
    """The engine cannot be started with this configuration."""


class EngineStartTimedOut(EngineNotStarted):
    """The engine did not start in time; it hangs, or needs longer than is allowed."""


class Rows(Protocol):
    """The tokenizer and the chat template with which an engine reads requests."""

    @property
    def stops(self) -> Sequence[int]:
        """Return the tokens that end an answer; the first is the tokenizer's own."""

    async def text(
        self, messages: Sequence[dict[str, Any]], tools: Sequence[dict[str, Any]], *, ask: bool
    ) -> str:
        """Return what the template writes; with ``ask`` it ends where an answer begins.

        Raises:
            ValueError: the template refuses the messages or the tools.
            NotSupported: the model's requests are not written by a template.
        """

    async def tokens(self, text: str, *, special: bool = False) -> list[int]:
        """Return the text's tokens; with ``special`` also those that the tokenizer adds."""


class Engine(AdapterEngine, Protocol):
    """Loads adapters and generates with them. The caller that started it must stop it."""

    @property
    def model(self) -> ModelFacts:
        """Return what clients may know about the base model."""

    @property
    def facts(self) -> BaseFacts:
        """Return the facts of the base model that an adapter must match."""

    @property
    def rows(self) -> Rows:
        """Return what reads rows of training files as requests are read."""

    async def respond(self, call: Call) -> Answer | Frames:
        """Answer ``call`` with a document, or with a stream whose first event may come much later.

        The caller must close the stream. Closing it early ends the generation.

        Raises:
            RequestRejected: the engine cannot serve this body.
            EngineDown: the engine is not running, or died meanwhile.

        The stream may raise them too.
        """

    async def wait_until_able(self) -> None:
        """Return when requests can be answered; may wait for a restart, as long as is configured.

        Raises:
            EngineUnavailable: they cannot.
        """

    async def check_health(self) -> None:
        """Return if the engine can serve.

        Raises:
            EngineUnavailable: it cannot.
        """

    def lora_op(self) -> str:
        """Return the name of the implementation that applies adapters, which /version shows."""

    def lora_kernels(self) -> str | None:
        """Return which kernels it runs and why, as /version shows it; None where it has one."""

    def stop(self) -> None:
        """End every process of the engine; a second call does nothing."""
