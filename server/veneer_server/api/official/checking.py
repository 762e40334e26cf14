"""Holds a body to the bounds of its fields, and says of the first one beyond how large it is. Pure.

Only what vLLM would take long over is checked here; vLLM checks everything else.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from veneer_server.api.errors import InvalidRequest
from veneer_server.api.official.bounds import (
    BOOLEANS,
    BOUNDS,
    INTEGERS,
    LARGEST_TOKEN_ID,
    MOST_ARGUMENTS,
    MOST_ITEMS,
    MOST_PARTS,
    MOST_SEQUENCES,
    MOST_TOKEN_IDS,
    MOST_TOKENIZED,
    NUMBERS,
    OBJECTS,
    Bound,
)
from veneer_server.api.official.weights import weigh
from veneer_server.engine.base import Endpoint

_TOKEN_IDS = frozenset({"allowed_token_ids", "stop_token_ids", "tokens"})
_CONVERSATIONS = frozenset({"messages", "input"})
_ARRAY = ("array too long", "an array with maximum length {}", "an array with length {}")
_TEXT = ("string too long", "a string with maximum length {}", "a string with length {}")
_OBJECT = (
    "too many properties",
    "an object with at most {} properties",
    "an object with {} properties",
)
_PARTS = ("too many parts", "at most {} parts in all items together", "{} parts or more")
_ARGUMENTS = (
    "arguments of tool calls too long",
    "at most {} characters in all together",
    "{} characters",
)


def check_bounds(endpoint: Endpoint, body: Mapping[str, Any]) -> None:
    """Return if every field of ``body`` is within its bounds.

    A field of another type is left to vLLM, which says what is wrong with it.

    Raises:
        InvalidRequest: a field is too large; the message says how large it is and may be.
    """
    _check_scalars(endpoint, body)
    _check_fields(body)
    _check_inside(body)
    if endpoint is Endpoint.TOKENIZE:
        for name in {"prompt", "messages"} & body.keys():
            found = weigh(body[name], MOST_ITEMS + MOST_PARTS)
            _check_size(name, found.characters, MOST_TOKENIZED, _TEXT)


def check_metadata(metadata: Mapping[str, Any]) -> None:
    """Return if ``metadata`` is within its bounds; raises InvalidRequest."""
    _check_field("metadata", metadata, BOUNDS["metadata"])


def _check_scalars(endpoint: Endpoint, body: Mapping[str, Any]) -> None:
    for name in INTEGERS.keys() & body.keys():
        least, most = INTEGERS[name]
        # A completion may ask for 0 tokens, to get only the echo of its prompt.
        _check_integer(name, body[name], 0 if endpoint is Endpoint.COMPLETIONS else least, most)
    for name in NUMBERS.keys() & body.keys():
        _check_number(name, body[name], *NUMBERS[name])
    for name in OBJECTS & body.keys():
        if not isinstance(body[name], Mapping):
            raise InvalidRequest(f"Invalid type for '{name}': expected an object.", param=name)
    for name in BOOLEANS & body.keys():
        if not isinstance(body[name], bool):
            raise InvalidRequest(f"Invalid type for '{name}': expected a boolean.", param=name)


def _check_fields(body: Mapping[str, Any]) -> None:
    for path, bound in BOUNDS.items():
        _check_field(path, _at(body, path), bound)
    for name, value in body.items():
        if isinstance(value, list) and name not in BOUNDS and name != "prompt":
            _check_size(name, len(value), MOST_ITEMS, _ARRAY)
    _check_sequences(body.get("prompt"), body.get("n", 1))


def _check_inside(body: Mapping[str, Any]) -> None:
    for name in _TOKEN_IDS & body.keys():
        _check_token_ids(name, body[name])
    for name in _CONVERSATIONS & body.keys():
        _check_conversation(name, body[name])
    _check_prompt(body.get("prompt"))


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


def _check_conversation(path: str, messages: Any) -> None:
    if not isinstance(messages, list):
        return
    found = weigh(messages, len(messages) + MOST_PARTS)
    _check_size(path, found.items - len(messages), MOST_PARTS, _PARTS)
    _check_size(path, found.arguments, MOST_ARGUMENTS, _ARGUMENTS)


def _check_prompt(prompt: Any) -> None:
    # A prompt is a text or a list of token ids; "prompt" is one of them or a list of them.
    if not isinstance(prompt, list) or not prompt or isinstance(prompt[0], str):
        return
    if not isinstance(prompt[0], list):
        _check_size("prompt", len(prompt), MOST_TOKEN_IDS, _ARRAY)
        _check_token_ids("prompt", prompt)
        return
    for index, ids in enumerate(prompt):
        _check_token_ids(f"prompt[{index}]", ids)


def _check_token_ids(path: str, ids: Any) -> None:
    # vLLM looks at each of a million wrong items, in every way in which a prompt can be written.
    if not isinstance(ids, list) or not ids:
        return
    if not {*map(type, ids)} <= {int}:
        wrong = next(index for index, item in enumerate(ids) if type(item) is not int)
        param = f"{path}[{wrong}]"
        raise InvalidRequest(f"Invalid type for '{param}': expected an integer.", param=param)
    if min(ids) < 0 or max(ids) > LARGEST_TOKEN_ID:
        wrong = next(i for i, item in enumerate(ids) if not 0 <= item <= LARGEST_TOKEN_ID)
        param = f"{path}[{wrong}]"
        raise InvalidRequest(f"Invalid value for '{param}': this is no token id.", param=param)


def _check_sequences(prompt: Any, n: Any) -> None:
    # A list of numbers is one prompt, in tokens.
    if isinstance(prompt, list) and prompt and not isinstance(prompt[0], int):
        _check_size("prompt", len(prompt), MOST_SEQUENCES // max(n, 1), _ARRAY)


def _check_number(name: str, value: Any, least: float, most: float) -> None:
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise InvalidRequest(f"Invalid type for '{name}': expected a decimal.", param=name)
    _check_range(name, value, "decimal", least, most)


def _check_integer(name: str, value: Any, least: int, most: int | None) -> None:
    if not isinstance(value, int) or isinstance(value, bool):
        raise InvalidRequest(f"Invalid type for '{name}': expected an integer.", param=name)
    _check_range(name, value, "integer", least, most)


def _check_range(name: str, value: float, kind: str, least: float, most: float | None) -> None:
    if value < least:
        raise InvalidRequest(
            f"Invalid '{name}': {kind} below minimum value. Expected a value >= {least},"
            f" but got {value} instead.",
            param=name,
        )
    if most is not None and value > most:
        raise InvalidRequest(
            f"Invalid '{name}': {kind} above maximum value. Expected a value <= {most},"
            f" but got {value} instead.",
            param=name,
        )
