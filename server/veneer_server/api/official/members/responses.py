"""What becomes of the members of a Responses request.

Source: ``CreateResponse`` of OpenAI's OpenAPI document, and vLLM's request.
"""

from veneer_server.api.official.members.base import (
    honoured,
    ignored,
    refused,
    translated,
    when_true,
)
from veneer_server.api.official.members.shared import (
    ENGINE_ONLY,
    OTHERS,
    PLATFORM,
    SAMPLING,
    lengths,
)
from veneer_server.api.official.translating import including, thinking

RESPONSES = (
    honoured(
        "chat_template_kwargs",
        "include_reasoning",
        "input",
        "instructions",
        "max_output_tokens",
        "metadata",
        "model",
        "parallel_tool_calls",
        "reasoning",
        "reasoning.effort",
        "stream",
        "text",
        "text.format",
        "tool_choice",
        "tools",
        "top_logprobs",
        "truncation",
        "user",
    )
    | SAMPLING
    | PLATFORM
    | ignored("Only hosted tools are counted, and there are none.", "max_tool_calls")
    | ignored("The model has no such setting.", "text.verbosity")
    | ignored(
        "The engine gives the reasoning itself, as it is.",
        "reasoning.context",
        "reasoning.generate_summary",
        "reasoning.mode",
        "reasoning.summary",
    )
    | ignored("This server pads no events.", "stream_options.include_obfuscation")
    | ignored("All its members are ignored.", "stream_options")
    | translated(
        "include",
        including.of_what_is_there,
        "include",
        note="What it names of hosted tools is left out, for there are none.",
    )
    | honoured("background", "conversation", "previous_response_id", "store")
    | refused("This server compacts no conversation.", "context_management", asks=when_true)
    | refused("This server moderates nothing.", "moderation")
    | refused("This server stores no prompts: write it in 'input'.", "prompt")
    | OTHERS
    | lengths("max_output_tokens")
    | translated("enable_thinking", thinking.switch, "chat_template_kwargs")
    | ENGINE_ONLY
)
