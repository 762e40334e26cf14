"""A body of JSON that has one meaning. Pure functions.

Parsers agree on valid JSON, but not on the same key twice, nor on numbers without bounds. Another
program may have read this body before, and it must not have read something else in it.
"""

from typing import Any

import jiter
import orjson

from veneer_server.api.errors import InvalidJson, NotAnObject

DEEPEST = 200
"""How deep objects and arrays may nest, the outermost object included: jiter's own limit."""
MOST_MEMBERS = 50_000
"""Most members of all objects together; each key costs time, because it must be there once."""
MOST_VALUES = 100_000
"""Most arrays and objects together."""
MOST_TEXTS = 100_000
"""Most texts together, keys included."""
_SHOWN_CHARS = 100
_BLANKS = b" \t\r\n"
_BEGINNINGS = (b",[", b"[[", b":[", b",{", b"[{", b":{")
_NUL = b"\\u0000"
_PROMPTS = {"prompt", "suffix", "messages", "content", "text", "input", "instructions", "system"}
"""The members whose texts go to the model, which has tokens for every character."""
_DIGITS = b"0123456789"
_SHAPE = bytes(
    ord("0") if char in _DIGITS else char if char in b"e+" else ord("e") if char == ord("E") else 32
    for char in range(256)
)
"""Makes every digit a 0, and keeps what else an exponent is made of."""
_MAY_BE_LARGE = (b"0" * 19, b"e000", b"e+000")
"""What the shape of a body has in it, if it has a number beyond 64 bits or beyond floats."""


def parse_object(raw: bytes) -> dict[str, Any]:
    """Return the object that ``raw`` describes; each key stands in it once, each number is finite.

    Raises:
        InvalidJson: it is not JSON in UTF-8, is nested too deeply, has too many members, a key
            twice, a number that is too large, or the character NUL outside of a prompt.
        NotAnObject: it is JSON, but not an object.
    """
    try:
        _check_amounts(raw)
        found = jiter.from_json(raw, allow_inf_nan=False, catch_duplicate_keys=True)
        _check_numbers(raw, found)
        if _NUL in raw:
            _check_characters(found)
    except (ValueError, TypeError) as error:
        raise InvalidJson(
            f"We could not parse the JSON body of your request: {_short(str(error))}."
        ) from error
    if not isinstance(found, dict):
        raise NotAnObject("The JSON body of your request must be an object.")
    return found


def _check_amounts(raw: bytes) -> None:
    # A key ends with a quotation mark and a colon, and a value begins behind one of four marks. In
    # a text a quotation mark is escaped; a bracket is not, so JSON in a text counts as values too.
    if raw.count(b'"') <= 2 * MOST_MEMBERS and raw.count(b"[") + raw.count(b"{") <= MOST_VALUES:
        return
    unescaped = raw.replace(b"\\\\", b"").replace(b'\\"', b"")
    if (texts := unescaped.count(b'"') // 2) > MOST_TEXTS:
        raise ValueError(f"it has {texts} texts, more than {MOST_TEXTS}")
    plain = unescaped.translate(None, _BLANKS)
    if (members := plain.count(b'":')) > MOST_MEMBERS:
        raise ValueError(f"it has {members} members in its objects, more than {MOST_MEMBERS}")
    if (values := sum(map(plain.count, _BEGINNINGS))) > MOST_VALUES:
        raise ValueError(f"it has {values} arrays and objects, more than {MOST_VALUES}")


def _check_characters(found: Any, *, to_model: bool = False) -> None:
    # Many a program ends a text at the first NUL, and PostgreSQL keeps none.
    if isinstance(found, str):
        if not to_model and "\0" in found:
            raise ValueError("it has the character NUL (\\u0000) in a text that is no prompt")
    elif isinstance(found, list):
        for one in found:
            _check_characters(one, to_model=to_model)
    elif isinstance(found, dict):
        for key, value in found.items():
            _check_characters(key)
            _check_characters(value, to_model=key in _PROMPTS and isinstance(value, str | list))


def _check_numbers(raw: bytes, found: Any) -> None:
    # Jiter reads a number of any size. To look for one costs as much as to parse once more, and so
    # happens only where there may be one.
    shape = raw.translate(_SHAPE)
    if any(large in shape for large in _MAY_BE_LARGE):
        orjson.loads(raw)  # refuses what no float can hold
        orjson.dumps(found)  # refuses what 64 bits cannot hold


def _short(text: str) -> str:
    # The text may contain a key as the client wrote it, and ends with where it stands.
    if len(text) <= 2 * _SHOWN_CHARS:
        return text
    return f"{text[:_SHOWN_CHARS]}...{text[-_SHOWN_CHARS:]}"
