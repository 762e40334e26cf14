"""The routes that random requests go to: their documents, and bodies that work."""

from collections.abc import Callable
from typing import Any
from urllib.parse import quote

from hypothesis import strategies as st
from pydantic import BaseModel
from vllm.entrypoints.anthropic.protocol import (
    AnthropicCountTokensRequest,
    AnthropicMessagesRequest,
)
from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
from vllm.entrypoints.openai.completion.protocol import CompletionRequest
from vllm.entrypoints.openai.responses.protocol import ResponsesRequest
from vllm.entrypoints.serve.tokenize.protocol import DetokenizeRequest, TokenizeRequest

from support.fuzzing.documents import Json, of_models, official
from veneer_server.api.admin.adapters import AddBody, CheckBody, PatchBody, PublishBody
from veneer_server.api.admin.aliases import AliasBody

BASE, ADAPTERS = "tiny", ("one", "two")
MODELS = st.sampled_from([*[BASE] * 6, "one", "two@1", "tiny:one", "nobody"])
CHAT, COMPLETIONS, RESPONSES = "/v1/chat/completions", "/v1/completions", "/v1/responses"
MESSAGES, COUNT, TOKENIZE = "/v1/messages", "/v1/messages/count_tokens", "/tokenize"
INPUT_TOKENS, COMPARE = "/v1/responses/input_tokens", "/v1/veneer/compare"
CONVERSATIONS = "/v1/conversations"
CONVERSATION = f"{CONVERSATIONS}/{{conversation_id}}"
"""A test writes the id of a conversation that is there in place of the braces."""
ADD, ONE = "/v1/adapters", "/v1/adapters/one"
HI = [{"role": "user", "content": "hi"}]


class LoadBody(BaseModel):
    """What vLLM's own routes for adapters take."""

    lora_name: str
    lora_path: str


class CompareBody(ChatCompletionRequest):
    """What our route that asks several models takes."""

    models: list[str]


_OPENAI = (
    CHAT,
    COMPLETIONS,
    RESPONSES,
    INPUT_TOKENS,
    CONVERSATIONS,
    CONVERSATION,
    f"{CONVERSATION}/items",
)
_ANTHROPIC = (MESSAGES, COUNT)
_VLLM: dict[str, Any] = {
    CHAT: ChatCompletionRequest,
    COMPLETIONS: CompletionRequest,
    RESPONSES: ResponsesRequest,
    INPUT_TOKENS: ResponsesRequest,
    COMPARE: CompareBody,
    MESSAGES: AnthropicMessagesRequest,
    COUNT: AnthropicCountTokensRequest,
    TOKENIZE: TokenizeRequest,
    "/detokenize": DetokenizeRequest,
}
_VENEER: dict[str, Any] = {
    ADD: AddBody,
    f"{ADD}/check": CheckBody,
    ONE: PatchBody,
    f"{ONE}/revisions": PublishBody,
    f"{ONE}/aliases/canary": AliasBody,
    "/v1/load_lora_adapter": LoadBody,
    "/v1/unload_lora_adapter": LoadBody,
}
DOCUMENTS: dict[str, Callable[[], Json]] = {
    "openai": lambda: official("openai", *(path.removeprefix("/v1") for path in _OPENAI)),
    "anthropic": lambda: official("anthropic", *_ANTHROPIC),
    "vllm": lambda: of_models(_VLLM),
    "veneer": lambda: of_models(_VENEER),
}
PATHS = [
    *(("openai", path) for path in _OPENAI),
    *(("anthropic", path) for path in _ANTHROPIC),
    *(("vllm", path) for path in _VLLM),
    *(("veneer", path) for path in _VENEER),
]
"""Which document describes the body of which route."""
METHODS = {ONE: "PATCH", f"{ONE}/aliases/canary": "PUT"}
WORKS: dict[str, Json] = {
    CHAT: {"model": BASE, "messages": HI, "max_tokens": 4},
    COMPLETIONS: {"model": BASE, "prompt": "x", "max_tokens": 4},
    RESPONSES: {"model": BASE, "input": "x", "max_output_tokens": 4},
    INPUT_TOKENS: {"model": BASE, "input": "x"},
    CONVERSATIONS: {"items": [{"role": "user", "content": "x"}], "metadata": {"a": "b"}},
    CONVERSATION: {"metadata": {"a": "b"}},
    f"{CONVERSATION}/items": {"items": [{"role": "user", "content": "x"}]},
    COMPARE: {"models": [BASE, "one"], "messages": HI, "max_tokens": 4},
    MESSAGES: {"model": BASE, "messages": HI, "max_tokens": 4},
    COUNT: {"model": BASE, "messages": HI},
    TOKENIZE: {"model": BASE, "prompt": "x"},
    "/detokenize": {"model": BASE, "tokens": [1, 2]},
    ADD: {"name": "new", "source": "/nowhere"},
    f"{ADD}/check": {"source": "/nowhere"},
    ONE: {"pinned": False},
    f"{ONE}/revisions": {"source": "/nowhere"},
    f"{ONE}/aliases/canary": {"revision": 1},
    "/v1/load_lora_adapter": {"lora_name": "new", "lora_path": "/nowhere"},
    "/v1/unload_lora_adapter": {"lora_name": "new"},
}
"""A body for each route that is not refused for its form."""

NAMED = [
    ("GET", "/v1/models"),
    ("GET", "/v1/models/{}"),
    ("DELETE", "/v1/models/{}"),
    ("GET", "/v1/adapters"),
    ("GET", "/v1/adapters/{}"),
    ("DELETE", "/v1/adapters/{}"),
    ("POST", "/v1/adapters/{}/load"),
    ("POST", "/v1/adapters/{}/unload"),
    ("POST", "/v1/adapters/{}/upload"),
    ("GET", "/v1/adapters/one/revisions"),
    ("GET", "/v1/adapters/one/aliases/{}"),
    ("DELETE", "/v1/adapters/one/aliases/{}"),
    ("POST", "/v1/adapters/one/aliases/{}/rollback"),
    ("GET", "/v1/adapters/one/aliases/{}/history"),
    ("GET", "/v1/responses/{}"),
    ("DELETE", "/v1/responses/{}"),
    ("POST", "/v1/responses/{}/cancel"),
    ("GET", "/v1/responses/{}/input_items"),
    ("GET", "/v1/conversations/{}"),
    ("DELETE", "/v1/conversations/{}"),
    ("GET", "/v1/conversations/{}/items"),
    ("GET", "/v1/conversations/{}/items/{}"),
    ("DELETE", "/v1/conversations/{}/items/{}"),
    ("GET", "/metrics"),
]
"""Routes with a name in the path, a query or headers of their own."""
SAID = st.one_of(
    st.sampled_from(["", "0", "-1", "1e9", "9" * 5000, "\0", "..", "%00", "\ud7ff", "nan", "²"]),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=30),
)
QUERIES = st.sampled_from(
    ["limit", "after", "after_id", "before_id", "order", "starting_after", "stream", "x"]
)
HEADERS = st.sampled_from(
    ["if-match", "if-none-match", "idempotency-key", "accept", "x-request-id", "traceparent"]
)
HEADER_VALUES = st.one_of(
    st.sampled_from(
        [b"", b"*", b'W/"1"', b'"1"', b"9" * 5000, "²".encode(), b"\xff", b"0", b"a b"]
    ),
    st.text(st.characters(min_codepoint=33, max_codepoint=255), max_size=30).map(
        lambda text: text.encode("latin-1").strip()
    ),
)


def named(pattern: str) -> st.SearchStrategy[str]:
    """Return paths with a random name, of no adapter, where ``pattern`` has its braces."""
    others = SAID.filter(lambda name: name not in ADAPTERS)
    return others.map(lambda name: pattern.replace("{}", quote(name, safe="/@:~.-_")))
