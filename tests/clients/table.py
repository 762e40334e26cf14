"""Which clients are run, and what of each cannot be or does not work, with the reason."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

FEATURES = {
    "list": "lists the models and finds the adapters",
    "chat": "gets an answer of an adapter, with its usage",
    "stream": "reads an answer as it is written",
    "tools": "calls a tool and reads its result",
    "structured": "gets an answer that holds a schema",
    "responses": "goes on with a stored Responses conversation",
    "errors": "raises what its users catch",
    "limited": "asks again after a 429, as `Retry-After` says",
    "cold": "asks again after a 503, as `Retry-After` says",
    "broken": "reports a fault in the middle of a stream",
    "cancelled": "ends the generation when its user leaves",
}
ON_ECHO = ("list", "chat", "stream", "errors", "limited", "cold", "broken")
"""What needs only chat, and no patience of the engine."""

NO_LIST = {"list": "has no call that lists models"}
NO_STATE = {"responses": "keeps the conversation itself"}
MESSAGES = {"responses": "speaks Anthropic's messages, which have no stored conversations"}
NO_CANCEL = {"cancelled": "has no stream that its user could leave"}


@dataclass(frozen=True)
class Client:
    """One library in one major version."""

    environment: str
    program: str
    more: Mapping[str, str] = field(default_factory=dict)
    """What the program is told besides."""
    without: Mapping[str, str] = field(default_factory=dict)
    """Features that this client does not have, and why."""
    on_echo: tuple[str, ...] = ON_ECHO
    """What of it the echo engine can answer, which knows neither Responses nor messages."""
    divergence: Mapping[str, str] = field(default_factory=dict)
    """Features that fail, and why. A test fails when one of them works."""

    @property
    def features(self) -> list[str]:
        """Return those that it has."""
        return [name for name in FEATURES if name not in self.without]


def _ai_sdk(ai: str, provider: str, **kinds: Any) -> Client:
    return Client("node", "ai_sdk.mjs", {"ai": ai, "provider": provider}, **kinds)


CLIENTS = {
    "openai-python-3": Client("current", "openai_python.py"),
    "openai-python-2": Client("earlier", "openai_python.py"),
    "openai-node-7": Client("node", "openai_node.mjs", {"suffix": ""}),
    "openai-node-6": Client("node", "openai_node.mjs", {"suffix": "-6"}),
    "anthropic-python-2": Client("current", "anthropic_python.py", without=MESSAGES, on_echo=()),
    "anthropic-python-0": Client("earlier", "anthropic_python.py", without=MESSAGES, on_echo=()),
    "anthropic-node-1": Client(
        "node",
        "anthropic_node.mjs",
        {"suffix": ""},
        without=MESSAGES,
        on_echo=(),
    ),
    "anthropic-node-0": Client(
        "node",
        "anthropic_node.mjs",
        {"suffix": "-0"},
        without=MESSAGES,
        on_echo=(),
    ),
    "ai-sdk-7-openai": _ai_sdk("ai", "@ai-sdk/openai", without=NO_LIST, on_echo=()),
    "ai-sdk-7-openai-compatible": _ai_sdk(
        "ai", "@ai-sdk/openai-compatible", without=NO_LIST | NO_STATE
    ),
    "ai-sdk-7-anthropic": _ai_sdk(
        "ai", "@ai-sdk/anthropic", without=NO_LIST | MESSAGES, on_echo=()
    ),
    "ai-sdk-6-openai": _ai_sdk("ai-6", "@ai-sdk/openai-3", without=NO_LIST, on_echo=()),
    "ai-sdk-6-openai-compatible": _ai_sdk(
        "ai-6", "@ai-sdk/openai-compatible-2", without=NO_LIST | NO_STATE
    ),
    "ai-sdk-6-anthropic": _ai_sdk(
        "ai-6", "@ai-sdk/anthropic-3", without=NO_LIST | MESSAGES, on_echo=()
    ),
    "langchain-openai": Client("current", "langchain_openai_.py", without=NO_LIST),
    "litellm": Client("current", "litellm_.py"),
    "pydantic-ai": Client("current", "pydantic_ai_.py", without=NO_LIST),
    "openai-agents": Client(
        "current",
        "openai_agents_.py",
        without=NO_LIST,
        on_echo=("limited", "cold", "broken"),
    ),
    "instructor": Client(
        "earlier",
        "instructor_.py",
        on_echo=("chat",),
        without=NO_LIST
        | NO_STATE
        | NO_CANCEL
        | {
            "tools": "uses tools only for structured answers",
            "broken": "reads a stream only for structured answers",
        },
    ),
    "llm-command": Client("current", "llm_.py", without=NO_STATE | NO_CANCEL),
    "llama-index": Client("earlier", "llama_index_.py", without=NO_LIST | NO_STATE | NO_CANCEL),
    "dspy": Client(
        "current",
        "dspy_.py",
        without=NO_LIST
        | NO_STATE
        | NO_CANCEL
        | {
            "stream": "streams the fields of a signature, not an answer",
            "tools": "writes calls of tools into its prompts",
            "broken": "streams the fields of a signature, not an answer",
        },
    ),
    "haystack": Client("current", "haystack_.py", without=NO_LIST | NO_CANCEL),
    "smolagents": Client("current", "smolagents_.py", without=NO_LIST | NO_STATE | NO_CANCEL),
}

_TEXT = "the embedded model reads text only, and the error says so"
_NAMELESS = "a request without `model` is for the base, unless `model.name_required` is set"
_UNASKED = "the suite asks this only of models with certain names, such as o3 or claude-opus"
_COMPACTS = "this server does not compact, and answers 404, which the suite takes with a warning"
SUITE_DIVERGENCES: dict[str, dict[str, str]] = {
    "llm-comply openai-chat": {
        "chat-image-input": _TEXT,
        "chat-reasoning-summary": _UNASKED,
        "chat-error-handling": _NAMELESS,
    },
    "llm-comply open-responses": {
        "image-input": _TEXT,
        "compact-response": _COMPACTS,
        "reasoning-summary": _UNASKED,
        "error-handling": _NAMELESS,
    },
    "llm-comply anthropic": {
        "anth-image-input": _TEXT,
        "anth-thinking-display": _UNASKED,
    },
}
"""For each suite the checks that fail, pass with a warning or are skipped, and why."""
