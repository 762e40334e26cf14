"""How large the fields of a body may be. Pure functions.

Everybody's requests pass through one event loop, and vLLM checks many fields there, or copies them
for each token. A bound is what no honest client meets, and small enough that nobody else waits.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from veneer_server.api.errors import InvalidRequest
from veneer_server.engine.base import Endpoint


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
    "stop": Bound(items=4, length=512),
    "stop_sequences": Bound(items=64, length=512),
    "stop_token_ids": Bound(items=128),
    "bad_words": Bound(items=128, length=256),
    "logit_bias": Bound(items=1024, key_length=20),
    "allowed_token_ids": Bound(items=65536),
    "structured_outputs.choice": Bound(items=1024, length=1024),
}
"""The bounds by the field's path. Sources: https://platform.openai.com/docs/api-reference for
``metadata``, ``stop`` and ``tools``; vLLM's VLLM_MAX_NUM_BAD_WORDS for ``bad_words``."""

MOST_SEQUENCES = 128
"""Most answers of one request: ``n`` for each text in ``prompt``."""

INTEGERS: dict[str, tuple[int, int | None]] = {
    "n": (1, MOST_SEQUENCES),
    "max_tokens": (1, None),
    "max_completion_tokens": (1, None),
    "max_output_tokens": (1, None),
}
"""Source: https://platform.openai.com/docs/api-reference/chat/create"""


_ARRAY = ("array too long", "an array with maximum length {}", "an array with length {}")
_TEXT = ("string too long", "a string with maximum length {}", "a string with length {}")
_OBJECT = (
    "too many properties",
    "an object with at most {} properties",
    "an object with {} properties",
)


def check_bounds(endpoint: Endpoint, body: Mapping[str, Any]) -> None:
    """Return if every field of ``body`` is within its bounds.

    A field of another type is left to vLLM, which says what is wrong with it.

    Raises:
        InvalidRequest: a field is too large; the message says how large it is and may be.
    """
    for name in INTEGERS.keys() & body.keys():
        least, most = INTEGERS[name]
        # A completion may ask for 0 tokens, to get only the echo of its prompt.
        _check_integer(name, body[name], 0 if endpoint is Endpoint.COMPLETIONS else least, most)
    for path, bound in BOUNDS.items():
        _check_field(path, _at(body, path), bound)
    _check_sequences(body.get("prompt"), body.get("n", 1))


def _at(body: Mapping[str, Any], path: str) -> Any:
    found: Any = body
    for name in path.split("."):
        found = found.get(name) if isinstance(found, Mapping) else None
    return found


def _check_field(path: str, value: Any, bound: Bound) -> None:
    if isinstance(value, str):
        _check_size(path, len(value), bound.length, _TEXT)
    elif isinstance(value, list):
        _check_size(path, len(value), bound.items, _ARRAY)
        _check_texts(path, enumerate(value), bound.length)
    elif isinstance(value, Mapping):
        _check_size(path, len(value), bound.items, _OBJECT)
        _check_texts(path, ((None, key) for key in value), bound.key_length)
        _check_texts(path, value.items(), bound.length)


def _check_texts(path: str, items: Iterable[tuple[Any, Any]], most: int | None) -> None:
    for place, text in items if most is not None else ():
        if isinstance(text, str):
            param = path if place is None else f"{path}[{place}]"
            _check_size(param, len(text), most, _TEXT)


def _check_size(param: str, size: int, most: int | None, words: tuple[str, str, str]) -> None:
    if most is None or size <= most:
        return
    fault, expected, got = words
    raise InvalidRequest(
        f"Invalid '{param}': {fault}. Expected {expected.format(most)},"
        f" but got {got.format(size)} instead.",
        param=param,
    )


def _check_sequences(prompt: Any, n: Any) -> None:
    # A list of numbers is one prompt, in tokens.
    if isinstance(prompt, list) and prompt and not isinstance(prompt[0], int):
        _check_size("prompt", len(prompt), MOST_SEQUENCES // max(n, 1), _ARRAY)


def _check_integer(name: str, value: Any, least: int, most: int | None) -> None:
    if not isinstance(value, int) or isinstance(value, bool):
        raise InvalidRequest(f"Invalid type for '{name}': expected an integer.", param=name)
    if value < least:
        raise InvalidRequest(
            f"Invalid '{name}': integer below minimum value. Expected a value >= {least},"
            f" but got {value} instead.",
            param=name,
        )
    if most is not None and value > most:
        raise InvalidRequest(
            f"Invalid '{name}': integer above maximum value. Expected a value <= {most},"
            f" but got {value} instead.",
            param=name,
        )
