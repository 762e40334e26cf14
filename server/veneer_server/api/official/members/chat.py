"""What becomes of the members of a chat request.

Source: ``CreateChatCompletionRequest`` of OpenAI's OpenAPI document, and vLLM's request.
"""

from veneer_server.api.official.members.base import (
    honoured,
    ignored,
    refused,
    translated,
    when_true,
)
from veneer_server.api.official.members.shared import (
    ECHOED,
    ENGINE_ONLY,
    MORE_SAMPLING,
    OTHERS,
    PLATFORM,
    SAMPLING,
    lengths,
)
from veneer_server.api.official.translating import thinking

CHAT = (
    honoured(
        "add_generation_prompt",
        "add_special_tokens",
        "chat_template_kwargs",
        "continue_final_message",
        "documents",
        "echo",
        "include_reasoning",
        "logprobs",
        "max_completion_tokens",
        "max_tokens",
        "messages",
        "model",
        "n",
        "parallel_tool_calls",
        "reasoning_effort",
        "response_format",
        "return_prompt_text",
        "stream",
        "stream_options",
        "stream_options.continuous_usage_stats",
        "stream_options.include_usage",
        "tool_choice",
        "tools",
        "top_logprobs",
    )
    | SAMPLING
    | MORE_SAMPLING
    | PLATFORM
    | ECHOED
    | ignored("This server pads no events.", "stream_options.include_obfuscation")
    | refused("This server's models neither hear nor speak.", "audio")
    | refused(
        "This server's models write only text.",
        "modalities",
        asks=lambda value, body: value != ["text"],
    )
    | refused(
        "Write 'tools' and 'tool_choice' instead.",
        "function_call",
        asks=lambda value, body: value != "none",
    )
    | refused("Write 'tools' and 'tool_choice' instead.", "functions", asks=when_true)
    | refused("This server moderates nothing.", "moderation")
    | refused("This server does not search the web.", "web_search_options")
    | OTHERS
    | lengths("max_tokens")
    | translated("enable_thinking", thinking.switch, "chat_template_kwargs")
    | translated("reasoning", thinking.effort, "reasoning_effort")
    | translated("thinking", thinking.of_chat, "chat_template_kwargs")
    | ENGINE_ONLY
)
