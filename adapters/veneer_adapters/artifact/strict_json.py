"""Strict JSON: refuses what the module ``json`` accepts and readers understand differently.

Two readers of one document must never see two different adapters, so duplicate keys, NaN, infinity
and anything but UTF-8 are errors here.
"""

import json
import math


def parse(data: bytes) -> object:
    """Return the value that ``data`` describes.

    Raises:
        ValueError: it is not strict JSON; the message says why.
    """
    try:
        return json.loads(
            data.decode("utf-8"),
            object_pairs_hook=_unique,
            parse_constant=_refuse,
            parse_float=_finite,
        )
    except UnicodeDecodeError:
        raise ValueError("it is not UTF-8 text") from None
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"it is not JSON (line {error.lineno}: {error.msg})") from None


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    unique = dict(pairs)
    if len(unique) != len(pairs):
        raise ValueError("it has the same key twice")
    return unique


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("it has a number too large to represent")
    return number


def _refuse(name: str) -> object:
    raise ValueError(f"it contains {name}, which JSON does not have")
