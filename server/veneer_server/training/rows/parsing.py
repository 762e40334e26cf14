"""One line as a JSON object with one meaning. Pure functions."""

import json
from typing import Any

from veneer_adapters.artifact import strict_json
from veneer_server.training.rows.faults import InvalidRow


def parse_line(line: bytes) -> dict[str, Any]:
    """Return the object that ``line`` describes; each key stands in it once.

    Raises:
        InvalidRow: it is not UTF-8, not JSON, or not an object.
    """
    try:
        found = strict_json.parse(line)
    except strict_json.NotStrict as error:
        raise InvalidRow(error.why, column=error.column) from None
    except ValueError as error:
        raise InvalidRow(f"it has a number that cannot be read ({error})") from None
    if not isinstance(found, dict):
        raise InvalidRow(f"expected a JSON object, not {_kind(found)}")
    if b"\\u" in line:
        _refuse_half_characters(found)
    return found


def _refuse_half_characters(found: dict[str, Any]) -> None:
    # Half of a surrogate pair is allowed in JSON, and no tokenizer can read it.
    try:
        json.dumps(found, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise InvalidRow("a text in it has half a character (a lone surrogate)") from None


def _kind(found: Any) -> str:
    kinds = {list: "an array", str: "a text", bool: "true or false", type(None): "null"}
    return kinds.get(type(found), "a number")
