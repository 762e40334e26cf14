"""What popular programs send, as their sources say: programs that cannot run in these tests.

docs/integrations.md says how each is set up. Each request is written from the source beside it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

MODEL = "the model"
"""Stands for the model that a program was set up with."""
CHAT, RESPONSES, MESSAGES = "/v1/chat/completions", "/v1/responses", "/v1/messages"
GITHUB = "https://github.com"


@dataclass(frozen=True)
class Sent:
    """One request of a program."""

    program: str
    what: str
    path: str
    body: Mapping[str, Any] | None
    """None for a GET."""
    headers: Mapping[str, str]
    query: Mapping[str, str] = field(default_factory=dict)


def said(text: str, role: str = "user") -> dict[str, Any]:
    return {"role": role, "content": text}


def function(name: str, **properties: Any) -> dict[str, Any]:
    return {
        "name": name,
        "description": f"Run {name}.",
        "parameters": {
            "type": "object",
            "properties": properties,
            "required": [*properties],
            "additionalProperties": False,
        },
    }


COMMAND = {"command": {"type": "array", "items": {"type": "string"}}}
QUERY = {"query": {"type": "string"}}
SYSTEM = said("You are a helpful assistant.", "system")
BEARER = {"authorization": "Bearer none"}

OPEN_WEBUI = f"{GITHUB}/open-webui/open-webui/blob/main/backend/open_webui/routers/openai.py"
_OPEN_WEBUI = [
    Sent("Open WebUI", "models", "/v1/models", None, BEARER),
    Sent(
        "Open WebUI",
        "chat",
        CHAT,
        {
            "stream": True,
            "model": MODEL,
            "messages": [SYSTEM, said("Hello")],
            "stream_options": {"include_usage": True},
            "temperature": 0.8,
            "max_tokens": 16,
            "stop": ["END"],
        },
        {**BEARER, "x-openwebui-user-name": "Ada", "x-openwebui-chat-id": "c1"},
    ),
    Sent(
        "Open WebUI",
        "a title",
        CHAT,
        {
            "model": MODEL,
            "messages": [said("### Task:\nGenerate a concise, 3-5 word title with an emoji.")],
            "stream": False,
            "max_tokens": 16,
        },
        BEARER,
    ),
]

LIBRECHAT = f"{GITHUB}/danny-avila/LibreChat/blob/main/packages/api/src/endpoints/custom"
_LIBRECHAT = [
    Sent("LibreChat", "models", "/v1/models", None, BEARER, {"user": "65f0c0ffee"}),
    Sent(
        "LibreChat",
        "chat with a tool",
        CHAT,
        {
            "model": MODEL,
            "user": "65f0c0ffee",
            "stream": True,
            "stream_options": {"include_usage": True},
            "tools": [{"type": "function", "function": function("search", **QUERY)}],
            "messages": [SYSTEM, {"role": "user", "content": [{"type": "text", "text": "Hello"}]}],
            "max_tokens": 16,
        },
        {**BEARER, "x-stainless-lang": "js"},
    ),
    Sent(
        "LibreChat",
        "a title",
        CHAT,
        {"model": MODEL, "user": "65f0c0ffee", "stream": False, "messages": [said("Title?")]}
        | {"max_tokens": 16},
        {**BEARER, "x-stainless-lang": "js"},
    ),
]

N8N = (
    f"{GITHUB}/n8n-io/n8n/blob/master/packages/@n8n/nodes-langchain/nodes/llms/LMChatOpenAi/"
    "LmChatOpenAi.node.ts"
)
_N8N = [
    Sent("n8n", "models", "/v1/models", None, BEARER),
    Sent(
        "n8n",
        "an agent by chat completions",
        CHAT,
        {
            "model": MODEL,
            "temperature": 0.7,
            "max_tokens": 16,
            "stream": True,
            "stream_options": {"include_usage": True},
            "messages": [SYSTEM, said("Hello")],
            "tools": [{"type": "function", "function": function("calculator", **QUERY)}],
        },
        {**BEARER, "openai-platform": "org-none", "x-stainless-lang": "js"},
    ),
    Sent(
        "n8n",
        "an agent by Responses",
        RESPONSES,
        {
            "model": MODEL,
            "input": [
                {"type": "message", "role": "system", "content": "You are helpful."},
                {"type": "message", "role": "user", "content": "Hello"},
            ],
            "tools": [
                {"type": "function", **function("calculator", **QUERY), "strict": None},
            ],
            "max_output_tokens": 16,
            "stream": False,
            "text": {"verbosity": "medium"},
        },
        {**BEARER, "x-stainless-lang": "js"},
    ),
]

CONTINUE = f"{GITHUB}/continuedev/continue/blob/main/packages/openai-adapters/src/apis/OpenAI.ts"
_CONTINUE = [
    Sent(
        "Continue",
        "chat with tools",
        CHAT,
        {
            "messages": [SYSTEM, said("Hello")],
            "model": MODEL,
            "max_tokens": 16,
            "stream": True,
            "tools": [{"type": "function", "function": function("read_file", **QUERY)}],
            "stream_options": {"include_usage": True},
        },
        {**BEARER, "api-key": "none", "x-api-key": "none"},
    ),
    Sent(
        "Continue",
        "completion of code",
        "/v1/completions",
        {
            "model": MODEL,
            "prompt": "<fim_prefix>def add(a, b):\n    <fim_suffix>\n<fim_middle>",
            "max_tokens": 16,
            "temperature": 0.01,
            "stream": True,
            "stop": ["<fim_prefix>", "<fim_suffix>", "\n\n", "\r\n\r\n", "/src/", "#- coding"],
        },
        {**BEARER, "api-key": "none"},
    ),
]

CODEX = f"{GITHUB}/openai/codex/blob/main/codex-rs/codex-api/src/common.rs"
_CODEX_HEADERS = {**BEARER, "originator": "codex_cli_rs", "session-id": "s1", "thread-id": "s1"}
_CODEX_BODY: dict[str, Any] = {
    "model": MODEL,
    "instructions": "You are a coding agent running in the Codex CLI.",
    "tools": [
        {"type": "function", **function("shell_command", **COMMAND), "strict": False},
        {"type": "function", **function("update_plan", **QUERY), "strict": False},
    ],
    "tool_choice": "auto",
    "parallel_tool_calls": False,
    "reasoning": None,
    "store": False,
    "stream": True,
    "include": [],
    "prompt_cache_key": "s1",
    "client_metadata": {"x-codex-installation-id": "i1"},
    # Codex bounds no answer; the tests have no time for a long one.
    "max_output_tokens": 16,
}
_CODEX_SAID = [
    {"type": "message", "role": role, "content": [{"type": "input_text", "text": text}]}
    for role, text in (
        ("developer", "<permissions instructions>Ask first.</permissions instructions>"),
        ("user", "<environment_context>\n  <cwd>/src</cwd>\n</environment_context>"),
        ("user", "List the files."),
    )
]
_CODEX = [
    Sent("Codex CLI", "a turn", RESPONSES, {**_CODEX_BODY, "input": _CODEX_SAID}, _CODEX_HEADERS),
    Sent(
        "Codex CLI",
        "a turn after a call",
        RESPONSES,
        {
            **_CODEX_BODY,
            "input": [
                *_CODEX_SAID,
                {
                    "type": "function_call",
                    "name": "shell_command",
                    "arguments": '{"command": ["ls"]}',
                    "call_id": "call_1",
                },
                {"type": "function_call_output", "call_id": "call_1", "output": "README.md"},
            ],
        },
        _CODEX_HEADERS,
    ),
]

CLAUDE_CODE = "https://code.claude.com/docs/en/llm-gateway"
_CLAUDE_HEADERS = {
    **BEARER,
    "anthropic-version": "2023-06-01",
    "anthropic-beta": "claude-code-20250219,interleaved-thinking-2025-05-14,"
    "context-management-2025-06-27,prompt-caching-scope-2026-01-05,effort-2025-11-24",
    "x-app": "cli",
    "x-claude-code-session-id": "s1",
    "x-stainless-lang": "js",
}
_CACHED = {"cache_control": {"type": "ephemeral"}}
_CLAUDE_BODY: dict[str, Any] = {
    "model": MODEL,
    "system": [
        {"type": "text", "text": "x-anthropic-billing-header: cc_version=2.1; cc_entrypoint=cli;"},
        {"type": "text", "text": "You are Claude Code.", **_CACHED},
    ],
    "tools": [
        {
            "name": "Bash",
            "description": "Run a command.",
            "input_schema": {
                "$schema": "https://json-schema.org/draft/2020-12/schema",
                **function("Bash", command={"type": "string"})["parameters"],
            },
        }
    ],
    "messages": [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "<system-reminder>Today is Friday.</system-reminder>"},
                {"type": "text", "text": "List the files.", **_CACHED},
            ],
        }
    ],
}
_CLAUDE_MORE = {
    "max_tokens": 16,
    "stream": True,
    "metadata": {"user_id": '{"device_id":"d","account_uuid":"","session_id":"s1"}'},
    "context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
    "output_config": {"effort": "medium"},
}
_CLAUDE_CALLED: list[dict[str, Any]] = [
    {
        "role": "assistant",
        "content": [
            {"type": "thinking", "thinking": "I list them.", "signature": "c2ln"},
            {"type": "text", "text": "I list them."},
            {"type": "tool_use", "id": "toolu_1", "name": "Bash", "input": {"command": "ls"}},
        ],
    },
    {
        "role": "user",
        "content": [
            {
                "type": "tool_result",
                "tool_use_id": "toolu_1",
                "content": "README.md",
                "is_error": False,
                **_CACHED,
            }
        ],
    },
    {"role": "system", "content": "The user changed a file."},
]
_BETA = {"beta": "true"}
_CLAUDE_CODE = [
    Sent("Claude Code", "models", "/v1/models", None, _CLAUDE_HEADERS, {"limit": "1000"}),
    Sent(
        "Claude Code",
        "a turn that may think",
        MESSAGES,
        {**_CLAUDE_BODY, **_CLAUDE_MORE, "thinking": {"type": "adaptive"}},
        _CLAUDE_HEADERS,
        _BETA,
    ),
    Sent(
        "Claude Code",
        "a turn after a call",
        MESSAGES,
        {
            **_CLAUDE_BODY,
            **_CLAUDE_MORE,
            "messages": [*_CLAUDE_BODY["messages"], *_CLAUDE_CALLED],
            "thinking": {"type": "disabled"},
        },
        _CLAUDE_HEADERS,
        _BETA,
    ),
    Sent(
        "Claude Code",
        "a count of tokens",
        f"{MESSAGES}/count_tokens",
        _CLAUDE_BODY,
        _CLAUDE_HEADERS,
        _BETA,
    ),
]

SENT = [*_OPEN_WEBUI, *_LIBRECHAT, *_N8N, *_CONTINUE, *_CODEX, *_CLAUDE_CODE]
SOURCES = {
    "Open WebUI": OPEN_WEBUI,
    "LibreChat": LIBRECHAT,
    "n8n": N8N,
    "Continue": CONTINUE,
    "Codex CLI": CODEX,
    "Claude Code": CLAUDE_CODE,
}
