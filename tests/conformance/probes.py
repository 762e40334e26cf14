"""Promises that one request shows: what is sent, and what comes back. The test sends each.

``echo`` is the base and ``mine`` an adapter, as ``test_probes.py`` serves them. Values that only
the real engine judges are tried in ``test_engine_refusals.py``.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from conformance.sources import ANTHROPIC, API, GUIDES, OWN

HI = [{"role": "user", "content": "one two"}]
CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"
RESPONSES, MESSAGES = "/v1/responses", "/v1/messages"
_WHOLE: dict[str, dict[str, Any]] = {
    CHAT: {"model": "echo", "messages": HI},
    COMPLETIONS: {"model": "echo", "prompt": "one two"},
    RESPONSES: {"model": "echo", "input": "one two"},
    MESSAGES: {"model": "echo", "messages": HI, "max_tokens": 5},
}


@dataclass(frozen=True)
class Probe:
    """One request and what must come back."""

    behaviour: str
    source: str
    path: str
    fields: Mapping[str, Any] = field(default_factory=dict)
    """What the body has besides, or instead of, what a whole one has."""
    method: str = "POST"
    status: int = 200
    code: str | None = None
    param: str | None = None
    says: str = ""
    """What the text of the answer contains."""
    headers: Mapping[str, str | None] = field(default_factory=dict)
    """Headers of the answer, with how they begin; None when they must be absent."""
    divergence: str | None = None

    def body(self) -> dict[str, Any] | None:
        """Return what is sent."""
        if self.method != "POST":
            return None
        return {**_WHOLE.get(self.path, {"model": "echo"}), **self.fields}


def _accepted() -> Iterator[tuple[str, Probe]]:
    of_chat: dict[str, Any] = {
        "store": True,
        "metadata": {"a": "b"},
        "user": "u",
        "safety_identifier": "u",
        "prompt_cache_key": "k",
        "prompt_cache_retention": "24h",
        "service_tier": "flex",
        "verbosity": "low",
        "reasoning_effort": "low",
        "prediction": {"type": "content", "content": "x"},
        "modalities": ["text"],
        "parallel_tool_calls": True,
        "stream_options": None,
        "tools": [],
        "logprobs": False,
        "n": 1,
        "max_completion_tokens": 1,
        "max_tokens": 1,
        "seed": 7,
        "stream": False,
    }
    for name, value in of_chat.items():
        said = f"A chat request may have `{name}`."
        yield f"chat:takes:{name}", Probe(said, f"{API}/chat/create", CHAT, {name: value})
    for name, value in {"user": "u", "best_of": 1, "n": 2, "stop": ["a"]}.items():
        said = f"A completion request may have `{name}`."
        yield (
            f"completions:takes:{name}",
            Probe(said, f"{API}/completions/create", COMPLETIONS, {name: value}),
        )


def _conversations() -> Iterator[tuple[str, Probe]]:
    past = {"role": "assistant", "content": "a", "refusal": None, "audio": None, "annotations": []}
    past |= {"function_call": None, "tool_calls": None}
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    messages: dict[str, tuple[str, list[Any]]] = {
        "parts": ("is a list of parts", [{"role": "user", "content": [_text("one two")]}]),
        "system": ("follows a system message", [{"role": "system", "content": "s"}, *HI]),
        "developer": ("follows a developer message", [{"role": "developer", "content": "s"}, *HI]),
        "name": ("has the name of its author", [{**HI[0], "name": "bob"}]),
        "past-answer": ("follows an answer as the SDKs send it back", [*HI, past, *HI]),
        "past-call": (
            "is the result of a tool, after the call",
            [
                *HI,
                {"role": "assistant", "content": None, "tool_calls": [call]},
                {"role": "tool", "tool_call_id": "c", "content": "18"},
            ],
        ),
    }
    for name, (said, sent) in messages.items():
        yield (
            f"chat:messages:{name}",
            Probe(
                f"A conversation is answered when its last message {said}.",
                f"{API}/chat/create#chat-create-messages",
                CHAT,
                {"messages": sent},
            ),
        )


def _text(text: str) -> dict[str, str]:
    return {"type": "text", "text": text}


def _refused() -> Iterator[tuple[str, Probe]]:
    values: dict[str, tuple[str, str, Any]] = {
        "chat:refuses:n-0": (CHAT, "n", 0),
        "chat:refuses:n-129": (CHAT, "n", 129),
        "chat:refuses:n-fraction": (CHAT, "n", 1.5),
        "chat:refuses:max_tokens-0": (CHAT, "max_tokens", 0),
        "chat:refuses:max_tokens-negative": (CHAT, "max_tokens", -1),
        "chat:refuses:max_tokens-text": (CHAT, "max_tokens", "2"),
        "chat:refuses:max_completion_tokens-0": (CHAT, "max_completion_tokens", 0),
        "chat:refuses:messages-text": (CHAT, "messages", "hi"),
        "chat:refuses:messages-empty": (CHAT, "messages", []),
        "chat:refuses:messages-null": (CHAT, "messages", None),
        "completions:refuses:n-129": (COMPLETIONS, "n", 129),
        "responses:refuses:max_output_tokens-0": (RESPONSES, "max_output_tokens", 0),
        "requests:model-number": (CHAT, "model", 5),
    }
    for id_, (path, name, value) in values.items():
        said = f"`{name}` cannot be `{value!r}`: 400 with the field's name."
        yield (
            id_,
            Probe(said, f"{GUIDES}/error-codes", path, {name: value}, status=400, param=name),
        )


_WHY = {
    "modalities": "This server's models read and write text.",
    "audio": "This server's models read and write text.",
    "web_search_options": "This server searches nothing.",
    "functions": "OpenAI still takes it; here `tools` alone, which replaced it.",
    "function_call": "OpenAI still takes it; here `tool_choice` alone, which replaced it.",
    "best_of": "vLLM no longer picks the best of several answers.",
    "prompt": "OpenAI keeps prompts under ids; this server keeps none.",
}


def _unsupported() -> Iterator[tuple[str, Probe]]:
    values: dict[str, tuple[str, str, Any]] = {
        "chat:unsupported:audio-modality": (CHAT, "modalities", ["text", "audio"]),
        "chat:unsupported:audio": (CHAT, "audio", {"voice": "a", "format": "wav"}),
        "chat:unsupported:web-search": (CHAT, "web_search_options", {}),
        "chat:unsupported:functions": (CHAT, "functions", [{"name": "f", "parameters": {}}]),
        "chat:unsupported:function_call": (CHAT, "function_call", "auto"),
        "completions:unsupported:best_of": (COMPLETIONS, "best_of", 2),
        "responses:unsupported:prompt": (RESPONSES, "prompt", {"id": "p"}),
    }
    for id_, (path, name, value) in values.items():
        yield (
            id_,
            Probe(
                f"`{name}`, which would have no effect here, is refused, not ignored.",
                OWN,
                path,
                {name: value},
                status=400,
                code="unsupported_parameter",
                param=name,
                divergence=_WHY[name],
            ),
        )
    for name in ("priority", "cache_salt", "request_id", "chat_template"):
        said = f"A client may not set vLLM's `{name}`."
        yield (
            f"requests:engine-only:{name}",
            Probe(
                said, OWN, CHAT, {name: "x"}, status=400, code="unsupported_parameter", param=name
            ),
        )


def _hosted() -> Iterator[tuple[str, Probe]]:
    kinds = "web_search file_search code_interpreter image_generation mcp custom local_shell"
    for kind in [*kinds.split(), "computer_use_preview"]:
        yield (
            f"responses:hosted:{kind}",
            Probe(
                f"The tool `{kind}` in a response is refused by its type.",
                f"{API}/responses/create#responses-create-tools",
                RESPONSES,
                {"tools": [{"type": kind}]},
                status=400,
                code="unsupported_parameter",
                param="tools[0].type",
                says=f"'{kind}'",
                divergence="OpenAI runs it; this server has functions only.",
            ),
        )
    for name, value in {"mcp_servers": [{"type": "url", "url": "u"}], "container": "x"}.items():
        yield (
            f"messages:hosted:{name}",
            Probe(
                f"`{name}` in messages is refused in Anthropic's shape.",
                f"{ANTHROPIC}/messages",
                MESSAGES,
                {name: value},
                status=400,
                says='"type":"invalid_request_error"',
                divergence="Anthropic runs it; this server has functions only.",
            ),
        )


def _names() -> Iterator[tuple[str, Probe]]:
    good = {
        "live": ("mine", "an adapter's name"),
        "alias": ("mine@live", "a name with an alias"),
        "number": ("mine@1", "a name with a revision's number"),
        "base-and-adapter": ("echo:mine", "the base and the adapter, as other servers write it"),
    }
    for id_, (name, said) in good.items():
        yield (
            f"names:{id_}",
            Probe(
                f"A model may be {said}; the answer repeats it and its header names the revision.",
                OWN,
                CHAT,
                {"model": name},
                says=f'"model":"{name}"',
                headers={"x-veneer-adapter": "mine@1#sha256:"},
            ),
        )
    absent: dict[str, str | None] = {"x-veneer-adapter": None, "x-veneer-cold-start-ms": None}
    yield "names:base", Probe("The base's answer names no revision.", OWN, CHAT, headers=absent)
    for id_, value in (("null", None), ("empty", "")):
        yield (
            f"names:base:{id_}",
            Probe(
                f"A `model` that is `{value!r}` means the base.",
                "https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html",
                CHAT,
                {"model": value},
                headers=absent,
            ),
        )
    bad = {
        "number": "mine@9",
        "alias": "mine@nobody",
        "digest": "mine@sha256:000000000000",
        "short-digest": "mine@sha256:",
        "case": "Echo",
    }
    for id_, name in bad.items():
        yield (
            f"names:unknown:{id_}",
            Probe(
                f"`{name}`, which names nothing, is 404 model_not_found with param model.",
                f"{GUIDES}/error-codes",
                CHAT,
                {"model": name},
                status=404,
                code="model_not_found",
                param="model",
                says=f"`{name}`",
            ),
        )


def _addresses() -> Iterator[tuple[str, Probe]]:
    for kind in ("embeddings", "audio/speech", "images/generations", "moderations"):
        yield (
            f"urls:absent:{kind}",
            Probe(
                f"`/v1/{kind}`, which a text model does not have, is 400 and says its name.",
                OWN,
                f"/v1/{kind}",
                status=400,
                code="unsupported_endpoint",
                says=f"/v1/{kind}",
                divergence="OpenAI has it; this server generates text only.",
            ),
        )
    slips = {"forgotten": "/chat/completions", "doubled": f"/v1{CHAT}", "slash": f"{CHAT}/"}
    for id_, path in slips.items():
        yield (
            f"urls:slip:{id_}",
            Probe(
                f"`{path}` is 404 and names the right address.",
                OWN,
                path,
                status=404,
                code="unknown_url",
                says=f"Did you mean {CHAT}?",
            ),
        )
    one = {"id": "models:one:{}", "path": "/v1/models/{}"}
    for name in ("echo", "mine", "mine@1", "mine@live", "echo:mine"):
        said = f"`{name}` is found among the models under this very name."
        where = one["path"].format(name)
        probe = Probe(said, f"{API}/models/retrieve", where, method="GET", says=f'"id":"{name}"')
        yield one["id"].format(name), probe
    yield (
        "models:head",
        Probe("The list of models answers HEAD.", OWN, "/v1/models", method="HEAD"),
    )
    yield (
        "models:delete:base",
        Probe(
            "The base cannot be deleted.",
            OWN,
            "/v1/models/echo",
            method="DELETE",
            status=400,
            param="model",
        ),
    )
    yield (
        "urls:method",
        Probe(
            "A wrong method is 405 and names the right one in `Allow`.",
            OWN,
            CHAT,
            method="GET",
            status=405,
            code="method_not_allowed",
            headers={"allow": "POST"},
        ),
    )


def _headers() -> Iterator[tuple[str, Probe]]:
    told = {
        "x-request-id": "req_",
        "openai-processing-ms": "",
        "content-type": "application/json",
    }
    for name, begins in told.items():
        said = f"An answer has the header `{name}`."
        yield (
            f"headers:{name}",
            Probe(said, f"{API}/debugging-requests", CHAT, headers={name: begins}),
        )
    for name, begins in {"content-type": "text/event-stream", "cache-control": "no-cache"}.items():
        said = f"A stream has the header `{name}: {begins}`."
        probe = Probe(said, f"{API}/chat-streaming", CHAT, {"stream": True}, headers={name: begins})
        yield f"headers:stream:{name}", probe


PROBES: dict[str, Probe] = {
    id_: probe
    for kind in (
        _accepted,
        _conversations,
        _refused,
        _unsupported,
        _hosted,
        _names,
        _addresses,
        _headers,
    )
    for id_, probe in kind()
}
