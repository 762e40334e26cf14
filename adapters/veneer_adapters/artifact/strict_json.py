"""Strict JSON: refuses what the module ``json`` accepts and readers understand differently.

Two readers of one document must never see two different adapters, so duplicate keys, NaN, infinity
and anything but UTF-8 are errors here.
"""

import json
import math


class NotStrict(ValueError):
    """What was read is not strict JSON."""

    def __init__(self, why: str, line: int | None = None, column: int | None = None) -> None:
        """``why`` is a sentence about "it"; ``line`` and ``column`` count from 1 where known."""
        super().__init__(why if line is None else why.replace("(", f"(line {line}: ", 1))
        self.why = why
        self.column = column


def parse(data: bytes) -> object:
    """Return the value that ``data`` describes.

    Raises:
        NotStrict: it is not strict JSON; the message says why.
    """
    try:
        return json.loads(
            data.decode("utf-8"),
            object_pairs_hook=_unique,
            parse_constant=_refuse,
            parse_float=_finite,
        )
    except UnicodeDecodeError as error:
        column = len(data[: error.start].decode("utf-8")) + 1
        raise NotStrict("it is not UTF-8 text", column=column) from None
    except RecursionError:
        raise NotStrict("it is nested too deeply") from None
    except json.JSONDecodeError as error:
        raise NotStrict(f"it is not JSON ({error.msg})", error.lineno, error.colno) from None


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    unique = dict(pairs)
    if len(unique) != len(pairs):
        raise NotStrict("it has the same key twice")
    return unique


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise NotStrict("it has a number too large to represent")
    return number


def _refuse(name: str) -> object:
    raise NotStrict(f"it contains {name}, which JSON does not have")
