"""What becomes of the members of Anthropic's messages, and of a count of their tokens.

Source: ``CreateMessageParams``, ``BetaCreateMessageParams`` and ``CountMessageTokensParams`` of
Anthropic's OpenAPI document, and vLLM's requests.
"""

from veneer_server.api.official.members.base import (
    Body,
    honoured,
    ignored,
    refused,
    translated,
    when_true,
)
from veneer_server.api.official.members.shared import ECHOED, ENGINE_ONLY, PLATFORM
from veneer_server.api.official.translating import thinking

_PLATFORM = "It only concerns Anthropic's platform."


def _not_normal(value: object, body: Body) -> bool:
    return value != "standard"


_ALIKE = (
    honoured(
        "chat_template_kwargs",
        "messages",
        "model",
        "output_config",
        "output_config.effort",
        "output_config.format",
        "system",
        "tool_choice",
        "tools",
    )
    | PLATFORM
    | ECHOED
    | ignored(_PLATFORM, "betas", "cache_control", "diagnostics", "user_profile_id")
    | ignored("The whole conversation stays in the context.", "context_management")
    | refused("This server calls no tools of other servers.", "mcp_servers", asks=when_true)
    | refused("This server has one speed.", "speed", asks=_not_normal)
    | refused("Write 'max_tokens' instead.", "output_config.task_budget")
    | translated("output_format", thinking.output_format, "output_config")
    | ENGINE_ONLY
)
MESSAGES = (
    _ALIKE
    | honoured(
        "max_tokens", "stop_sequences", "stream", "temperature", "thinking", "top_k", "top_p"
    )
    | ignored(_PLATFORM, "inference_geo", "metadata", "service_tier")
    | refused("This server runs no code.", "container")
)
COUNT_TOKENS = _ALIKE | honoured("thinking")
