"""What becomes of the members of a completions request.

Source: ``CreateCompletionRequest`` of OpenAI's OpenAPI document, and vLLM's request.
"""

from veneer_server.api.official.members.base import honoured, ignored, refused, translated
from veneer_server.api.official.members.shared import (
    ECHOED,
    ENGINE_ONLY,
    MORE_SAMPLING,
    OTHERS,
    PLATFORM,
    SAMPLING,
    above_n,
    lengths,
)
from veneer_server.api.official.translating import sampling

COMPLETIONS = (
    honoured(
        "add_special_tokens",
        "echo",
        "logprobs",
        "max_tokens",
        "model",
        "n",
        "prompt",
        "response_format",
        "stream",
        "stream_options",
        "stream_options.continuous_usage_stats",
        "stream_options.include_usage",
    )
    | SAMPLING
    | MORE_SAMPLING
    | PLATFORM
    | ECHOED
    | ignored("This server pads no events.", "stream_options.include_obfuscation")
    | refused("Write 'n' for more answers than one.", "best_of", asks=above_n)
    | translated(
        "suffix",
        sampling.without_empty_suffix,
        "suffix",
        note="An empty one is none; the engine refuses any other that its model cannot fill in.",
    )
    | OTHERS
    | lengths("max_tokens")
    | ENGINE_ONLY
)
