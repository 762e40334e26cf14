"""How large the fields of a body may be, in tables; ``checking`` holds bodies to them.

Everybody's requests pass through one event loop, and vLLM checks many fields there, or copies them
for each token. A bound is what no honest client meets, and small enough that nobody else waits.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Bound:
    """How large a field may be; None means that only other bounds hold."""

    items: int | None = None
    """Most items of an array, or members of an object."""
    length: int | None = None
    """Most characters of a text: of the field, of each item and of each member's value."""
    key_length: int | None = None
    """Most characters of each member's key."""


BOUNDS: dict[str, Bound] = {
    "model": Bound(length=512),
    "user": Bound(length=512),
    "safety_identifier": Bound(length=512),
    "metadata": Bound(items=16, length=512, key_length=64),
    "messages": Bound(items=2048),
    "input": Bound(items=2048),
    "tools": Bound(items=128),
    "stop": Bound(items=64, length=512),
    "stop_sequences": Bound(items=64, length=512),
    "stop_token_ids": Bound(items=128),
    "bad_words": Bound(items=128, length=256),
    "logit_bias": Bound(items=1024, key_length=20),
    "allowed_token_ids": Bound(items=65536),
    "tokens": Bound(items=131072),
    "documents": Bound(items=1024),
    "chat_template_kwargs": Bound(items=64),
    "structured_outputs.choice": Bound(items=1024, length=1024),
}
"""The bounds by the field's path. Sources: https://platform.openai.com/docs/api-reference for
``metadata``, ``stop`` and ``tools``; vLLM's VLLM_MAX_NUM_BAD_WORDS for ``bad_words``."""

MOST_ITEMS = 2048
"""Most items of any other array at the top of a body, ``prompt`` excepted."""

MOST_PARTS = 2048
"""Most parts of all messages together: the items of each array inside of them."""

MOST_ARGUMENTS = 524288
"""Most characters in the ``arguments`` of all tool calls together; vLLM parses them again."""

MOST_TOKENIZED = 1048576
"""Most characters of all texts that a request only wants tokens of. The context bounds others."""

MOST_TOKEN_IDS = 524288
"""Most token ids of a prompt that is not a text; the context bounds it too."""

LARGEST_TOKEN_ID = 2**31 - 1
"""No model has as many tokens, and some tokenizers overflow above it."""

MOST_SEQUENCES = 128
"""Most answers of one request: ``n`` for each text in ``prompt``."""

INTEGERS: dict[str, tuple[int, int | None]] = {
    "n": (1, MOST_SEQUENCES),
    "max_tokens": (1, None),
    "max_completion_tokens": (1, None),
    "max_output_tokens": (1, None),
}
"""Source: https://platform.openai.com/docs/api-reference/chat/create"""

NUMBERS: dict[str, tuple[float, float]] = {
    "frequency_penalty": (-2, 2),
    "presence_penalty": (-2, 2),
    "temperature": (0, 2),
    "top_p": (0, 1),
}
"""Source: https://platform.openai.com/docs/api-reference/chat/create"""

OBJECTS = frozenset({"structured_outputs"})
"""Members that vLLM takes for objects without looking."""

BOOLEANS = frozenset({"parallel_tool_calls", "stream"})
"""Members that are true or false and nothing that resembles them; others read ``stream`` too."""
