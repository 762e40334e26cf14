"""One line as a JSON object with one meaning. Pure functions."""

import json
import math
from typing import Any

from veneer_server.training.rows.faults import InvalidRow


def parse_line(line: bytes) -> dict[str, Any]:
    """Return the object that ``line`` describes; each key stands in it once.

    Raises:
        InvalidRow: it is not UTF-8, not JSON, or not an object.
    """
    found = _parse(_text(line))
    if not isinstance(found, dict):
        raise InvalidRow(f"expected a JSON object, not {_kind(found)}")
    if b"\\u" in line:
        _refuse_half_characters(found)
    return found


def _text(line: bytes) -> str:
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError as error:
        column = len(line[: error.start].decode("utf-8")) + 1
        raise InvalidRow("it is not UTF-8 text", column=column) from None


def _parse(text: str) -> Any:
    try:
        return json.loads(
            text, object_pairs_hook=_unique, parse_constant=_refuse, parse_float=_finite
        )
    except json.JSONDecodeError as error:
        raise InvalidRow(f"it is not JSON ({error.msg})", column=error.colno) from None
    except RecursionError:
        raise InvalidRow("it is nested too deeply") from None
    except ValueError as error:
        raise InvalidRow(f"it has a number that cannot be read ({error})") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    unique = dict(pairs)
    if len(unique) != len(pairs):
        raise InvalidRow("an object in it has the same key twice")
    return unique


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise InvalidRow("it has a number that is too large")
    return number


def _refuse(name: str) -> Any:
    raise InvalidRow(f"it contains {name}, which JSON does not have")


def _refuse_half_characters(found: dict[str, Any]) -> None:
    # Half of a surrogate pair is allowed in JSON, and no tokenizer can read it.
    try:
        json.dumps(found, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise InvalidRow("a text in it has half a character (a lone surrogate)") from None


def _kind(found: Any) -> str:
    kinds = {list: "an array", str: "a text", bool: "true or false", type(None): "null"}
    return kinds.get(type(found), "a number")
